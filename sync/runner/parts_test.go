package runner

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/ledger"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		sum    ledger.Summary
		guards tidegate.Guards
		mode   tidegate.Mode
		want   string
	}{
		{"first run", ledger.Summary{Read: 10, Added: 10}, tidegate.Guards{}, tidegate.Mirror, ""},
		{"empty before the first", ledger.Summary{}, tidegate.Guards{}, tidegate.Mirror, ""},
		{"empty", ledger.Summary{LedgerRows: 1, Removed: 1}, tidegate.Guards{}, tidegate.Mirror, "guard.empty"},
		{"empty in upsert", ledger.Summary{LedgerRows: 1, Removed: 1}, tidegate.Guards{}, tidegate.Upsert, "guard.empty"},
		{"empty allowed", ledger.Summary{LedgerRows: 100, Removed: 100}, tidegate.Guards{AllowEmpty: true}, tidegate.Mirror, ""},
		{"empty allowed, still too many", ledger.Summary{LedgerRows: 101, Removed: 101}, tidegate.Guards{AllowEmpty: true}, tidegate.Mirror, "guard.removals"},
		{"100 of 1,000", ledger.Summary{Read: 900, LedgerRows: 1000, Removed: 100}, tidegate.Guards{}, tidegate.Mirror, ""},
		{"101 of 1,000", ledger.Summary{Read: 899, LedgerRows: 1000, Removed: 101}, tidegate.Guards{}, tidegate.Mirror, "guard.removals"},
		{"101 of 1,000 in upsert", ledger.Summary{Read: 899, LedgerRows: 1000, Removed: 101}, tidegate.Guards{}, tidegate.Upsert, ""},
		{"500 of 10,000", ledger.Summary{Read: 9500, LedgerRows: 10_000, Removed: 500}, tidegate.Guards{}, tidegate.Mirror, ""},
		{"501 of 10,000", ledger.Summary{Read: 9499, LedgerRows: 10_000, Removed: 501}, tidegate.Guards{}, tidegate.Mirror, "guard.removals"},
		{"own limit of rows", ledger.Summary{Read: 7, LedgerRows: 10, Removed: 3}, tidegate.Guards{MaxRemovedRows: 2}, tidegate.Mirror, "guard.removals"},
		{"own limit of percent", ledger.Summary{Read: 5, LedgerRows: 1000, Removed: 500}, tidegate.Guards{MaxRemovedPercent: 50}, tidegate.Mirror, ""},
		{"one off, the other counts", ledger.Summary{Read: 94, LedgerRows: 100, Removed: 6}, tidegate.Guards{MaxRemovedRows: -1}, tidegate.Mirror, "guard.removals"},
		{"off", ledger.Summary{Read: 1, LedgerRows: 10_000, Removed: 9999}, tidegate.Guards{MaxRemovedRows: -1, MaxRemovedPercent: -1}, tidegate.Mirror, ""},
		{"churn is off", ledger.Summary{Read: 100, LedgerRows: 100, Changed: 100}, tidegate.Guards{}, tidegate.Mirror, ""},
		{"churn", ledger.Summary{Read: 100, LedgerRows: 100, Changed: 51}, tidegate.Guards{MaxChangedPercent: 50}, tidegate.Upsert, "guard.churn"},
		{"churn at its limit", ledger.Summary{Read: 100, LedgerRows: 100, Changed: 50}, tidegate.Guards{MaxChangedPercent: 50}, tidegate.Upsert, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if f := Guard(c.sum, c.guards, c.mode); f != nil {
				got = f.Code
				if f.Hint == "" || f.Message == "" {
					t.Errorf("the fault says too little: %+v", f)
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestGuardNeverLetsAMassRemovalThrough(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.Int64Range(0, 1_000_000).Draw(t, "ledger")
		sum := ledger.Summary{
			LedgerRows: rows, Removed: rapid.Int64Range(0, rows).Draw(t, "removed"), Read: rapid.Int64Range(0, 1000).Draw(t, "read"),
			Changed: rapid.Int64Range(0, rows).Draw(t, "changed"),
		}
		guards := tidegate.Guards{
			MaxRemovedRows:    rapid.Int64Range(0, 1000).Draw(t, "rows"),
			MaxRemovedPercent: rapid.Float64Range(0, 100).Draw(t, "percent"), AllowEmpty: rapid.Bool().Draw(t, "empty"),
		}
		limitRows, percent := guards.MaxRemovedRows, guards.MaxRemovedPercent
		if limitRows == 0 {
			limitRows = 100
		}
		if percent == 0 {
			percent = 5
		}
		tooMany := float64(sum.Removed) > math.Max(float64(limitRows), float64(rows)*percent/100)*(1+1e-9)
		if Guard(sum, guards, tidegate.Mirror) == nil && (tooMany || sum.Read == 0 && rows > 0 && !guards.AllowEmpty) {
			t.Fatalf("let %+v through under %+v", sum, guards)
		}
	})
}

func planOf(changes ...ledger.Planned) func(context.Context) (ledger.PlannedReader, error) {
	for i := range changes {
		changes[i].Ordinal = int64(i)
	}
	return func(context.Context) (ledger.PlannedReader, error) { return &planReader{changes: changes}, nil }
}

func change(op tidegate.Op, key tidegate.Key, id any) ledger.Planned {
	return ledger.Planned{Change: tidegate.Change{Op: op, Key: key}, Identifier: id}
}

func TestSurvey(t *testing.T) {
	t.Parallel()
	bad := change(tidegate.Added, "[9]", "a@x")
	bad.Fault = &tidegate.Fault{Action: tidegate.Reject}
	cases := []struct {
		name string
		mode tidegate.Mode
		plan []ledger.Planned
		want map[int64]Clash
	}{
		{"none", tidegate.Mirror, []ledger.Planned{change(tidegate.Added, "[1]", "a@x"), change(tidegate.Changed, "[2]", "b@x"), change(tidegate.Added, "[3]", nil), change(tidegate.Added, "[4]", nil)}, nil},
		{
			"two rows, one record", tidegate.Mirror,
			[]ledger.Planned{change(tidegate.Added, "[1]", "a@x"), change(tidegate.Changed, "[2]", "a@x")},
			map[int64]Clash{0: {Identifier: "a@x", Keys: []tidegate.Key{"[1]", "[2]"}}, 1: {Identifier: "a@x", Keys: []tidegate.Key{"[1]", "[2]"}}},
		},
		{
			"number and text", tidegate.Mirror,
			[]ledger.Planned{change(tidegate.Added, "[1]", int64(7)), change(tidegate.Added, "[2]", "7")},
			map[int64]Clash{0: {Identifier: "7", Keys: []tidegate.Key{"[1]", "[2]"}}, 1: {Identifier: "7", Keys: []tidegate.Key{"[1]", "[2]"}}},
		},
		{
			"the key changed", tidegate.Mirror,
			[]ledger.Planned{change(tidegate.Added, "[2]", "a@x"), change(tidegate.Removed, "[1]", "a@x")},
			map[int64]Clash{
				0: {Identifier: "a@x", Keys: []tidegate.Key{"[2]", "[1]"}, Takes: []int64{1}},
				1: {Identifier: "a@x", Keys: []tidegate.Key{"[2]", "[1]"}, Taken: true, By: 0},
			},
		},
		{"the key changed, removals are excluded", tidegate.Upsert, []ledger.Planned{change(tidegate.Added, "[2]", "a@x"), change(tidegate.Removed, "[1]", "a@x")}, nil},
		{"removed twice", tidegate.Mirror, []ledger.Planned{change(tidegate.Removed, "[2]", "a@x"), change(tidegate.Removed, "[1]", "a@x")}, map[int64]Clash{}},
		{"a row that cannot be mapped", tidegate.Mirror, []ledger.Planned{change(tidegate.Added, "[1]", "a@x"), bad}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Survey(t.Context(), planOf(c.plan...), c.mode, "id")
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestSurveyRefusesAnIdentifierThatDoesNotIdentify(t *testing.T) {
	t.Parallel()
	plan := make([]ledger.Planned, MaxClashes+1)
	for i := range plan {
		plan[i] = change(tidegate.Added, tidegate.Key("["+strings.Repeat("1", i%20+1)+"]"), "same")
	}
	_, err := Survey(t.Context(), planOf(plan...), tidegate.Upsert, "id")
	if f := tidegate.FaultOf(err); f.Code != "identifier.not_unique" || f.Action != tidegate.Halt {
		t.Errorf("got %v", err)
	}
}

func TestClashNamesBothKeys(t *testing.T) {
	t.Parallel()
	f := Clash{Identifier: "a@x", Keys: []tidegate.Key{`["1"]`, `["2"]`}}.fault(`["1"]`)
	if !strings.Contains(f.Message, `["1"] and ["2"]`) || f.Action != tidegate.Reject || f.Hint == "" {
		t.Errorf("got %+v", f)
	}
}

func TestSizeBoundsTheEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var value func(depth int) any
		value = func(depth int) any {
			switch rapid.IntRange(0, 6-2*depth).Draw(t, "kind") {
			case 0:
				return rapid.String().Draw(t, "text")
			case 1:
				return rapid.Int64().Draw(t, "int")
			case 2:
				return rapid.Float64().Draw(t, "float")
			case 3:
				return nil
			case 4:
				return rapid.Bool().Draw(t, "bool")
			case 5:
				return []any{value(depth + 1), value(depth + 1)}
			}
			return map[string]any{rapid.String().Draw(t, "field"): value(depth + 1)}
		}
		u := unit{Planned: &ledger.Planned{Change: tidegate.Change{Op: tidegate.Added, After: tidegate.Record{
			rapid.String().Draw(t, "field"): value(0), "b": value(0),
		}}}}
		text, err := json.Marshal(u.After)
		if err != nil {
			t.Skip("not JSON")
		}
		if size := itemSize(&u); size < len(text) {
			t.Fatalf("size %d is below the encoding's %d: %s", size, len(text), text)
		}
	})
}

func TestQuotaNeverPassesItsLimitInAnyWindow(t *testing.T) {
	t.Parallel()
	for _, limit := range []destinations.Limit{{Calls: 190, Per: 10 * time.Second}, {Calls: 4, Per: time.Second}, {Calls: 1, Per: time.Second}, {Calls: 10_000, Per: time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			q := NewQuota(time.Now)
			q.Declare(limit)
			var times []time.Time
			for range min(3*limit.Calls, 700) {
				waitFor(t, q, Claim{Sync: "s"})
				times = append(times, time.Now())
			}
			for i := limit.Calls + 1; i < len(times); i++ {
				if times[i].Sub(times[i-limit.Calls-1]) < limit.Per-time.Millisecond {
					t.Fatalf("%+v: calls %d to %d within %v", limit, i-limit.Calls-1, i, times[i].Sub(times[i-limit.Calls-1]))
				}
			}
			if took := time.Since(times[0]); limit.Calls < 1000 && took > 4*limit.Per {
				t.Errorf("%+v: %d calls took %v", limit, len(times), took)
			}
		})
	}
}

func waitFor(t *testing.T, q *Quota, c Claim) {
	t.Helper()
	for {
		wait := q.Take(c)
		if wait == 0 {
			return
		}
		if err := retry.Wait(t.Context(), wait); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQuotaLearns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(time.Now)
		take := func() {
			waitFor(t, q, Claim{Sync: "s"})
		}
		for range 100 {
			take()
		}
		if time.Since(q.countedFrom) != 0 {
			t.Error("an unlimited quota waited")
		}
		start := time.Now()
		q.Learn(&tidegate.Fault{Action: tidegate.Throttle, After: 3 * time.Second})
		take()
		if waited := time.Since(start); waited < 3*time.Second {
			t.Errorf("waited %v of 3 s", waited)
		}
		if q.rate == 0 {
			t.Error("nothing was learned")
		}
		learned := q.rate
		for range 3000 {
			take()
			q.Learn(nil)
		}
		if q.rate != 0 && q.rate <= learned {
			t.Errorf("the rate stays at %v", q.rate)
		}
		q.Learn(errors.New("reset"))
	})
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(time.Now)
		q.Declare(destinations.Limit{Calls: 100, Per: time.Second})
		declared := q.rate
		q.Learn(&tidegate.Fault{Action: tidegate.Throttle})
		if q.rate >= declared {
			t.Error("a throttle within the limit did not lower the rate")
		}
		for range 400 {
			q.Learn(nil)
		}
		if q.rate != declared {
			t.Errorf("the rate recovers to %v, declared is %v", q.rate, declared)
		}
	})
}

