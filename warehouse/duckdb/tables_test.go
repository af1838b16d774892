package duckdb_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTablesOf(t *testing.T) {
	t.Parallel()
	w := open(t)
	for _, sql := range []string{
		"CREATE TABLE plain (n INTEGER)", "CREATE SCHEMA a", `CREATE TABLE a."x.y ""z""" (n INTEGER)`, "CREATE VIEW v AS SELECT * FROM plain",
		"CREATE VIEW a.above AS SELECT n FROM v", `CREATE VIEW a."as ""x""" ("as", m) AS SELECT n, 1 FROM (SELECT * FROM "x.y ""z""")`, "CREATE VIEW a.deep AS WITH plain AS (SELECT n FROM a.above) SELECT * FROM plain",
		"CREATE TABLE later (n INTEGER)", "CREATE VIEW a.broken AS SELECT n FROM later", "DROP TABLE later",
	} {
		if _, err := w.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		sql  string
		want []string
	}{
		{"SELECT 1", nil},
		{"SELECT * FROM plain", []string{"main.plain"}},
		{"SELECT * FROM main.plain, plain p", []string{"main.plain"}},
		{`SELECT * FROM a."x.y ""z"""`, []string{`a.x.y "z"`}},
		{"SELECT * FROM v", []string{"main.plain", "main.v"}},
		{"SELECT * FROM A.Above", []string{"A.Above", "main.plain", "main.v"}},
		{`SELECT * FROM a."as ""x"""`, []string{`a.as "x"`, `a.x.y "z"`}},
		{"SELECT * FROM a.deep", []string{"a.above", "a.deep", "main.plain", "main.v"}},
		{"WITH c AS (SELECT * FROM plain) SELECT * FROM c", []string{"main.plain"}},
		{"WITH c AS (SELECT * FROM plain) SELECT * FROM c JOIN v USING (n)", []string{"main.plain", "main.v"}},
		{"WITH plain AS (SELECT * FROM plain) SELECT * FROM plain", []string{"main.plain"}},
		{"WITH v AS (SELECT 1 AS n) SELECT * FROM v", nil},
		{"WITH V AS (SELECT 1 AS n) SELECT * FROM v", nil},
		{"SELECT * FROM (WITH v AS (SELECT 1 AS n) SELECT * FROM v) JOIN plain USING (n)", []string{"main.plain"}},
		{"SELECT * FROM (WITH v AS (SELECT 1 AS n) SELECT * FROM v) JOIN v USING (n)", []string{"main.plain", "main.v"}},
		{"WITH RECURSIVE r(n) AS (SELECT n FROM plain UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r", []string{"main.plain"}},
		{"SELECT (SELECT max(n) FROM plain) WHERE EXISTS (SELECT 1 FROM v)", []string{"main.plain", "main.v"}},
		{"SELECT 1 UNION ALL SELECT n FROM plain", []string{"main.plain"}},
		{"FROM plain", []string{"main.plain"}},
		{"SELECT * FROM range(3)", nil},
	} {
		tables, err := w.TablesOf(context.Background(), c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		var got []string
		for _, table := range tables {
			got = append(got, table.String())
		}

		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.sql, d)
		}
	}
	for _, sql := range []string{"SELECT FROM", "SELECT * FROM nowhere", "DROP TABLE plain", "SELECT 1; SELECT 2"} {
		if tables, err := w.TablesOf(context.Background(), sql); err == nil {
			t.Errorf("%s: got %v", sql, tables)
		}
	}
}
