package warehousetest

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

func checkTx(t *testing.T, b *bench) {
	t.Helper()
	if b.Units {
		t.Skip("the engine has units and no transactions")
	}
	table := warehouse.Table{Schema: "tx", Name: "t"}
	s := columns("n", tidegate.Int)
	name, err := b.Dialect.Table(table.Schema, table.Name)
	if err != nil {
		t.Fatal(err)
	}
	count := func(q warehouse.Querier) int64 {
		t.Helper()
		return Rows(t, q, string("SELECT count(*) FROM "+name))[0][0].(int64)
	}
	t.Run("everything of one transaction", func(t *testing.T) {
		tx := b.begin(t)
		if _, err := tx.Ensure(t.Context(), table, s); err != nil {
			t.Fatal(err)
		}
		if n, err := tx.Load(t.Context(), warehouse.Load{ID: "one", Table: table}, tidegate.Rows(s, tidegate.Row{int64(1)}, tidegate.Row{int64(2)})); n != 2 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if n, err := tx.Load(t.Context(), warehouse.Load{ID: "one", Table: table}, tidegate.Rows(s, tidegate.Row{int64(1)})); n != 0 || err != nil {
			t.Fatalf("the same load inside the transaction: %d, %v", n, err)
		}
		if _, err := tx.Ensure(t.Context(), table, columns("n", tidegate.String, "more", tidegate.Int)); err != nil {
			t.Fatalf("widening after a load: %v", err)
		}
		if n, err := tx.Exec(t.Context(), string("UPDATE "+name+" SET more = "+b.Dialect.Placeholder(1)+" WHERE true"), 7); n != 2 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if got := count(tx); got != 2 {
			t.Errorf("the transaction sees %d of its rows", got)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Errorf("rollback after commit: %v", err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT 1"); err == nil {
			t.Error("the transaction works after its end")
		}
		if got := count(b.w); got != 2 {
			t.Errorf("%d rows are there", got)
		}
	})
	t.Run("nothing after a failure", func(t *testing.T) {
		tx := b.begin(t)
		if _, err := tx.Exec(t.Context(), string("DELETE FROM "+name+" WHERE true")); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT nope"); err == nil {
			t.Fatal("a broken statement was taken")
		}
		if err := tx.Commit(); err == nil {
			t.Error("a transaction in which a call failed was committed")
		}
		if got := count(b.w); got != 2 {
			t.Errorf("%d rows are there", got)
		}
	})
	t.Run("no statement ends it", func(t *testing.T) {
		tx := b.begin(t)
		if _, err := tx.Exec(t.Context(), "COMMIT"); err == nil {
			t.Error("COMMIT was taken as a statement")
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		if _, err := b.w.(warehouse.Execer).Exec(t.Context(), "BEGIN"); err == nil {
			t.Error("BEGIN was taken as a statement")
		}
	})
	t.Run("an open reader is in the way", func(t *testing.T) {
		tx := b.begin(t)
		r, err := tx.Query(t.Context(), b.Series(100_000))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT 1"); err == nil {
			t.Error("a statement ran under an open reader")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT 1"); err != nil {
			t.Errorf("after closing the reader: %v", err)
		}
	})
}

// seen is how many rows a transaction sees: those of its snapshot, or what is committed.
func (b *bench) seen(snapshot, committed int) int {
	if b.ReadCommitted {
		return committed
	}
	return snapshot
}

// checkTxIsolation: a transaction sees the moment of its beginning and nothing
// of others; others see nothing of it before its end.
func checkTxIsolation(t *testing.T, b *bench) {
	t.Helper()
	if b.Units {
		t.Skip("the engine has units and no transactions")
	}
	table := warehouse.Table{Schema: "alone", Name: "t"}
	s := columns("n", tidegate.Int)
	b.ensure(t, table, s)
	load := func(q interface {
		Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error)
	}, id string,
	) {
		t.Helper()
		if _, err := q.Load(t.Context(), warehouse.Load{ID: id, Table: table}, tidegate.Rows(s, tidegate.Row{int64(1)})); err != nil {
			t.Fatal(err)
		}
	}
	sql := b.selectAll(t, table, "n")
	load(b.w, "before")
	early := b.begin(t)
	load(b.w, "after")
	if got := Rows(t, early, sql); len(got) != b.seen(1, 2) {
		t.Errorf("the transaction sees %d rows, want %d", len(got), b.seen(1, 2))
	}
	writer := b.begin(t)
	load(writer, "unfinished")
	if got := Rows(t, b.w, sql); len(got) != 2 {
		t.Errorf("others see %d rows before the commit", len(got))
	}
	reader, err := b.w.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Commit(); err != nil {
		t.Fatal(err)
	}
	closing(t, reader)
	if got := Rows(t, early, sql); len(got) != b.seen(1, 3) {
		t.Errorf("the transaction sees %d rows, want %d", len(got), b.seen(1, 3))
	}
	if got := Rows(t, b.w, sql); len(got) != 3 {
		t.Errorf("%d rows after the commit", len(got))
	}
	// A load that another transaction committed after this snapshot is still once.
	if n, err := early.Load(t.Context(), warehouse.Load{ID: "after", Table: table}, tidegate.Rows(s, tidegate.Row{int64(1)})); n != 0 && err == nil {
		t.Error("a load was repeated from an older snapshot")
	}
}

