package dbt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// Declaration is a sync that a dbt model declares in its meta:
//
//	models:
//	  - name: customers
//	    config:
//	      meta:
//	        tidegate:                      # one sync, a list of them, or
//	          destination: crm             # {primary_key: […], syncs: […]}
//	          object: contacts
//	          mapping: {identifier: email, fields: [{field: email, column: email}]}
//	          schedule: {after_dbt: true}
type Declaration struct {
	Model *Model
	// Path is where the sync stands: "meta.tidegate.syncs[1]".
	Path string
	// PrimaryKey overrides what the model's tests tell; usually nil.
	PrimaryKey []string
	// Sync has ModelName(Model) as its model.
	Sync tidegate.Sync
}

// ModelName is what the model is called among Tidegate's models.
func ModelName(m *Model) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, m.Name)
	if m.Version != "" && m.Version != m.Latest {
		name += "_v" + m.Version
	}
	name = strings.TrimLeft(name, "_0123456789")
	return name[:min(len(name), 63)]
}

// Declared returns the syncs of every model, in the order of unique_ids. What
// is wrong in a declaration is a problem with the model's file and a path that
// begins with its unique_id; the declaration is left out.
func (m *Manifest) Declared() ([]Declaration, []config.Problem) {
	var list []Declaration
	var problems []config.Problem
	ids := make([]string, 0, len(m.Models))
	for id, model := range m.Models {
		if model.Declaration != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		declared, wrong := m.Models[id].declared()
		list, problems = append(list, declared...), append(problems, wrong...)
	}
	return list, problems
}

// Problem is a problem of the declaration at path, placed at its model.
func (d Declaration) Problem(path, message, hint string) config.Problem {
	at := d.Model.ID + "." + d.Path
	if path != "" {
		at += "." + path
	}
	return config.Problem{File: d.Model.Path, Path: at, Message: message, Hint: hint}
}

func (m *Model) declared() ([]Declaration, []config.Problem) {
	root := Declaration{Model: m, Path: "meta.tidegate"}
	if m.Rendered {
		return nil, []config.Problem{root.Problem("", "dbt has rendered a template in it before Tidegate could", "write it as \"{% raw %}{{ … }}{% endraw %}\"")}
	}
	switch m.Declaration.Kind() {
	case '[':
		return m.declaredList(root, m.Declaration)
	case '{':
	default:
		return nil, []config.Problem{root.Problem("", "must be a sync or a list of syncs", "begin with `destination:`")}
	}
	if !hasMember(m.Declaration, "syncs") {
		return m.declaredSync(root, m.Declaration)
	}
	var wrapper struct {
		PrimaryKey []string         `json:"primary_key,omitempty"`
		Syncs      []map[string]any `json:"syncs"`
	}
	if problems := root.decode(m.Declaration, &wrapper); len(problems) > 0 {
		return nil, problems
	}
	root.PrimaryKey = wrapper.PrimaryKey
	root.Path += ".syncs"
	return m.declaredList(root, member(m.Declaration, "syncs"))
}

func (m *Model) declaredList(at Declaration, v jsontext.Value) (list []Declaration, problems []config.Problem) {
	i := 0
	for _, element := range elements(v) {
		one := at
		one.Path = fmt.Sprintf("%s[%d]", at.Path, i)
		declared, wrong := m.declaredSync(one, element)
		list, problems = append(list, declared...), append(problems, wrong...)
		i++
	}
	return list, problems
}

func (m *Model) declaredSync(at Declaration, v jsontext.Value) ([]Declaration, []config.Problem) {
	if v.Kind() != '{' {
		return nil, []config.Problem{at.Problem("", "must be a sync", "begin with `destination:`")}
	}
	if hasMember(v, "model") {
		return nil, []config.Problem{at.Problem("model", "the model is the dbt model in which the sync stands", "remove the key")}
	}
	at.Sync = tidegate.Sync{Model: ModelName(m), Name: cmp.Or(scalar(member(v, "name")), ModelName(m)+"_to_"+scalar(member(v, "destination")))}
	if problems := at.decode(v, &at.Sync); len(problems) > 0 {
		return nil, problems
	}
	return []Declaration{at}, nil
}

// decode is strict, and places what it finds at the model.
func (d Declaration) decode(v jsontext.Value, into any) []config.Problem {
	err := config.DecodeJSON("", v, into)
	if err == nil {
		return nil
	}
	e, ok := err.(*config.Error) //nolint:errorlint // DecodeJSON's own error
	if !ok {
		return []config.Problem{d.Problem("", err.Error(), "")}
	}
	out := make([]config.Problem, len(e.Problems))
	for i, p := range e.Problems {
		out[i] = d.Problem(p.Path, p.Message, p.Hint)
	}
	return out
}

func member(v jsontext.Value, name string) (out jsontext.Value) {
	_ = readObjectOf(v, func(n string, inner jsontext.Value) {
		if n == name {
			out = slices.Clone(inner)
		}
	})
	return out
}

func hasMember(v jsontext.Value, name string) bool { return member(v, name) != nil }

func elements(v jsontext.Value) []jsontext.Value {
	var out []jsontext.Value
	d := jsontext.NewDecoder(strings.NewReader(string(v)), tolerant)
	_ = eachElement(d, func(e jsontext.Value) error { // v is valid JSON: it was read whole
		out = append(out, slices.Clone(e))
		return nil
	})
	return out
}
