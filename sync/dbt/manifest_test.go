package dbt

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readReal reads the artefacts that a real dbt wrote for examples/dbt.
func readReal(t testing.TB, version string) *Artifacts {
	t.Helper()
	a, err := Load(t.Context(), folder{filepath.Join("testdata", version)}, nil, Options{Code: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestRealManifests holds the reader to manifests of dbt 1.5, 1.6, 1.7 and 1.12
// (v9 to v12), and to the newest again under a version that does not exist yet.
func TestRealManifests(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v9", "v10", "v11", "v12", "v20"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			var m *Manifest
			if version == "v20" {
				data, err := os.ReadFile("testdata/v12/manifest.json")
				if err != nil {
					t.Fatal(err)
				}
				if m, err = ReadManifest(bytes.NewReader(bytes.ReplaceAll(data, []byte("manifest/v12.json"), []byte("manifest/v20.json"))), Options{}); err != nil {
					t.Fatal(err)
				}
			} else {
				m = readReal(t, version).Manifest
			}
			if want := "https://schemas.getdbt.com/dbt/manifest/" + version + ".json"; m.Meta.SchemaVersion != want {
				t.Errorf("the schema is %s, want %s", m.Meta.SchemaVersion, want)
			}
			c, err := m.Find("customers")
			if err != nil {
				t.Fatal(err)
			}
			type short struct {
				ID, Table, Materialized, Path, Group, KeyFrom string
				Tags, Key, Parents                            []string
				Columns, Tests                                int
				Declared                                      bool
			}
			got := short{c.ID, c.Table(), c.Materialized, c.Path, c.Group, c.KeyFrom, c.Tags, c.PrimaryKey, c.Parents, len(c.Columns), len(c.Tests), c.Declaration != nil}
			want := short{
				"model.shop.customers", "marts.customers", "table", "models/marts/customers.yml", "crm_team", "tests",
				[]string{"crm"},
				[]string{"user_id"},
				[]string{"source.shop.web.users", "model.shop.orders"},
				5, 4, true,
			}
			want.Path = "models/marts/customers.sql"
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if m.Groups["crm_team"] != (Owner{Name: "CRM team", Email: "crm@example.com"}) {
				t.Errorf("the groups are %v", m.Groups)
			}
			if s := m.Sources["source.shop.web.users"]; s == nil || s.Schema != "web" || s.Table != "users" {
				t.Errorf("the source is %+v", s)
			}
		})
	}
}

