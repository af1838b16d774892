package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/dbt"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// DbtCheck says which change to look at.
type DbtCheck struct {
	// Name of the dbt project; may be empty when there is one.
	Name string
	// Target is where the new artefacts are, the project's own target when empty.
	Target string
	// State is where the old ones are; without it only the new side is looked at.
	State string
	// Data is the folder of the store that has the project's secrets.
	Data string
	// Query, when set, asks the warehouse what the artefacts do not say.
	Query func(ctx context.Context, sql string) ([]dbt.Column, int64, error)
}

// readDbt reads the dbt projects of p without a server. Nothing is written.
func readDbt(ctx context.Context, known secrets, p *project.Project, dir, data string, now func() time.Time, o dbt.Options) (*Hub, error) {
	h := newHub(Options{Project: dir, Data: data, Now: now, Log: slog.New(slog.DiscardHandler)}, nil)
	h.secrets = known
	h.dbt.list = map[string]*dbtProject{}
	for _, def := range p.Dbt {
		location, err := openDbt(ctx, known, def, h.o, prefixes(p.Settings.AllowPrivate))
		if err != nil {
			return nil, err
		}
		one := &dbtProject{def: def, location: location}
		if one.state, err = readDbtState(data, def); err != nil {
			return nil, err
		}
		if one.artifacts, one.fault = dbt.Load(ctx, location, nil, o); one.fault == nil {
			one.state, _ = one.state.Update(one.artifacts.Manifest, one.artifacts.Results)
		} else {
			one.artifacts = nil
		}
		h.dbt.list[def.Name] = one
	}
	return h, nil
}

// expandFiles is Hub.activate for files: nothing is started.
func (h *Hub) expandFiles(p *project.Project) *active {
	e := h.dbt.expand(p, Kinds())
	a := index(e.project)
	a.base, a.dbt = p, e.refs
	for name, of := range h.dbt.list {
		of.problems = e.problems[name]
	}
	h.active.Store(a)
	return a
}

// DbtFiles lists the dbt projects of p, whose folder is dir, without a server.
func DbtFiles(ctx context.Context, p *project.Project, dir, data string, now func() time.Time) ([]api.DbtStatus, error) {
	h, err := readDbt(ctx, fileSecrets(data, now), p, dir, data, now, dbt.Options{})
	if err != nil {
		return nil, err
	}
	h.expandFiles(p)
	return h.Dbt(ctx)
}

