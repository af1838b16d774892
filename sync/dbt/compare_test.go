package dbt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// side is a project of one model m with these columns and tests.
func side(t testing.TB, columns string, tests ...string) *Side {
	t.Helper()
	var cols []string
	for _, c := range strings.Fields(columns) {
		name, typ, _ := strings.Cut(c, ":")
		cols = append(cols, fmt.Sprintf(`%q:{"name":%q,"data_type":%q}`, name, name, typ))
	}
	nodes := modelNode("m", `"columns":{`+strings.Join(cols, ",")+`}`)
	for _, test := range tests {
		nodes += "," + test
	}
	return &Side{Artifacts: &Artifacts{Manifest: manifest(t, nodes)}}
}

// catalogue makes the columns of the side complete.
func catalogue(s *Side) *Side {
	m := s.Manifest.Models["model.p.m"]
	s.Catalog = &Catalog{Columns: map[string][]Column{m.ID: m.Columns}}
	return s
}

func idKey() []string {
	return []string{testNode("unique", "m", "id"), testNode("not_null", "m", "id")}
}

func use(fields ...tidegate.FieldMapping) Use {
	return Use{Sync: tidegate.Sync{Name: "s", Mapping: tidegate.Mapping{Fields: fields}}, Reference: "m"}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	email := tidegate.FieldMapping{Field: "email", Column: "email"}
	greeting := tidegate.FieldMapping{Field: "jobtitle", Template: `{{ plan | capitalize }} "email" customer`}
	score := tidegate.FieldMapping{Field: "hot", Expression: `score > 80 ? "plan" : "cold"`}
	nested := tidegate.FieldMapping{Field: "address", Object: []tidegate.FieldMapping{{Field: "city", Column: "city"}}}
	base := "id:bigint email:varchar plan:varchar score:int city:text"
	for _, c := range []struct {
		name     string
		old, now *Side
		use      Use
		want     []string // "code column", with ! where it breaks
		words    string
	}{
		{"nothing", catalogue(side(t, base, idKey()...)), catalogue(side(t, base, idKey()...)), use(email, greeting, score, nested), nil, ""},
		{"a column that nobody maps", catalogue(side(t, base, idKey()...)), catalogue(side(t, "id:bigint email:varchar", idKey()...)), use(email), nil, ""},
		{"dropped", catalogue(side(t, base, idKey()...)), catalogue(side(t, "id:bigint plan:varchar", idKey()...)), use(email), []string{"!dbt.column_dropped email"}, "the change drops it"},
		{"renamed", catalogue(side(t, base, idKey()...)), catalogue(side(t, strings.Replace(base, "email:", "mail:", 1), idKey()...)), use(email), []string{"!dbt.column_dropped email"}, `renames it to "mail"`},
		{"in a template", catalogue(side(t, base, idKey()...)), catalogue(side(t, "id:bigint email:varchar", idKey()...)), use(greeting), []string{"!dbt.column_dropped plan"}, ""},
		{"in an expression", catalogue(side(t, base, idKey()...)), catalogue(side(t, "id:bigint", idKey()...)), use(score), []string{"!dbt.column_dropped score"}, ""},
		{"in a nested value", catalogue(side(t, base, idKey()...)), catalogue(side(t, "id:bigint", idKey()...)), use(nested), []string{"!dbt.column_dropped city"}, ""},
		{"the key itself", catalogue(side(t, base)), catalogue(side(t, "email:varchar")), Use{Sync: use(email).Sync, Reference: "m", PrimaryKey: []string{"id"}}, []string{"!dbt.column_dropped id", "dbt.key_untested "}, ""},
		{"another type", catalogue(side(t, base, idKey()...)), catalogue(side(t, strings.Replace(base, "email:varchar", "email:integer", 1), idKey()...)), use(email), []string{"!dbt.column_type email"}, "from varchar to integer"},
		{"another name of the type", catalogue(side(t, base, idKey()...)), catalogue(side(t, strings.Replace(base, "email:varchar", "email:TEXT", 1), idKey()...)), use(email), nil, ""},
		{"declared only, dropped", side(t, base, idKey()...), side(t, "id:bigint", idKey()...), use(email), []string{"!dbt.column_dropped email"}, ""},
		{"declared only, never declared", side(t, "id:bigint", idKey()...), side(t, "id:bigint", idKey()...), use(email), []string{"dbt.column_unknown email"}, ""},
		{"types of unlike origin", catalogue(side(t, base, idKey()...)), side(t, strings.Replace(base, "email:varchar", "email:citext", 1), idKey()...), use(email), nil, ""},
		{"tests removed", side(t, base, idKey()...), side(t, base), use(email), []string{"!dbt.key_unproven "}, "unique and not null"},
		{"half of the tests removed", side(t, base, idKey()...), side(t, base, idKey()[0]), use(email), []string{"!dbt.key_unproven "}, ""},
		{"tests weakened", side(t, base, idKey()...), side(t, base, testNode("unique", "m", "id", `{"severity":"warn"}`), idKey()[1]), use(email), []string{"!dbt.key_unproven "}, ""},
		{"another key", side(t, base, idKey()...), side(t, base, testNode("unique", "m", "email"), testNode("not_null", "m", "email")), use(email), []string{"!dbt.key_changed "}, "from (id) to (email)"},
		{"a key of the project's own", side(t, base), side(t, base), Use{Sync: use(email).Sync, Reference: "m", PrimaryKey: []string{"id"}}, []string{"dbt.key_untested "}, ""},
		{"a wider key than the tested one", side(t, base, idKey()...), side(t, base, idKey()...), Use{Sync: use(email).Sync, Reference: "m", PrimaryKey: []string{"id", "email"}}, nil, ""},
		{"never a key", nil, side(t, base), use(email), []string{"!dbt.no_key "}, ""},
		{"the model is gone", side(t, base, idKey()...), &Side{Artifacts: &Artifacts{Manifest: manifest(t, modelNode("other"))}}, use(email), []string{"!dbt.model_dropped "}, "dropped, disabled or renamed"},
		{
			"the model is renamed", side(t, "id:bigint email:varchar", idKey()...),
			&Side{Artifacts: &Artifacts{Manifest: manifest(t, modelNode("other", `"columns":{"id":{"name":"id"},"email":{"name":"email"}}`))}},
			use(email),
			[]string{"!dbt.model_dropped "},
			"renamed to p.other",
		},
		{"never a model", nil, &Side{Artifacts: &Artifacts{Manifest: manifest(t, modelNode("om"))}}, use(email), []string{"!dbt.model_dropped "}, "no such model"},
		{
			"ephemeral", side(t, base, idKey()...), &Side{Artifacts: &Artifacts{Manifest: manifest(t, modelNode("m", `"config":{"materialized":"ephemeral"}`))}},
			use(email),
			[]string{"!dbt.model_unreadable "},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			findings, err := Compare(c.old, *c.now, []Use{c.use})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			said := ""
			for _, f := range findings {
				mark := ""
				if f.Breaks {
					mark = "!"
				}
				got = append(got, mark+f.Code+" "+f.Column)
				said += f.Message + " " + f.Hint + "\n"
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d, said)
			}
			if !strings.Contains(said, c.words) {
				t.Errorf("%q does not say %q", said, c.words)
			}
		})
	}
}

