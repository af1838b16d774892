package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/sync/dbt"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model/file"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// lineageEvery is how often `_tidegate.lineage` is looked after: new tables of
// a source come with loads.
const lineageEvery = time.Minute

// The kinds of things that values travel through.
const (
	lineageSource = "source"
	lineageTable  = "table"
	lineageFile   = "file"
	lineageDbt    = "dbt_model"
	lineageModel  = "model"
	lineageSync   = "sync"
	lineageField  = "field"
)

// Lineage returns how values travel.
func (h *Hub) Lineage(ctx context.Context, name string) (api.Lineage, error) {
	edges, err := h.lineage(ctx)
	if err != nil {
		return api.Lineage{}, err
	}
	if name == "" {
		return api.Lineage{Edges: append([]api.LineageEdge{}, edges...)}, nil // never null
	}
	kept := related(edges, name)
	if len(kept) == 0 {
		return api.Lineage{}, &tidegate.Fault{
			Action: tidegate.Halt, Code: "lineage.not_found", Subject: name, Message: "no source, table, model, sync or field has this name",
			Hint: "`tidegate lineage` shows them all; fields are written destination.object.field",
		}
	}
	return api.Lineage{Edges: kept}, nil
}

// related keeps what leads to name and what comes of it.
func related(edges []api.LineageEdge, name string) []api.LineageEdge {
	keep := make([]bool, len(edges))
	follow := func(from func(api.LineageEdge) string, to func(api.LineageEdge) string) {
		reached := map[string]bool{}
		for i, e := range edges {
			if bare(from(e)) == name || from(e) == name {
				keep[i], reached[to(e)] = true, true
			}
		}
		for more := true; more; {
			more = false
			for i, e := range edges {
				if !keep[i] && reached[from(e)] {
					keep[i], reached[to(e)], more = true, true, true
				}
			}
		}
	}
	upper := func(e api.LineageEdge) string { return e.FromKind + " " + e.From }
	lower := func(e api.LineageEdge) string { return e.ToKind + " " + e.To }
	up := slices.Clone(keep)
	follow(lower, upper)
	up, keep = keep, up
	follow(upper, lower)
	var out []api.LineageEdge
	for i, e := range edges {
		if keep[i] || up[i] {
			out = append(out, e)
		}
	}
	return out
}

// bare is a node's name without its kind.
func bare(node string) string {
	_, name, _ := strings.Cut(node, " ")
	return name
}

// lineage finds every edge, sorted. What a model reads that cannot be compiled
// now is left out.
func (h *Hub) lineage(ctx context.Context) ([]api.LineageEdge, error) {
	a := h.active.Load()
	g := graph{seen: map[string]bool{}}
	if lister, ok := h.warehouse.(warehouse.Lister); ok {
		tables, err := lister.Tables(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the tables: %w", err)
		}
		for _, t := range tables {
			if slices.ContainsFunc(a.project.Sources, func(s tidegate.Source) bool { return s.Name == t.Schema }) {
				g.add(lineageSource, t.Schema, lineageTable, t.String(), nil)
			}
		}
	}
	h.dbt.mu.Lock()
	manifests := map[string]*dbt.Manifest{}
	for name, p := range h.dbt.list {
		if p.artifacts != nil {
			manifests[name] = p.artifacts.Manifest
		}
	}
	h.dbt.mu.Unlock()
	asked := map[string]bool{} // models whose tables are told already
	for _, name := range sortedNames(a.syncs) {
		def := a.syncs[name]
		alone := len(mapping.Joins(def.Mapping)) == 0 // lookups add tables of their own
		if ref := a.dbt[def.Model]; ref.model != nil {
			g.add(lineageDbt, ref.model.String(), lineageModel, def.Model, nil)
			g.ancestors(manifests[ref.project], ref.model)
		} else if !alone || !asked[def.Model] {
			if tables, err := h.tablesOf(ctx, name); err == nil {
				g.reads(manifests, a.models[def.Model], tables)
			}
			asked[def.Model] = asked[def.Model] || alone
		}
		g.sync(def, a.models)
	}
	slices.SortFunc(g.edges, func(a, b api.LineageEdge) int { return strings.Compare(edgeKey(a), edgeKey(b)) })
	return g.edges, nil
}

func edgeKey(e api.LineageEdge) string {
	order := []string{lineageSource, lineageFile, lineageTable, lineageDbt, lineageModel, lineageSync}
	return fmt.Sprintf("%d %s\x00%s\x00%s", slices.Index(order, e.FromKind), e.From, e.ToKind, e.To)
}

type graph struct {
	edges []api.LineageEdge
	seen  map[string]bool
}

func (g *graph) add(fromKind, from, toKind, to string, columns []string) {
	e := api.LineageEdge{FromKind: fromKind, From: from, ToKind: toKind, To: to, Columns: columns}
	if key := edgeKey(e); !g.seen[key] {
		g.seen[key] = true
		g.edges = append(g.edges, e)
	}
}