func TestRunIDsSortByCreation(t *testing.T) {
	t.Parallel()
	last := ""
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1000 {
		id := newRunID(now.Add(time.Duration(i)*time.Microsecond), func() uint64 { return uint64(-i) })
		if id <= last || len(id) != len("run_")+36 || id[4+14] != '7' {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	sum := ledger.Summary{Added: 950, Changed: 100, Removed: 10, BadRows: 50}
	cases := []struct {
		mode    tidegate.Mode
		limit   destinations.Limit
		size    int
		calls   int64
		seconds float64
	}{
		{tidegate.Mirror, destinations.Limit{Records: 100, Concurrency: 1}, 0, 11, 2.2},
		{tidegate.Upsert, destinations.Limit{Records: 100, Concurrency: 10}, 0, 10, 0.2},
		{tidegate.Insert, destinations.Limit{Records: 100, Concurrency: 10, Calls: 1, Per: time.Second}, 0, 9, 9},
		{tidegate.Upsert, destinations.Limit{Records: 100, Bytes: 1000, Concurrency: 10}, 100, 100, 2},
	}
	for _, c := range cases {
		calls, seconds := estimate(sum, c.mode, c.limit, c.size)
		if calls != c.calls || math.Abs(seconds-c.seconds) > 1e-9 {
			t.Errorf("%s %+v: %d calls in %v s, want %d in %v", c.mode, c.limit, calls, seconds, c.calls, c.seconds)
		}
	}
}

func TestRepeatedHashes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Few values in few parts, those beside a free place among them.
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 3).Draw(t, "part")<<62 | rapid.Uint64Range(0, 40).Draw(t, "value")
		}), 0, 200).Draw(t, "hashes")
		var h hashes
		times, want := map[uint64]int{}, map[uint64]bool{}
		for _, hash := range all {
			h.add(hash)
			if times[hash]++; times[hash] > 1 {
				want[hash] = true
			}
		}
		got := h.repeated()
		if times[0] == 1 && times[1] > 0 { // which are taken for one, and looked at more closely
			delete(got, 0)
		}
		if times[1] == 1 && times[0] > 0 {
			delete(got, 1)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}
