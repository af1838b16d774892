package dbt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// tolerant is how artefacts are decoded: what dbt's own readers let through.
var tolerant = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// text is a string; any other scalar is taken as it is written, the rest for empty.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	*t = text(scalar(b))
	return nil
}

func scalar(v jsontext.Value) string {
	switch v.Kind() { //nolint:exhaustive // the other kinds are no scalars
	case '"':
		var s string
		if json.Unmarshal(v, &s, tolerant) == nil {
			return s
		}
	case '0', 't', 'f':
		return string(v)
	}
	return ""
}

// texts is a list of strings; a single string is a list of one.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(b []byte) error {
	*t = nil
	switch v := jsontext.Value(b); v.Kind() { //nolint:exhaustive // the other kinds hold no texts
	case '"':
		*t = texts{scalar(v)}
	case '[':
		var list []text
		if json.Unmarshal(v, &list, tolerant) == nil {
			for _, s := range list {
				if s != "" {
					*t = append(*t, string(s))
				}
			}
		}
	}
	return nil
}

// loose is an object or a list; what cannot be read as a T is taken for absent.
type loose[T any] struct{ v T }

// UnmarshalJSON implements json.Unmarshaler.
func (l *loose[T]) UnmarshalJSON(b []byte) error {
	k := jsontext.Value(b).Kind()
	if (k == '{' || k == '[') && json.Unmarshal(b, &l.v, tolerant) != nil {
		var zero T
		l.v = zero
	}
	return nil
}

type dependsOn struct {
	Nodes []string
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *dependsOn) UnmarshalJSON(b []byte) error {
	var in loose[struct {
		Nodes texts `json:"nodes"`
	}]
	err := in.UnmarshalJSON(b)
	d.Nodes = in.v.Nodes
	return err
}

// node is one entry of the manifest, whatever it is. Every field takes every
// shape, so that decoding fails only for broken JSON.
type node struct {
	ResourceType text `json:"resource_type"`
	Name         text `json:"name"`
	Package      text `json:"package_name"`
	Version      text `json:"version"`
	Latest       text `json:"latest_version"`
	Database     text `json:"database"`
	Schema       text `json:"schema"`
	Alias        text `json:"alias"`
	Identifier   text `json:"identifier"`
	Relation     text `json:"relation_name"`
	Path         text `json:"original_file_path"`
	Description  text `json:"description"`
	Group        text `json:"group"`
	Access       text `json:"access"`
	ColumnName   text `json:"column_name"`
	Attached     text `json:"attached_node"`
	Compiled     text `json:"compiled_code"`

	FQN        texts          `json:"fqn"`
	Tags       texts          `json:"tags"`
	PrimaryKey texts          `json:"primary_key"`
	DependsOn  dependsOn      `json:"depends_on"`
	Meta       jsontext.Value `json:"meta"`
	Unrendered loose[struct {
		Meta jsontext.Value `json:"meta"`
	}] `json:"unrendered_config"`
	Config      jsontext.Value      `json:"config"`
	Columns     jsontext.Value      `json:"columns"`
	Constraints loose[[]constraint] `json:"constraints"`
	TestMeta    loose[testMeta]     `json:"test_metadata"`
	OwnerField  loose[struct {
		Name  text `json:"name"`
		Email text `json:"email"`
	}] `json:"owner"`

	Checksum loose[struct {
		Of text `json:"checksum"`
	}] `json:"checksum"`

	Owner  Owner           `json:"-"`
	config loose[settings] // of Config
}

type constraint struct {
	Type    text  `json:"type"`
	Columns texts `json:"columns"`
}

type testMeta struct {
	Name   text `json:"name"`
	Kwargs loose[struct {
		Column      text  `json:"column_name"`
		Combination texts `json:"combination_of_columns"`
		Where       text  `json:"where"`
	}] `json:"kwargs"`
}

type settings struct {
	Enabled      *bool          `json:"enabled"`
	Materialized text           `json:"materialized"`
	Meta         jsontext.Value `json:"meta"`
	Tags         texts          `json:"tags"`
	Group        text           `json:"group"`
	Access       text           `json:"access"`
	Severity     text           `json:"severity"`
	Where        text           `json:"where"`
	Limit        text           `json:"limit"`
	ErrorIf      text           `json:"error_if"`
	Contract     loose[struct {
		Enforced text `json:"enforced"`
	}] `json:"contract"`
}

// parseNode never fails: what cannot be read is absent. The caller has read v
// whole, so that it is valid JSON.
func parseNode(v jsontext.Value) *node {
	n := &node{}
	if v.Kind() != '{' || json.Unmarshal(v, n, tolerant) != nil {
		return &node{}
	}
	if len(n.Config) > 0 {
		_ = n.config.UnmarshalJSON(n.Config) // never fails
	}
	n.Owner = Owner{Name: string(n.OwnerField.v.Name), Email: string(n.OwnerField.v.Email)}
	return n
}

func (n *node) enabled() bool { return n.config.v.Enabled == nil || *n.config.v.Enabled }

