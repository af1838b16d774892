package clickhouse_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// edges are a table of all types and rows at their edges.
func edges() (tidegate.Schema, []tidegate.Row) {
	s := columns("id", tidegate.Int, "b", tidegate.Bool, "f", tidegate.Float, "s", tidegate.String, "y", tidegate.Bytes, "d", tidegate.Date, "t", tidegate.Timestamp, "j", tidegate.JSON)
	s = append(s, tidegate.Column{Name: "n", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}})
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	date := func(t time.Time) tidegate.CalendarDate { return tidegate.CalendarDate(t.Unix() / 86_400) }
	return s, []tidegate.Row{
		{int64(1), true, 0.5, "héllo, \"you\"", []byte{0, 1, 0xff}, date(day(2026, 11, 21)), day(9999, 12, 31).Add(time.Hour + time.Microsecond), tidegate.JSONText(`{"a":[1,null]}`), tidegate.DecimalText("12345678901234567890123456789.123456789")},
		{int64(-1 << 63), false, -1e300, "", []byte{}, date(day(1900, 1, 1)), day(1, 1, 1), tidegate.JSONText(`12345678901234567890`), tidegate.DecimalText("-0.000000001")},
		{int64(1<<63 - 1), nil, nil, nil, nil, nil, nil, nil, nil},
	}
}

// TestNativeRows: what goes through the driver's batches and rows, as it must over the native protocol, is what goes
// as blocks over HTTP, both ways, to the edges of the types.
func TestNativeRows(t *testing.T) {
	t.Parallel()
	s := server(t)
	blocks, native := open(t, config(s)), open(t, config(s))
	defer blocks.Close()
	defer native.Close()
	clickhouse.Hand(native)
	schema, rows := edges()
	for name, w := range map[string]*clickhouse.Warehouse{"blocks": blocks, "native": native} {
		table := warehouse.Table{Schema: "edges", Name: name}
		if _, err := w.Ensure(t.Context(), table, schema); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second is known
			if _, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(schema, rows...)); err != nil {
				t.Fatal(name, err)
			}
		}
		for reader, r := range map[string]*clickhouse.Warehouse{"blocks": blocks, "native": native} {
			got := warehousetest.Rows(t, r, "SELECT * FROM edges."+name+" ORDER BY id = $1 DESC, id", 1)
			if d := cmp.Diff(rows, got); d != "" {
				t.Errorf("written as %s, read as %s: %s", name, reader, d)
			}
		}
	}
	const foreign = "SELECT [1, 2] AS a, NULL AS n, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS u, toLowCardinality('x') AS l, toDateTime64('2026-01-01 00:00:00.5', 9, 'UTC') AS t, toUInt64(5) AS i, toDecimal32(1.50, 2) AS d"
	if d := cmp.Diff(warehousetest.Rows(t, blocks, foreign), warehousetest.Rows(t, native, foreign)); d != "" {
		t.Errorf("%s", d)
	}
	for _, sql := range []string{"SELECT * FROM edges.blocks WHERE false", "SELECT a FROM (SELECT 1 AS a) WHERE a = 2", "SHOW TABLES FROM edges"} {
		want, got := schemaOf(t, blocks, sql), schemaOf(t, native, sql)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

func schemaOf(t *testing.T, w warehouse.Warehouse, sql string) tidegate.Schema {
	t.Helper()
	r, err := w.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Schema()
}

// TestNativeUnit commits a unit by the driver's batches, and reads errors of the server as such.
func TestNativeUnit(t *testing.T) {
	t.Parallel()
	w := open(t, config(server(t)))
	defer w.Close()
	clickhouse.Hand(w)
	x := world{"native"}
	x.prepare(t, w)
	if err := x.unit(t, w).Commit(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(stateAfter, x.state(t, w)); d != "" {
		t.Error(d)
	}
	if _, err := w.Query(t.Context(), "SELECT * FROM native.nothing"); tidegate.FaultOf(err).Code != "sql.unknown" {
		t.Errorf("got %v", err)
	}
	if _, err := w.Exec(t.Context(), "DROP TABLE native.nothing"); tidegate.FaultOf(err).Code != "sql.unknown" {
		t.Errorf("got %v", err)
	}
	r, err := w.Query(t.Context(), "SELECT toString(throwIf(number = 100000)) FROM numbers(200000)")
	for err == nil {
		_, err = r.Next(t.Context())
	}
	if errors.Is(err, io.EOF) || tidegate.FaultOf(err).Code != "sql.value" {
		t.Errorf("got %v", err)
	}
	table := warehouse.Table{Schema: "native", Name: "odd"}
	odd := columns("a (b", tidegate.Int, "c", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, odd); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Load(t.Context(), warehouse.Load{ID: "odd", Table: table}, tidegate.Rows(odd, tidegate.Row{int64(1), int64(2)})); err == nil && n == 1 {
		if got := warehousetest.Rows(t, w, "SELECT * FROM native.odd"); len(got) != 1 || got[0][0] != int64(1) || got[0][1] != int64(2) {
			t.Errorf("got %v", got)
		}
	}
}
