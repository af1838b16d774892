package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/dbt"
)

// dbtRef is what a model of Tidegate's is in dbt.
type dbtRef struct {
	project string     // its name
	model   *dbt.Model // nil when fault is set
	blocked error      // why it may not be synced now
	fault   error      // why it is not known which model it is
}

// expansion is a project together with what its dbt projects add to it.
type expansion struct {
	project  *project.Project // models resolved to tables, declared syncs added
	refs     map[string]dbtRef
	problems map[string][]config.Problem // of declarations, by dbt project
}

// expand adds models and syncs of the dbt projects to base, and turns models
// that dbt makes into tables. It changes neither base nor the projects. A
// declaration with a problem is left out.
func (d *dbtProjects) expand(base *project.Project, kinds project.Kinds) expansion {
	p := *base
	p.Models, p.Syncs = slices.Clone(base.Models), slices.Clone(base.Syncs)
	e := expansion{project: &p, refs: map[string]dbtRef{}, problems: map[string][]config.Problem{}}
	for i := range p.Models {
		if p.Models[i].Dbt != "" {
			e.resolve(d, &p.Models[i])
		}
	}
	for _, name := range sortedNames(d.list) {
		of := d.list[name]
		if of.artifacts == nil {
			continue
		}
		for _, selection := range of.def.Select {
			chosen, err := of.artifacts.Manifest.Select(selection)
			if err != nil { // project.Check has refused others
				continue
			}
			for _, m := range chosen {
				e.offer(d, m, nil)
			}
		}
		if of.def.IgnoreMeta {
			continue
		}
		models, syncs := e.project.Models, e.project.Syncs
		declared, problems := of.artifacts.Manifest.Declared()
		problems = append(problems, e.declareAll(d, base, kinds, declared)...)
		if len(problems) > 0 && len(of.declared) > 0 { // all or none: a slip in one file takes no sync away
			e.project.Models, e.project.Syncs = models, syncs
			e.declareAll(d, base, kinds, of.declared)
		}
		e.problems[name] = problems
	}
	return e
}

func (e *expansion) declareAll(d *dbtProjects, base *project.Project, kinds project.Kinds, list []dbt.Declaration) []config.Problem {
	var problems []config.Problem
	for _, one := range list {
		problems = append(problems, e.declare(d, base, kinds, one)...)
	}
	return problems
}

// resolve turns a model that names a dbt model into one of its table.
func (e *expansion) resolve(d *dbtProjects, m *tidegate.Model) {
	of, found, err := d.find(m.Dbt)
	if err != nil {
		e.refs[m.Name] = dbtRef{fault: err}
		return
	}
	ref := dbtRef{project: of.def.Name, model: found, blocked: of.blocked(found)}
	e.refs[m.Name] = ref
	if found.Readable() != nil {
		return
	}
	m.Dbt, m.Table = "", found.Table()
	if m.Warehouse == "" {
		m.Warehouse = of.def.Warehouse
	}
	if len(m.PrimaryKey) == 0 {
		m.PrimaryKey = found.PrimaryKey
	}
}

// offer makes a dbt model a model of Tidegate's and returns its name, empty
// when both names for it are taken by others.
func (e *expansion) offer(d *dbtProjects, m *dbt.Model, key []string) string {
	for _, name := range []string{dbt.ModelName(m), m.Package + "_" + dbt.ModelName(m)} {
		at := slices.IndexFunc(e.project.Models, func(have tidegate.Model) bool { return have.Name == name })
		switch {
		case at < 0:
			added := tidegate.Model{Name: name, Dbt: m.ID, PrimaryKey: key}
			e.resolve(d, &added)
			e.project.Models = append(e.project.Models, added)
			return name
		case e.refs[name].model != nil && e.refs[name].model.ID == m.ID:
			if len(key) > 0 {
				e.project.Models[at].PrimaryKey = key
			}
			return name
		}
	}
	return ""
}

// declare adds a declared sync after holding it to all that a sync of the
// project is held to.
func (e *expansion) declare(d *dbtProjects, base *project.Project, kinds project.Kinds, one dbt.Declaration) []config.Problem {
	if slices.ContainsFunc(e.project.Syncs, func(s tidegate.Sync) bool { return s.Name == one.Sync.Name }) {
		return []config.Problem{one.Problem("name", fmt.Sprintf("there is another sync %q", one.Sync.Name), "give one of them another name")}
	}
	model := e.offer(d, one.Model, one.PrimaryKey)
	if model == "" {
		return []config.Problem{one.Problem("", "models of the project have taken its name", "rename the project's model "+dbt.ModelName(one.Model))}
	}
	def := one.Sync
	def.Model = model
	candidate := *base
	candidate.Models = append(slices.Clone(base.Models), tidegate.Model{Name: model, Dbt: one.Model.ID})
	if slices.ContainsFunc(base.Models, func(m tidegate.Model) bool { return m.Name == model }) {
		candidate.Models = base.Models
	}
	candidate.Syncs = append(slices.Clone(base.Syncs), def)
	checked, err := project.Check(&candidate, kinds)
	var invalid *config.Error
	if errors.As(err, &invalid) {
		var problems []config.Problem
		for _, p := range invalid.Problems {
			problems = append(problems, one.Problem(strings.TrimPrefix(strings.TrimPrefix(p.Path, fmt.Sprintf("syncs[%d]", len(base.Syncs))), "."), p.Message, p.Hint))
		}
		return problems
	}
	if err != nil {
		return []config.Problem{one.Problem("", err.Error(), "")}
	}
	for _, s := range checked.Syncs {
		if s.Name == def.Name {
			e.project.Syncs = append(e.project.Syncs, s) // with its defaults
		}
	}
	return nil
}