func (n *node) model(id string, o Options) *Model {
	c := n.config.v
	m := &Model{
		ID: id, Name: string(n.Name), Package: string(n.Package), Kind: string(n.ResourceType), Version: string(n.Version), Latest: string(n.Latest),
		Database: string(n.Database), Schema: string(n.Schema), Alias: cmp.Or(string(n.Alias), string(n.Name)), Relation: string(n.Relation),
		Path: string(n.Path), FQN: n.FQN, Tags: merged(n.Tags, c.Tags), Group: string(cmp.Or(n.Group, c.Group)), Access: string(cmp.Or(n.Access, c.Access)),
		Materialized: string(c.Materialized), Description: string(n.Description), Config: scalars(n.Config), Parents: n.DependsOn.Nodes,
		Contract: c.Contract.v.Enforced == "true", Checksum: string(n.Checksum.v.Of),
	}
	if o.Code {
		m.Compiled = string(n.Compiled)
	}
	m.Declaration = cmp.Or(declared(c.Meta), declared(n.Meta)).bytes()
	m.Rendered = renderedAway(jsontext.Value(declared(n.Unrendered.v.Meta)), m.Declaration)
	constraints := n.constraintKey()
	m.Columns = n.columns(&constraints)
	switch {
	case len(constraints) > 0:
		m.PrimaryKey, m.KeyFrom = constraints, "constraint"
	case len(n.PrimaryKey) > 0:
		m.PrimaryKey, m.KeyFrom = n.PrimaryKey, "manifest"
	}
	return m
}

func (n *node) constraintKey() []string {
	for _, c := range n.Constraints.v {
		if c.Type == "primary_key" && len(c.Columns) > 0 {
			return c.Columns
		}
	}
	return nil
}

// columns reads the declared columns in the order of the file; a column with a
// primary key constraint of its own is appended to key while that is empty.
func (n *node) columns(key *[]string) []Column {
	if n.Columns.Kind() != '{' {
		return nil
	}
	var list []Column
	ofModel := len(*key) > 0
	_ = readObjectOf(n.Columns, func(name string, v jsontext.Value) {
		var c loose[struct {
			Name        text                `json:"name"`
			Type        text                `json:"data_type"`
			Description text                `json:"description"`
			Constraints loose[[]constraint] `json:"constraints"`
		}]
		_ = c.UnmarshalJSON(v) // never fails
		col := Column{Name: cmp.Or(string(c.v.Name), name), Type: string(c.v.Type), Description: string(c.v.Description)}
		list = append(list, col)
		if !ofModel && slices.ContainsFunc(c.v.Constraints.v, func(k constraint) bool { return k.Type == "primary_key" }) {
			*key = append(*key, col.Name)
		}
	})
	return list
}

func (n *node) test(id string) *Test {
	t := &Test{ID: id, Name: string(n.Name), Kind: string(n.TestMeta.v.Name)}
	if n.Attached != "" {
		t.Models = []string{string(n.Attached)}
	} else {
		t.Models = modelIDs(n.DependsOn.Nodes)
	}
	kwargs := n.TestMeta.v.Kwargs.v
	switch {
	case len(kwargs.Combination) > 0:
		t.Columns = kwargs.Combination
	case kwargs.Column != "":
		t.Columns = []string{string(kwargs.Column)}
	case n.ColumnName != "":
		t.Columns = []string{string(n.ColumnName)}
	}
	for i, c := range t.Columns {
		t.Columns[i] = strings.Trim(c, "\"`[]")
	}
	c := n.config.v
	t.Partial = c.Where != "" || kwargs.Where != "" || c.Limit != "" || strings.EqualFold(string(c.Severity), "warn") || (c.ErrorIf != "" && c.ErrorIf != "!= 0")
	return t
}

// raw is a JSON text that can be compared.
type raw string

func (r raw) bytes() jsontext.Value {
	if r == "" {
		return nil
	}
	return jsontext.Value(r)
}

// declared is the value of `tidegate` in meta; empty when there is none.
func declared(meta jsontext.Value) (out raw) {
	if meta.Kind() != '{' {
		return ""
	}
	_ = readObjectOf(meta, func(name string, v jsontext.Value) {
		if name == "tidegate" && len(v) <= maxDeclaration && v.Kind() != 'n' {
			out = raw(v)
		}
	})
	return out
}

// renderedAway says whether a template of a declaration as it was written
// (which dbt keeps with the rendered one merged into it) is gone from what dbt
// has made of it.
func renderedAway(written, made jsontext.Value) bool {
	left := templates(made)
	return slices.ContainsFunc(templates(written), func(t string) bool {
		return strings.Contains(t, "{{") && !strings.Contains(t, "raw") && !slices.Contains(left, t)
	})
}

// templates are the values of all keys `template` in v.
func templates(v jsontext.Value) (out []string) {
	switch v.Kind() { //nolint:exhaustive // the other kinds hold no keys
	case '{':
		_ = readObjectOf(v, func(name string, inner jsontext.Value) {
			if name == "template" {
				out = append(out, scalar(inner))
			}
			out = append(out, templates(inner)...)
		})
	case '[':
		for _, e := range elements(v) {
			out = append(out, templates(e)...)
		}
	}
	return out
}

// scalars keeps the settings of a config that are no lists or objects.
func scalars(config jsontext.Value) map[string]string {
	out := map[string]string{}
	if config.Kind() == '{' {
		_ = readObjectOf(config, func(name string, v jsontext.Value) {
			if s := scalar(v); s != "" && len(s) <= 200 && len(out) < 100 {
				out[name] = s
			}
		})
	}
	return out
}

func merged(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// String names the model for people: package.name, with its version.
func (m *Model) String() string {
	name := m.Package + "." + m.Name
	if m.Version != "" {
		name += ".v" + m.Version
	}
	return name
}

// Table is where the model's rows are, without the database: a connection has one.
func (m *Model) Table() string { return m.Schema + "." + m.Alias }

// Readable says why no sync can read the model; nil when one can.
func (m *Model) Readable() error {
	if m.Materialized == "ephemeral" {
		return fmt.Errorf("it is ephemeral: dbt makes no table or view of it")
	}
	if m.Schema == "" || m.Alias == "" || strings.Contains(m.Schema, ".") {
		return fmt.Errorf("the manifest does not say where it is in the warehouse")
	}
	return nil
}
