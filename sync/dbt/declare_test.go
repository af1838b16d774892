package dbt

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s: %s", name, d)
	}
}

func TestDeclaredByTheExample(t *testing.T) {
	t.Parallel()
	list, problems := readReal(t, "v12").Manifest.Declared()
	if len(problems) > 0 || len(list) != 1 {
		t.Fatal(list, problems)
	}
	want := tidegate.Sync{
		Name: "customers_to_crm", Model: "customers", Destination: "crm", Object: "contacts", Mode: tidegate.Upsert,
		Mapping: tidegate.Mapping{Identifier: "email", Fields: []tidegate.FieldMapping{
			{Field: "email", Column: "email"}, {Field: "jobtitle", Template: "{{ plan | capitalize }} customer"},
		}},
		Schedule: tidegate.Schedule{AfterDbt: true},
	}
	if d := cmp.Diff(want, list[0].Sync); d != "" {
		t.Error(d)
	}
}

const oneSync = `{"destination":"crm","object":"contacts","mapping":{"identifier":"email","fields":[{"field":"email","column":"email"}]}}`

func TestDeclared(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, meta string
		want       []string // names of syncs
		problems   []string // part of each
	}{
		{"one", oneSync, []string{"m_to_crm"}, nil},
		{"a list", `[` + oneSync + `,` + strings.Replace(oneSync, `{`, `{"name":"other",`, 1) + `]`, []string{"m_to_crm", "other"}, nil},
		{"wrapped", `{"primary_key":["a","b"],"syncs":[` + oneSync + `]}`, []string{"m_to_crm"}, nil},
		{"none", `null`, nil, nil},
		{"no sync", `"crm"`, nil, []string{"model.p.m.meta.tidegate: must be a sync"}},
		{"misspelled", `{"destinaton":"crm"}`, nil, []string{`meta.tidegate.destination: is missing`, `meta.tidegate.object: is missing`, `meta.tidegate.mapping`, `meta.tidegate.destinaton: unknown key (did you mean "destination"?)`}}, //nolint:misspell // on purpose
		{"a model of its own", strings.Replace(oneSync, `{`, `{"model":"x",`, 1), nil, []string{"meta.tidegate.model: the model is the dbt model"}},
		{"deep", `[` + oneSync + `,{"destination":"crm","object":"o","mapping":{"identifier":"e","fields":[{"field":"e","colum":"e"}]}}]`, []string{"m_to_crm"}, []string{`model.p.m.meta.tidegate[1].mapping.fields[0].colum: unknown key`}},
		{"wrapped wrongly", `{"primry_key":["a"],"syncs":[]}`, nil, []string{`meta.tidegate.primry_key: unknown key`}},
		{"a list of names", `["x"]`, nil, []string{"meta.tidegate[0]: must be a sync"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, where := range []string{`"meta":{"tidegate":%}`, `"config":{"meta":{"tidegate":%}}`} {
				m := manifest(t, modelNode("m", strings.Replace(where, "%", c.meta, 1)))
				list, problems := m.Declared()
				var names []string
				for _, d := range list {
					names = append(names, d.Sync.Name)
					if d.Sync.Model != "m" || d.Sync.Mode != tidegate.Upsert {
						t.Errorf("declared %+v", d.Sync)
					}
				}
				if d := cmp.Diff(c.want, names); d != "" {
					t.Error(d)
				}
				texts := config.Error{Problems: problems}
				if len(problems) != len(c.problems) {
					t.Fatalf("the problems are %s", texts.Error())
				}
				for _, want := range c.problems {
					if !strings.Contains(texts.Error(), want) || problems[0].File != "models/m.sql" {
						t.Errorf("%s\ndoes not say %q", texts.Error(), want)
					}
				}
			}
		})
	}
}

// TestRenderedTemplate: dbt renders {{ … }} in meta; the template that is left
// would be sent as it is.
func TestRenderedTemplate(t *testing.T) {
	t.Parallel()
	rendered := strings.Replace(oneSync, `"column":"email"`, `"template":" customer"`, 1)
	written := strings.Replace(oneSync, `"column":"email"`, `"template":"{{ plan }} customer"`, 1)
	m := manifest(t, modelNode("m", `"config":{"meta":{"tidegate":`+rendered+`}},"unrendered_config":{"meta":{"tidegate":`+written+`}}`))
	if list, problems := m.Declared(); len(list) != 0 || len(problems) != 1 || !strings.Contains(problems[0].Hint, "{% raw %}") {
		t.Errorf("declared %v, %v", list, problems)
	}
}

func TestModelName(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]*Model{
		"customers":             {Name: "Customers"},
		"a_b":                   {Name: "a-b"},
		"x_v1":                  {Name: "x", Version: "1", Latest: "2"},
		"x":                     {Name: "x", Version: "2", Latest: "2"},
		"day":                   {Name: "1_day"},
		strings.Repeat("a", 63): {Name: strings.Repeat("a", 80)},
	} {
		if got := ModelName(m); got != want {
			t.Errorf("%q becomes %q, want %q", m.Name, got, want)
		}
	}
}

func TestExposures(t *testing.T) {
	t.Parallel()
	m := readReal(t, "v12").Manifest
	list, _ := m.Declared()
	syncs := []Exposed{
		{Sync: tidegate.Sync{Name: "b", Destination: "hook", Object: "records", Mode: tidegate.Mirror}, Kind: "webhook", Models: []string{"model.shop.orders", "model.shop.gone"}},
		{Sync: list[0].Sync, Kind: "hubspot", URL: "https://tidegate.example.com", Models: []string{"model.shop.customers"}},
		{Sync: tidegate.Sync{Name: "of nothing"}, Models: []string{"model.shop.gone"}},
	}
	text, err := m.Exposures(syncs)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "exposures.golden.yml", text)
	syncs[0], syncs[1] = syncs[1], syncs[0]
	if again, err := m.Exposures(syncs); err != nil || string(again) != string(text) {
		t.Error("the order of the syncs changes the text")
	}
	old, err := (&Manifest{Models: m.Models, Meta: Metadata{DbtVersion: "1.9.2", Project: "another"}}).Exposures(syncs)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "exposures_old.golden.yml", old)

	path := filepath.Join(t.TempDir(), "exposures.yml")
	none, err := m.Exposures(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		text    []byte
		changed bool
	}{{none, false}, {text, true}, {text, false}, {none, true}} {
		if changed, err := WriteExposures(path, step.text); err != nil || changed != step.changed {
			t.Errorf("step %d: changed %v, %v", i, changed, err)
		}
	}
	if err := os.WriteFile(path, []byte("version: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteExposures(path, text); tidegate.FaultOf(err).Code != "dbt.exposures" {
		t.Errorf("a file of the user's own: %v", err)
	}
}
