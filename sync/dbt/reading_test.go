package dbt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompareReadings(t *testing.T) {
	t.Parallel()
	const base = "id:bigint email:varchar plan:varchar"
	without, renamed := "id:bigint email:varchar", "id:bigint email:varchar tier:varchar"
	for _, c := range []struct {
		name   string
		sql    string
		now    string // the columns on the new side
		wanted []string
		names  map[string]string
		want   []string
	}{
		{"nothing changes", "SELECT id, plan FROM s.m", base, nil, nil, nil},
		{"the SQL names the dropped column", "SELECT id, upper(plan) AS p FROM s.m", without, nil, nil, []string{"!dbt.column_dropped plan"}},
		{"renamed", "SELECT id FROM s.m WHERE m.plan = 'pro'", renamed, nil, nil, []string{"!dbt.column_dropped plan"}},
		{"another column", "SELECT id, email FROM s.m", without, nil, nil, nil},
		{"all columns, and the sync maps it", "SELECT * FROM s.m", without, []string{"plan"}, nil, []string{"!dbt.column_dropped plan"}},
		{"all of one table", "SELECT x.*, 1 AS one FROM s.m AS x", without, []string{"plan"}, nil, []string{"!dbt.column_dropped plan"}},
		{"all columns, and nobody wants it", "SELECT * FROM s.m", without, []string{"email"}, nil, nil},
		{"a count is not all columns", "SELECT count(*) AS n, 2 * 3 FROM s.m", without, []string{"plan"}, nil, nil},
		{"another schema", "SELECT plan FROM other.m", without, nil, nil, nil},
		{"no schema", "SELECT plan FROM m", without, nil, nil, []string{"!dbt.column_dropped plan"}},
		{"quoted", `SELECT "plan" FROM "db"."s"."m"`, without, nil, nil, []string{"!dbt.column_dropped plan"}},
		{"other case", "select Plan from S.M", without, nil, nil, []string{"!dbt.column_dropped plan"}},
		{"a comma in FROM", "SELECT plan FROM s.x, s.m", without, nil, nil, []string{"!dbt.column_dropped plan"}},
		{"in a comment and in a text", "SELECT id, 'plan' AS t -- plan\n/* plan */ FROM s.m", without, nil, nil, nil},
		{"the table in a comment", "SELECT plan FROM s.x -- FROM s.m", without, nil, nil, nil},
		{"a WITH of that name", "WITH m AS (SELECT 1 AS plan) SELECT plan FROM m", without, nil, nil, nil},
		{"a WITH of that name over the table", "WITH m AS (SELECT plan FROM s.m) SELECT plan FROM m", without, nil, nil, []string{"!dbt.column_dropped plan"}},
		{"another type", "SELECT id FROM s.m", "id:integer email:varchar plan:varchar", nil, nil, []string{"dbt.column_type id"}},
		{"by the name of a model", "SELECT plan FROM people", without, nil, map[string]string{"people": "m"}, []string{"!dbt.column_dropped plan"}},
		{"a name of another model", "SELECT plan FROM people", without, nil, map[string]string{"people": "n"}, nil},
		{"no such model any more", "SELECT id FROM s.m", "", nil, nil, []string{"!dbt.model_dropped "}},
		{"moved", "SELECT id FROM s.m", "moved", nil, nil, []string{"!dbt.model_moved "}},
		{"moved, but named as a model", "SELECT id FROM people", "moved", nil, map[string]string{"people": "m"}, nil},
		{"ephemeral now", "SELECT id FROM s.m", "ephemeral", nil, nil, []string{"!dbt.model_unreadable "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old := catalogue(side(t, base))
			now := &Side{Artifacts: &Artifacts{Manifest: manifest(t, modelNode("other"))}}
			switch c.now {
			case "":
			case "moved":
				now = catalogue(side(t, base))
				now.Manifest.Models["model.p.m"].Schema = "elsewhere"
			case "ephemeral":
				now = catalogue(side(t, base))
				now.Manifest.Models["model.p.m"].Materialized = "ephemeral"
			default:
				now = catalogue(side(t, c.now))
			}
			for _, s := range []*Side{old, now} {
				if m := s.Manifest.Models["model.p.m"]; m != nil && m.Schema != "elsewhere" {
					m.Schema, m.Alias = "s", "m"
				}
			}
			findings, err := CompareReadings(*old, *now, []Reading{{Sync: "crm", Model: "people_sql", SQL: c.sql, Names: c.names, Wanted: c.wanted}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings {
				mark := ""
				if f.Breaks {
					mark = "!"
				}
				got = append(got, mark+f.Code+" "+f.Column)
				if f.Sync != "crm" || !strings.Contains(f.Message, "people_sql") || f.Hint == "" {
					t.Errorf("%+v", f)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzSQLWords(f *testing.F) {
	f.Add("WITH a AS (SELECT \"x\"\"y\" FROM t) SELECT * FROM a -- c")
	f.Fuzz(func(t *testing.T, sql string) {
		for _, w := range SQLWords(sql) {
			if w != strings.ToLower(w) {
				t.Errorf("%q", w)
			}
		}
	})
}
