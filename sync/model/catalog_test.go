package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// shop has customers, plans and orders.
func shop(t *testing.T) *duckdb.Warehouse {
	t.Helper()
	wh := open(t)
	for _, sql := range []string{
		"CREATE TABLE shop.people (id INTEGER, name VARCHAR, plan_id BIGINT, day DATE, changed TIMESTAMPTZ, amount DECIMAL(10,2))",
		"INSERT INTO shop.people VALUES (1, 'Ada', 10, '2024-01-01', '2024-01-01 10:00:00Z', 5), (2, 'Bob', 11, '2024-02-01', '2024-02-01 10:00:00Z', 15), (3, 'Cy', 12, '2024-03-01', '2024-03-01 10:00:00Z', 25), (4, 'Di', NULL, NULL, NULL, NULL)",
		"CREATE TABLE shop.plans (id INTEGER, title VARCHAR, price DECIMAL(5,2))",
		"INSERT INTO shop.plans VALUES (10, 'Gold', 9.5), (11, 'Iron', 1), (12, 'Tin', 0), (12, 'Lead', 0)",
		"CREATE TABLE main.people (id INTEGER, name VARCHAR)",
		"INSERT INTO main.people VALUES (99, 'table, not model')",
	} {
		if _, err := wh.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return wh
}

// read returns the rows of m as JSON, ordered by its first column.
func read(t *testing.T, wh warehouse.Warehouse, m *Model) []string {
	t.Helper()
	rows, err := wh.Query(t.Context(), "SELECT * FROM (\n"+m.SQL+"\n) AS q ORDER BY 1", m.Args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, m.SQL)
	}
	defer rows.Close()
	var all []string
	for {
		row, err := rows.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := KeyOf(row)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
}

func catalog(defs ...tidegate.Model) Catalog {
	c := Catalog{Models: map[string]tidegate.Model{}}
	for _, def := range defs {
		if def.PrimaryKey == nil {
			def.PrimaryKey = []string{"id"}
		}
		c.Models[def.Name] = def
	}
	return c
}

func params(pairs ...string) map[string]json.RawMessage {
	p := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return p
}

func TestParams(t *testing.T) {
	t.Parallel()
	wh := shop(t)
	for _, tc := range []struct {
		name, sql string
		params    map[string]json.RawMessage
		want      []string
	}{
		{"number", "SELECT id FROM shop.people WHERE amount > {{ least }}", params("least", "10"), []string{"[2]", "[3]"}},
		{"fraction", "SELECT id FROM shop.people WHERE amount > {{least}}", params("least", "14.5"), []string{"[2]", "[3]"}},
		{"text", "SELECT id FROM shop.people WHERE name = {{ who }}", params("who", `"Ada"`), []string{"[1]"}},
		{"text with SQL in it", "SELECT id FROM shop.people WHERE name = {{ who }}", params("who", `"' OR 1=1 --"`), nil},
		{"date", "SELECT id FROM shop.people WHERE day >= {{ since }}", params("since", `"2024-02-01"`), []string{"[2]", "[3]"}},
		{"time", "SELECT id FROM shop.people WHERE changed >= {{ since }}", params("since", `"2024-02-15T00:00:00Z"`), []string{"[3]"}},
		{"bool", "SELECT id FROM shop.people WHERE {{ all }} OR id = 1", params("all", "true"), []string{"[1]", "[2]", "[3]", "[4]"}},
		{"null", "SELECT 1 AS id, {{ x }}::INTEGER AS n", params("x", "null"), []string{"[1,null]"}},
		{"twice and in the result", "SELECT id, {{ n }} AS n, {{ s }} AS s FROM shop.people WHERE id = {{ n }}", params("n", "3", "s", `"x"`), []string{`[3,3,"x"]`}},
		{"around opaque text", "SELECT 1 AS id, '{{ other }}' AS a, \"n\"\"{{ c }}\" AS b /* {{ n }} */ FROM (SELECT {{ n }} AS \"n\"\"{{ c }}\") -- {{ n }}\n", params("n", "3"), []string{`[1,"{{ other }}",3]`}},
		{"dollar quotes", "SELECT 1 AS id, $tag$ {{ other }} ' $tag$ AS a, {{ n }} AS n", params("n", "3"), []string{`[1," {{ other }} ' ",3]`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m, err := catalog(tidegate.Model{Name: "m", SQL: tc.sql, Params: tc.params}).Compile(t.Context(), wh, "m")
			if err != nil {
				t.Fatal(allFaults(err))
			}
			if d := cmp.Diff(tc.want, read(t, wh, m)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCheckParams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sql    string
		params map[string]json.RawMessage
		want   string
	}{
		{"SELECT {{ least }}", nil, `sql: 1:8: the parameter "least" has no value (write its value into params)`},
		{"SELECT 1,\n  {{ leats }}", params("least", "1"), `sql: 2:3: the parameter "leats" has no value (did you mean "least"?)`},
		{"SELECT 1", params("least", "1"), `params.least: the query does not use the parameter "least"`},
		{"SELECT '{{ least }}'", params("least", "1"), `sql: 1:8: the parameter "least" stands inside a text`},
		{"SELECT E'\\'{{ least }}'", params("least", "1"), `sql: 1:9: the parameter "least" stands inside a text`},
		{"SELECT \"{{ least }}\"", params("least", "1"), `stands inside a text or a quoted name`},
		{"SELECT {{ least", params("least", "1"), `sql: 1:8: {{ is not closed`},
		{"SELECT * FROM {{ ref('x') }}", nil, `sql: 1:15: {{ ref('x') }} is not a parameter's name (dbt's templates are compiled by dbt`},
		{"{% if x %}SELECT 1{% endif %}", nil, `sql: 1:1: {% is a statement of dbt's templates`},
		{"SELECT $1", nil, `sql: 1:8: $1 is a parameter without a name`},
		{"SELECT {{ a }}", params("a", `{"x":1}`), `params.a: a parameter cannot be an object or an array`},
		{"SELECT {{ a }}", params("a", `99999999999999999999`), `params.a: the number 99999999999999999999 is too large`},
		{"SELECT {{ a b }}", params("a b", `1`), `params.a b: "a b" cannot be a parameter's name`},
		{"", params("a", `1`), `params: only a model of SQL has parameters`},
	} {
		var all []string
		for _, p := range CheckParams(tidegate.Model{Name: "m", SQL: tc.sql, Params: tc.params}) {
			all = append(all, p.Path+": "+p.Message+" ("+p.Hint+")")
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, tc.want) {
			t.Errorf("%s:\n%s\nwant %s", tc.sql, got, tc.want)
		}
	}
}

func TestUses(t *testing.T) {
	t.Parallel()
	wh := shop(t)
	c := catalog(
		tidegate.Model{Name: "people", SQL: "SELECT id, name, plan_id FROM shop.people WHERE amount >= {{ least }}", Params: params("least", "5")},
		tidegate.Model{Name: "plans", Table: "shop.plans"},
		tidegate.Model{Name: "pairs", SQL: "WITH p AS (SELECT * FROM people) SELECT p.id, p.name, plans.title FROM p JOIN plans ON plans.id = p.plan_id WHERE p.id <= {{ most }} ORDER BY 1", Uses: []string{"people", "plans"}, Params: params("most", "2")},
		tidegate.Model{Name: "upper", SQL: "SELECT id, upper(name) AS name FROM pairs", Uses: []string{"pairs"}},
		// reads the table people, although its neighbour in uses has that name
		tidegate.Model{Name: "of_table", SQL: "SELECT id, name FROM people"},
		tidegate.Model{Name: "mixed", SQL: "SELECT id FROM people UNION SELECT id FROM of_table", Uses: []string{"people", "of_table"}},
	)
	for name, want := range map[string][]string{
		"pairs": {`[1,"Ada","Gold"]`, `[2,"Bob","Iron"]`}, "upper": {`[1,"ADA"]`, `[2,"BOB"]`}, "mixed": {"[1]", "[2]", "[3]", "[99]"},
	} {
		m, err := c.Compile(t.Context(), wh, name)
		if err != nil {
			t.Fatal(name, allFaults(err))
		}
		if d := cmp.Diff(want, read(t, wh, m)); d != "" {
			t.Error(name, d)
		}
	}
	m, err := c.Compile(t.Context(), wh, "upper")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]warehouse.Table{{Schema: "shop", Name: "people"}, {Schema: "shop", Name: "plans"}}, m.Tables); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{int64(5), int64(2)}, m.Args); d != "" {
		t.Error(d)
	}
}

func TestUsesRefused(t *testing.T) {
	t.Parallel()
	wh := shop(t)
	chain := []tidegate.Model{{Name: "m0", SQL: "SELECT 1 AS id"}}
	for i := 1; i <= MaxUseDepth; i++ {
		chain = append(chain, tidegate.Model{Name: fmt.Sprint("m", i), SQL: fmt.Sprint("SELECT * FROM m", i-1), Uses: []string{fmt.Sprint("m", i-1)}})
	}
	wide := catalog(tidegate.Model{Name: "x0", SQL: "SELECT 1 AS id --" + strings.Repeat("x", 40_000) + "\n"})
	for i := 1; i < 5; i++ {
		var uses []string
		for j := range i {
			uses = append(uses, fmt.Sprint("x", j))
		}
		wide.Models[fmt.Sprint("x", i)] = tidegate.Model{Name: fmt.Sprint("x", i), SQL: "SELECT * FROM x0", Uses: uses, PrimaryKey: []string{"id"}}
	}
	for _, tc := range []struct {
		name, model string
		c           Catalog
		want        string
	}{
		{"unknown", "a", catalog(tidegate.Model{Name: "a", SQL: "SELECT 1 AS id", Uses: []string{"aa"}}), `it uses "aa", and there is no such model`},
		{"itself", "a", catalog(tidegate.Model{Name: "a", SQL: "SELECT 1 AS id", Uses: []string{"a"}}), "in a circle: a → a"},
		{"circle", "a", catalog(tidegate.Model{Name: "a", SQL: "SELECT 1 AS id", Uses: []string{"b"}}, tidegate.Model{Name: "b", SQL: "SELECT 1 AS id", Uses: []string{"a"}}), "in a circle: a → b → a"},
		{"deep", fmt.Sprint("m", MaxUseDepth), catalog(chain...), "more than 8 deep"},
		{"long", "x4", wide, "262140"},
		{"twice", "a", catalog(tidegate.Model{Name: "a", SQL: "SELECT 1 AS id", Uses: []string{"b", "b"}}, tidegate.Model{Name: "b", SQL: "SELECT 1 AS id"}), `it uses "b" twice`},
		{"of a table", "a", catalog(tidegate.Model{Name: "a", Table: "shop.plans", Uses: []string{"b"}}), "only a model of SQL uses others"},
		{"no model", "z", catalog(), `there is no model "z"`},
		{"dbt", "a", catalog(tidegate.Model{Name: "a", Dbt: "customers"}), `it names the dbt model "customers"`},
		{"file", "a", catalog(tidegate.Model{Name: "a", File: "a.csv"}), `the file "a.csv" cannot be read here`},
		{"bad parameter below", "a", catalog(tidegate.Model{Name: "a", SQL: "SELECT 1 AS id", Uses: []string{"b"}}, tidegate.Model{Name: "b", SQL: "SELECT {{ x }} AS id"}), `model b: sql: 1:8: the parameter "x" has no value`},
		{"lookup's name", "a", catalog(tidegate.Model{Name: "a", SQL: "SELECT 1 AS id, 2 AS _lookup_0"}), "has a name that lookups use"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := tc.c.Compile(t.Context(), wh, tc.model)
			if err == nil || !strings.Contains(allFaults(err), tc.want) || tidegate.FaultOf(err).Action != tidegate.Halt {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestDbtAndFileHooks(t *testing.T) {
	t.Parallel()
	wh := shop(t)
	c := catalog(tidegate.Model{Name: "d", Dbt: "plans", PrimaryKey: []string{}}, tidegate.Model{Name: "f", File: "x.csv"}, tidegate.Model{Name: "u", SQL: "SELECT d.id FROM d JOIN f ON d.id = f.id", Uses: []string{"d", "f"}})
	c.Dbt = func(_ context.Context, def tidegate.Model) (tidegate.Model, error) {
		def.Table, def.PrimaryKey = "shop."+def.Dbt, []string{"title"}
		return def, nil
	}
	c.File = func(context.Context, tidegate.Model) (warehouse.Table, error) {
		return warehouse.Table{Schema: "shop", Name: "plans"}, nil
	}
	for name, want := range map[string]int{"d": 4, "f": 4, "u": 6} {
		m, err := c.Compile(t.Context(), wh, name)
		if err != nil {
			t.Fatal(name, allFaults(err))
		}
		if got := read(t, wh, m); len(got) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if m, err := c.Compile(t.Context(), wh, "d"); err != nil || m.PrimaryKey[0] != "title" || m.Name != "d" {
		t.Error(m, err)
	}
	c.File = func(context.Context, tidegate.Model) (warehouse.Table, error) {
		return warehouse.Table{}, warehouse.ErrYielded
	}
	if _, err := c.Compile(t.Context(), wh, "f"); !errors.Is(err, warehouse.ErrYielded) {
		t.Error(err)
	}
}

func TestLookups(t *testing.T) {
	t.Parallel()
	wh := shop(t)
	c := catalog(
		tidegate.Model{Name: "people", SQL: "SELECT id, name, plan_id FROM shop.people WHERE id < {{ most }}", Params: params("most", "5")},
		tidegate.Model{Name: "plans", SQL: "SELECT * FROM all_plans WHERE price >= {{ least }}", Uses: []string{"all_plans"}, Params: params("least", "0")},
		tidegate.Model{Name: "all_plans", Table: "shop.plans"},
		tidegate.Model{Name: "names", Table: "shop.people", PrimaryKey: []string{"name"}},
	)
	title := tidegate.Lookup{Model: "plans", Key: "plan_id", Column: "title"}
	price := tidegate.Lookup{Model: "plans", Key: "plan_id", Column: "price"}
	self := tidegate.Lookup{Model: "people", Key: "plan_id", Column: "name"}
	m, err := c.Compile(t.Context(), wh, "people", Join{"a", title}, Join{"b", price}, Join{"c", title}, Join{"d", self})
	if err != nil {
		t.Fatal(allFaults(err))
	}
	// 12 is there twice and identifies nothing; a NULL key finds nothing; no row is multiplied
	if d := cmp.Diff([]string{`[1,"Ada",10,"Gold","9.5",null]`, `[2,"Bob",11,"Iron","1",null]`, `[3,"Cy",12,null,null,null]`, `[4,"Di",null,null,null,null]`}, read(t, wh, m)); d != "" {
		t.Error(d)
	}
	if len(m.Lookups) != 3 || m.Schema.Index(m.Lookups[price]) != 4 || m.Schema[4].Type.Kind != tidegate.Decimal || !IsLookupColumn(m.Lookups[title]) {
		t.Errorf("%v %v", m.Lookups, m.Schema)
	}
	if d := cmp.Diff([]any{int64(5), int64(0), int64(5)}, m.Args); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]warehouse.Table{{Schema: "shop", Name: "people"}, {Schema: "shop", Name: "plans"}}, m.Tables); d != "" {
		t.Error(d)
	}
	for want, l := range map[string]tidegate.Lookup{
		`at.key: the model has no column "plan" (`:                                       {Model: "plans", Key: "plan", Column: "title"},
		`at.model: there is no model "plan"`:                                             {Model: "plan", Key: "plan_id", Column: "title"},
		`at.column: model "plans" has no column "titel"`:                                 {Model: "plans", Key: "plan_id", Column: "titel"},
		`at.key: column "plan_id" is int and the primary key of model "names" is string`: {Model: "names", Key: "plan_id", Column: "id"},
	} {
		_, err := c.Compile(t.Context(), wh, "people", Join{"at", l}, Join{"ok", title})
		if err == nil || !strings.Contains(allFaults(err), strings.TrimSuffix(want, " (")) || tidegate.FaultOf(err).Code != "mapping.invalid" {
			t.Errorf("%v, want %s", err, want)
		}
	}
	c.Models["pair"] = tidegate.Model{Name: "pair", Table: "shop.plans", PrimaryKey: []string{"id", "title"}}
	if _, err := c.Compile(t.Context(), wh, "people", Join{"at", tidegate.Lookup{Model: "pair", Key: "plan_id", Column: "title"}}); err == nil || !strings.Contains(allFaults(err), "primary key of 2 columns") {
		t.Error(err)
	}
}

func TestIncremental(t *testing.T) {
	t.Parallel()
	wh := shop(t)
	for column, want := range map[string]struct {
		mark Mark
		rows []string
	}{
		"changed": {`"2024-03-01T10:00:00.000000Z"`, []string{"[3]", "[4]"}},
		"day":     {`"2024-03-01"`, []string{"[3]", "[4]"}},
		"big":     {"3000", []string{"[2]", "[3]", "[4]"}},
	} {
		m, err := catalog(tidegate.Model{Name: "m", SQL: "SELECT id, changed, day, CAST(id * {{ k }} AS BIGINT) AS big FROM shop.people", Params: params("k", "1000"), Incremental: column}).Compile(t.Context(), wh, "m")
		if err != nil {
			t.Fatal(allFaults(err))
		}
		if m.FullEvery != defaultFullEvery {
			t.Error(m.FullEvery)
		}
		mark, err := m.Mark(t.Context(), wh)
		if err != nil {
			t.Fatal(err)
		}
		if column != "big" && mark != want.mark {
			t.Errorf("%s: the mark is %s", column, mark)
		}
		part, err := m.Since(wh, want.mark)
		if err != nil {
			t.Fatal(err)
		}
		ids := *part
		ids.SQL = "SELECT id FROM (" + part.SQL + ")"
		if d := cmp.Diff(want.rows, read(t, wh, &ids)); d != "" {
			t.Error(column, d)
		}
		if again, err := part.Mark(t.Context(), wh); err != nil || again != mark {
			t.Errorf("%s: the mark of a part is %s, %v", column, again, err)
		}
		if _, err := m.Since(wh, `{}`); err == nil {
			t.Error("a mark that is none")
		}
	}
	empty, err := catalog(tidegate.Model{Name: "m", SQL: "SELECT id, changed FROM shop.people WHERE id > 100", Incremental: "changed", FullEvery: "1h"}).Compile(t.Context(), wh, "m")
	if err != nil {
		t.Fatal(err)
	}
	if mark, err := empty.Mark(t.Context(), wh); err != nil || mark != "" {
		t.Error(mark, err)
	}
	for _, def := range []tidegate.Model{{Incremental: "chnged"}, {Incremental: "name"}, {Incremental: "changed", FullEvery: "soon"}} {
		def.Name, def.Table = "m", "shop.people"
		if _, err := catalog(def).Compile(t.Context(), wh, "m"); err == nil || tidegate.FaultOf(err).Code != "model.invalid" {
			t.Errorf("%+v: %v", def, err)
		}
	}
}

// FuzzSplitParams: pieces put together are the query, and what is opaque stays whole.
func FuzzSplitParams(f *testing.F) {
	for _, seed := range []string{"SELECT {{ a }}", "'{{ a }}'", "$x$ {{ a }} $x$", "E'\\'' {{ a }}", "/* {{ a }} */ -- {{ a }}\n{{a}}", "$1", "{%", "\"a\"\"{{ b }}\"", "{{"} {
		f.Add(seed)
	}
	known := params("a", "1", "b", `"x"`)
	f.Fuzz(func(t *testing.T, sql string) {
		pieces, problems := splitParams(sql, known)
		if len(problems) > 0 {
			return
		}
		rest := sql
		for _, p := range pieces {
			if p.param == "" {
				after, ok := strings.CutPrefix(rest, p.text)
				if !ok {
					t.Fatalf("%q is not cut at %q", sql, p.text)
				}
				rest = after
				continue
			}
			end := strings.Index(rest, "}}")
			if !strings.HasPrefix(rest, "{{") || strings.TrimSpace(rest[2:end]) != p.param {
				t.Fatalf("%q: no parameter %q at %q", sql, p.param, rest)
			}
			rest = rest[end+2:]
		}
		if rest != "" {
			t.Fatalf("%q: %q is left", sql, rest)
		}
	})
}

func TestPreview(t *testing.T) {
	t.Parallel()
	wh := shop(t)
	for _, tc := range []struct {
		def   tidegate.Model
		limit int
		rows  int
		cost  bool
	}{
		{tidegate.Model{Name: "m", Table: "shop.people"}, 2, 2, true},
		{tidegate.Model{Name: "m", SQL: "SELECT * FROM shop.people WHERE id > {{ n }}", Params: params("n", "0")}, 100, 4, false},
		{tidegate.Model{Name: "m", Table: "shop.people"}, -1, 0, true},
	} {
		m, err := catalog(tc.def).Compile(t.Context(), wh, "m")
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Preview(t.Context(), wh, tc.limit)
		if err != nil || len(p.Rows) != tc.rows || p.Count != 4 {
			t.Errorf("%+v, %v", p, err)
		}
		if _, estimates := warehouse.Warehouse(wh).(warehouse.Estimator); (p.Cost != nil) != (tc.cost && estimates) {
			t.Errorf("cost %+v", p.Cost)
		}
	}
	m, err := catalog(tidegate.Model{Name: "m", SQL: "SELECT id, 1 / 0 AS x, name::INTEGER AS y FROM shop.people"}).Compile(t.Context(), wh, "m")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Preview(t.Context(), wh, 10); err == nil || tidegate.FaultOf(err).Action != tidegate.Halt {
		t.Error(err)
	}
}
