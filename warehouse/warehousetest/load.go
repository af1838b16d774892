package warehousetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

func checkLoad(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "load", Name: "t"}
	schema := columns("id", tidegate.Int, "name", tidegate.String, "extra", tidegate.String)
	b.ensure(t, table, schema)
	if n := b.load(t, warehouse.Load{ID: "empty", Table: table}, schema); n != 0 {
		t.Errorf("an empty load wrote %d rows", n)
	}
	if n := b.load(t, warehouse.Load{ID: "append", Table: table}, schema, tidegate.Row{int64(1), "one", "x"}, tidegate.Row{int64(2), "two", "x"}); n != 2 {
		t.Errorf("appending wrote %d rows", n)
	}
	// Other order, other case, fewer columns: matched by name, the missing become NULL.
	some := columns("NAME", tidegate.String, "id", tidegate.Int)
	if n := b.load(t, warehouse.Load{ID: "replace", Table: table, Key: []string{"id"}}, some, tidegate.Row{"two again", int64(2)}, tidegate.Row{"three", int64(3)}); n != 2 {
		t.Errorf("replacing wrote %d rows", n)
	}
	keep := warehouse.Load{ID: "keep", Table: table, Key: []string{"id"}, KeepExisting: true}
	if n := b.load(t, keep, schema, tidegate.Row{int64(1), "late", nil}, tidegate.Row{int64(4), "four", nil}, tidegate.Row{int64(4), "four later", nil}); n != 1 {
		t.Errorf("keeping wrote %d rows", n)
	}
	want := []tidegate.Row{{int64(1), "one", "x"}, {int64(2), "two again", nil}, {int64(3), "three", nil}, {int64(4), "four", nil}}
	if d := cmp.Diff(want, Rows(t, b.w, b.selectAll(t, table, "id", "name", "extra"))); d != "" {
		t.Error(d)
	}
	_, err := b.w.Load(t.Context(), warehouse.Load{ID: "unknown", Table: table}, tidegate.Rows(columns("id", tidegate.Int, "nope", tidegate.Int), tidegate.Row{int64(9), int64(9)}))
	_ = wantFault(t, err, tidegate.Halt)
	if _, err := b.w.Load(t.Context(), warehouse.Load{Table: table}, tidegate.Rows(schema)); err == nil {
		t.Error("a load without an ID was taken")
	}
}