// TestCompareSaysWhatItCouldNotSee: a change of the SQL may change columns that only the YAML tells of.
func TestCompareSaysWhatItCouldNotSee(t *testing.T) {
	t.Parallel()
	version := func(sum string) *Side {
		return &Side{Artifacts: &Artifacts{Manifest: manifest(t, strings.Join(append(idKey(), modelNode("m", `"checksum":{"name":"sha256","checksum":"`+sum+`"},"columns":{"id":{"name":"id"},"email":{"name":"email"}}`)), ","))}}
	}
	for _, c := range []struct {
		name     string
		old, now *Side
		want     int
	}{
		{"the same text", version("1"), version("1"), 0},
		{"another text", version("1"), version("2"), 1},
		{"another text, and a catalogue", catalogue(version("1")), catalogue(version("2")), 0},
	} {
		findings, err := Compare(c.old, *c.now, []Use{use(tidegate.FieldMapping{Field: "email", Column: "email"})})
		if err != nil || len(findings) != c.want || c.want > 0 && (findings[0].Breaks || findings[0].Code != "dbt.columns_declared") {
			t.Errorf("%s: %+v, %v", c.name, findings, err)
		}
	}
}

// TestProver: the warehouse knows what artefacts do not say.
func TestProver(t *testing.T) {
	t.Parallel()
	email := tidegate.FieldMapping{Field: "email", Column: "email"}
	now := side(t, "id:bigint")
	now.Manifest.Models["model.p.m"].Compiled = "select 1 as id, 'x' as email;\n"
	var asked []string
	rows := int64(0)
	refuse := false
	p := Prover{Dialect: sqltext.DuckDB(), Query: func(_ context.Context, sql string) ([]Column, int64, error) {
		asked = append(asked, sql)
		if refuse {
			return nil, 0, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.unknown", Message: "no such table"}
		}
		if strings.HasSuffix(sql, "LIMIT 0") {
			return []Column{{Name: "id", Type: "int"}, {Name: "email", Type: "string"}}, 0, nil
		}
		return nil, rows, nil
	}}
	check := func(key ...string) string {
		t.Helper()
		asked = nil
		u := use(email)
		u.PrimaryKey = key
		findings, err := Compare(nil, p.Now(t.Context(), now.Artifacts), []Use{u})
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(findings)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := check("id"); got != "null" {
		t.Errorf("proven by the warehouse, and yet %s", got)
	}
	want := []string{
		"SELECT * FROM (\nselect 1 as id, 'x' as email\n) AS model LIMIT 0",
		"SELECT \"id\" FROM (\nselect 1 as id, 'x' as email\n) AS model GROUP BY \"id\" HAVING count(*) > 1 OR \"id\" IS NULL LIMIT 1",
	}
	if d := cmp.Diff(want, asked); d != "" {
		t.Error(d)
	}
	rows = 1
	if got := check("id"); !strings.Contains(got, "dbt.key_not_unique") {
		t.Errorf("a key that stands twice: %s", got)
	}
	now.Manifest.Models["model.p.m"].PrimaryKey = []string{"id"} // its tests have not run on the change
	if got := check(); !strings.Contains(got, "dbt.key_not_unique") {
		t.Errorf("a tested key that stands twice: %s", got)
	}
	refuse = true
	if got := check("id"); strings.Contains(got, "dropped") {
		t.Errorf("a table that is not built is taken for one without columns: %s", got)
	}
	p.Query = func(context.Context, string) ([]Column, int64, error) { return nil, 0, errors.New("the line is dead") }
	if _, err := Compare(nil, p.Now(t.Context(), now.Artifacts), []Use{use(email)}); err == nil {
		t.Error("a dead line is taken for proof")
	}
}

func TestMappedColumns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field tidegate.FieldMapping
		want  []string
	}{
		{tidegate.FieldMapping{Column: "a"}, []string{"a"}},
		{tidegate.FieldMapping{Template: `{% if vip %}Dear {{ first | capitalize }}{% else %}{{ last | default: "you" }}{% endif %} only text`}, []string{"vip", "first", "last"}},
		{tidegate.FieldMapping{Expression: `score > 80 && size(tags) > 2 ? "hot" : name.lower()`}, []string{"score", "tags", "name"}},
		{tidegate.FieldMapping{Lookup: &tidegate.Lookup{Model: "m", Key: "k", Column: "c"}}, []string{"k"}},
		{tidegate.FieldMapping{Items: []tidegate.FieldMapping{{Column: "a"}, {Object: []tidegate.FieldMapping{{Field: "x", Template: "{{ b }}"}}}}}, []string{"a", "b"}},
		{tidegate.FieldMapping{Constant: json.RawMessage(`"a"`)}, nil},
	} {
		if d := cmp.Diff(c.want, MappedColumns(c.field)); d != "" {
			t.Errorf("%+v: %s", c.field, d)
		}
	}
}
