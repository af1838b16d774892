package dbt

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Manifest is what Tidegate keeps of a manifest.json.
type Manifest struct {
	Meta    Metadata
	Models  map[string]*Model  // by unique_id: models, seeds and snapshots that are enabled
	Tests   map[string]*Test   // by unique_id: data tests and unit tests that are enabled
	Sources map[string]*Source // by unique_id
	Groups  map[string]Owner   // by name
}

// Metadata says what wrote an artefact.
type Metadata struct {
	SchemaVersion string `json:"dbt_schema_version"`
	DbtVersion    string `json:"dbt_version"`
	GeneratedAt   string `json:"generated_at"`
	InvocationID  string `json:"invocation_id"`
	Project       string `json:"project_name"`
	Adapter       string `json:"adapter_type"`
}

// Model is a dbt model, seed or snapshot: something with a relation that a sync can read.
type Model struct {
	ID, Name, Package, Kind   string // Kind is model, seed or snapshot
	Version, Latest           string // of a versioned model
	Database, Schema, Alias   string
	Relation                  string // as dbt quotes it; empty for an ephemeral model
	Path                      string // original_file_path
	FQN                       []string
	Tags                      []string
	Group, Access             string
	Materialized, Description string
	Config                    map[string]string // the scalar settings, for `config.NAME:`
	Columns                   []Column          // declared ones, in the order of the file
	PrimaryKey                []string
	KeyFrom                   string // how the key is known: constraint, tests or manifest
	Parents                   []string
	Tests                     []string // unique_ids, sorted
	// Declaration is the model's `meta.tidegate`, nil when there is none.
	Declaration jsontext.Value
	// Rendered says that dbt has rendered a template of the declaration, which
	// was Tidegate's to render: it misses `{% raw %}`.
	Rendered bool
	// Compiled is the compiled SELECT; read only with Options.Code.
	Compiled string
	Contract bool // the columns are enforced
	// Checksum is of the model's file; empty when the manifest does not say.
	Checksum string
}

// Column is one column of a model as it is declared or catalogued.
type Column struct {
	Name, Type, Description string
}

// Test is one data test or unit test.
type Test struct {
	ID, Name string
	Kind     string   // unique, not_null, unique_combination_of_columns, …; empty for a query of the user's own
	Columns  []string // that it looks at
	Models   []string // unique_ids of what it tests
	Unit     bool
	Partial  bool // it looks at some rows only, or only warns
}

// Source is a table that dbt reads and does not make.
type Source struct {
	ID, Database, Schema, Table string
}

// Owner is the owner of a group.
type Owner struct {
	Name, Email string
}

// Options say how much of an artefact is read.
type Options struct {
	// Code keeps the compiled SQL of models, which is most of a manifest.
	Code bool
}

// Limits of what is read.
const (
	// MaxArtifactBytes is the longest artefact.
	MaxArtifactBytes = 1 << 30
	// MaxNodes is the largest number of models, tests and sources of a project.
	MaxNodes       = 1_000_000
	maxDeclaration = 1 << 20
)

// ReadManifest reads a manifest.json as a stream. It takes every version: a
// field that is not there or of another shape is taken for absent. An input
// that ends early is an error.
func ReadManifest(r io.Reader, o Options) (*Manifest, error) {
	m := &Manifest{
		Models: map[string]*Model{}, Tests: map[string]*Test{}, Sources: map[string]*Source{}, Groups: map[string]Owner{},
	}
	count := 0
	bounded := func(add func(id string, v jsontext.Value)) func(*jsontext.Decoder) error {
		return func(d *jsontext.Decoder) error {
			return eachMember(d, func(id string, d *jsontext.Decoder) error {
				if count++; count > MaxNodes {
					return fmt.Errorf("it has more than %d nodes", MaxNodes)
				}
				v, err := d.ReadValue()
				if err == nil {
					add(id, v)
				}
				return err
			})
		}
	}
	seen := false
	err := readObject(r, map[string]func(*jsontext.Decoder) error{
		"metadata": func(d *jsontext.Decoder) error { return m.Meta.read(d) },
		"nodes": func(d *jsontext.Decoder) error {
			seen = true
			return bounded(func(id string, v jsontext.Value) { m.addNode(id, v, o) })(d)
		},
		"sources":    bounded(m.addSource),
		"groups":     bounded(m.addGroup),
		"unit_tests": bounded(m.addUnitTest),
	})
	if err != nil {
		return nil, fmt.Errorf("reading manifest.json: %w", err)
	}
	if !seen {
		return nil, fmt.Errorf("reading manifest.json: it has no nodes: this is no manifest of dbt")
	}
	m.finish()
	return m, nil
}

