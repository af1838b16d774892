package postgres_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func exec(t *testing.T, w *postgres.Warehouse, sql string, args ...any) {
	t.Helper()
	if _, err := w.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func kind(k tidegate.Kind) tidegate.Type { return tidegate.Type{Kind: k} }

func decimal(precision, scale int) tidegate.Type {
	return tidegate.Type{Kind: tidegate.Decimal, Precision: precision, Scale: scale}
}

// TestForeignValues reads what other programs keep in their tables.
func TestForeignValues(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	exec(t, w, "CREATE TYPE mood AS ENUM ('sad', 'glad')")
	exec(t, w, "CREATE DOMAIN age AS integer CHECK (VALUE > 0)")
	exec(t, w, "CREATE TYPE pair AS (a integer, b text)")
	for _, c := range []struct {
		sql  string
		typ  tidegate.Type
		want any
	}{
		{"7::smallint", kind(tidegate.Int), int64(7)},
		{"-7::integer", kind(tidegate.Int), int64(-7)},
		{"4294967295::oid", kind(tidegate.Int), int64(4294967295)},
		{"1.5::real", kind(tidegate.Float), 1.5},
		{"'NaN'::float8::text", kind(tidegate.String), "NaN"},
		{"1::numeric", decimal(38, 9), tidegate.DecimalText("1")},
		{"1::numeric / 3", decimal(38, 9), tidegate.DecimalText("0.33333333333333333333")},
		{"10000::numeric", decimal(38, 9), tidegate.DecimalText("10000")},
		{"-0.00010::numeric", decimal(38, 9), tidegate.DecimalText("-0.0001")},
		{"1e40::numeric", decimal(38, 9), tidegate.DecimalText("1" + strings.Repeat("0", 40))},
		{"1e-40::numeric", decimal(38, 9), tidegate.DecimalText("0." + strings.Repeat("0", 39) + "1")},
		{"1.50::numeric(50,2)", decimal(38, 9), tidegate.DecimalText("1.5")},
		{"1.50::numeric(10,2)", decimal(10, 2), tidegate.DecimalText("1.5")},
		{"12345::numeric(5,-2)", decimal(38, 9), tidegate.DecimalText("12300")},
		{"sum(n) FROM generate_series(1, 4) AS n", kind(tidegate.Int), int64(10)},
		{"avg(n) FROM generate_series(1, 4) AS n", decimal(38, 9), tidegate.DecimalText("2.5")},
		{"'abc'::varchar(5)", kind(tidegate.String), "abc"},
		{"'abc'::char(5)", kind(tidegate.String), "abc  "},
		{"'abc'::name", kind(tidegate.String), "abc"},
		{`'x'::"char"`, kind(tidegate.String), "x"},
		{"'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", kind(tidegate.String), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"'glad'::mood", kind(tidegate.String), "glad"},
		{"7::age", kind(tidegate.Int), int64(7)},
		{"ROW(1, 'x')::pair", kind(tidegate.String), "(1,x)"},
		{"'1 day 02:03:04'::interval", kind(tidegate.String), "1 day 02:03:04"},
		{"'10:11:12.5'::time", kind(tidegate.String), "10:11:12.5"},
		{"'192.168.0.1/24'::inet", kind(tidegate.String), "192.168.0.1/24"},
		{"'[1,5)'::int4range", kind(tidegate.String), "[1,5)"},
		{"'a b'::tsvector", kind(tidegate.String), "'a' 'b'"},
		{"'<a/>'::xml", kind(tidegate.String), "<a/>"},
		{"B'101'", kind(tidegate.String), "101"},
		{"'2026-01-02 03:04:05'::timestamp", kind(tidegate.Timestamp), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		{"'2026-01-02 03:04:05+14'::timestamptz", kind(tidegate.Timestamp), time.Date(2026, 1, 1, 13, 4, 5, 0, time.UTC)},
		{"'4713-01-01 BC'::timestamp", kind(tidegate.Timestamp), time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"'294276-12-31 23:59:59.999999'::timestamp", kind(tidegate.Timestamp), time.Date(294276, 12, 31, 23, 59, 59, 999_999_000, time.UTC)},
		{"'4713-01-01 BC'::date", kind(tidegate.Date), tidegate.DateOf(time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC))},
		{`'{"b":1,"a":2}'::json`, kind(tidegate.JSON), tidegate.JSONText(`{"b":1,"a":2}`)},
		{"ARRAY[1,NULL,3]", kind(tidegate.JSON), tidegate.JSONText("[1,null,3]")},
		{"ARRAY[[1,2],[3,4]]::bigint[]", kind(tidegate.JSON), tidegate.JSONText("[[1,2],[3,4]]")},
		{"'{}'::text[]", kind(tidegate.JSON), tidegate.JSONText("[]")},
		{`ARRAY['a"b', 'ü', '']`, kind(tidegate.JSON), tidegate.JSONText(`["a\"b","ü",""]`)},
		{"ARRAY[1.50, 2]::numeric[]", kind(tidegate.JSON), tidegate.JSONText("[1.5,2]")},
		{"ARRAY['NaN', '0.5']::float8[]", kind(tidegate.JSON), tidegate.JSONText(`["NaN",0.5]`)},
		{`ARRAY['{"a":1}']::jsonb[]`, kind(tidegate.JSON), tidegate.JSONText(`[{"a": 1}]`)},
		{"ARRAY['2026-01-02']::date[]", kind(tidegate.JSON), tidegate.JSONText(`["2026-01-02"]`)},
		{"ARRAY[true]", kind(tidegate.JSON), tidegate.JSONText("[true]")},
		{"'[2:3]={7,8}'::int[]", kind(tidegate.JSON), tidegate.JSONText("[7,8]")},
		{"NULL::int[]", kind(tidegate.JSON), nil},
		{"NULL", kind(tidegate.String), nil},
	} {
		r, err := w.Query(t.Context(), "SELECT "+c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if got := r.Schema()[0].Type; got != c.typ {
			t.Errorf("%s: the type is %s, want %s", c.sql, got, c.typ)
		}
		row, err := r.Next(t.Context())
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
		} else if d := cmp.Diff(c.want, row[0]); d != "" {
			t.Errorf("%s: %s", c.sql, d)
		}
		_ = r.Close()
	}
	for _, sql := range []string{"'NaN'::numeric", "'infinity'::timestamptz", "'-infinity'::date", "ARRAY['infinity']::timestamp[]"} {
		r, err := w.Query(t.Context(), "SELECT "+sql+" AS v")
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Next(t.Context())
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Action != tidegate.Halt || f.Subject != `column "v"` || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v", sql, err)
		}
		_ = r.Close()
	}
}