// DbtExposures writes the exposures of each dbt project of p that names a file
// for them, and returns the text of all.
func DbtExposures(ctx context.Context, p *project.Project, dir, data string, now func() time.Time) ([]api.DbtExposures, error) {
	h, err := readDbt(ctx, fileSecrets(data, now), p, dir, "", now, dbt.Options{})
	if err != nil {
		return nil, err
	}
	a := h.expandFiles(p)
	var out []api.DbtExposures
	for _, name := range sortedNames(h.dbt.list) {
		of := h.dbt.list[name]
		if of.fault != nil {
			return nil, of.fault
		}
		if len(of.problems) > 0 {
			return nil, &config.Error{Problems: of.problems}
		}
		text, err := of.artifacts.Manifest.Exposures(a.exposed(name))
		if err != nil {
			return nil, err
		}
		one := api.DbtExposures{Project: name, Text: string(text)}
		if of.def.Exposures != "" {
			one.Path = under(dir, of.def.Exposures)
			if one.Changed, err = dbt.WriteExposures(one.Path, text); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// CheckDbt says what a change of a dbt project does to the syncs that read it.
func CheckDbt(ctx context.Context, p *project.Project, dir string, now func() time.Time, o DbtCheck) ([]dbt.Finding, error) {
	def, err := onlyDbt(p, o.Name)
	if err != nil {
		return nil, err
	}
	if o.Target != "" {
		def.Target, def.Cloud = o.Target, nil
	}
	only := *p
	only.Dbt = []tidegate.DbtProject{def}
	h, err := readDbt(ctx, fileSecrets(o.Data, now), &only, dir, "", now, dbt.Options{Code: o.Query != nil})
	if err != nil {
		return nil, err
	}
	of := h.dbt.list[def.Name]
	if of.fault != nil {
		return nil, of.fault
	}
	side := dbt.Side{Artifacts: of.artifacts}
	var before *dbt.Side
	if o.State != "" {
		was := def
		was.Target, was.Cloud = o.State, nil
		location, err := openDbt(ctx, h.secrets, was, h.o, prefixes(p.Settings.AllowPrivate))
		if err != nil {
			return nil, err
		}
		old, err := dbt.Load(ctx, location, nil, dbt.Options{})
		if err != nil {
			return nil, fmt.Errorf("reading the old state: %w", err)
		}
		before = &dbt.Side{Artifacts: old}
	}
	if o.Query != nil {
		dialect, ok := sqltext.Find(p.Warehouse.Kind)
		if !ok {
			return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "dbt.prove", Subject: "warehouse " + p.Warehouse.Kind, Message: "this kind of warehouse cannot be asked for proof", Hint: "run the check without --prove"}
		}
		prover := dbt.Prover{Dialect: dialect, Query: o.Query}
		side = prover.Now(ctx, of.artifacts)
		if before != nil {
			before = prover.Before(ctx, before.Artifacts)
		}
	}
	h.expandFiles(&only)
	if len(of.problems) > 0 {
		return nil, &config.Error{Problems: of.problems}
	}
	findings, err := dbt.Compare(before, side, usesOf(&only, of, before))
	if err != nil || before == nil {
		return findings, err
	}
	more, err := dbt.CompareReadings(*before, side, readingsOf(&only, def.Warehouse))
	return append(findings, more...), err
}

func onlyDbt(p *project.Project, name string) (tidegate.DbtProject, error) {
	var names []string
	for _, def := range p.Dbt {
		if def.Name == name || name == "" && len(p.Dbt) == 1 {
			return def.Clone(), nil
		}
		names = append(names, def.Name)
	}
	f := &tidegate.Fault{Action: tidegate.Halt, Code: "project.dbt", Subject: "dbt " + name, Message: "the project has no such dbt project", Hint: config.DidYouMean(name, names)}
	switch {
	case len(p.Dbt) == 0:
		f.Subject, f.Message, f.Hint = "", "the project names no dbt project", "add `dbt: [{target: PATH}]` to "+project.File
	case name == "":
		f.Message, f.Hint = "the project has several dbt projects", "name one with --dbt: "+fmt.Sprint(names)
	}
	return tidegate.DbtProject{}, f
}

// usesOf are the uses of one dbt project's models: the project's own syncs,
// those that its models declare now, and those that they declared before and
// whose models are gone.
func usesOf(p *project.Project, of *dbtProject, before *dbt.Side) []dbt.Use {
	var uses []dbt.Use
	for _, s := range p.Syncs {
		at := slices.IndexFunc(p.Models, func(m tidegate.Model) bool { return m.Name == s.Model })
		switch {
		case at >= 0 && p.Models[at].Dbt != "":
			uses = append(uses, dbt.Use{Sync: s, Reference: p.Models[at].Dbt, PrimaryKey: p.Models[at].PrimaryKey})
		case at < 0: // offered by a selection
			uses = append(uses, dbt.Use{Sync: s, Reference: s.Model})
		}
		for _, l := range lookupsOf(s.Mapping.Fields) {
			if at := slices.IndexFunc(p.Models, func(m tidegate.Model) bool { return m.Name == l.Model && m.Dbt != "" }); at >= 0 {
				looked := tidegate.Sync{Name: s.Name, Mapping: tidegate.Mapping{Fields: []tidegate.FieldMapping{{Column: l.Column}}}}
				uses = append(uses, dbt.Use{Sync: looked, Reference: p.Models[at].Dbt, PrimaryKey: p.Models[at].PrimaryKey})
			}
		}
	}
	if of.def.IgnoreMeta {
		return uses
	}
	declared, _ := of.artifacts.Manifest.Declared() // problems were returned before
	for _, d := range declared {
		uses = append(uses, dbt.Use{Sync: d.Sync, Reference: d.Model.ID, PrimaryKey: d.PrimaryKey})
	}
	if before == nil {
		return uses
	}
	old, _ := before.Manifest.Declared() // what was wrong there ran nowhere
	for _, d := range old {
		again := slices.ContainsFunc(declared, func(now dbt.Declaration) bool { return now.Sync.Name == d.Sync.Name })
		if !again && of.artifacts.Manifest.Models[d.Model.ID] == nil {
			uses = append(uses, dbt.Use{Sync: d.Sync, Reference: d.Model.ID, PrimaryKey: d.PrimaryKey})
		}
	}
	return uses
}

// lookupsOf are the lookups of fields, nested ones too.
func lookupsOf(fields []tidegate.FieldMapping) []tidegate.Lookup {
	var out []tidegate.Lookup
	for _, f := range fields {
		if f.Lookup != nil {
			out = append(out, *f.Lookup)
		}
		out = append(out, lookupsOf(slices.Concat(f.Object, f.Items))...)
	}
	return out
}

// readingsOf are the SQL texts that syncs read in the warehouse where dbt builds:
// of their models, of the models that they look up, and of all that these use.
func readingsOf(p *project.Project, warehouse string) []dbt.Reading {
	models := map[string]tidegate.Model{}
	for _, m := range p.Models {
		models[m.Name] = m
	}
	var out []dbt.Reading
	for _, s := range p.Syncs {
		seen := map[string]bool{}
		var visit func(name string, wanted []string)
		visit = func(name string, wanted []string) {
			m := models[name]
			if seen[name] || m.SQL == "" || m.Warehouse != warehouse {
				return
			}
			seen[name] = true
			r := dbt.Reading{Sync: s.Name, Model: name, SQL: m.SQL, Wanted: slices.Concat(m.PrimaryKey, wanted), Names: map[string]string{}}
			for _, used := range m.Uses {
				if models[used].Dbt != "" {
					r.Names[used] = models[used].Dbt
				}
			}
			out = append(out, r)
			for _, used := range m.Uses {
				visit(used, slices.Concat(r.Wanted, dbt.SQLWords(m.SQL)))
			}
		}
		var wanted []string
		for _, f := range s.Mapping.Fields {
			wanted = append(wanted, dbt.MappedColumns(f)...)
		}
		visit(s.Model, wanted)
		for _, l := range lookupsOf(s.Mapping.Fields) {
			visit(l.Model, []string{l.Column})
		}
	}
	return out
}
