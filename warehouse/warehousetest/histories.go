package warehousetest

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// LongEnv names the environment variable that makes the campaigns long.
const LongEnv = "TIDEGATE_LONG"

// checkHistories plays random histories of Ensure and Load on one table and
// compares types and values after every step with an oracle, which knows the
// rules of the contract only and no engine.
func checkHistories(t *testing.T, b *bench) {
	t.Helper()
	histories, steps := 8, 10
	if os.Getenv(LongEnv) != "" {
		histories = 10_000
	}
	for seed := range uint64(histories) {
		h := history{
			random: rand.New(rand.NewPCG(seed, 21)),
			table:  warehouse.Table{Schema: "histories", Name: fmt.Sprint("h", seed)},
			types:  map[string]tidegate.Type{"n": typ(tidegate.Int)},
		}
		for step := range steps {
			h.step(t, b, step)
			if t.Failed() {
				t.Fatalf("history %d, step %d:\n%s", seed, step, strings.Join(h.told, "\n"))
			}
		}
	}
}

// history is one table as the oracle has it.
type history struct {
	random *rand.Rand
	table  warehouse.Table
	order  []string // the columns, in the order in which they came
	types  map[string]tidegate.Type
	rows   []map[string]any // values as the table must hold them by now
	told   []string
}

// step asks for some columns, each of a random type, and loads a row of those types.
func (h *history) step(t *testing.T, b *bench, step int) {
	t.Helper()
	asked := columns("n", tidegate.Int)
	row := tidegate.Row{int64(step)}
	for _, name := range []string{"a", "b", "C", "d"} {
		if h.random.IntN(2) == 0 {
			kind, value := h.value()
			asked = append(asked, tidegate.Column{Name: name, Type: kind})
			row = append(row, value)
		}
	}
	h.told = append(h.told, fmt.Sprintf("%v %v", asked, row))
	for i, c := range asked {
		if i == 0 && step > 0 {
			continue
		}
		if old, ok := h.types[c.Name]; ok && i > 0 {
			h.widen(c.Name, old, oracleType(old, c.Type))
		} else {
			h.types[c.Name] = c.Type
			h.order = append(h.order, c.Name)
		}
	}
	kept := map[string]any{}
	for i, c := range asked {
		kept[c.Name] = oracleValue(row[i], h.types[c.Name])
	}
	h.rows = append(h.rows, kept)

	want := make(tidegate.Schema, len(h.order))
	for i, name := range h.order {
		want[i] = tidegate.Column{Name: name, Type: h.types[name]}
	}
	if d := cmp.Diff(want, b.ensure(t, h.table, asked)); d != "" {
		t.Errorf("columns: %s", d)
		return
	}
	b.load(t, warehouse.Load{ID: fmt.Sprint("step ", step), Table: h.table}, asked, row)
	var wanted []tidegate.Row
	for _, r := range h.rows {
		line := make(tidegate.Row, len(h.order))
		for i, name := range h.order {
			line[i] = r[name]
		}
		wanted = append(wanted, line)
	}
	// A float that is whole is written "7" or "7.0" by the engines.
	numbers := cmp.Comparer(func(x, y string) bool { return strings.TrimSuffix(x, ".0") == strings.TrimSuffix(y, ".0") })
	if d := cmp.Diff(wanted, read(t, b.w, b.selectAll(t, h.table, h.order...)), numbers); d != "" {
		t.Errorf("rows: %s", d)
	}
}

// value picks a type and a value of it. Floats have a fraction, for engines differ
// in how they write the others as text; so do times, which are left out.
func (h *history) value() (tidegate.Type, any) {
	n := h.random.IntN(1000)
	switch h.random.IntN(9) {
	case 0, 1:
		return typ(tidegate.Int), int64(n) - 500
	case 2:
		return typ(tidegate.Float), float64(n) + 0.25
	case 3:
		return decimal(10, 2), tidegate.DecimalText(strconv.Itoa(n) + ".5")
	case 4:
		return decimal(20, 6), tidegate.DecimalText("-" + strconv.Itoa(n+1) + ".000001")
	case 5:
		return typ(tidegate.Bool), n%2 == 0
	case 6:
		return typ(tidegate.Date), tidegate.CalendarDate(n)
	case 7:
		return typ(tidegate.Bytes), []byte{0xff, byte(n)}
	}
	return typ(tidegate.String), fmt.Sprint("text ", n)
}

// widen rewrites what the oracle remembers of a column.
func (h *history) widen(name string, from, to tidegate.Type) {
	h.types[name] = to
	if from == to {
		return
	}
	for _, r := range h.rows {
		if v, ok := r[name]; ok {
			r[name] = oracleValue(v, to)
		}
	}
}

// oracleType is the contract's rule of widening, as a table.
func oracleType(old, add tidegate.Type) tidegate.Type {
	type pair struct{ old, add tidegate.Kind }
	switch (pair{old.Kind, add.Kind}) {
	case pair{tidegate.Int, tidegate.Float}, pair{tidegate.Float, tidegate.Int}:
		return typ(tidegate.Float)
	case pair{tidegate.Int, tidegate.Decimal}, pair{tidegate.Decimal, tidegate.Int}, pair{tidegate.Decimal, tidegate.Decimal}:
		whole, scale := 0, 0
		for _, t := range []tidegate.Type{old, add} {
			if t.Kind == tidegate.Int {
				t = decimal(19, 0)
			}
			whole, scale = max(whole, t.Precision-t.Scale), max(scale, t.Scale)
		}
		if whole+scale <= 38 {
			return decimal(whole+scale, scale)
		}
	default:
		if old == add {
			return old
		}
	}
	return typ(tidegate.String)
}

// oracleValue is a value as a column of type to holds it.
func oracleValue(v any, to tidegate.Type) any {
	switch to.Kind {
	case tidegate.Float:
		if n, ok := v.(int64); ok {
			return float64(n)
		}
	case tidegate.Decimal:
		if n, ok := v.(int64); ok {
			return tidegate.DecimalText(strconv.FormatInt(n, 10))
		}
	case tidegate.String:
		switch n := v.(type) {
		case []byte:
			return base64.StdEncoding.EncodeToString(n)
		case tidegate.CalendarDate:
			return n.Time().Format(time.DateOnly)
		default:
			return fmt.Sprint(v)
		}
	default:
	}
	return v
}