// checkLoadOnce: the same ID again is nothing; for another table it is another load.
func checkLoadOnce(t *testing.T, b *bench) {
	t.Helper()
	one, two := warehouse.Table{Schema: "once", Name: "one"}, warehouse.Table{Schema: "once", Name: "two"}
	schema := columns("id", tidegate.Int)
	b.ensure(t, one, schema)
	b.ensure(t, two, schema)
	for i, want := range []int64{1, 0, 0} {
		if n := b.load(t, warehouse.Load{ID: "same", Table: one}, schema, tidegate.Row{int64(i)}); n != want {
			t.Errorf("time %d: wrote %d rows, want %d", i, n, want)
		}
	}
	if n := b.load(t, warehouse.Load{ID: "same", Table: two}, schema, tidegate.Row{int64(9)}); n != 1 {
		t.Errorf("the other table got %d rows", n)
	}
	// At once: exactly one of the callers writes.
	var mu sync.Mutex
	var group sync.WaitGroup
	var wrote int64
	for range 8 {
		group.Go(func() {
			n, err := b.w.Load(t.Context(), warehouse.Load{ID: "race", Table: one}, tidegate.Rows(schema, tidegate.Row{int64(100)}))
			if err != nil && tidegate.FaultOf(err).Action != tidegate.Retry {
				t.Error(err)
			}
			mu.Lock()
			wrote += n
			mu.Unlock()
		})
	}
	group.Wait()
	if wrote != 1 {
		t.Errorf("%d rows were written by eight callers of one load", wrote)
	}
	if got := Rows(t, b.w, b.selectAll(t, one, "id")); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

// failing is a reader that gives n rows and then an error.
type failing struct {
	tidegate.RowReader
	left int
	err  error
}

func (f *failing) Next(ctx context.Context) (tidegate.Row, error) {
	if f.left == 0 {
		return nil, f.err
	}
	f.left--
	return f.RowReader.Next(ctx)
}

var errReader = errors.New("the reader broke")

// numbered gives n rows (i, "row i") without holding them.
type numbered struct {
	schema tidegate.Schema
	next   int
	n      int
}

func (r *numbered) Schema() tidegate.Schema { return r.schema }
func (r *numbered) Close() error            { return nil }

func (r *numbered) Next(context.Context) (tidegate.Row, error) {
	if r.next == r.n {
		return nil, io.EOF
	}
	r.next++
	return tidegate.Row{int64(r.next - 1), fmt.Sprintf("row %d", r.next-1)}, nil
}

func checkLoadAllOrNone(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "whole", Name: "t"}
	schema := columns("id", tidegate.Int, "v", tidegate.String)
	b.ensure(t, table, schema)
	b.load(t, warehouse.Load{ID: "before", Table: table}, schema, tidegate.Row{int64(0), "kept"})
	untouched := func(what string) {
		t.Helper()
		if d := cmp.Diff([]tidegate.Row{{int64(0), "kept"}}, Rows(t, b.w, b.selectAll(t, table, "id", "v"))); d != "" {
			t.Errorf("after %s: %s", what, d)
		}
	}
	for _, key := range [][]string{nil, {"id"}} {
		for _, after := range []int{0, 1, 2048, 300_000} {
			rows := &failing{RowReader: &numbered{schema: schema, n: after + 1}, left: after, err: errReader}
			_, err := b.w.Load(t.Context(), warehouse.Load{ID: "broken", Table: table, Key: key}, rows)
			if !errors.Is(err, errReader) {
				t.Fatalf("got %v, want the reader's error", err)
			}
			untouched(fmt.Sprintf("a reader that broke at %d, key %v", after, key))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.w.Load(ctx, warehouse.Load{ID: "cancelled", Table: table}, &numbered{schema: schema, n: 5000}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	untouched("a cancelled load")
	t.Run("crash between stage and commit", func(t *testing.T) {
		tx := b.begin(t)
		for _, key := range [][]string{nil, {"id"}} {
			if _, err := tx.Load(t.Context(), warehouse.Load{ID: fmt.Sprint("staged", key), Table: table, Key: key}, &numbered{schema: schema, n: 5000}); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		untouched("a rolled back load")
	})
	// The broken load's ID was never used: it can still be loaded.
	if n := b.load(t, warehouse.Load{ID: "broken", Table: table}, schema, tidegate.Row{int64(1), "now"}); n != 1 {
		t.Errorf("the load that failed cannot be repeated: %d rows", n)
	}
}

func checkLoadMany(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "many", Name: "t"}
	schema := columns("id", tidegate.Int, "v", tidegate.String)
	b.ensure(t, table, schema)
	const n = 100_000
	for i, key := range [][]string{nil, {"id"}} {
		got, err := b.w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(i), Table: table, Key: key}, &numbered{schema: schema, n: n})
		if err != nil || got != n {
			t.Fatalf("key %v: %d, %v", key, got, err)
		}
		rows := Rows(t, b.w, b.selectAll(t, table, "id", "v"))
		if len(rows) != n {
			t.Fatalf("key %v: the table has %d rows", key, len(rows))
		}
		for i, row := range rows {
			if row[0] != int64(i) || row[1] != fmt.Sprintf("row %d", i) {
				t.Fatalf("row %d is %v", i, row)
			}
		}
	}
}

func checkLoadKeys(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "keys", Name: "t"}
	schema := columns("a", tidegate.Int, "b", tidegate.String, "v", tidegate.Int)
	b.ensure(t, table, schema)
	key := []string{"b", "A"}
	var rows []tidegate.Row
	for i := range 3000 { // repeats far apart, so that they meet across chunks
		rows = append(rows, tidegate.Row{int64(i % 1000), fmt.Sprint(i % 2), int64(i)})
	}
	if n := b.load(t, warehouse.Load{ID: "last wins", Table: table, Key: key}, schema, rows...); n != 1000 {
		t.Errorf("wrote %d rows, want 1000", n)
	}
	for _, row := range Rows(t, b.w, b.selectAll(t, table, "a", "v")) {
		if row[1] != row[0].(int64)+2000 {
			t.Fatalf("key %v holds %v: the last row of a key did not win", row[0], row[1])
		}
	}
	for _, null := range []tidegate.Row{{nil, "x", int64(1)}, {int64(1), nil, int64(1)}} {
		_, err := b.w.Load(t.Context(), warehouse.Load{ID: "null", Table: table, Key: key}, tidegate.Rows(schema, tidegate.Row{int64(7), "7", int64(7)}, null))
		if f := wantFault(t, err, tidegate.Reject); f.Subject == "" {
			t.Errorf("%v does not name the column", f)
		}
	}
	_, err := b.w.Load(t.Context(), warehouse.Load{ID: "no such key", Table: table, Key: []string{"c"}}, tidegate.Rows(schema))
	_ = wantFault(t, err, tidegate.Halt)
	if got := Rows(t, b.w, b.selectAll(t, table, "a")); len(got) != 1000 {
		t.Errorf("the table has %d rows", len(got))
	}
}

