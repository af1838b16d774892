package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/ledger"
)

// able is a crm that can do everything: it takes writes as jobs, reads records
// back and keeps audiences.
type able struct {
	*crm

	mu      sync.Mutex
	async   bool
	polls   int // until a job is done
	jobs    map[destinations.Ticket]*destinations.Batch
	asked   int
	members map[string]map[any]bool
	removal destinations.Batch // the last one
}

func newAble(c *crm) *able {
	return &able{crm: c, jobs: map[destinations.Ticket]*destinations.Batch{}, members: map[string]map[any]bool{}}
}

func (a *able) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.Items[0].Op == tidegate.Removed {
		a.removal = b
	}
	if b.Mode == tidegate.Audience {
		for _, item := range b.Items {
			if item.Op == tidegate.Removed {
				delete(a.members[b.Audience], item.Identifier)
			} else {
				a.members[b.Audience][item.Identifier] = true
			}
		}
		return delivered(len(b.Items)), nil
	}
	if !a.async {
		return a.crm.Write(ctx, b)
	}
	t := destinations.Ticket(fmt.Sprintf("job%d", len(a.jobs)))
	a.jobs[t] = &b
	return slices.Repeat([]destinations.Outcome{{Disposition: destinations.Pending, Ticket: t}}, len(b.Items)), nil
}

func (a *able) Poll(ctx context.Context, t destinations.Ticket, _ destinations.Batch) ([]destinations.Outcome, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.jobs[t]
	if b == nil {
		return nil, false, &tidegate.Fault{Action: tidegate.Reject, Code: "ticket.unknown"}
	}
	if a.asked++; a.asked <= a.polls {
		return nil, false, nil
	}
	out, err := a.crm.Write(ctx, *b)
	return out, true, err
}

func (a *able) Read(_ context.Context, _, _ string, ids []any, fields []string) ([]tidegate.Record, error) {
	out := make([]tidegate.Record, len(ids))
	for i, id := range ids {
		if r, there := a.records[id]; there {
			out[i] = tidegate.Record{}
			for _, f := range fields {
				out[i][f] = r[f]
			}
		}
	}
	return out, nil
}

func (a *able) EnsureAudience(_ context.Context, _, name string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.members[name] == nil {
		a.members[name] = map[any]bool{}
	}
	return name, nil
}

func ableBench(t *testing.T, rows int) (*workbench, *able) {
	t.Helper()
	w := newWorkbench(t, rows)
	a := newAble(w.crm)
	w.opened.Destination = a
	return w, a
}

func TestTicketsAreAskedForAfterARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := ableBench(t, 25)
		a.async, a.polls = true, 1000
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		if err := retry.Wait(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := w.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(a.jobs) != 3 || len(w.crm.records) != 0 {
			t.Fatalf("%d jobs, %d records", len(a.jobs), len(w.crm.records))
		}
		a.polls = 0
		w.runner = w.process(t)
		if err := w.runner.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		run, err = w.runner.Wait(t.Context(), run.ID)
		if err != nil || run.State != tidegate.RunSucceeded || run.Counts.Delivered != 25 || len(w.crm.records) != 25 {
			t.Errorf("the run is %s with %+v, %v", run.State, run.Counts, err)
		}
		if len(a.jobs) != 3 {
			t.Errorf("%d jobs: something was sent again", len(a.jobs))
		}
	})
}

func TestUnknownTicketIsSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := ableBench(t, 5)
		a.async = true
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.mu.Lock()
		clear(a.jobs) // the destination forgets
		a.async = false
		a.mu.Unlock()
		run, err = w.runner.Wait(t.Context(), run.ID)
		if err != nil || run.State != tidegate.RunSucceeded || len(w.crm.records) != 5 {
			t.Errorf("the run is %s with %+v, %v", run.State, run.Counts, err)
		}
	})
}

