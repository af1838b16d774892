package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

const (
	// joinMark begins the statement with which the server compares, modelMark the one that hands the model's fingerprints over.
	joinMark  = "CREATE TEMP TABLE tidegate_open"
	modelMark = "SELECT string_agg(int8send(f), '')"
)

// TestBringingStandsAlone: with changes of every kind, but without twins, the server does not compare.
func TestBringingStandsAlone(t *testing.T) {
	t.Parallel()
	w := newWorldAt(t, inPostgres)
	joined := false
	w.store = watchJoins(w.store, &joined)
	comparesAlone(t, w, &joined)
}

// watchJoins sets joined when the server compares: row by row of each key where counts did not come out.
func watchJoins(store warehouse.Execer, joined *bool) warehouse.Execer {
	return watched{store, func() error { return nil }, func(_ context.Context, sql string) error {
		*joined = *joined || strings.HasPrefix(sql, joinMark) || strings.Contains(sql, "AS j FROM")
		return nil
	}, &sync.Mutex{}}
}

// TestPlantedBugsOfBringing: each of these must be seen, if only by that the counts do not
// come out and the server compares after all.
func TestPlantedBugsOfBringing(t *testing.T) {
	t.Parallel()
	for _, bug := range []struct{ name, old, new string }{
		{"removed keys are not looked for", "WHERE NOT acked OR fingerprint = ANY(", "WHERE NOT acked OR fingerprint <> ALL("},
		{"failed keys are not looked for", "WHERE NOT acked OR fingerprint", "WHERE false OR fingerprint"},
		{"failed keys pair", "CASE WHEN acked THEN fingerprint END AS confirmed", "fingerprint AS confirmed"},
		{"what is added is not read", "AS m WHERE m.fingerprint = ANY(", "AS m WHERE false AND m.fingerprint = ANY("},
		{"rows without a key are not read", ` OR CAST(q."id" AS bigint) IS NULL`, ""},
		{"numbers are of other rows", "coalesce(CAST(c0 AS bigint), 0) AS n", "coalesce(CAST(c0 AS bigint), 0) + 1 AS n"},
	} {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			planted, joined := false, false
			dead := killed(t, func(tb testing.TB) {
				w := newWorldAt(tb, inPostgres)
				w.store = sharingMutant{&mutant{Execer: w.wh, old: bug.old, new: bug.new, fired: &planted}}
				w.store = watchJoins(w.store, &joined)
				comparesAlone(tb, w, &joined)
			})
			if !dead || !planted {
				t.Errorf("the bug survived: %t; it was there: %t", !dead, planted)
			}
		})
	}
}

// errPlanted is what the server of a test answers.
var errPlanted = errors.New("planted")

// besideWorld is a world of 60 rows of which one is changed since the last run. Its
// statements go through before, those of a connection beside too; calls for one through share.
func besideWorld(t *testing.T, share func() error, before func(ctx context.Context, sql string) error) *world {
	t.Helper()
	w := newWorldAt(t, inPostgres)
	w.exec("CREATE TABLE people AS SELECT i AS id, 'p' || i || '@x.io' AS email, CAST(i AS integer) AS age FROM generate_series(1::bigint, 60) AS t(i)")
	w.run()
	w.exec("UPDATE people SET age = 0 WHERE id = 7")
	w.store = watched{w.store, share, before, &sync.Mutex{}}
	w.open()
	return w
}

type watched struct {
	warehouse.Execer
	share  func() error
	before func(ctx context.Context, sql string) error
	one    *sync.Mutex // held while before is called
}

func (w watched) look(ctx context.Context, sql string) error {
	w.one.Lock()
	defer w.one.Unlock()
	return w.before(ctx, sql)
}

func (w watched) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := w.Execer.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return watchedTx{tx, w}, nil
}

type watchedTx struct {
	warehouse.Tx
	w watched
}

func (t watchedTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := t.w.look(ctx, sql); err != nil {
		return 0, err
	}
	return t.Tx.Exec(ctx, sql, args...)
}

func (t watchedTx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := t.w.look(ctx, sql); err != nil {
		return nil, err
	}
	return t.Tx.Query(ctx, sql, args...)
}

func (t watchedTx) Beside(ctx context.Context) (warehouse.Tx, error) {
	if err := t.w.share(); err != nil {
		return nil, err
	}
	tx, err := t.Tx.(warehouse.SnapshotTx).Beside(ctx)
	if err != nil {
		return nil, err
	}
	return watchedTx{tx, t.w}, nil
}

