package postgres_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// TestMemoryIsFlat: neither a load nor a read holds its rows. It runs alone, for
// it looks at the memory of the whole process.
func TestMemoryIsFlat(t *testing.T) {
	w := open(t, config(t))
	defer w.Close()
	s := columns("id", tidegate.Int, "name", tidegate.String)
	table := warehouse.Table{Schema: "s", Name: "t"}
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	const n, room = 500_000, 24 << 20 // the rows take 500,000 × about 100 bytes when they are held
	held := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	most := int64(0)
	watched := &watchedRows{generated: generated{schema: s, n: n}, every: n / 5, look: func() { most = max(most, held()-before) }}
	if got, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, watched); err != nil || got != n {
		t.Fatal(got, err)
	}
	if most > room {
		t.Errorf("a load held %d bytes", most)
	}
	r, err := w.Query(t.Context(), "SELECT * FROM s.t")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	most = 0
	for i := 0; ; i++ {
		if _, err := r.Next(t.Context()); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if i%(n/5) == 0 {
			most = max(most, held()-before)
		}
	}
	if most > room {
		t.Errorf("a read held %d bytes", most)
	}
}

// watchedRows calls look every so many rows.
type watchedRows struct {
	generated
	every int
	look  func()
}

func (w *watchedRows) Next(ctx context.Context) (tidegate.Row, error) {
	if w.next%w.every == 0 {
		w.look()
	}
	return w.generated.Next(ctx)
}
