package warehousetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

func checkEnsure(t *testing.T, b *bench) {
	t.Helper()
	// have: a column with a value; add: what Ensure is asked for; want: what becomes of the column and its value.
	cases := []struct {
		name     string
		have     tidegate.Type
		value    any
		add      tidegate.Type
		want     tidegate.Type
		becomes  any
		alsoFits any
	}{
		{"int stays", typ(tidegate.Int), int64(7), typ(tidegate.Int), typ(tidegate.Int), int64(7), int64(8)},
		{"int to decimal", typ(tidegate.Int), int64(-7), decimal(10, 2), decimal(21, 2), tidegate.DecimalText("-7"), tidegate.DecimalText("0.25")},
		{"int to float", typ(tidegate.Int), int64(7), typ(tidegate.Float), typ(tidegate.Float), 7.0, 0.5},
		{"int to string", typ(tidegate.Int), int64(7), typ(tidegate.String), typ(tidegate.String), "7", "x"},
		{"float keeps ints", typ(tidegate.Float), 0.5, typ(tidegate.Int), typ(tidegate.Float), 0.5, int64(3)},
		{"decimal grows", decimal(10, 2), tidegate.DecimalText("1.25"), decimal(12, 5), decimal(13, 5), tidegate.DecimalText("1.25"), tidegate.DecimalText("0.00001")},
		{"decimal keeps what fits", decimal(38, 9), tidegate.DecimalText("1.25"), decimal(10, 2), decimal(38, 9), tidegate.DecimalText("1.25"), int64(3)},
		{"decimal and float to string", decimal(10, 2), tidegate.DecimalText("1.25"), typ(tidegate.Float), typ(tidegate.String), "1.25", 0.5},
		{"decimal beyond 38 digits to string", decimal(38, 0), tidegate.DecimalText("1"), decimal(38, 38), typ(tidegate.String), "1", tidegate.DecimalText("0.5")},
		{"bool to string", typ(tidegate.Bool), true, typ(tidegate.Int), typ(tidegate.String), "true", int64(3)},
		{"date to timestamp", typ(tidegate.Date), tidegate.CalendarDate(1), typ(tidegate.Timestamp), typ(tidegate.Timestamp), tidegate.CalendarDate(1).Time(), tidegate.CalendarDate(2)},
		{"date to string", typ(tidegate.Date), tidegate.CalendarDate(1), typ(tidegate.String), typ(tidegate.String), "1970-01-02", "x"},
		{"bytes to string", typ(tidegate.Bytes), []byte{0xff, 0}, typ(tidegate.String), typ(tidegate.String), "/wA=", []byte{0xff}},
		{"string keeps everything", typ(tidegate.String), "x", typ(tidegate.Timestamp), typ(tidegate.String), "x", tidegate.CalendarDate(1).Time()},
		{"json keeps scalars", typ(tidegate.JSON), tidegate.JSONText(`{"a":1}`), typ(tidegate.Int), typ(tidegate.JSON), tidegate.JSONText(`{"a":1}`), "a \"quoted\" text"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			table := warehouse.Table{Schema: "ensure", Name: c.name}
			first := columns("n", tidegate.Int, "v", c.have)
			b.ensure(t, table, first)
			b.load(t, warehouse.Load{ID: "one", Table: table}, first, tidegate.Row{int64(1), c.value})
			want := columns("n", tidegate.Int, "v", c.want, "extra", tidegate.String)
			for range 2 { // and again: idempotent
				got := b.ensure(t, table, columns("v", c.add, "extra", tidegate.String))
				if d := cmp.Diff(want, got); d != "" {
					t.Fatal(d)
				}
			}
			got := Rows(t, b.w, b.selectAll(t, table, "n", "v", "extra"))
			if d := cmp.Diff([]tidegate.Row{{int64(1), c.becomes, nil}}, got, b.compareJSON()); d != "" {
				t.Error(d)
			}
			b.load(t, warehouse.Load{ID: "two", Table: table}, columns("n", tidegate.Int, "v", c.add), tidegate.Row{int64(2), c.alsoFits})
		})
	}
	t.Run("a repeated column", func(t *testing.T) {
		_, err := b.w.Ensure(t.Context(), warehouse.Table{Schema: "ensure", Name: "twice"}, columns("a", tidegate.Int, "A", tidegate.Int))
		_ = wantFault(t, err, tidegate.Halt)
	})
}

