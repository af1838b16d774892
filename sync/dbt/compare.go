package dbt

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
)

// Use is what a sync needs of a dbt model.
type Use struct {
	Sync tidegate.Sync
	// Reference is how the project names the model; of a declared sync it is the unique_id.
	Reference string
	// PrimaryKey is the key that the project names; empty when the model's own is used.
	PrimaryKey []string
}

// Finding is one thing that a change does to a sync.
type Finding struct {
	Code    string `json:"code"` // dbt.column_dropped
	Sync    string `json:"sync"`
	Model   string `json:"model"`
	Column  string `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Breaks says that the sync cannot go on as it is; otherwise it is worth knowing.
	Breaks bool `json:"breaks"`
}

// Columns of one model as they are known, and how well.
type Columns struct {
	List []Column
	// Complete lists have every column: a column that is not there does not exist.
	Complete bool
	From     string // warehouse, catalog or manifest
}

// Side is one state of a dbt project.
type Side struct {
	*Artifacts
	// Probe, when set, asks the warehouse for the columns of a model; nil
	// without an error when it cannot tell.
	Probe func(m *Model) (*Columns, error)
	// Unique, when set, asks the warehouse whether columns identify every row of
	// a model; known is false when it cannot tell.
	Unique func(m *Model, key []string) (unique, known bool, err error)
}

func (s Side) columns(m *Model) (Columns, error) {
	if s.Probe != nil {
		if c, err := s.Probe(m); err != nil || c != nil {
			return deref(c), err
		}
	}
	if s.Catalog != nil {
		if list := s.Catalog.Columns[m.ID]; list != nil {
			return Columns{List: list, Complete: true, From: "catalog"}, nil
		}
	}
	return Columns{List: m.Columns, Complete: m.Contract && len(m.Columns) > 0, From: "manifest"}, nil
}

func deref(c *Columns) Columns {
	if c == nil {
		return Columns{}
	}
	return *c
}

// Compare says what going from old to new does to the uses. Without an old side
// it says what is wrong with the new one. Findings are in the order of uses.
func Compare(old *Side, now Side, uses []Use) ([]Finding, error) {
	var out []Finding
	for _, u := range uses {
		c := comparison{old: old, now: now, use: u}
		if err := c.run(); err != nil {
			return nil, fmt.Errorf("checking sync %s: %w", u.Sync.Name, err)
		}
		out = append(out, c.findings...)
	}
	return out, nil
}

type comparison struct {
	old      *Side
	now      Side
	use      Use
	before   *Model // nil when the old side is not known, or did not have it
	model    *Model
	findings []Finding
}

func (c *comparison) add(breaks bool, code, column, message, hint string) {
	model := c.use.Reference
	if c.model != nil {
		model = c.model.String()
	} else if c.before != nil {
		model = c.before.String()
	}
	c.findings = append(c.findings, Finding{Code: code, Sync: c.use.Sync.Name, Model: model, Column: column, Message: message, Hint: hint, Breaks: breaks})
}

func (c *comparison) run() error {
	if c.old != nil {
		c.before, _ = c.old.Manifest.Find(c.use.Reference) // it may be new
	}
	var err error
	if c.model, err = c.now.Manifest.Find(c.use.Reference); err != nil {
		f := tidegate.FaultOf(err)
		message, hint := f.Message, f.Hint
		if c.before != nil {
			message = "the model is dropped, disabled or renamed"
			if to := c.renamedTo(); to != "" {
				hint = "was it renamed to " + to + "? Change the sync with it"
			}
		}
		c.add(true, "dbt.model_dropped", "", message, hint)
		return nil
	}
	if err := c.model.Readable(); err != nil {
		c.add(true, "dbt.model_unreadable", "", err.Error(), "materialize it as a table, a view or incrementally")
		return nil
	}
	if c.before != nil && c.before.Table() != c.model.Table() && c.before.Readable() == nil {
		c.add(false, "dbt.model_moved", "", fmt.Sprintf("it moves from %s to %s", c.before.Table(), c.model.Table()), "the sync follows with the next run")
	}
	if err := c.columns(); err != nil {
		return err
	}
	return c.key()
}

// renamedTo finds the model that looks like the dropped one under a new name.
func (c *comparison) renamedTo() string {
	for _, m := range c.now.Manifest.Models {
		if c.old.Manifest.Models[m.ID] == nil && m.Kind == c.before.Kind && len(m.Columns) > 0 && slices.EqualFunc(m.Columns, c.before.Columns, func(a, b Column) bool { return a.Name == b.Name }) {
			return m.String()
		}
	}
	return ""
}

func (c *comparison) columns() error {
	now, err := c.now.columns(c.model)
	if err != nil {
		return err
	}
	var was Columns
	if c.before != nil {
		if was, err = c.old.columns(c.before); err != nil {
			return err
		}
	}
	if c.before != nil && now.From == "manifest" && !now.Complete && len(now.List) > 0 && c.model.Checksum != c.before.Checksum && c.before.Checksum != "" {
		c.add(false, "dbt.columns_declared", "", "its SQL changes, and of its columns only what the YAML declares is known", "run `dbt docs generate` on both sides, or let --prove ask the warehouse")
	}
	key := c.use.PrimaryKey
	if len(key) == 0 {
		key = c.model.PrimaryKey
	}
	for _, name := range usedColumns(c.use.Sync.Mapping.Fields, key, slices.Concat(was.List, now.List)) {
		before, had := find(was.List, name)
		after, has := find(now.List, name)
		switch {
		case has && had && was.From == now.From && !sameType(before.Type, after.Type):
			c.add(true, "dbt.column_type", name, fmt.Sprintf("its type changes from %s to %s", before.Type, after.Type), "look at whether the destination takes it, then apply the sync again")
		case has:
		case now.Complete, had:
			c.dropped(name, was, now)
		default:
			c.add(false, "dbt.column_unknown", name, "nothing says whether the model has this column", "declare it in the model's YAML, run `dbt docs generate`, or let --prove ask the warehouse")
		}
	}
	return nil
}

func (c *comparison) dropped(name string, was, now Columns) {
	message, hint := "the sync maps this column and the model does not have it", "bring it back, or change the sync with it"
	if _, had := find(was.List, name); had {
		message = "the sync maps this column and the change drops it"
	}
	var fresh []string
	before, _ := find(was.List, name)
	for _, col := range now.List {
		if _, had := find(was.List, col.Name); !had && len(was.List) > 0 && sameType(col.Type, before.Type) {
			fresh = append(fresh, col.Name)
		}
	}
	if len(fresh) == 1 {
		message += fmt.Sprintf(", or renames it to %q", fresh[0])
	}
	c.add(true, "dbt.column_dropped", name, message, hint)
}

// key looks at what identifies a row.
func (c *comparison) key() error {
	key, chosen := c.use.PrimaryKey, len(c.use.PrimaryKey) > 0
	if !chosen {
		key = c.model.PrimaryKey
	}
	if c.before != nil && !chosen && len(key) > 0 && len(c.before.PrimaryKey) > 0 && !sameNames(key, c.before.PrimaryKey) {
		c.add(true, "dbt.key_changed", "", fmt.Sprintf("its key changes from (%s) to (%s): every record would be a new one", strings.Join(c.before.PrimaryKey, ", "), strings.Join(key, ", ")),
			"name the old key as primary_key of the model, or resync on purpose")
	}
	wanted := key
	if len(wanted) == 0 && c.before != nil {
		wanted = c.before.PrimaryKey
	}
	// Tests prove what they looked at; those of the change have not run yet.
	unique := false
	if c.now.Unique != nil && len(wanted) > 0 {
		ok, known, err := c.now.Unique(c.model, wanted)
		if err != nil {
			return err
		}
		if known && !ok {
			c.add(true, "dbt.key_not_unique", "", fmt.Sprintf("(%s) does not identify a row: a key is NULL or stands twice", strings.Join(wanted, ", ")), "mend the model, or choose another key")
			return nil
		}
		unique = known
	}
	tested := len(c.model.PrimaryKey) > 0 && (!chosen || covers(key, c.model.PrimaryKey))
	if tested || unique && chosen {
		return nil
	}
	had := c.before != nil && len(c.before.PrimaryKey) > 0 && (!chosen || covers(key, c.before.PrimaryKey))
	switch {
	case had:
		c.add(true, "dbt.key_unproven", "", fmt.Sprintf("the tests that prove (%s) to be unique and not null are removed", strings.Join(c.before.PrimaryKey, ", ")), "keep the unique and not_null tests, or a primary_key constraint")
	case !chosen:
		c.add(true, "dbt.no_key", "", "nothing tells what identifies a row", "add unique and not_null tests or a primary_key constraint to the model, or primary_key to the sync's model")
	default:
		c.add(false, "dbt.key_untested", "", fmt.Sprintf("no test proves (%s) to be unique and not null", strings.Join(key, ", ")), "add unique and not_null tests")
	}
	return nil
}

// covers says whether a key that is wider than a proven one is proven too.
func covers(key, proven []string) bool {
	return len(proven) > 0 && !slices.ContainsFunc(proven, func(p string) bool {
		return !slices.ContainsFunc(key, func(k string) bool { return strings.EqualFold(k, p) })
	})
}

func sameNames(a, b []string) bool { return covers(a, b) && covers(b, a) }

func find(list []Column, name string) (Column, bool) {
	for _, fold := range []bool{false, true} {
		for _, c := range list {
			if c.Name == name || fold && strings.EqualFold(c.Name, name) {
				return c, true
			}
		}
	}
	return Column{}, false
}

// typeNames are the names that engines give to one type.
var typeNames = map[string]string{
	"int": "integer", "int4": "integer", "int8": "bigint", "int2": "smallint", "long": "bigint", "string": "varchar", "text": "varchar", "character varying": "varchar",
	"float8": "double", "double precision": "double", "float4": "real", "bool": "boolean", "timestamptz": "timestamp with time zone", "timestamp without time zone": "timestamp",
	"numeric": "decimal", "number": "decimal", "datetime": "timestamp",
}

var typeLength = regexp.MustCompile(`^(varchar|character varying|char|text)\(\d+\)$`)

func sameType(a, b string) bool {
	canon := func(s string) string {
		s = strings.ToLower(strings.Join(strings.Fields(s), " "))
		if typeLength.MatchString(s) {
			return "varchar"
		}
		base, rest, ok := strings.Cut(s, "(")
		if ok {
			return cmp.Or(typeNames[base], base) + "(" + strings.ReplaceAll(rest, " ", "")
		}
		return cmp.Or(typeNames[s], s)
	}
	return a == "" || b == "" || canon(a) == canon(b)
}

var (
	quoted     = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	identifier = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	output     = regexp.MustCompile(`(?s)\{\{.*?\}\}|\{%.*?%\}`)
)

// usedColumns are the columns that a mapping and a key read, each once, in the
// order of the mapping. In templates and expressions a word that is the name of
// one of known counts as that column: rather a question too many than a break
// too late.
func usedColumns(fields []tidegate.FieldMapping, key []string, known []Column) []string {
	var out []string
	add := func(name string) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	words := func(code string) {
		for _, w := range identifier.FindAllString(quoted.ReplaceAllString(code, " "), -1) {
			if slices.ContainsFunc(known, func(c Column) bool { return c.Name == w }) {
				add(w)
			}
		}
	}
	for _, k := range key {
		add(k)
	}
	for _, f := range fields {
		add(f.Column)
		for _, piece := range output.FindAllString(f.Template, -1) {
			words(piece)
		}
		words(f.Expression)
		if f.Lookup != nil {
			add(f.Lookup.Key)
		}
		for _, inner := range slices.Concat(f.Object, f.Items) {
			for _, name := range usedColumns([]tidegate.FieldMapping{inner}, nil, known) {
				add(name)
			}
		}
	}
	return out
}

// MappedColumns are the columns that a field's value is made of, as far as its
// text tells: in templates and expressions the words that are neither a
// keyword, a filter nor a function.
func MappedColumns(f tidegate.FieldMapping) []string {
	var words []Column
	collect := func(code string) {
		for _, w := range identifier.FindAllString(operators.ReplaceAllString(quoted.ReplaceAllString(code, " "), " "), -1) {
			if !slices.Contains(keywords, w) {
				words = append(words, Column{Name: w})
			}
		}
	}
	for _, piece := range output.FindAllString(f.Template, -1) {
		collect(piece)
	}
	collect(f.Expression)
	out := usedColumns([]tidegate.FieldMapping{{Column: f.Column, Template: f.Template, Expression: f.Expression, Lookup: f.Lookup}}, nil, words)
	for _, inner := range slices.Concat(f.Object, f.Items) {
		for _, name := range MappedColumns(inner) {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// operators are filters, functions and members: what is no column of a row.
var operators = regexp.MustCompile(`\|\s*[A-Za-z_]\w*|[A-Za-z_]\w*\s*\(|\.\s*[A-Za-z_]\w*`)

var keywords = []string{
	"if", "elsif", "else", "endif", "unless", "endunless", "case", "when", "endcase", "for", "endfor", "in", "assign", "capture", "endcapture",
	"and", "or", "not", "contains", "true", "false", "nil", "null", "empty", "blank",
}
