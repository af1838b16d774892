package project

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// The kinds of definitions, in the order in which plans show them. A project
// has exactly one settings definition, named like its kind, and one warehouse called
// "warehouse", which events go to; further ones have names of their own.
const (
	KindWarehouse   = "warehouse"
	KindSettings    = "settings"
	KindSource      = "source"
	KindDestination = "destination"
	KindModel       = "model"
	KindSync        = "sync"
	KindDbt         = "dbt"
	KindAlert       = "alert"
	KindForward     = "forward"
	KindPlan        = "tracking_plan"
	KindTransform   = "transform"
	KindLibrary     = "library"
	KindStream      = "stream"
)

// DefinitionKinds lists the kinds in the order in which plans show them.
func DefinitionKinds() []string {
	return []string{KindWarehouse, KindSettings, KindSource, KindDestination, KindModel, KindSync, KindForward, KindDbt, KindPlan, KindTransform, KindLibrary, KindAlert, KindStream}
}

// Definition is one definition as a document.
type Definition struct {
	Kind string
	Name string
	Body json.RawMessage
}

// Definitions takes the project apart, sorted by kind (in the order of
// DefinitionKinds) and name.
func (p *Project) Definitions() ([]Definition, error) {
	var list []Definition
	var failed error
	add := func(kind, name string, v any) {
		body, err := encodeBody(v)
		if err != nil && failed == nil {
			failed = fmt.Errorf("encoding %s %s: %w", kind, name, err)
		}
		list = append(list, Definition{Kind: kind, Name: name, Body: body})
	}
	add(KindWarehouse, KindWarehouse, p.Warehouse)
	for _, w := range p.Warehouses {
		add(KindWarehouse, w.Name, w)
	}
	add(KindSettings, KindSettings, p.Settings)
	for _, s := range p.Sources {
		add(KindSource, s.Name, s)
	}
	for _, c := range p.Destinations {
		add(KindDestination, c.Name, c)
	}
	for _, m := range p.Models {
		add(KindModel, m.Name, m)
	}
	for _, s := range p.Syncs {
		add(KindSync, s.Name, s)
	}
	for _, f := range p.Forwards {
		add(KindForward, f.Name, f)
	}
	for _, d := range p.Dbt {
		add(KindDbt, d.Name, d)
	}
	for _, t := range p.Plans {
		add(KindPlan, t.Name, t)
	}
	for _, t := range p.Transforms {
		add(KindTransform, t.Name, t)
	}
	for _, l := range p.Libraries {
		add(KindLibrary, l.Name, l)
	}
	for _, a := range p.Alerts {
		add(KindAlert, a.Name, a)
	}
	for _, s := range p.Streams {
		add(KindStream, s.Name, s)
	}
	return list, failed
}

// Assemble is the inverse of Definitions. It does not check the result.
func Assemble(list []Definition) (*Project, error) {
	p := &Project{}
	for _, d := range list {
		var err error
		switch d.Kind {
		case KindWarehouse:
			if d.Name == KindWarehouse {
				err = json.Unmarshal(d.Body, &p.Warehouse)
			} else {
				err = appendDecoded(&p.Warehouses, d.Body)
			}
		case KindSettings:
			err = json.Unmarshal(d.Body, &p.Settings)
		case KindSource:
			err = appendDecoded(&p.Sources, d.Body)
		case KindDestination:
			err = appendDecoded(&p.Destinations, d.Body)
		case KindModel:
			err = appendDecoded(&p.Models, d.Body)
		case KindSync:
			err = appendDecoded(&p.Syncs, d.Body)
		case KindDbt:
			err = appendDecoded(&p.Dbt, d.Body)
		case KindPlan:
			err = appendDecoded(&p.Plans, d.Body)
		case KindForward:
			err = appendDecoded(&p.Forwards, d.Body)
		case KindTransform:
			err = appendDecoded(&p.Transforms, d.Body)
		case KindLibrary:
			err = appendDecoded(&p.Libraries, d.Body)
		case KindAlert:
			err = appendDecoded(&p.Alerts, d.Body)
		case KindStream:
			err = appendDecoded(&p.Streams, d.Body)
		default:
			err = &tidegate.Fault{Action: tidegate.Halt, Code: "definition.invalid", Subject: d.Kind, Message: "there is no such kind of definition", Hint: config.DidYouMean(d.Kind, DefinitionKinds())}
		}
		if err != nil {
			return nil, fmt.Errorf("decoding %s %s: %w", d.Kind, d.Name, err)
		}
	}
	return p, nil
}

func appendDecoded[T any](list *[]T, body []byte) error {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	*list = append(*list, v)
	return nil
}

// Change is what applying a project does to one definition.
type Change struct {
	Kind   string        `json:"kind"`
	Name   string        `json:"name"`
	Op     string        `json:"op" enum:"created,updated,deleted"`
	Fields []FieldChange `json:"fields,omitempty" doc:"What an update changes."`
}