func manifest(t testing.TB, nodes string) *Manifest {
	t.Helper()
	m, err := ReadManifest(strings.NewReader(`{"metadata":{"project_name":"p","dbt_version":"1.12.0"},"nodes":{`+nodes+`}}`), Options{Code: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// testNode is a data test of a model in the words of a manifest.
func testNode(kind, model, column string, more ...string) string {
	kwargs := fmt.Sprintf(`{"column_name":%q}`, column)
	config := "{}"
	for _, m := range more {
		if strings.HasPrefix(m, "[") {
			kwargs = `{"combination_of_columns":` + m + `}`
		} else {
			config = m
		}
	}
	id := "test.p." + kind + "_" + model + "_" + column
	return fmt.Sprintf(`%q:{"resource_type":"test","name":%q,"test_metadata":{"name":%q,"kwargs":%s},"attached_node":"model.p.%s","config":%s}`, id, kind+"_"+model+"_"+column, kind, kwargs, model, config)
}

func modelNode(name string, more ...string) string {
	return fmt.Sprintf(`"model.p.%s":{"resource_type":"model","name":%q,"package_name":"p","schema":"main","alias":%q,"fqn":["p",%q],"original_file_path":"models/%s.sql"%s}`,
		name, name, name, name, name, strings.Join(append([]string{""}, more...), ","))
}

func TestPrimaryKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		nodes []string
		want  []string
		from  string
	}{
		{"nothing", []string{modelNode("m")}, nil, ""},
		{"unique and not null", []string{modelNode("m"), testNode("unique", "m", "id"), testNode("not_null", "m", "id")}, []string{"id"}, "tests"},
		{"unique alone lets NULL through", []string{modelNode("m"), testNode("unique", "m", "id")}, nil, ""},
		{"some rows only", []string{modelNode("m"), testNode("unique", "m", "id", `{"where":"x > 1"}`), testNode("not_null", "m", "id")}, nil, ""},
		{"a warning proves nothing", []string{modelNode("m"), testNode("unique", "m", "id", `{"severity":"warn"}`), testNode("not_null", "m", "id")}, nil, ""},
		{"disabled", []string{modelNode("m"), testNode("unique", "m", "id", `{"enabled":false}`), testNode("not_null", "m", "id")}, nil, ""},
		{
			"a combination",
			[]string{
				modelNode("m"), testNode("unique_combination_of_columns", "m", "x", `["a","b"]`), testNode("not_null", "m", "a"), testNode("not_null", "m", "b"),
			},
			[]string{"a", "b"},
			"tests",
		},
		{
			"a combination whose part may be NULL",
			[]string{modelNode("m"), testNode("unique_combination_of_columns", "m", "x", `["a","b"]`), testNode("not_null", "m", "a")},
			nil, "",
		},
		{
			"the first declared of two",
			[]string{
				modelNode("m", `"columns":{"id":{"name":"id"},"email":{"name":"email"}}`),
				testNode("unique", "m", "email"), testNode("not_null", "m", "email"), testNode("unique", "m", "id"), testNode("not_null", "m", "id"),
			},
			[]string{"id"},
			"tests",
		},
		{"the model's constraint", []string{modelNode("m", `"constraints":[{"type":"primary_key","columns":["a","b"]}]`)}, []string{"a", "b"}, "constraint"},
		{"a column's constraint", []string{modelNode("m", `"columns":{"id":{"name":"id","constraints":[{"type":"primary_key"}]}}`)}, []string{"id"}, "constraint"},
		{"dbt's inference of one column", []string{modelNode("m", `"primary_key":["id"]`)}, []string{"id"}, "manifest"},
		{"dbt's inference joins what are two keys", []string{modelNode("m", `"primary_key":["email","id"]`)}, nil, ""},
		{"quoted by the author", []string{modelNode("m"), testNode("unique", "m", `"Id"`), testNode("not_null", "m", `"Id"`)}, []string{"Id"}, "tests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := manifest(t, strings.Join(c.nodes, ",")).Models["model.p.m"]
			if d := cmp.Diff(c.want, m.PrimaryKey); d != "" || m.KeyFrom != c.from {
				t.Errorf("from %q: %s", m.KeyFrom, d)
			}
		})
	}
}

// TestTolerance: a field of another shape than expected is absent, whatever the field.
func TestTolerance(t *testing.T) {
	t.Parallel()
	m := manifest(t, `
		"model.p.a": {"resource_type":"model","name":"a","schema":"s","tags":"crm","config":null,"columns":[],"depends_on":[],"constraints":{},"meta":5,"fqn":null,"version":2},
		"model.p.b": {"resource_type":"model","name":"b","schema":null,"tags":[1,"x",null],"config":{"enabled":true,"meta":[],"tags":"y","contract":true},"columns":{"c":null},"depends_on":{"nodes":"model.p.a"}},
		"model.p.off": {"resource_type":"model","name":"off","config":{"enabled":false}},
		"model.p.strange": 7,
		"test.p.singular": {"resource_type":"test","name":"singular","depends_on":{"nodes":["model.p.a","source.p.x.y","model.p.b"]}},
		"operation.p.x": {"resource_type":"operation"}`)
	a, b := m.Models["model.p.a"], m.Models["model.p.b"]
	if a == nil || b == nil || len(m.Models) != 2 {
		t.Fatalf("the models are %v", m.Models)
	}
	if d := cmp.Diff([]string{"crm"}, a.Tags); d != "" || a.Version != "2" {
		t.Error(d, a.Version)
	}
	if d := cmp.Diff([]string{"1", "x", "y"}, b.Tags); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Column{{Name: "c"}}, b.Columns); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"model.p.a", "model.p.b"}, m.Tests["test.p.singular"].Models); d != "" {
		t.Error(d)
	}
	if a.Readable() != nil || b.Readable() == nil {
		t.Error("a has a schema and b has none")
	}
}

// TestCutOff: whatever part of a manifest is missing, it is no manifest (Invariant 6).
func TestCutOff(t *testing.T) {
	t.Parallel()
	step := 97
	if testing.Short() {
		step = 997
	}
	for _, file := range []string{"manifest.json", "run_results.json", "catalog.json"} {
		data, err := os.ReadFile("testdata/v12/" + file)
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.TrimSpace(data)
		read := func(r io.Reader) (err error) {
			switch file {
			case "manifest.json":
				_, err = ReadManifest(r, Options{})
			case "run_results.json":
				_, err = ReadResults(r)
			default:
				_, err = ReadCatalog(r)
			}
			return err
		}
		if err := read(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(data); n += step {
			if err := read(bytes.NewReader(data[:n])); err == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for whole", file, n, len(data))
			}
		}
		if err := read(strings.NewReader(string(data) + "{}")); err == nil {
			t.Errorf("%s: what stands behind its end is overlooked", file)
		}
	}
	if _, err := ReadManifest(strings.NewReader(`{"metadata":{}}`), Options{}); err == nil {
		t.Error("a file without nodes is taken for a manifest")
	}
	if _, err := ReadResults(strings.NewReader(`{"metadata":{}}`)); err == nil {
		t.Error("a file without results is taken for results")
	}
}

