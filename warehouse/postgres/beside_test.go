package postgres_test

import (
	"context"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres"
)

func counted(tb testing.TB, of warehouse.Querier, sql string) int64 {
	tb.Helper()
	var n int64
	err := warehouse.Each(tb.Context(), of, sql, nil, func(row tidegate.Row) error {
		n, _ = row[0].(int64)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func execute(tb testing.TB, w *postgres.Warehouse, sql string) {
	tb.Helper()
	if _, err := w.Exec(tb.Context(), sql); err != nil {
		tb.Fatal(err)
	}
}

// begin begins a transaction that ends with the test.
func begin(tb testing.TB, w *postgres.Warehouse) warehouse.Tx {
	tb.Helper()
	tx, err := w.Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// TestBesideReadsTheSameSnapshot: what was committed since is seen by neither transaction, and what
// the first one wrote is not seen by the second, which cannot write.
func TestBesideReadsTheSameSnapshot(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	t.Cleanup(func() { _ = w.Close() })
	execute(t, w, "CREATE TABLE n AS SELECT generate_series(1, 3) AS n")
	tx := begin(t, w)
	execute(t, w, "INSERT INTO n VALUES (4)")
	if _, err := tx.Exec(t.Context(), "DELETE FROM n WHERE n = 1"); err != nil {
		t.Fatal(err)
	}
	beside, err := tx.(warehouse.SnapshotTx).Beside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Rollback() }()
	const sql = "SELECT count(*) FROM n"
	if a, b, now := counted(t, tx, sql), counted(t, beside, sql), counted(t, w, sql); a != 2 || b != 3 || now != 4 {
		t.Errorf("the transaction sees %d rows, the one beside it %d, others %d", a, b, now)
	}
	reader, err := beside.Query(t.Context(), "SELECT n FROM n")
	if err != nil {
		t.Fatal(err)
	}
	if got := counted(t, tx, sql); got != 2 { // while the other is read
		t.Errorf("it sees %d rows", got)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if _, err := beside.Exec(t.Context(), "DELETE FROM n"); err == nil {
		t.Error("it wrote")
	}
	if err := beside.Rollback(); err != nil {
		t.Error(err)
	}
	if got := counted(t, tx, sql); got != 2 {
		t.Errorf("after the other has ended it sees %d rows", got)
	}
}

// TestBesideLeavesTheLastConnection: the last one is for those who cannot do without, and the transaction goes on.
func TestBesideLeavesTheLastConnection(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.MaxConnections = 3
	w := open(t, cfg)
	t.Cleanup(func() { _ = w.Close() })
	first := begin(t, w)
	second := begin(t, w)
	if beside, err := second.(warehouse.SnapshotTx).Beside(t.Context()); err == nil {
		_ = beside.Rollback()
		t.Fatal("it took the last connection")
	}
	if got := counted(t, second, "SELECT 1"); got != 1 {
		t.Errorf("%d", got)
	}
	if err := first.Rollback(); err != nil {
		t.Fatal(err)
	}
	beside, err := second.(warehouse.SnapshotTx).Beside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := beside.Rollback(); err != nil {
		t.Error(err)
	}
}

// TestBesideIsCancelled: no connection stays with a caller who has gone.
func TestBesideIsCancelled(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	t.Cleanup(func() { _ = w.Close() })
	tx := begin(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if beside, err := tx.(warehouse.SnapshotTx).Beside(ctx); err == nil {
		_ = beside.Rollback()
		t.Fatal("it came")
	}
}