func TestCanary(t *testing.T) {
	t.Parallel()
	bad := func(_ context.Context, _ int, b destinations.Batch) ([]destinations.Outcome, error, bool) {
		out := delivered(len(b.Items))
		for i := range out {
			if b.Items[i].Key == "[11]" {
				out[i] = destinations.Outcome{Disposition: destinations.Rejected, Fault: &tidegate.Fault{Action: tidegate.Reject, Code: "bad"}}
			}
		}
		return out, nil, true
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorkbench(t, 50)
			w.opened.Sync.Delivery = tidegate.Delivery{CanaryRecords: 7, CanaryWait: "5m"}
			began := time.Now()
			run := w.do(t)
			if took := time.Since(began); run.State != tidegate.RunSucceeded || took < 5*time.Minute || took > 6*time.Minute {
				t.Errorf("the run is %s after %v", run.State, took)
			}
		})
	})
	t.Run("bad", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorkbench(t, 50)
			w.opened.Sync.Delivery = tidegate.Delivery{CanaryRecords: 7}
			w.crm.answer = bad
			run := w.do(t)
			want := tidegate.Counts{Read: 50, Added: 50, Delivered: 6, Rejected: 1, Held: 43}
			if diff := cmp.Diff(want, run.Counts); run.State != tidegate.RunHeld || run.Fault.Code != "guard.canary" || diff != "" {
				t.Fatalf("the run is %s, %+v:\n%s", run.State, run.Fault, diff)
			}
			if _, err := w.runner.Approve(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
			run, err := w.runner.Wait(t.Context(), run.ID)
			want = tidegate.Counts{Read: 50, Added: 50, Delivered: 49, Rejected: 1}
			if diff := cmp.Diff(want, run.Counts); err != nil || run.State != tidegate.RunPartial || diff != "" {
				t.Errorf("the approved run is %s, %v:\n%s", run.State, err, diff)
			}
		})
	})
}

// TestACanaryThatIsNotAnsweredHoldsNothing: a destination that is away needs no approval; the run
// fails, and a later one begins with the canary again.
func TestACanaryThatIsNotAnsweredHoldsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 50)
		w.opened.Sync.Delivery = tidegate.Delivery{CanaryRecords: 7}
		w.crm.answer = func(_ context.Context, _ int, b destinations.Batch) ([]destinations.Outcome, error, bool) {
			return slices.Repeat([]destinations.Outcome{{Disposition: destinations.Deferred, Fault: &tidegate.Fault{Action: tidegate.Retry, Code: "busy", Message: "come back later"}}}, len(b.Items)), nil, true
		}
		run := w.do(t)
		if diff := cmp.Diff(tidegate.Counts{Read: 50, Added: 50, Deferred: 50}, run.Counts); run.State != tidegate.RunFailed || run.Fault.Code != "canary.unanswered" || !strings.Contains(run.Fault.Message, "come back later") || diff != "" {
			t.Fatalf("the run is %s, %+v:\n%s", run.State, run.Fault, diff)
		}
		w.crm.answer = nil
		if err := retry.Wait(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if run := w.do(t); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 50 {
			t.Errorf("afterwards the run is %s, %+v", run.State, run.Counts)
		}
	})
}

func TestStoredPlanIsAppliedAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 10)
		run, err := w.runner.PlanRun(t.Context(), "contacts")
		if err != nil || run.State != tidegate.RunHeld || run.Fault.Code != "plan.review" || run.Counts.Held != 10 || w.crm.calls != 0 {
			t.Fatalf("the plan is %s, %+v, %d calls, %v", run.State, run.Fault, w.crm.calls, err)
		}
		w.src.put("[99]", "id99") // is no part of the plan
		if run, err = w.runner.Approve(t.Context(), run.ID); err != nil || run.State == tidegate.RunHeld {
			t.Fatalf("approved, it is %s, %v", run.State, err)
		}
		if run, err = w.runner.Wait(t.Context(), run.ID); err != nil || run.State != tidegate.RunSucceeded || len(w.crm.records) != 10 {
			t.Errorf("the run is %s, %d records, %v", run.State, len(w.crm.records), err)
		}
		w.do(t)
		if run, err = w.runner.PlanRun(t.Context(), "contacts"); err != nil || run.State != tidegate.RunSucceeded {
			t.Errorf("a plan of nothing is %s, %v", run.State, err)
		}
	})
}