// checkLoadSplits: however a stream of rows is cut into keyed loads, the table
// becomes the same as that of an independent model.
func checkLoadSplits(t *testing.T, b *bench) {
	t.Helper()
	schema := columns("id", tidegate.Int, "v", tidegate.Int)
	random := rand.New(rand.NewPCG(7, 11))
	rows := make([]tidegate.Row, 400)
	last := map[int64]int64{}
	for i := range rows {
		id := random.Int64N(60)
		rows[i] = tidegate.Row{id, int64(i)}
		last[id] = int64(i)
	}
	for round := range 4 {
		table := warehouse.Table{Schema: "splits", Name: fmt.Sprint(round)}
		b.ensure(t, table, schema)
		for from := 0; from < len(rows); {
			to := min(len(rows), from+1+random.IntN(150))
			b.load(t, warehouse.Load{ID: fmt.Sprint(from), Table: table, Key: []string{"id"}}, schema, rows[from:to]...)
			from = to
		}
		got := map[int64]int64{}
		for _, row := range Rows(t, b.w, b.selectAll(t, table, "id", "v")) {
			got[row[0].(int64)] = row[1].(int64)
		}
		if d := cmp.Diff(last, got); d != "" {
			t.Errorf("round %d: %s", round, d)
		}
	}
}

func checkLoadConcurrently(t *testing.T, b *bench) {
	t.Helper()
	schema := columns("id", tidegate.Int, "v", tidegate.String)
	const tables, loads, size = 3, 6, 500
	var group sync.WaitGroup
	for i := range tables {
		table := warehouse.Table{Schema: "parallel", Name: fmt.Sprint("t", i)}
		for j := range loads {
			group.Go(func() {
				if _, err := b.w.Ensure(t.Context(), table, schema); err != nil {
					t.Errorf("ensuring %s: %v", table, err)
					return
				}
				for { // conflicts between loads of one table may be told as Retry
					_, err := b.w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(j), Table: table}, &numbered{schema: schema, n: size})
					if err == nil {
						return
					}
					if tidegate.FaultOf(err).Action != tidegate.Retry || t.Context().Err() != nil {
						t.Errorf("loading %s: %v", table, err)
						return
					}
				}
			})
		}
	}
	group.Wait()
	for i := range tables {
		if got := Rows(t, b.w, b.selectAll(t, warehouse.Table{Schema: "parallel", Name: fmt.Sprint("t", i)}, "id")); len(got) != loads*size {
			t.Errorf("table %d has %d rows, want %d", i, len(got), loads*size)
		}
	}
}