// FieldChange is one field's old and new value, null where there is none.
type FieldChange struct {
	Path   string          `json:"path"`
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

// Diff lists what leads from one project to another, in the order of
// DefinitionKinds and names. A nil from has no definitions.
func Diff(from, to *Project) ([]Change, error) {
	var before []Definition
	if from != nil {
		var err error
		if before, err = from.Definitions(); err != nil {
			return nil, err
		}
	}
	after, err := to.Definitions()
	if err != nil {
		return nil, err
	}
	return diffDefinitions(before, after)
}

func diffDefinitions(before, after []Definition) ([]Change, error) {
	type id struct{ kind, name string }
	old := map[id]Definition{}
	for _, d := range before {
		old[id{d.Kind, d.Name}] = d
	}
	changes := []Change{}
	for _, d := range after {
		was, existed := old[id{d.Kind, d.Name}]
		delete(old, id{d.Kind, d.Name})
		if !existed {
			changes = append(changes, Change{Kind: d.Kind, Name: d.Name, Op: "created"})
			continue
		}
		fields, err := diffFields(was.Body, d.Body)
		if err != nil {
			return nil, fmt.Errorf("comparing %s %s: %w", d.Kind, d.Name, err)
		}
		if len(fields) > 0 {
			changes = append(changes, Change{Kind: d.Kind, Name: d.Name, Op: "updated", Fields: fields})
		}
	}
	for gone := range old {
		changes = append(changes, Change{Kind: gone.kind, Name: gone.name, Op: "deleted"})
	}
	order := DefinitionKinds()
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(a.Name, b.Name))
	})
	return changes, nil
}

func diffFields(before, after []byte) ([]FieldChange, error) {
	old, err := leaves(before)
	if err != nil {
		return nil, err
	}
	now, err := leaves(after)
	if err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	for p := range old {
		paths[p] = true
	}
	for p := range now {
		paths[p] = true
	}
	var fields []FieldChange
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		if !bytes.Equal(old[p], now[p]) {
			fields = append(fields, FieldChange{Path: p, Before: orNull(old[p]), After: orNull(now[p])})
		}
	}
	return fields, nil
}

func orNull(v json.RawMessage) json.RawMessage {
	if v == nil {
		return json.RawMessage("null")
	}
	return v
}

// leaves maps the path of every scalar, and of every empty list and object, to
// its canonical JSON.
func leaves(doc []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("decoding a definition: %w", err)
	}
	out := map[string]json.RawMessage{}
	return out, addLeaves(out, "", v)
}

func addLeaves(out map[string]json.RawMessage, path string, v any) error {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			at := k
			if path != "" {
				at = path + "." + k
			}
			if err := addLeaves(out, at, child); err != nil {
				return err
			}
		}
		if len(v) > 0 {
			return nil
		}
	case []any:
		for i, child := range v {
			if err := addLeaves(out, fmt.Sprintf("%s[%d]", path, i), child); err != nil {
				return err
			}
		}
		if len(v) > 0 {
			return nil
		}
	}
	body, err := encodeBody(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	out[path] = body
	return nil
}

// ParseDefinition reads one definition by itself: unknown keys, wrong types and
// a name that is not its own are problems; references are Check's. A body
// without a name gets the one given.
func ParseDefinition(kind, name string, body []byte) (Definition, error) {
	var into any
	var named func() string
	switch kind {
	case KindWarehouse:
		into = &Warehouse{}
		if name != KindWarehouse {
			v := &tidegate.Connection{Name: name}
			into, named = v, func() string { return v.Name }
		}
	case KindSettings:
		into = &Settings{}
	case KindSource:
		v := &tidegate.Source{Name: name}
		into, named = v, func() string { return v.Name }
	case KindDestination:
		v := &tidegate.Connection{Name: name}
		into, named = v, func() string { return v.Name }
	case KindModel:
		v := &tidegate.Model{Name: name}
		into, named = v, func() string { return v.Name }
	case KindSync:
		v := &tidegate.Sync{Name: name}
		into, named = v, func() string { return v.Name }
	case KindDbt:
		v := &tidegate.DbtProject{Name: name}
		into, named = v, func() string { return v.Name }
	case KindPlan:
		v := &tidegate.TrackingPlan{Name: name}
		into, named = v, func() string { return v.Name }
	case KindForward:
		v := &tidegate.Forward{Name: name}
		into, named = v, func() string { return v.Name }
	case KindTransform:
		v := &tidegate.Transform{Name: name}
		into, named = v, func() string { return v.Name }
	case KindLibrary:
		v := &tidegate.Library{Name: name}
		into, named = v, func() string { return v.Name }
	case KindAlert:
		v := &tidegate.Alert{Name: name}
		into, named = v, func() string { return v.Name }
	case KindStream:
		v := &tidegate.Stream{Name: name}
		into, named = v, func() string { return v.Name }
	default:
		return Definition{}, problemError(config.Problem{Message: fmt.Sprintf("there is no kind of definition %q", kind), Hint: config.DidYouMean(kind, DefinitionKinds())})
	}
	doc, err := config.ParseJSON("", body)
	if err != nil {
		return Definition{}, err
	}
	if err := doc.Decode(into); err != nil {
		return Definition{}, err
	}
	if named == nil && name != kind {
		return Definition{}, problemError(config.Problem{Message: fmt.Sprintf("the %s definition is called %q", kind, kind), Hint: fmt.Sprintf("write %s/%s", kind, kind)})
	}
	if named != nil && named() != name {
		return Definition{}, problemError(doc.Problem("name", fmt.Sprintf("the definition calls itself %q, its address %q", named(), name), "a rename is a new definition and a deletion"))
	}
	canonical, err := encodeBody(into)
	if err != nil {
		return Definition{}, fmt.Errorf("encoding %s %s: %w", kind, name, err)
	}
	return Definition{Kind: kind, Name: name, Body: canonical}, nil
}

func encodeBody(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
