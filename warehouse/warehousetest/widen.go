package warehousetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// checkWiden: values become what a later row would hold, in a transaction that goes on to
// write the table; what would lose values is refused and changes nothing.
func checkWiden(t *testing.T, b *bench) {
	t.Helper()
	at := time.Date(2026, 11, 21, 3, 4, 5, 600_000_000, time.UTC)
	cases := []widening{
		{"int to float", typ(tidegate.Int), int64(7), typ(tidegate.Float), 7.0},
		{"int to decimal", typ(tidegate.Int), int64(-7), decimal(25, 3), tidegate.DecimalText("-7")},
		{"int to string", typ(tidegate.Int), int64(7), typ(tidegate.String), "7"},
		{"int to json", typ(tidegate.Int), int64(9007199254740993), typ(tidegate.JSON), tidegate.JSONText("9007199254740993")},
		{"float to string", typ(tidegate.Float), 7.0, typ(tidegate.String), "7"},
		{"fraction to string", typ(tidegate.Float), 7.25, typ(tidegate.String), "7.25"},
		{"float to json", typ(tidegate.Float), 7.5, typ(tidegate.JSON), tidegate.JSONText("7.5")},
		{"decimal grows", decimal(10, 2), tidegate.DecimalText("1.5"), decimal(12, 4), tidegate.DecimalText("1.5")},
		{"decimal to string", decimal(10, 2), tidegate.DecimalText("1.5"), typ(tidegate.String), "1.5"},
		{"whole decimal to string", decimal(10, 0), tidegate.DecimalText("100"), typ(tidegate.String), "100"},
		{"decimal to json", decimal(10, 2), tidegate.DecimalText("1.5"), typ(tidegate.JSON), tidegate.JSONText("1.5")},
		{"bool to string", typ(tidegate.Bool), true, typ(tidegate.String), "true"},
		{"bool to json", typ(tidegate.Bool), false, typ(tidegate.JSON), tidegate.JSONText("false")},
		{"date to timestamp", typ(tidegate.Date), tidegate.CalendarDate(1), typ(tidegate.Timestamp), tidegate.CalendarDate(1).Time()},
		{"date to json", typ(tidegate.Date), tidegate.CalendarDate(1), typ(tidegate.JSON), tidegate.JSONText(`"1970-01-02"`)},
		{"timestamp to string", typ(tidegate.Timestamp), at, typ(tidegate.String), "2026-11-21T03:04:05.600000Z"},
		{"whole second to string", typ(tidegate.Timestamp), at.Truncate(time.Second), typ(tidegate.String), "2026-11-21T03:04:05Z"},
		{"timestamp to json", typ(tidegate.Timestamp), at, typ(tidegate.JSON), tidegate.JSONText(`"2026-11-21T03:04:05.600000Z"`)},
		{"string to json", typ(tidegate.String), "a \"quoted\" text", typ(tidegate.JSON), tidegate.JSONText(`"a \"quoted\" text"`)},
		{"json to string", typ(tidegate.JSON), tidegate.JSONText(`[1]`), typ(tidegate.String), "[1]"},
		{"bytes to string", typ(tidegate.Bytes), []byte{0xff, 0}, typ(tidegate.String), "/wA="},
		{"the same", typ(tidegate.Int), int64(7), typ(tidegate.Int), int64(7)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			table := warehouse.Table{Schema: "widen", Name: c.name}
			s := columns("n", tidegate.Int, "v", c.have)
			b.ensure(t, table, s)
			b.load(t, warehouse.Load{ID: "one", Table: table}, s, tidegate.Row{int64(1), c.value}, tidegate.Row{int64(2), nil})
			name, err := b.Dialect.Table(table.Schema, table.Name)
			if err != nil {
				t.Fatal(err)
			}
			want := []tidegate.Row{{int64(1), c.becomes}, {int64(2), c.becomes}}
			write := "UPDATE " + name + " SET v = (SELECT v FROM " + name + " WHERE n = 1) WHERE n = 2"
			if b.Units { // which do not count, and may do a statement twice
				want = want[:1]
				write = "DELETE FROM " + name + " WHERE n = 2"
			}
			for range 2 { // and again: idempotent
				tx := b.begin(t)
				w, ok := tx.(warehouse.Widener)
				if !ok {
					t.Skip("the engine does not widen")
				}
				if err := w.Widen(t.Context(), table, tidegate.Column{Name: "V", Type: c.to}); err != nil {
					t.Fatal(err)
				}
				if n, err := tx.Exec(t.Context(), string(write)); n != 1 && !b.Units || err != nil {
					t.Fatalf("writing the table that was widened: %d, %v", n, err)
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, Rows(t, b.w, b.selectAll(t, table, "n", "v")), b.compareJSON()); d != "" {
					t.Fatal(d)
				}
				got, err := b.w.Describe(t.Context(), table)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(columns("n", tidegate.Int, "v", c.to), got); d != "" {
					t.Fatal(d)
				}
			}
		})
	}
	checkNoNarrowing(t, b)
	t.Run("as later rows", func(t *testing.T) { checkLoadedAsWidened(t, b, cases) })
}

// checkLoadedAsWidened: a value that is loaded into a column of texts or JSON is there what widening
// would have made of it, so that one column does not hold two forms of one value.
func checkLoadedAsWidened(t *testing.T, b *bench, cases []widening) {
	t.Helper()
	table := warehouse.Table{Schema: "widen", Name: "as later rows"}
	into := map[tidegate.Kind]string{tidegate.String: "s", tidegate.JSON: "j"}
	b.ensure(t, table, columns("n", tidegate.Int, "s", tidegate.String, "j", tidegate.JSON))
	for i, c := range cases {
		name, ok := into[c.to.Kind]
		if !ok || c.have.Kind == tidegate.JSON {
			continue
		}
		s := columns("n", tidegate.Int, name, c.have)
		b.load(t, warehouse.Load{ID: c.name, Table: table}, s, tidegate.Row{int64(i), c.value})
		q, err := b.Dialect.Table(table.Schema, table.Name)
		if err != nil {
			t.Fatal(err)
		}
		got := Rows(t, b.w, fmt.Sprintf("SELECT %s FROM %s WHERE n = %d", name, q, i))
		if d := cmp.Diff([]tidegate.Row{{c.becomes}}, got, b.compareJSON()); d != "" {
			t.Errorf("%s (-widened +loaded):\n%s", c.name, d)
		}
	}
}

// widening is a value of a column and what it becomes in a wider one.
type widening struct {
	name    string
	have    tidegate.Type
	value   any
	to      tidegate.Type
	becomes any
}

func checkNoNarrowing(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "widen", Name: "never narrower"}
	s := columns("s", tidegate.String, "f", tidegate.Float, "d", decimal(10, 2), "i", tidegate.Int)
	b.ensure(t, table, s)
	for _, c := range columns("s", tidegate.Int, "f", tidegate.Int, "d", decimal(10, 3), "d", tidegate.Float, "i", tidegate.Timestamp, "none", tidegate.String) {
		tx := b.begin(t)
		w, ok := tx.(warehouse.Widener)
		if !ok {
			return
		}
		_ = wantFault(t, w.Widen(t.Context(), table, c), tidegate.Halt)
		if err := tx.Commit(); err == nil {
			t.Errorf("%v: a transaction whose widening failed was committed", c)
		}
	}
	got, err := b.w.Describe(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got); d != "" {
		t.Error(d)
	}
}