func TestRevert(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 10)
		w.do(t)
		before := maps.Clone(w.crm.records)
		w.src.put("[3]", "id3")
		w.src.put("[77]", "id77")
		w.src.remove("[4]")
		second := w.do(t)
		run, err := w.runner.Revert(t.Context(), second.ID)
		if err != nil {
			t.Fatal(err)
		}
		run, err = w.runner.Wait(t.Context(), run.ID)
		if err != nil || run.State != tidegate.RunSucceeded || run.Trigger != tidegate.TriggerRevert || run.Counts.Delivered != 3 {
			t.Errorf("the run is %s %s with %+v, %v", run.Trigger, run.State, run.Counts, err)
		}
		if diff := cmp.Diff(before, w.crm.records); diff != "" {
			t.Errorf("after it:\n%s", diff)
		}
		w.opened.Sync.Mode = tidegate.Append
		if _, err := w.runner.Revert(t.Context(), second.ID); tidegate.FaultOf(err).Code != "sync.irrevocable" {
			t.Errorf("events are taken back: %v", err)
		}
	})
}

func TestDrift(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := ableBench(t, 10)
		w.do(t)
		w.crm.records["id3"] = tidegate.Record{"id": "id3", "value": int64(-1)} // somebody's hand
		delete(w.crm.records, "id4")
		w.src.put("[3]", "id3") // and the model has moved on
		want := w.src.rows["[3]"].record()["value"]
		report, err := w.runner.Drift(t.Context(), "contacts", DriftOptions{})
		if err != nil || report.Checked != 10 || report.Drifted != 1 || report.Missing != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
		records := []DriftRecord{
			{Key: "[3]", Identifier: "id3", Fields: []DriftField{{Field: "value", Desired: want, Confirmed: int64(4), Actual: int64(-1)}}},
			{Key: "[4]", Identifier: "id4", Missing: true},
		}
		if diff := cmp.Diff(records, report.Records); diff != "" {
			t.Error(diff)
		}
		report, err = w.runner.Drift(t.Context(), "contacts", DriftOptions{Restore: true})
		if err != nil || report.Run == nil {
			t.Fatalf("%+v, %v", report, err)
		}
		run, err := w.runner.Wait(t.Context(), report.Run.ID)
		if err != nil || run.State != tidegate.RunSucceeded || run.Counts.Delivered != 2 {
			t.Errorf("the run is %s with %+v, %v", run.State, run.Counts, err)
		}
		if len(w.crm.records) != 10 || w.crm.records["id3"]["value"] != int64(4) {
			t.Errorf("id3 is %v, %d records", w.crm.records["id3"], len(w.crm.records))
		}
		w.opened.Destination = w.crm // which cannot be read
		if _, err := w.runner.Drift(t.Context(), "contacts", DriftOptions{}); tidegate.FaultOf(err).Code != "sync.unsuited" {
			t.Errorf("drift of what cannot be read: %v", err)
		}
	})
}

func TestAudience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := ableBench(t, 4)
		w.opened.Sync.Mode, w.opened.Sync.Audience = tidegate.Audience, "vip"
		w.do(t)
		w.src.put("[0]", "moved") // is known by another identifier
		w.src.put("[1]", "id1")   // changed without moving
		w.src.remove("[2]")
		run := w.do(t)
		want := tidegate.Counts{Read: 3, Unchanged: 1, Changed: 2, Removed: 1, Delivered: 2, Excluded: 1}
		if diff := cmp.Diff(want, run.Counts); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[any]bool{"moved": true, "id1": true, "id3": true}, a.members["vip"]); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRemovalIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := ableBench(t, 3)
		w.opened.Sync.OnRemoved = tidegate.Archive
		if run := w.do(t); run.State != tidegate.RunFailed || run.Fault.Code != "sync.unsuited" {
			t.Errorf("a removal that the object does not have: %s %+v", run.State, run.Fault)
		}
		w.opened.Object.Removals = []tidegate.Removal{tidegate.Delete, tidegate.Archive}
		w.do(t)
		w.src.remove("[1]")
		if w.do(t); a.removal.Removal != tidegate.Archive {
			t.Errorf("the batch says %q", a.removal.Removal)
		}
	})
}