func (m *Manifest) addNode(id string, v jsontext.Value, o Options) {
	n := parseNode(v)
	if !n.enabled() {
		return
	}
	switch n.ResourceType {
	case "model", "seed", "snapshot":
		m.Models[id] = n.model(id, o)
	case "test":
		m.Tests[id] = n.test(id)
	}
}

func (m *Manifest) addSource(id string, v jsontext.Value) {
	n := parseNode(v)
	if !n.enabled() {
		return
	}
	name := string(n.Identifier)
	if name == "" {
		name = string(n.Name)
	}
	m.Sources[id] = &Source{ID: id, Database: string(n.Database), Schema: string(n.Schema), Table: name}
}

func (m *Manifest) addGroup(_ string, v jsontext.Value) {
	n := parseNode(v)
	m.Groups[string(n.Name)] = n.Owner
}

func (m *Manifest) addUnitTest(id string, v jsontext.Value) {
	n := parseNode(v)
	if n.enabled() {
		m.Tests[id] = &Test{ID: id, Name: string(n.Name), Unit: true, Models: modelIDs(n.DependsOn.Nodes)}
	}
}

// modelIDs keeps those of ids that are models, seeds or snapshots.
func modelIDs(ids []string) []string {
	var out []string
	for _, id := range ids {
		if kind, _, ok := strings.Cut(id, "."); ok && (kind == "model" || kind == "seed" || kind == "snapshot") && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// finish joins what stands apart in the file: tests with their models.
func (m *Manifest) finish() {
	for id, t := range m.Tests {
		for _, on := range t.Models {
			if model := m.Models[on]; model != nil {
				model.Tests = append(model.Tests, id)
			}
		}
	}
	for _, model := range m.Models {
		slices.Sort(model.Tests)
		m.findKey(model)
	}
}

// findKey finds what identifies a row: the constraints come first because the
// warehouse or dbt enforces them, then tests that cover every row, then what
// dbt itself has inferred.
func (m *Manifest) findKey(model *Model) {
	if len(model.PrimaryKey) > 0 && model.KeyFrom == "constraint" {
		return
	}
	inferred := model.PrimaryKey
	model.PrimaryKey, model.KeyFrom = m.testedKey(model), "tests"
	// dbt's own inference lists every column that is unique and not null,
	// whichever key it belongs to: it is a key only when it is one column.
	if model.PrimaryKey == nil && len(inferred) == 1 && !m.testsUniqueness(model) {
		model.PrimaryKey, model.KeyFrom = inferred, "manifest"
	}
	if model.PrimaryKey == nil {
		model.KeyFrom = ""
	}
}

func (m *Manifest) testsUniqueness(model *Model) bool {
	return slices.ContainsFunc(model.Tests, func(id string) bool { return strings.HasPrefix(m.Tests[id].Kind, "unique") })
}

// testedKey is the key that unique and not_null tests prove, nil when there is
// none. Of several the one of fewest columns counts, then the one whose first
// column is declared first.
func (m *Manifest) testedKey(model *Model) []string {
	notNull := map[string]bool{}
	var unique [][]string
	for _, id := range model.Tests {
		t := m.Tests[id]
		if t.Partial || t.Unit || len(t.Models) != 1 || len(t.Columns) == 0 {
			continue
		}
		switch t.Kind {
		case "not_null":
			notNull[t.Columns[0]] = true
		case "unique", "unique_combination_of_columns":
			unique = append(unique, t.Columns)
		}
	}
	declared := func(key []string) int {
		return slices.IndexFunc(model.Columns, func(c Column) bool { return c.Name == key[0] })
	}
	slices.SortStableFunc(unique, func(a, b []string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(declared(a), declared(b)))
	})
	for _, columns := range unique {
		if !slices.ContainsFunc(columns, func(c string) bool { return !notNull[c] }) {
			return columns
		}
	}
	return nil
}