// ancestors adds what leads to a dbt model, up to the tables that dbt does not make.
func (g *graph) ancestors(m *dbt.Manifest, model *dbt.Model) {
	if m == nil || g.seen["dbt "+model.ID] {
		return
	}
	g.seen["dbt "+model.ID] = true
	for _, id := range model.Parents {
		if source := m.Sources[id]; source != nil {
			g.add(lineageTable, source.Schema+"."+source.Table, lineageDbt, model.String(), nil)
		} else if parent := m.Models[id]; parent != nil {
			g.add(lineageDbt, parent.String(), lineageDbt, model.String(), nil)
			g.ancestors(m, parent)
		}
	}
}

// reads adds the tables that a model reads; one that dbt makes leads on to its ancestors,
// and one that holds a file is not told: the file is.
func (g *graph) reads(manifests map[string]*dbt.Manifest, model tidegate.Model, tables []warehouse.Table) {
	for _, t := range tables {
		made := t.Schema == file.Schema
		for _, project := range sortedNames(manifests) {
			for _, candidate := range manifests[project].Models {
				if strings.EqualFold(candidate.Table(), t.String()) && candidate.Readable() == nil {
					g.add(lineageDbt, candidate.String(), lineageModel, model.Name, nil)
					g.ancestors(manifests[project], candidate)
					made = true
				}
			}
		}
		if !made {
			name := t.String()
			if model.Warehouse != "" { // tables of equal names in two warehouses are two
				name = model.Warehouse + ":" + name
			}
			g.add(lineageTable, name, lineageModel, model.Name, nil)
		}
	}
}

// model adds the file and the models that a model is made of. Models do not use each other in circles.
func (g *graph) model(m tidegate.Model, models map[string]tidegate.Model) {
	if m.File != "" {
		g.add(lineageFile, m.File, lineageModel, m.Name, nil)
	}
	for _, used := range m.Uses {
		g.add(lineageModel, used, lineageModel, m.Name, nil)
		g.model(models[used], models)
	}
}

func (g *graph) sync(def tidegate.Sync, models map[string]tidegate.Model) {
	g.model(models[def.Model], models)
	g.add(lineageModel, def.Model, lineageSync, def.Name, nil)
	for _, f := range def.Mapping.Fields {
		if f.Lookup != nil {
			g.model(models[f.Lookup.Model], models)
			g.add(lineageModel, f.Lookup.Model, lineageSync, def.Name, nil)
		}
		g.add(lineageSync, def.Name, lineageField, def.Destination+"."+def.Object+"."+f.Field, dbt.MappedColumns(f))
	}
}

var lineageTableName = warehouse.Table{Schema: "_tidegate", Name: "lineage"}

func lineageSchema() tidegate.Schema {
	text := tidegate.Type{Kind: tidegate.String}
	return tidegate.Schema{{Name: "from_kind", Type: text}, {Name: "from_name", Type: text}, {Name: "to_kind", Type: text}, {Name: "to_name", Type: text}, {Name: "columns", Type: text}}
}

// keepLineage keeps the table `_tidegate.lineage` as Lineage answers. It says
// false while the warehouse is lent: then it is to be tried again.
func (h *Hub) keepLineage(ctx context.Context) bool {
	edges, err := h.lineage(ctx)
	if err == nil && !slices.EqualFunc(edges, h.lineageKept, func(a, b api.LineageEdge) bool {
		return edgeKey(a) == edgeKey(b) && slices.Equal(a.Columns, b.Columns)
	}) {
		if err = h.writeLineage(ctx, edges); err == nil {
			h.lineageKept = edges
		}
	}
	if errors.Is(err, warehouse.ErrYielded) {
		return false
	}
	if err != nil && ctx.Err() == nil {
		h.o.Log.Warn("writing the lineage failed", "error", err)
	}
	return true
}

func (h *Hub) writeLineage(ctx context.Context, edges []api.LineageEdge) (err error) {
	tx, err := h.warehouse.Begin(ctx)
	if err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if _, err := tx.Ensure(ctx, lineageTableName, lineageSchema()); err != nil {
		return fmt.Errorf("making the table: %w", err)
	}
	dialect, ok := sqltext.Find(h.warehouse.Dialect())
	if !ok {
		return fmt.Errorf("no dialect is called %q", h.warehouse.Dialect())
	}
	table, err := dialect.Table(lineageTableName.Schema, lineageTableName.Name)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, string("DELETE FROM "+table+" WHERE true")); err != nil {
		return fmt.Errorf("emptying the table: %w", err)
	}
	places := make([]sqltext.Text, len(lineageSchema()))
	for i := range places {
		places[i] = dialect.Placeholder(i + 1)
	}
	columns, err := dialect.Idents(lineageSchema().Names())
	if err != nil {
		return err
	}
	insert := string("INSERT INTO " + table + " (" + sqltext.Join(columns, ", ") + ") VALUES (" + sqltext.Join(places, ", ") + ")")
	for _, e := range edges {
		if _, err := tx.Exec(ctx, insert, e.FromKind, e.From, e.ToKind, e.To, strings.Join(e.Columns, ", ")); err != nil {
			return fmt.Errorf("writing an edge: %w", err)
		}
	}
	return tx.Commit()
}