// TestTheOldIdentifierIsTold: a destination without ids of its own knows by what to find the record.
func TestTheOldIdentifierIsTold(t *testing.T) {
	t.Parallel()
	for _, mode := range tidegate.Modes() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := NewState(Config{Mode: mode, IdentifierField: "email"})
			told := func(op tidegate.Op, before tidegate.Record, now any) any {
				return s.previousIdentifier(&unit{Planned: &ledger.Planned{Change: tidegate.Change{Op: op, Before: before}, Identifier: now}})
			}
			var want any = "old"
			if mode == tidegate.Append || mode == tidegate.Audience {
				want = nil
			}
			if got := told(tidegate.Changed, tidegate.Record{"email": "old"}, "new"); got != want {
				t.Errorf("%v", got)
			}
			for name, got := range map[string]any{
				"the same":             told(tidegate.Changed, tidegate.Record{"email": int64(1)}, "1"),
				"not remembered":       told(tidegate.Changed, nil, "new"),
				"an addition":          told(tidegate.Added, tidegate.Record{"email": "old"}, "new"),
				"a removal":            told(tidegate.Removed, tidegate.Record{"email": "old"}, "new"),
				"without a value then": told(tidegate.Changed, tidegate.Record{"email": nil}, "new"),
			} {
				if got != nil {
					t.Errorf("%s: %v", name, got)
				}
			}
		})
	}
}

func TestFieldPolicies(t *testing.T) {
	t.Parallel()
	field := func(name string, p tidegate.FieldPolicy) tidegate.FieldMapping {
		return tidegate.FieldMapping{Field: name, Column: name, Policy: p}
	}
	cases := []struct {
		policy tidegate.FieldPolicy
		actual any // what somebody wrote, nil for nobody
		want   any // after the change of the model
	}{
		{tidegate.Always, int64(-1), int64(3)},
		{tidegate.OnCreate, nil, int64(1)},
		{tidegate.IfEmpty, nil, int64(1)},
		{tidegate.IfEmpty, "", int64(3)},
		{tidegate.IfNewer, nil, int64(3)},
		{tidegate.IfNewer, "1", int64(3)}, // the confirmed value, as text
		{tidegate.IfNewer, int64(-1), int64(-1)},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s over %v", c.policy, c.actual), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, _ := ableBench(t, 2)
				w.opened.Sync.Mapping = tidegate.Mapping{Identifier: "id", Fields: []tidegate.FieldMapping{field("id", ""), field("value", c.policy)}}
				w.opened.Destination = merging{w.opened.Destination.(*able)}
				w.do(t)
				if c.actual != nil {
					w.crm.records["id0"] = tidegate.Record{"id": "id0", "value": c.actual}
				}
				w.src.put("[0]", "id0")
				run := w.do(t)
				if run.State != tidegate.RunSucceeded || run.Counts.Delivered != 1 {
					t.Errorf("the run is %s with %+v", run.State, run.Counts)
				}
				kept := (c.policy == tidegate.IfEmpty || c.policy == tidegate.IfNewer) && c.want != int64(3)
				if note := w.led.plans[run.ID].results[0].Fault; kept != (note != nil) || kept && (note.Code != FieldKept || note.Subject != "value") {
					t.Errorf("the result says %+v of a field that was kept: %t", note, kept)
				}
				if got := w.crm.records["id0"]["value"]; got != c.want {
					t.Errorf("the field holds %v, want %v", got, c.want)
				}
			})
		})
	}
	t.Run("a destination that cannot be read", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorkbench(t, 2)
			w.opened.Sync.Mapping = tidegate.Mapping{Identifier: "id", Fields: []tidegate.FieldMapping{field("value", tidegate.IfEmpty)}}
			if run := w.do(t); run.State != tidegate.RunFailed || run.Fault.Code != "sync.unsuited" {
				t.Errorf("the run is %s, %+v", run.State, run.Fault)
			}
		})
	})
}

func TestWhatWasLeftAsItIsIsSaidOfChangedFieldsOnly(t *testing.T) {
	t.Parallel()
	p := policies{"phone": tidegate.IfEmpty, "tier": tidegate.IfNewer, "plan": tidegate.IfNewer}
	record := tidegate.Record{"id": "1", "phone": "7", "tier": "gold", "plan": "pro", "name": "Ada"}
	for _, c := range []struct {
		name           string
		before, actual tidegate.Record
		want           string
	}{
		{"nobody wrote anything", tidegate.Record{"phone": "7", "tier": "iron", "plan": "pro"}, tidegate.Record{"phone": "7", "tier": "iron", "plan": "pro"}, ""},
		{"what did not change is not said", tidegate.Record{"phone": "7", "tier": "iron", "plan": "pro"}, tidegate.Record{"phone": "8", "tier": "iron", "plan": "free"}, ""},
		{"what is as it is to be is not said", tidegate.Record{"phone": "6", "tier": "iron", "plan": "free"}, tidegate.Record{"phone": "7", "tier": "gold", "plan": "pro"}, ""},
		{"all", tidegate.Record{"phone": "6", "tier": "iron", "plan": "free"}, tidegate.Record{"phone": "8", "tier": "tin", "plan": "old"}, "phone, plan, tier"},
		{"a record that was there before", nil, tidegate.Record{"phone": "8", "tier": nil, "plan": "pro"}, "phone"},
		{"no record there", nil, nil, ""},
	} {
		written, _ := p.apply(record, c.before, c.actual, "id")
		got := ""
		if note := p.leftAsIs(record, written, c.before, c.actual); note != nil {
			got = note.Subject
		}
		if got != c.want {
			t.Errorf("%s: %q was left as it is, want %q", c.name, got, c.want)
		}
	}
}