func checkArrow(t *testing.T, b *bench) {
	t.Helper()
	tx := b.begin(t)
	x, ok := tx.(warehouse.ArrowTx)
	if !ok {
		t.Skip("the engine takes no record batches")
	}
	ints, texts := array.NewInt64Builder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)
	defer ints.Release()
	defer texts.Release()
	const n = 5000
	for i := range n {
		ints.Append(int64(i))
		if i%3 == 0 {
			texts.AppendNull()
		} else {
			texts.Append(strings.Repeat("é", i%30))
		}
	}
	a, c := ints.NewArray(), texts.NewArray()
	defer a.Release()
	defer c.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: a.DataType()}, {Name: `te"xt`, Type: c.DataType()}}, nil)
	batch := array.NewRecordBatch(schema, []arrow.Array{a, c}, n)
	defer batch.Release()
	appendBatches := func(tx warehouse.ArrowTx, table warehouse.Table) (int64, error) {
		rdr, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch, batch})
		if err != nil {
			t.Fatal(err)
		}
		defer rdr.Release()
		return tx.AppendArrow(t.Context(), table, rdr)
	}
	table := warehouse.Table{Schema: "batches", Name: "t"}
	// In another order and with a column more.
	if _, err := tx.Ensure(t.Context(), table, columns(`te"xt`, tidegate.String, "more", tidegate.Bool, "n", tidegate.Int)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if rows, err := appendBatches(x, table); err != nil || rows != 2*n {
			t.Fatal(rows, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	want := []tidegate.Row{{int64(4 * n), int64(n), int64(4 * (n - (n+2)/3)), int64(0)}}
	if d := cmp.Diff(want, Rows(t, b.w, `SELECT count(*), count(DISTINCT n), count("te""xt"), count(more) FROM batches.t`)); d != "" {
		t.Error(d)
	}
	rolled := b.begin(t)
	if _, err := appendBatches(rolled.(warehouse.ArrowTx), table); err != nil {
		t.Fatal(err)
	}
	if err := rolled.Rollback(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, Rows(t, b.w, `SELECT count(*), count(DISTINCT n), count("te""xt"), count(more) FROM batches.t`)); d != "" {
		t.Errorf("rows of a transaction that was rolled back: %s", d)
	}
	for _, missing := range []warehouse.Table{{Schema: "batches", Name: "nope"}, {Schema: "batches", Name: "narrow"}} {
		if missing.Name == "narrow" {
			if _, err := b.w.Ensure(t.Context(), missing, columns("n", tidegate.Int)); err != nil {
				t.Fatal(err)
			}
		}
		bad := b.begin(t)
		if _, err := appendBatches(bad.(warehouse.ArrowTx), missing); err == nil {
			t.Errorf("appended to %s, which lacks a column of the batches", missing)
		}
		if bad.Commit() == nil {
			t.Error("a transaction whose append failed was committed")
		}
	}
	q, ok := b.w.(warehouse.ArrowQuerier)
	if !ok {
		return
	}
	rdr, done, err := q.QueryArrow(t.Context(), "SELECT count(*) AS c FROM batches.t WHERE n < "+string(b.Dialect.Placeholder(1)), 10)
	if err != nil {
		t.Fatal(err)
	}
	for rdr.Next() {
		if got := rdr.RecordBatch().Column(0).ValueStr(0); got != "40" {
			t.Errorf("got %s", got)
		}
	}
	rdr.Release()
	if err := done(); err != nil {
		t.Error(err)
	}
	for _, sql := range []string{"DROP TABLE batches.t", "SELECT nope"} {
		if _, _, err := q.QueryArrow(t.Context(), sql); err == nil {
			t.Errorf("%q was let through", sql)
		}
	}
}
