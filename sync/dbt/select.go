package dbt

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// Select returns the models that a selection in dbt's own words names, sorted
// by unique_id. Words are joined by spaces (union) and commas (intersection):
//
//	customers           by name, package.name, or folder.name
//	tag:crm  group:finance  access:public  package:shop  resource_type:seed
//	path:models/marts   by file or folder
//	config.materialized:table
//	+customers  customers+  2+customers  customers+1    with ancestors, with descendants
//
// `*` stands for any characters. Selecting nothing is no error.
func (m *Manifest) Select(selection string) ([]*Model, error) {
	chosen := map[string]bool{}
	for _, word := range strings.Fields(selection) {
		var both map[string]bool
		for _, part := range strings.Split(word, ",") {
			ids, err := m.selectPart(part)
			if err != nil {
				return nil, err
			}
			for id := range both {
				if !ids[id] {
					delete(both, id)
				}
			}
			if both == nil {
				both = ids
			}
		}
		for id := range both {
			chosen[id] = true
		}
	}
	var out []*Model
	for id := range chosen {
		out = append(out, m.Models[id])
	}
	slices.SortFunc(out, func(a, b *Model) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

var selectorPart = regexp.MustCompile(`^(?:(\d*)(\+))?(?:([a-z_]+(?:\.[A-Za-z0-9_]+)*):)?([^+@]+?)(?:(\+)(\d*))?$`)

func (m *Manifest) selectPart(part string) (map[string]bool, error) {
	p := selectorPart.FindStringSubmatch(part)
	if p == nil {
		return nil, badSelector(part, "it is no selector", "write a name, tag:NAME, path:FOLDER, package:NAME, group:NAME or config.SETTING:VALUE")
	}
	match, err := matcher(p[3], p[4])
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for id, model := range m.Models {
		if match(model) {
			ids[id] = true
		}
	}
	out := map[string]bool{}
	for id := range ids {
		out[id] = true
	}
	if p[2] != "" {
		m.walk(ids, out, depth(p[1]), func(id string) []string { return m.Models[id].Parents })
	}
	if p[5] != "" {
		children := map[string][]string{}
		for id, model := range m.Models {
			for _, parent := range model.Parents {
				children[parent] = append(children[parent], id)
			}
		}
		m.walk(ids, out, depth(p[6]), func(id string) []string { return children[id] })
	}
	return out, nil
}

func depth(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return MaxNodes
	}
	return n
}

// walk adds to out what next leads to from the ids, at most levels away.
func (m *Manifest) walk(from, out map[string]bool, levels int, next func(string) []string) {
	front := from
	seen := map[string]bool{}
	for ; levels > 0 && len(front) > 0; levels-- {
		reached := map[string]bool{}
		for id := range front {
			for _, to := range next(id) {
				if m.Models[to] != nil && !seen[to] {
					reached[to], seen[to], out[to] = true, true, true
				}
			}
		}
		front = reached
	}
}

func matcher(method, value string) (func(*Model) bool, error) {
	one := func(of func(*Model) string) (func(*Model) bool, error) {
		return func(m *Model) bool { return glob(value, of(m)) }, nil
	}
	switch method {
	case "", "fqn":
		return func(m *Model) bool {
			return method == "" && value == m.ID || named(m, value) || method == "" && under(m.Path, value)
		}, nil
	case "tag":
		return func(m *Model) bool { return slices.ContainsFunc(m.Tags, func(t string) bool { return glob(value, t) }) }, nil
	case "path", "file":
		return func(m *Model) bool {
			return under(m.Path, value) || method == "file" && (glob(value, path.Base(m.Path)) || glob(value, strings.TrimSuffix(path.Base(m.Path), path.Ext(m.Path))))
		}, nil
	case "package":
		return one(func(m *Model) string { return m.Package })
	case "group":
		return one(func(m *Model) string { return m.Group })
	case "access":
		return one(func(m *Model) string { return m.Access })
	case "resource_type":
		return one(func(m *Model) string { return m.Kind })
	}
	if setting, ok := strings.CutPrefix(method, "config."); ok {
		if setting == "tags" {
			return matcher("tag", value)
		}
		return one(func(m *Model) string { return m.Config[setting] })
	}
	known := []string{"tag", "path", "file", "package", "group", "access", "resource_type", "fqn", "config.materialized"}
	return nil, badSelector(method+":"+value, fmt.Sprintf("there is no method %q", method), config.DidYouMean(method, known))
}

func badSelector(what, why, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "dbt.selector", Subject: fmt.Sprintf("selector %q", what), Message: why, Hint: hint}
}

// glob is fnmatch: a star matches slashes too.
func glob(pattern, s string) bool {
	if s == "" {
		return false
	}
	pattern, s = strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(s, "/", "\x01")
	ok, err := path.Match(pattern, s)
	return err == nil && ok
}

// under says whether the file is, or lies below, the path.
func under(file, where string) bool {
	where = strings.TrimSuffix(strings.TrimPrefix(where, "./"), "/")
	return strings.Contains(where, "/") && (glob(where, file) || strings.HasPrefix(file, where+"/")) || strings.HasPrefix(file, where+"/") || file == where
}

// named says whether value names the model: its name, or the beginning of its
// fully qualified name with or without the package.
func named(m *Model, value string) bool {
	if glob(value, m.Name) || m.Version != "" && value == m.Name+".v"+m.Version || value == m.Package+"."+m.Name || m.Version != "" && value == m.Package+"."+m.Name+".v"+m.Version {
		return true
	}
	parts := strings.Split(value, ".")
	for _, fqn := range [][]string{m.FQN, m.FQN[min(1, len(m.FQN)):]} {
		if len(parts) > len(fqn) {
			continue
		}
		all := true
		for i, p := range parts {
			all = all && glob(p, fqn[i])
		}
		if all {
			return true
		}
	}
	return false
}

// Find returns the one model that reference names: a name, package.name,
// unique_id, or a selection that one model matches. Of a versioned model a bare
// name means the latest version. What does not name one is a Halt fault with
// the code "dbt.model".
func (m *Manifest) Find(reference string) (*Model, error) {
	if model := m.Models[reference]; model != nil {
		return model, nil
	}
	var found []*Model
	for _, model := range m.Models {
		versions := []string{model.Name, model.Package + "." + model.Name}
		if model.Version != "" {
			if model.Version != model.Latest {
				versions = nil
			}
			versions = append(versions, model.Name+".v"+model.Version, model.Package+"."+model.Name+".v"+model.Version)
		}
		if slices.Contains(versions, reference) {
			found = append(found, model)
		}
	}
	if len(found) == 0 && strings.ContainsAny(reference, ":+*, ") {
		var err error
		if found, err = m.Select(reference); err != nil {
			return nil, err
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		var names []string
		for _, model := range m.Models {
			names = append(names, model.Name)
		}
		return nil, modelFault(reference, "the dbt project has no such model", config.DidYouMean(reference, names))
	}
	slices.SortFunc(found, func(a, b *Model) int { return cmp.Compare(a.ID, b.ID) })
	names := make([]string, 0, 5)
	for _, model := range found[:min(5, len(found))] {
		names = append(names, model.String())
	}
	return nil, modelFault(reference, fmt.Sprintf("%d dbt models match", len(found)), "name one of them: "+strings.Join(names, ", "))
}

func modelFault(name, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "dbt.model", Subject: "dbt model " + name, Message: message, Hint: hint}
}