// TestLargeManifest: memory holds what is asked for, not the file.
func TestLargeManifest(t *testing.T) {
	t.Parallel()
	nodes, code := 400, 256<<10 // 100 MiB
	if testing.Short() {
		nodes = 20
	}
	pr, pw := io.Pipe()
	go func() {
		filler := strings.Repeat("x", code)
		_, err := io.WriteString(pw, `{"metadata":{"dbt_version":"1.12.6"},"macros":{`)
		for i := range nodes {
			if err == nil {
				_, err = fmt.Fprintf(pw, `"m%d":{"macro_sql":%q},`, i, filler[:code/2])
			}
		}
		if err == nil {
			_, err = io.WriteString(pw, `"last":{}},"nodes":{`)
		}
		for i := range nodes {
			if err == nil {
				_, err = fmt.Fprintf(pw, `"model.p.m%d":{"resource_type":"model","name":"m%d","schema":"s","raw_code":%q},`, i, i, filler[:code/2])
			}
		}
		if err == nil {
			_, err = io.WriteString(pw, `"model.p.end":{"resource_type":"model","name":"end"}}}`)
		}
		pw.CloseWithError(err)
	}()
	m, err := ReadManifest(pr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Models) != nodes+1 {
		t.Errorf("%d models, want %d", len(m.Models), nodes+1)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	m := manifest(t, strings.Join([]string{
		modelNode("raw", `"tags":["base"]`),
		modelNode("mid", `"depends_on":{"nodes":["model.p.raw"]},"config":{"materialized":"view"}`),
		`"model.p.mart":{"resource_type":"model","name":"mart","package_name":"p","schema":"s","fqn":["p","marts","crm","mart"],"original_file_path":"models/marts/crm/mart.sql","tags":["crm","daily"],"group":"g","access":"public","config":{"materialized":"table"},"depends_on":{"nodes":["model.p.mid","source.p.x.y"]}}`,
		`"model.q.mart":{"resource_type":"model","name":"mart","package_name":"q","schema":"s","fqn":["q","mart"],"original_file_path":"models/mart.sql","tags":["daily"]}`,
		`"model.p.ver.v1":{"resource_type":"model","name":"ver","package_name":"p","schema":"s","version":1,"latest_version":2,"fqn":["p","ver","v1"]}`,
		`"model.p.ver.v2":{"resource_type":"model","name":"ver","package_name":"p","schema":"s","version":2,"latest_version":2,"fqn":["p","ver","v2"]}`,
		`"seed.p.codes":{"resource_type":"seed","name":"codes","package_name":"p","schema":"s","fqn":["p","codes"],"original_file_path":"seeds/codes.csv"}`,
	}, ","))
	for _, c := range []struct {
		selection string
		want      []string
	}{
		{"mart", []string{"model.p.mart", "model.q.mart"}},
		{"p.mart", []string{"model.p.mart"}},
		{"model.p.mart", []string{"model.p.mart"}},
		{"marts", []string{"model.p.mart"}},
		{"marts.crm", []string{"model.p.mart"}},
		{"tag:crm", []string{"model.p.mart"}},
		{"tag:d*", []string{"model.p.mart", "model.q.mart"}},
		{"tag:daily,package:q", []string{"model.q.mart"}},
		{"tag:crm tag:base", []string{"model.p.mart", "model.p.raw"}},
		{"path:models/marts", []string{"model.p.mart"}},
		{"models/marts", []string{"model.p.mart"}},
		{"path:models/*.sql", []string{"model.p.mart", "model.p.mid", "model.p.raw", "model.q.mart"}},
		{"file:mart.sql,group:g", []string{"model.p.mart"}},
		{"config.materialized:view", []string{"model.p.mid"}},
		{"access:public", []string{"model.p.mart"}},
		{"resource_type:seed", []string{"seed.p.codes"}},
		{"+p.mart", []string{"model.p.mart", "model.p.mid", "model.p.raw"}},
		{"1+p.mart", []string{"model.p.mart", "model.p.mid"}},
		{"raw+", []string{"model.p.mart", "model.p.mid", "model.p.raw"}},
		{"raw+1", []string{"model.p.mid", "model.p.raw"}},
		{"+tag:crm,config.materialized:view", []string{"model.p.mid"}},
		{"ver", []string{"model.p.ver.v1", "model.p.ver.v2"}},
		{"ver.v1", []string{"model.p.ver.v1"}},
		{"nothing", nil},
		{"", nil},
	} {
		got, err := m.Select(c.selection)
		if err != nil {
			t.Errorf("%q: %v", c.selection, err)
			continue
		}
		var ids []string
		for _, g := range got {
			ids = append(ids, g.ID)
		}
		if d := cmp.Diff(c.want, ids); d != "" {
			t.Errorf("%q: %s", c.selection, d)
		}
	}
	for _, bad := range []string{"tga:crm", "state:modified", "@mart", "a,,b", "+"} {
		if _, err := m.Select(bad); err == nil {
			t.Errorf("%q is taken for a selection", bad)
		}
	}
	for reference, want := range map[string]string{
		"p.mart": "model.p.mart", "ver": "model.p.ver.v2", "ver.v1": "model.p.ver.v1", "p.ver": "model.p.ver.v2", "tag:crm": "model.p.mart", "codes": "seed.p.codes",
	} {
		if got, err := m.Find(reference); err != nil || got.ID != want {
			t.Errorf("%q finds %v, %v; want %s", reference, got, err, want)
		}
	}
	for reference, words := range map[string]string{"mart": "p.mart, q.mart", "tag:daily": "p.mart, q.mart", "marz": `did you mean "mart"?`, "tag:none": "no such model"} {
		if _, err := m.Find(reference); err == nil || !strings.Contains(explained(err), words) {
			t.Errorf("%q: %s does not say %q", reference, explained(err), words)
		}
	}
}

func FuzzReadManifest(f *testing.F) {
	f.Add([]byte(`{"metadata":{"dbt_version":"1.12.6","project_name":"p"},"nodes":{` + strings.Join([]string{
		modelNode("m", `"columns":{"id":{"name":"id","data_type":"int","constraints":[{"type":"primary_key"}]}},"config":{"meta":{"tidegate":`+oneSync+`},"tags":["a"]},"group":"g"`),
		testNode("unique", "m", "id"), testNode("unique_combination_of_columns", "m", "x", `["a","b"]`),
	}, ",") + `},"sources":{"source.p.x.y":{"schema":"x","name":"y"}},"groups":{"group.p.g":{"name":"g","owner":{"name":"o"}}},"unit_tests":{"u":{"depends_on":{"nodes":["model.p.m"]}}}}`))
	f.Add([]byte(`{"nodes":{"test.p.t":{"resource_type":"test","column_name":"\"Id\"","test_metadata":{"name":"unique","kwargs":{"column_name":"\"Id\""}},"attached_node":"model.p.m"},"model.p.m":{"resource_type":"model","name":"m"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadManifest(bytes.NewReader(data), Options{Code: true})
		if err != nil {
			return
		}
		for id, model := range m.Models {
			if _, err := m.Find(id); err != nil {
				t.Errorf("%q is there and not found: %v", id, err)
			}
			for _, test := range model.Tests {
				if !slices.Contains(m.Tests[test].Models, id) {
					t.Errorf("%q is no test of %q", test, id)
				}
			}
		}
		_, _ = m.Declared()
		if _, err := m.Exposures(nil); err != nil {
			t.Error(err)
		}
	})
}

func FuzzReadResults(f *testing.F) {
	f.Add([]byte(`{"metadata":{"invocation_id":"i","generated_at":"2026-11-21T08:00:00Z"},"args":{"which":"build"},"results":[{"unique_id":"model.p.m","status":"success","message":null},{"unique_id":"test.p.t","status":"fail","failures":3}]}`))
	f.Add([]byte(`{"nodes":{"model.p.m":{"columns":{"id":{"type":"BIGINT","name":"id","index":1}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadResults(bytes.NewReader(data))
		if err == nil {
			m := &Manifest{Models: map[string]*Model{"model.p.m": {ID: "model.p.m"}}}
			next, touched := State{}.Update(m, r)
			if len(touched) != len(next.Models) {
				t.Errorf("touched %v, decided %v", touched, next.Models)
			}
		}
		_, _ = ReadCatalog(bytes.NewReader(data))
	})
}
