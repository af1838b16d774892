package warehousetest

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// typeCases are the values that each type must carry unchanged.
func typeCases() []struct {
	typ    tidegate.Type
	values []any
} {
	kiritimati := time.FixedZone("+14", 14*60*60)
	return []struct {
		typ    tidegate.Type
		values []any
	}{
		{typ(tidegate.Bool), []any{true, false, nil}},
		{typ(tidegate.Int), []any{int64(0), int64(1), int64(-1), int64(math.MaxInt64), int64(math.MinInt64), int64(1) << 53, int64(1)<<53 + 1, nil}},
		{typ(tidegate.Float), []any{0.0, math.Copysign(0, -1), 1.5, -0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21, math.Inf(1), math.Inf(-1), nil}},
		{decimal(38, 9), []any{
			tidegate.DecimalText("0"), tidegate.DecimalText("0.1"), tidegate.DecimalText("-0.000000001"), tidegate.DecimalText("12.5"),
			tidegate.DecimalText("99999999999999999999999999999.999999999"), tidegate.DecimalText("-99999999999999999999999999999.999999999"), nil,
		}},
		{decimal(38, 0), []any{tidegate.DecimalText(strings.Repeat("9", 38)), tidegate.DecimalText("-" + strings.Repeat("9", 38)), tidegate.DecimalText("18446744073709551616"), nil}},
		{decimal(38, 38), []any{tidegate.DecimalText("0." + strings.Repeat("9", 38)), tidegate.DecimalText("-0." + strings.Repeat("0", 37) + "1")}},
		{decimal(4, 2), []any{tidegate.DecimalText("99.99"), tidegate.DecimalText("-99.99"), tidegate.DecimalText("0.01"), nil}},
		{decimal(9, 3), []any{tidegate.DecimalText("999999.999"), tidegate.DecimalText("-1"), nil}},
		{decimal(18, 6), []any{tidegate.DecimalText("999999999999.999999"), tidegate.DecimalText("-0.000001"), nil}},
		{typ(tidegate.String), []any{
			"", " ", "plain", "exactly12byt", "exactly13byte", "with 'quotes' and \"double\" ones", "new\nline\ttab", "ünïcödé", "𝄞🎉", "\u202eright to left",
			strings.Repeat("long ", 20_000), `\N`, "NULL", "null", `{"a":1}`, nil,
		}},
		{typ(tidegate.Bytes), []any{[]byte{}, []byte{0}, []byte{0xff, 0, 0xfe}, []byte(strings.Repeat("\x00\xff", 5_000)), nil}},
		{typ(tidegate.Date), []any{
			tidegate.CalendarDate(0), tidegate.CalendarDate(-1), tidegate.CalendarDate(20_000), tidegate.DateOf(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)),
			tidegate.DateOf(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)), tidegate.DateOf(time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)), nil,
		}},
		{typ(tidegate.Timestamp), []any{
			time.UnixMicro(0).UTC(), time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC), time.Date(2024, 2, 29, 12, 0, 0, 1_000, time.UTC),
			time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
			time.Date(2026, 3, 29, 2, 30, 0, 0, kiritimati), nil,
		}},
		{typ(tidegate.JSON), []any{
			tidegate.JSONText(`{"a": [1, 2.50, "x", null, true], "b":{"c":{}}}`), tidegate.JSONText(`[]`), tidegate.JSONText(`"text"`), tidegate.JSONText(`12345678901234567890.123456789`),
			tidegate.JSONText(`null`), tidegate.JSONText(`{"ü":"🎉"}`), nil,
		}},
	}
}

func (b *bench) lacks(t tidegate.Type, v any) bool { return b.Lacks != nil && b.Lacks(t, v) }

func checkTypes(t *testing.T, b *bench) {
	t.Helper()
	for _, c := range typeCases() {
		t.Run(c.typ.String(), func(t *testing.T) {
			if b.lacks(c.typ, nil) {
				t.Skip("the engine has no such type")
			}
			if why := b.LeftOut["types round trip/"+c.typ.String()]; why != "" {
				t.Skip(why)
			}
			table := warehouse.Table{Schema: "types", Name: b.Dialect.Fit(c.typ.String())}
			schema := columns("n", tidegate.Int, "v", c.typ)
			if d := cmp.Diff(schema, b.ensure(t, table, schema)); d != "" {
				t.Fatalf("ensured schema: %s", d)
			}
			var rows []tidegate.Row
			for i, v := range c.values {
				if v != nil && b.lacks(c.typ, v) {
					continue
				}
				rows = append(rows, tidegate.Row{int64(i), v})
			}
			// Twice, so that values also go through the path of keyed loads.
			b.load(t, warehouse.Load{ID: "append", Table: table}, schema, rows...)
			b.load(t, warehouse.Load{ID: "replace", Table: table, Key: []string{"n"}}, schema, rows...)
			got := Rows(t, b.w, b.selectAll(t, table, "n", "v"))
			instants := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
			if d := cmp.Diff(rows, got, instants, cmpopts.EquateNaNs(), b.compareJSON()); d != "" {
				t.Error(d)
			}
			for _, row := range got {
				if at, ok := row[1].(time.Time); ok && at.Location() != time.UTC {
					t.Errorf("%v is not in UTC", at)
				}
			}
		})
	}
}

// checkMisfits: a value that the column cannot hold is an error that names row
// and column, and nothing is loaded.
func checkMisfits(t *testing.T, b *bench) {
	t.Helper()
	cases := []struct {
		name  string
		typ   tidegate.Type
		value any
	}{
		{"too many digits before the point", decimal(4, 2), tidegate.DecimalText("100")},
		{"too many digits after the point", decimal(4, 2), tidegate.DecimalText("1.001")},
		{"not a number", decimal(4, 2), tidegate.DecimalText("1,5")},
		{"exponent", decimal(38, 9), tidegate.DecimalText("1e3")},
		{"text in an int", typ(tidegate.Int), "1"},
		{"float in an int", typ(tidegate.Int), 1.0},
		{"int in a bool", typ(tidegate.Bool), int64(1)},
		{"broken UTF-8", typ(tidegate.String), "a\xff"},
		{"NUL", typ(tidegate.String), "a\x00b"},
		{"broken JSON", typ(tidegate.JSON), tidegate.JSONText("{")},
		{"year beyond the engine", typ(tidegate.Timestamp), time.Date(400_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"text in a date", typ(tidegate.Date), "2024-01-01"},
		{"a foreign Go type", typ(tidegate.Int), struct{}{}},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			table := warehouse.Table{Schema: "misfits", Name: string(rune('a' + i))}
			schema := columns("n", tidegate.Int, "v", c.typ)
			b.ensure(t, table, schema)
			good := tidegate.Row{int64(1), nil}
			_, err := b.w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(schema, good, good, tidegate.Row{int64(3), c.value}, good))
			f := wantFault(t, err, tidegate.Reject)
			if !strings.Contains(f.Error(), "row 3") || !strings.Contains(f.Error(), `"v"`) {
				t.Errorf("%v does not name row 3 and column v", f)
			}
			if got := Rows(t, b.w, b.selectAll(t, table, "n")); len(got) != 0 {
				t.Errorf("%d rows were loaded", len(got))
			}
		})
	}
}