// syncsOfDbt lists the active syncs by the unique_id of the dbt model that they read.
func (a *active) syncsOfDbt() map[string][]string {
	out := map[string][]string{}
	for _, name := range sortedNames(a.syncs) {
		if ref, ok := a.dbt[a.syncs[name].Model]; ok && ref.model != nil {
			out[ref.model.ID] = append(out[ref.model.ID], name)
		}
	}
	return out
}

// gate returns why a sync's model may not be read now; nil for models that are
// none of dbt's.
func (a *active) gate(sync string) error {
	ref, ok := a.dbt[a.syncs[sync].Model]
	if !ok {
		return nil
	}
	return errors.Join(ref.fault, ref.blocked)
}

// exposed are the active syncs as the exposures of one dbt project.
func (a *active) exposed(name string) []dbt.Exposed {
	var out []dbt.Exposed
	for _, sync := range sortedNames(a.syncs) {
		def := a.syncs[sync]
		if ref := a.dbt[def.Model]; ref.model != nil && ref.project == name {
			out = append(out, dbt.Exposed{Sync: def, Kind: a.destinations[def.Destination].Kind, URL: adminURL(a.project, sync), Models: []string{ref.model.ID}})
		}
	}
	return out
}

// unresolved says why a model still names a dbt model: those that could be resolved are tables since
// the project became active.
func (a *active) unresolved(_ context.Context, def tidegate.Model) (tidegate.Model, error) {
	ref := a.dbt[def.Name]
	switch {
	case ref.fault != nil:
		return def, ref.fault
	case ref.model != nil:
		if err := ref.model.Readable(); err != nil {
			return def, err
		}
	}
	return def, &tidegate.Fault{
		Action: tidegate.Halt, Code: "model.invalid", Subject: "model " + def.Name, Message: fmt.Sprintf("it names the dbt model %q, and there is no dbt project", def.Dbt),
		Hint: "tell where dbt writes its artefacts in tidegate.yaml: dbt: [{target: PATH}]",
	}
}

// adminURL is where a sync's status can be read. An address of every interface
// is none that a browser could open.
func adminURL(p *project.Project, sync string) string {
	addr := p.Settings.AdminAddr
	if addr == "" || strings.HasSuffix(addr, ":0") {
		return ""
	}
	if strings.HasPrefix(addr, ":") || strings.HasPrefix(addr, "0.0.0.0:") {
		addr = "localhost" + addr[strings.LastIndexByte(addr, ':'):]
	}
	return "http://" + addr + "/v1/syncs/" + sync
}

// writeExposures writes the syncs back into each dbt project that asks for it.
func (h *Hub) writeExposures(a *active) {
	for _, name := range sortedNames(h.dbt.list) {
		p := h.dbt.list[name]
		if p.def.Exposures == "" || p.artifacts == nil {
			continue
		}
		text, err := p.artifacts.Manifest.Exposures(a.exposed(name))
		if err == nil {
			_, err = dbt.WriteExposures(under(h.o.Project, p.def.Exposures), text)
		}
		if err != nil && p.fault == nil {
			p.report(h, err)
		}
	}
}

// under is a path of the project's, which lies in the folder base.
func under(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

// dbtFindings are what doctor says of the dbt projects.
func (h *Hub) dbtFindings(ctx context.Context) []findingOf {
	list, err := h.Dbt(ctx)
	if err != nil {
		return nil
	}
	var out []findingOf
	for _, p := range list {
		f := findingOf{Check: "dbt " + p.Name, Level: "ok", Detail: fmt.Sprintf("%d models of dbt %s", len(p.Models), p.Version)}
		switch {
		case p.Fault != "":
			f.Level, f.Detail = "warning", p.Fault
		case len(p.Problems) > 0:
			f.Level, f.Detail, f.Hint = "error", p.Problems[0].String(), fmt.Sprintf("`tidegate dbt list` shows all %d problems of declared syncs", len(p.Problems))
		}
		out = append(out, f)
	}
	return out
}