// checkEnsureConcurrently: sixteen callers, each with a column of its own and
// one that all widen; afterwards everything is there.
func checkEnsureConcurrently(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "together", Name: "t"}
	const callers = 16
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			kinds := []tidegate.Kind{tidegate.Int, tidegate.String, tidegate.Int, tidegate.Float}
			s := columns("shared", kinds[i%len(kinds)], fmt.Sprintf("own_%02d", i), tidegate.Int)
			got, err := b.w.Ensure(t.Context(), table, s)
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
				return
			}
			if got.Index(s[1].Name) < 0 {
				t.Errorf("caller %d does not see its column", i)
			}
		})
	}
	group.Wait()
	got, err := b.w.Describe(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != callers+1 || got[got.Index("shared")].Type != typ(tidegate.String) {
		t.Errorf("got %v", got)
	}
}

// hostileNames are names that strangers send as event or property names. All
// of them are legal identifiers once quoted.
func hostileNames() []string {
	names := []string{
		"select", "table", "user", "order", "group", "from", "at", "null", "true", "default", "primary",
		"a b", " leading", "trailing ", "dot.ted", "semi;colon", "dash-ed", "co,mma", "par(en)", "br[ack]et", "cur{l}y", "per%cent", "%s%d%n", "$1", "?", ":name", "@x", "#", "!",
		`quo"te`, `"`, `""`, `"""`, `a"; DROP TABLE escape.target; --`, `'`, `''`, "`", "``", `back\slash`, `\`, `\"`, `\x00`, "/* */", "--", "-- x", "/*",
		"'; DROP SCHEMA x CASCADE; --", `"); DROP TABLE x; --`, `" TEXT, "b`, "x\" INTEGER); SELECT 1; --",
		"ünïcödé", "Ünïcödé", "日本語", "🎉", "𝄞", "é", "e\u0301", "ß", "ı", "İ", "ﬁ", "Ω", "Å", "\u200b", "a\u200db", "ـ", "ا", "א",
		"0", "1abc", "9", "-1", "1e5", "0x1", "_", "__", "_x", "CamelCase", "SCREAMING", "rowid", "ctid", "oid", "information_schema", "pg_catalog", "main", "temp", "sqlite_master", "excluded", "_tidegate", "_tidegate_ordinal", "_tidegate_load",
		strings.Repeat("n", 63), strings.Repeat("m", 64), strings.Repeat("é", 40),
	}
	for _, c := range "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ " {
		names = append(names, "a"+string(c)+"z", string(c)+"z", "a"+string(c), strings.Repeat(string(c), 3))
	}
	return names
}

// checkNames: hostile names as columns and as tables, by name and with data;
// and the ones that no identifier may hold are refused.
func checkNames(t *testing.T, b *bench) {
	t.Helper()
	names := b.Dialect.Distinct(hostileNames())
	if len(names) < 200 {
		t.Fatalf("only %d names", len(names))
	}
	victim := warehouse.Table{Schema: "escape", Name: "target"}
	b.ensure(t, victim, columns("n", tidegate.Int))
	wide := warehouse.Table{Schema: b.Dialect.Fit(`sche"ma; DROP TABLE escape.target; --`), Name: "wide"}
	schema := make(tidegate.Schema, len(names))
	row := make(tidegate.Row, len(names))
	for i, name := range names {
		schema[i] = tidegate.Column{Name: name, Type: typ(tidegate.Int)}
		row[i] = int64(i)
	}
	if d := cmp.Diff(b.named(schema), b.ensure(t, wide, schema)); d != "" {
		t.Fatal(d)
	}
	b.load(t, warehouse.Load{ID: "it's \"one\"; --", Table: wide, Key: names[:3]}, schema, row)
	b.load(t, warehouse.Load{ID: "it's \"two\"; --", Table: wide, Key: names}, schema, row)
	if d := cmp.Diff([]tidegate.Row{row}, Rows(t, b.w, b.selectAll(t, wide, names...))); d != "" {
		t.Error(d)
	}
	for i := 0; i < len(names); i += 7 {
		table := warehouse.Table{Schema: names[(i+1)%len(names)], Name: names[i]}
		switch strings.ToLower(table.Schema) {
		case "information_schema", "pg_catalog", "temp", "_tidegate":
			table.Schema = "plain"
		}
		s := columns("n", tidegate.Int)
		b.ensure(t, table, s)
		b.load(t, warehouse.Load{ID: "x", Table: table}, s, tidegate.Row{int64(i)})
		if got := Rows(t, b.w, b.selectAll(t, table, "n")); len(got) != 1 || got[0][0] != int64(i) {
			t.Errorf("table %q: got %v", table, got)
		}
	}
	if _, err := b.w.Describe(t.Context(), victim); err != nil {
		t.Errorf("the bystander is gone: %v", err)
	}
	for _, name := range []string{"", "a\x00b", "\x00", "tab\there", "new\nline", "bell\a", "del\x7f", "c1\u0085", "broken\xff", "\u202eevil", strings.Repeat("x", 5000)} {
		_, err := b.w.Ensure(t.Context(), warehouse.Table{Schema: "refused", Name: "t"}, columns(name, tidegate.Int))
		if err == nil {
			t.Errorf("the column name %q was taken", name)
		}
		if _, err = b.w.Ensure(t.Context(), warehouse.Table{Schema: "refused", Name: name}, columns("a", tidegate.Int)); err == nil {
			t.Errorf("the table name %q was taken", name)
		}
	}
}

// checkFoldedNames: the engines that fold case find a column by any case of
// its name, and Distinct keeps names apart that they would not.
func checkFoldedNames(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "Folded", Name: "Names"}
	names := b.Dialect.Distinct([]string{"userName", "USERNAME", "username", "username_2", "other"})
	var s tidegate.Schema
	row := tidegate.Row{}
	for i, name := range names {
		s = append(s, tidegate.Column{Name: name, Type: typ(tidegate.Int)})
		row = append(row, int64(i))
	}
	b.ensure(t, table, s)
	b.load(t, warehouse.Load{ID: "x", Table: table}, s, row)
	if d := cmp.Diff([]tidegate.Row{row}, Rows(t, b.w, b.selectAll(t, table, names...))); d != "" {
		t.Error(d)
	}
	if !sqltext.Same("userName", "USERNAME") {
		t.Error("the fold tells case apart")
	}
	got := b.ensure(t, table, columns("USERname", tidegate.Int))
	if len(got) != len(s) {
		t.Errorf("another case of a name made a column: %v", got.Names())
	}
}

func checkDescribe(t *testing.T, b *bench) {
	t.Helper()
	for _, table := range []warehouse.Table{{Schema: "no", Name: "such"}, {Schema: "", Name: "such"}} {
		if _, err := b.w.Describe(t.Context(), table); !errors.Is(err, warehouse.ErrNoTable) {
			t.Errorf("%s: got %v, want ErrNoTable", table, err)
		}
	}
	_, err := b.w.Load(t.Context(), warehouse.Load{ID: "x", Table: warehouse.Table{Schema: "no", Name: "such"}}, tidegate.Rows(columns("a", tidegate.Int)))
	if !errors.Is(err, warehouse.ErrNoTable) {
		t.Errorf("loading: got %v, want ErrNoTable", err)
	}
}

func checkTables(t *testing.T, b *bench) {
	t.Helper()
	l, ok := b.w.(warehouse.Lister)
	if !ok {
		t.Skip("the engine lists no tables")
	}
	want := []warehouse.Table{{Schema: "a", Name: "x"}, {Schema: "a", Name: "y"}, {Schema: "b", Name: "x"}}
	for i := range want {
		b.ensure(t, want[len(want)-1-i], columns("n", tidegate.Int))
	}
	tables, err := l.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []warehouse.Table
	for _, table := range tables {
		if table.Schema != "_tidegate" {
			got = append(got, table)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func checkTablesOf(t *testing.T, b *bench) {
	t.Helper()
	f, ok := b.w.(warehouse.TableFinder)
	if !ok {
		t.Skip("the engine does not find tables")
	}
	odd := warehouse.Table{Schema: "a", Name: b.Dialect.Fit(`x.y "z"`)}
	b.ensure(t, odd, columns("n", tidegate.Int))
	name, err := b.Dialect.Table(odd.Schema, odd.Name)
	if err != nil {
		t.Fatal(err)
	}
	b.ensure(t, warehouse.Table{Schema: b.Dialect.DefaultSchema(), Name: "plain"}, columns("n", tidegate.Int))
	got, err := f.TablesOf(t.Context(), "WITH cte AS (SELECT * FROM "+string(name)+") SELECT * FROM cte JOIN plain USING (n) WHERE n IN (SELECT n FROM "+string(name)+")")
	if err != nil {
		t.Fatal(err)
	}
	found := map[warehouse.Table]bool{}
	for _, table := range got {
		found[table] = true
	}
	want := map[warehouse.Table]bool{odd: true, {Schema: b.Dialect.DefaultSchema(), Name: "plain"}: true}
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
	if _, err := f.TablesOf(t.Context(), "SELECT FROM WHERE"); err == nil {
		t.Error("broken SQL has tables")
	}
}