// merging is an able that keeps the fields that a write leaves out.
type merging struct{ *able }

func (m merging) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	b.Items = slices.Clone(b.Items)
	for i, item := range b.Items {
		whole := maps.Clone(m.records[item.Identifier])
		if whole == nil {
			whole = tidegate.Record{}
		}
		maps.Copy(whole, item.Record)
		b.Items[i].Record = whole
	}
	return m.able.Write(ctx, b)
}

func TestRecordsAreParkedAfterTheirTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 1)
		w.opened.Sync.Delivery.RetryFor = "2h"
		w.crm.answer = func(_ context.Context, _ int, b destinations.Batch) ([]destinations.Outcome, error, bool) {
			return slices.Repeat([]destinations.Outcome{{Disposition: destinations.Deferred, Fault: &tidegate.Fault{Action: tidegate.Retry, Code: "busy"}}}, len(b.Items)), nil, true
		}
		if run := w.do(t); run.Counts.Deferred != 1 {
			t.Fatalf("first: %+v", run.Counts)
		}
		if err := retry.Wait(t.Context(), 3*time.Hour); err != nil {
			t.Fatal(err)
		}
		if run := w.do(t); run.Counts.Rejected != 1 {
			t.Fatalf("after three hours: %+v", run.Counts)
		}
		if err := retry.Wait(t.Context(), 100*time.Hour); err != nil {
			t.Fatal(err)
		}
		if run := w.do(t); run.Counts.Unchanged != 1 {
			t.Fatalf("a parked record is tried again: %+v", run.Counts)
		}
		w.crm.answer = nil
		w.src.put("[0]", "id0")
		if run := w.do(t); run.Counts.Delivered != 1 {
			t.Fatalf("when its row changes: %+v", run.Counts)
		}
	})
}

func TestLiveSaysWhenARunEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 1000)
		w.crm.latency = time.Second
		w.opened.Object.Limit.Concurrency = 1
		began := time.Now()
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		if err := retry.Wait(t.Context(), 20500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		live, going := w.runner.Live("contacts")
		if !going || live.Left != 800 || live.PerSecond < 9 || live.PerSecond > 11 {
			t.Errorf("%+v, %v", live, going)
		}
		if off := live.EndsAt.Sub(began.Add(100 * time.Second)).Abs(); off > 5*time.Second {
			t.Errorf("it is to end at %v, %v off", live.EndsAt, off)
		}
		if _, err := w.runner.Wait(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLiveSaysWhenACanaryEnds: while it is looked at nothing is delivered, which says nothing
// of when the run ends; afterwards only the rest's pace does.
func TestLiveSaysWhenACanaryEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 1010)
		w.opened.Sync.Delivery = tidegate.Delivery{CanaryRecords: 10, CanaryWait: "10m"}
		w.crm.latency = time.Second
		w.opened.Object.Limit.Concurrency = 1
		began := time.Now()
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		if err := retry.Wait(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		live, going := w.runner.Live("contacts")
		if off := live.CanaryUntil.Sub(began.Add(10 * time.Minute)).Abs(); !going || live.Left != 1000 || live.PerSecond != 0 || !live.EndsAt.IsZero() || off > 5*time.Second {
			t.Errorf("during the canary: %+v, %v", live, going)
		}
		if err := retry.Wait(t.Context(), time.Until(live.CanaryUntil)+20500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		live, going = w.runner.Live("contacts")
		if !going || !live.CanaryUntil.IsZero() || live.PerSecond < 9 || live.PerSecond > 11 {
			t.Errorf("after it: %+v, %v", live, going)
		}
		if _, err := w.runner.Wait(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
	})
}