// TestForeignTables loads into tables that were made by others: columns of
// narrower types and of types that only the server reads.
func TestForeignTables(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	exec(t, w, "CREATE TYPE mood AS ENUM ('sad', 'glad')")
	exec(t, w, `CREATE TABLE f (i smallint, j integer, r real, u uuid, m mood, n numeric, v varchar(3), j1 json, a inet, ts timestamp, gen bigint GENERATED ALWAYS AS IDENTITY, def text DEFAULT 'd')`)
	table := warehouse.Table{Schema: "public", Name: "f"}
	s := columns("i", tidegate.Int, "j", tidegate.Int, "r", tidegate.Float, "u", tidegate.String, "m", tidegate.String, "n", tidegate.Float,
		"v", tidegate.String, "j1", tidegate.JSON, "a", tidegate.String, "ts", tidegate.Timestamp)
	const id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	row := func(i int64) tidegate.Row {
		return tidegate.Row{i, int64(2), 0.5, id, "glad", 0.25, "abc", tidegate.JSONText(`{"b": 1,"a":2}`), "10.0.0.1", at}
	}
	for _, key := range [][]string{nil, {"u"}, {"m"}} {
		if _, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(key), Table: table, Key: key}, tidegate.Rows(s, row(1))); err != nil {
			t.Fatalf("key %v: %v", key, err)
		}
	}
	want := []tidegate.Row{{int64(1), int64(2), 0.5, id, "glad", tidegate.DecimalText("0.25"), "abc", tidegate.JSONText(`{"b": 1,"a":2}`), "10.0.0.1", at, int64(3), "d"}}
	if d := cmp.Diff(want, warehousetest.Rows(t, w, "SELECT * FROM f")); d != "" {
		t.Error(d)
	}
	have, err := w.Ensure(t.Context(), table, columns("n", tidegate.Float, "N", tidegate.Int)[:1])
	if err != nil || have[have.Index("n")].Type != decimal(38, 9) {
		t.Errorf("a numeric without precision was changed: %v, %v", have, err)
	}
	for _, c := range []struct {
		column string
		value  any
	}{
		{"i", int64(40_000)},
		{"j", int64(3_000_000_000)},
		{"u", "no uuid"},
		{"m", "angry"},
		{"v", "four"},
		{"a", "no address"},
		{"n", "text"},
		{"ts", "text"},
	} {
		for _, key := range [][]string{nil, {"j"}} {
			bad := row(1)
			bad[s.Index(c.column)] = c.value
			_, err := w.Load(t.Context(), warehouse.Load{ID: "bad", Table: table, Key: key}, tidegate.Rows(s, row(7), bad))
			var f *tidegate.Fault
			if !errors.As(err, &f) || f.Action != tidegate.Reject {
				t.Errorf("%s = %v: got %v, want a Reject", c.column, c.value, err)
			}
		}
	}
	if got := warehousetest.Rows(t, w, "SELECT count(*) FROM f"); got[0][0] != int64(1) {
		t.Errorf("a load that failed wrote rows: %v", got)
	}
}

// TestServerNamesRowAndColumn: what only the server finds wrong is named all the same.
func TestServerNamesRowAndColumn(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int, "doc", tidegate.JSON)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]string{nil, {"n"}} {
		rows := tidegate.Rows(s, tidegate.Row{int64(1), tidegate.JSONText("1")}, tidegate.Row{int64(2), tidegate.JSONText("1e999999")})
		_, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table, Key: key}, rows)
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Action != tidegate.Reject || f.Subject != `column "doc"` || !strings.HasPrefix(f.Message, "row 2: ") {
			t.Errorf("key %v: got %v", key, err)
		}
	}
}

// TestJSONThatIsNoText: escapes that are no character are replaced, others are kept.
func TestJSONThatIsNoText(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int, "doc", tidegate.JSON)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ in, want string }{
		{`"a\u0000b"`, "a\ufffdb"},
		{`"\ud800"`, "\ufffd"},
		{`"\ud800x"`, "\ufffdx"},
		{`"\udc00\ud83d\ude00"`, "\ufffd😀"},
		{`"\ud800\ud83d\ude00"`, "\ufffd😀"},
		{`"\uD83D\uDE00\u00e9\\u0000\n\""`, "😀é\\u0000\n\""},
		{`"\ud800\u0041"`, "\ufffdA"},
		{`"\ud800\\"`, "\ufffd\\"},
	}
	for i, c := range cases {
		if _, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(i), Table: table}, tidegate.Rows(s, tidegate.Row{int64(i), tidegate.JSONText(c.in)})); err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := warehousetest.Rows(t, w, "SELECT doc #>> '{}' FROM s.t WHERE n = $1", i)[0][0]; got != c.want {
			t.Errorf("%s became %q, want %q", c.in, got, c.want)
		}
	}
}
