package warehousetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// Cuttable is a warehouse whose connection a test can cut at a COMMIT.
type Cuttable struct {
	warehouse.Warehouse
	warehouse.Execer
	// Cut has the next COMMIT cut: before the server has it, or after it is done.
	Cut func(after bool)
	// Cuts is how many connections were cut.
	Cuts func() int64
}

// CutAtCommit breaks the connection just before or just after the server has the COMMIT: the
// caller that goes on until it hears "done" has written once.
func CutAtCommit(t *testing.T, open func(*testing.T) Cuttable) {
	t.Helper()
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name+" a load's", func(t *testing.T) {
			t.Parallel()
			cutLoad(t, open(t), after)
		})
		t.Run(name+" a transaction's", func(t *testing.T) {
			t.Parallel()
			cutTransaction(t, open(t), after)
		})
	}
}

func cutTable(t *testing.T, c Cuttable) (warehouse.Table, tidegate.Schema) {
	t.Helper()
	table, s := warehouse.Table{Schema: "s", Name: "t"}, tidegate.Schema{{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}}}
	if _, err := c.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	return table, s
}

func cutLoad(t *testing.T, c Cuttable, after bool) {
	t.Helper()
	table, s := cutTable(t, c)
	rows := []tidegate.Row{{int64(1)}, {int64(2)}, {int64(3)}}
	c.Cut(after)
	attempts := 0
	for attempts < 5 {
		attempts++
		_, err := c.Load(t.Context(), warehouse.Load{ID: "once", Table: table}, tidegate.Rows(s, rows...))
		if err == nil {
			break
		}
		if f := tidegate.FaultOf(err); f.Action != tidegate.Retry || f.Code != "warehouse.connection" {
			t.Fatalf("%v: %v", f.Action, err)
		}
	}
	want := 2
	if after {
		want = 1
	}
	if c.Cuts() != 1 || attempts != want {
		t.Errorf("%d connections were cut, %d attempts, want 1 and %d", c.Cuts(), attempts, want)
	}
	if d := cmp.Diff(rows, Rows(t, c, "SELECT n FROM s.t ORDER BY 1")); d != "" {
		t.Error(d)
	}
}

func cutTransaction(t *testing.T, c Cuttable, after bool) {
	t.Helper()
	cutTable(t, c)
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "INSERT INTO s.t VALUES ($1)", 7); err != nil {
		t.Fatal(err)
	}
	c.Cut(after)
	if err := tx.Commit(); (err == nil) != after {
		t.Errorf("got %v", err)
	}
	var want []tidegate.Row
	if after {
		want = []tidegate.Row{{int64(7)}}
	}
	if d := cmp.Diff(want, Rows(t, c, "SELECT n FROM s.t")); d != "" {
		t.Error(d)
	}
}