// TestPlanWithoutBringing: whatever keeps fingerprints from being brought, the server compares
// and the plan is the same.
func TestPlanWithoutBringing(t *testing.T) {
	t.Parallel()
	never := func() error { return nil }
	for _, c := range []struct {
		name   string
		share  func() error
		failed string // statements that hold it fail
		joins  bool
	}{
		{"nothing does", never, "\x00", false},
		{"no connection is spared", func() error { return errPlanted }, "\x00", true},
		{"the second connection takes no settings", never, "\x00beside", true},
		{"the line is lost", never, "SELECT repeat('x', ", true},
		{"the model is not read", never, modelMark, true},
		{"the rows without a partner are not read", never, foundMark, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			joined, settings := false, 0
			w := besideWorld(t, c.share, func(_ context.Context, sql string) error {
				joined = joined || strings.HasPrefix(sql, joinMark)
				if strings.Contains(sql, "'work_mem'") {
					if settings++; settings == 2 && c.failed == "\x00beside" {
						return errPlanted
					}
				}
				if strings.Contains(sql, c.failed) {
					return errPlanted
				}
				return nil
			})
			s, err := w.l.Plan(w.ctx, w.request(w.newRun()))
			if err != nil || s.Read != 60 || s.Unchanged != 59 || s.Changed != 1 || joined != c.joins {
				t.Fatalf("%+v, %v; the server compared: %t", s, err, joined)
			}
		})
	}
}

// TestBringingTakesASpareConnection: the last one is left to others, and all come back.
func TestBringingLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	for _, stop := range []string{modelMark, "int8send(confirmed)", foundMark} {
		t.Run(stop, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := besideWorld(t, func() error { return nil }, func(_ context.Context, sql string) error {
				if strings.Contains(sql, stop) {
					cancel() // the statement itself is still sent
				}
				return nil
			})
			if _, err := w.l.Plan(ctx, w.request(w.newRun())); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if s := w.run(); s.Changed != 1 || s.Unchanged != 59 {
				t.Fatalf("%+v", s)
			}
		})
	}
}

// TestSlowLine: over a line that is not fast the server compares, and a very slow one is
// asked for little.
func TestSlowLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		each time.Duration // what each look at the clock takes
		asks int
		join bool
	}{
		{"fast", time.Millisecond, 2, false},
		{"slow", 10 * time.Millisecond, 1 + parcels, true},
		{"very slow", time.Second, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			asks, joined := 0, false
			w := besideWorld(t, func() error { return nil }, func(_ context.Context, sql string) error {
				joined = joined || strings.HasPrefix(sql, joinMark)
				if strings.HasPrefix(sql, "SELECT repeat('x'") {
					asks++
				}
				return nil
			})
			now := w.now
			w.l.opts.Now = func() time.Time { now = now.Add(c.each); return now }
			s, err := w.l.Plan(w.ctx, w.request(w.newRun()))
			if err != nil || s.Changed != 1 || asks != c.asks || joined != c.join {
				t.Fatalf("%+v, %v; asked %d times, the server compared: %t", s, err, asks, joined)
			}
		})
	}
}

// TestUnpack: what was packed comes out, in pieces, whatever its length.
func TestUnpack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Int64(), 0, 3).Draw(t, "values")
		want = append(want, make([]int64, rapid.IntRange(0, 2*pieceRows+1).Draw(t, "zeros"))...)
		var pack []byte
		for _, v := range want {
			pack = binary.BigEndian.AppendUint64(pack, uint64(v))
		}
		var first, second []int64
		if err := unpack(tidegate.Row{pack, pack}, func(c [][]int64) { first, second = append(first, c[0]...), append(second, c[1]...) }); err != nil {
			t.Fatal(err)
		}
		for _, list := range [][]int64{first, second} {
			if diff := cmp.Diff(want, list, equalEmpty); diff != "" {
				t.Fatal(diff)
			}
		}
	})
	for _, row := range []tidegate.Row{{[]byte("1234567"), []byte("1234567")}, {[]byte("12345678"), []byte{}}, {[]byte("12345678"), nil}, {nil, []byte("12345678")}, {"text"}} {
		if err := unpack(row, func([][]int64) {}); err == nil {
			t.Errorf("%q was read", row)
		}
	}
}
