package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
)

// projectFiles are the files below the project folder. No link leads out of it.
type projectFiles struct{ dir string }

func (f projectFiles) Open(name string) (_ fs.File, err error) {
	if f.dir == "" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("the server was started without a project folder")}
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, err
	}
	file, err := root.FS().Open(name)
	if err = errors.Join(err, root.Close()); err != nil {
		return nil, err
	}
	return file, nil
}

// compileModel compiles a model of the project with what a mapping looks up.
func (h *Hub) compileModel(ctx context.Context, a *active, name string, joins []model.Join) (*model.Model, error) {
	wh, err := h.modelWarehouse(ctx, a, name)
	if err != nil {
		return nil, err
	}
	m, err := model.Catalog{Models: a.models, Dbt: a.unresolved, File: h.files.Table}.Compile(ctx, wh, name, joins...)
	if err != nil {
		return nil, fmt.Errorf("compiling model %s: %w", name, err)
	}
	return m, nil
}

// columnsWithin is how long a model's columns are waited for where a sync is defined.
const columnsWithin = 2 * time.Second

// fits refuses a sync that maps a column which its model does not have. Where the columns cannot be
// read at once, because the warehouse is away or what the model reads does not exist yet, its plan says so.
func (h *Hub) fits(ctx context.Context, p *project.Project, kind, name string) error {
	at := slices.IndexFunc(p.Syncs, func(s tidegate.Sync) bool { return s.Name == name })
	if kind != project.KindSync || at < 0 {
		return nil
	}
	def, a := p.Syncs[at], h.active.Load()
	m, ok := a.models[def.Model]
	if !ok || m.File != "" || h.held() != "" { // a file would be loaded
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, columnsWithin)
	defer cancel()
	compiled := make(chan *model.Model, 1)
	h.looking.Go(func() { // opening a warehouse may not heed ctx at once
		m, err := h.compileModel(ctx, a, def.Model, nil)
		if err != nil {
			m = nil
		}
		compiled <- m
	})
	select {
	case <-ctx.Done():
		return nil
	case m := <-compiled:
		if m == nil {
			return nil
		}
		var problems []config.Problem
		for _, p := range mapping.UnknownColumns(def.Mapping, m.Schema) {
			problems = append(problems, config.Problem{Path: "sync " + name + ": " + p.Path, Message: p.Message, Hint: p.Hint})
		}
		if len(problems) > 0 {
			return &config.Error{Problems: problems}
		}
	}
	return nil
}

// fitted is a mapping compiled against a destination's object, and what has to be
// made there before the first record.
type fitted struct {
	mapping *mapping.Mapping
	object  destinations.Object
	prepare func(ctx context.Context) error
}

// fitMapping compiles the mapping of a sync. Fields that the destination lacks and
// the mapping may create count as there: a plan can be looked at before they are.
func fitMapping(def tidegate.Sync, m *model.Model, dest destinations.Destination, object destinations.Object) (fitted, error) {
	out := fitted{object: object}
	if missing := mapping.Missing(def.Mapping, m, object); len(missing) > 0 {
		provisioner, ok := dest.(destinations.Provisioner)
		if !ok {
			return out, &tidegate.Fault{
				Action: tidegate.Halt, Code: "mapping.invalid", Subject: "sync " + def.Name + ": mapping.create_fields",
				Message: fmt.Sprintf("%s has no field %q, and this destination cannot create fields", object.Name, missing[0].Name), Hint: "create it there, or leave it out of the mapping",
			}
		}
		out.object.Fields = append(slices.Clone(object.Fields), missing...)
		out.prepare = func(ctx context.Context) error {
			for _, f := range missing {
				if err := provisioner.CreateField(ctx, object.Name, f); err != nil {
					return fmt.Errorf("creating field %s: %w", f.Name, err)
				}
			}
			return nil
		}
	}
	var err error
	if out.mapping, err = mapping.Compile(def.Mapping, m, out.object); err != nil {
		return out, fmt.Errorf("compiling the mapping of sync %s: %w", def.Name, err)
	}
	_, readable := dest.(destinations.Reader)
	return out, out.mapping.RequireReader(readable)
}

// SuggestMapping maps a model's columns to an object's fields by their names.
func (h *Hub) SuggestMapping(ctx context.Context, modelName, destination, object string) (_ api.SuggestedMapping, err error) {
	a := h.active.Load()
	conn, ok := a.destinations[destination]
	if !ok {
		return api.SuggestedMapping{}, &tidegate.Fault{Action: tidegate.Halt, Code: "destination.not_found", Subject: "destination " + destination, Message: fmt.Sprintf("there is no destination %q", destination), Hint: "name one of the project's destinations"}
	}
	m, err := h.compileModel(ctx, a, modelName, nil)
	if err != nil {
		return api.SuggestedMapping{}, err
	}
	dest, release, err := h.connections.use(ctx, conn, prefixes(a.project.Settings.AllowPrivate))
	if err != nil {
		return api.SuggestedMapping{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	objects, err := dest.Objects(ctx)
	if err != nil {
		return api.SuggestedMapping{}, fmt.Errorf("reading the objects of destination %s: %w", destination, err)
	}
	at := slices.IndexFunc(objects, func(o destinations.Object) bool { return o.Name == object })
	if at < 0 {
		return api.SuggestedMapping{}, noObject(destination, object, objects)
	}
	found := objects[at]
	out := api.SuggestedMapping{Mapping: mapping.Suggest(m, found), UnusedColumns: []string{}, OpenFields: []string{}}
	for _, c := range m.Schema {
		if !slices.ContainsFunc(out.Mapping.Fields, func(f tidegate.FieldMapping) bool { return f.Column == c.Name }) {
			out.UnusedColumns = append(out.UnusedColumns, c.Name)
		}
	}
	for _, f := range found.Fields {
		if !f.ReadOnly && !slices.ContainsFunc(out.Mapping.Fields, func(have tidegate.FieldMapping) bool { return have.Field == f.Name }) {
			out.OpenFields = append(out.OpenFields, f.Name)
		}
	}
	return out, nil
}

func noObject(destination, object string, objects []destinations.Object) error {
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = o.Name
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "sync.object", Subject: "destination " + destination,
		Message: fmt.Sprintf("destination %s has no object %q", destination, object), Hint: "use one of " + strings.Join(names, ", "),
	}
}

// PreviewModel reads a model's first rows and counts all of them.
func (h *Hub) PreviewModel(ctx context.Context, name string, limit int) (api.ModelPreview, error) {
	a := h.active.Load()
	if _, ok := a.models[name]; !ok {
		return api.ModelPreview{}, &tidegate.Fault{Action: tidegate.Halt, Code: "model.not_found", Subject: "model " + name, Message: fmt.Sprintf("there is no model %q", name), Hint: config.DidYouMean(name, slices.Sorted(maps.Keys(a.models)))}
	}
	m, err := h.compileModel(ctx, a, name, nil)
	if err != nil {
		return api.ModelPreview{}, err
	}
	wh, err := h.modelWarehouse(ctx, a, name)
	if err != nil {
		return api.ModelPreview{}, err
	}
	p, err := m.Preview(ctx, wh, limit)
	if err != nil {
		return api.ModelPreview{}, err
	}
	out := api.ModelPreview{Model: name, Rows: [][]any{}, Count: p.Count, EstimatedRows: -1, EstimatedBytes: -1}
	if p.Cost != nil {
		out.EstimatedRows, out.EstimatedBytes = p.Cost.Rows, p.Cost.Bytes
	}
	for _, c := range m.Schema {
		out.Columns = append(out.Columns, api.ColumnInfo{Name: c.Name, Type: c.Type.String()})
	}
	for _, row := range p.Rows {
		values := make([]any, len(row))
		for i, cell := range row {
			if values[i], err = model.Value(cell); err != nil {
				values[i] = nil // a value that JSON cannot hold is rejected when it is mapped
			}
		}
		out.Rows = append(out.Rows, values)
	}
	return out, nil
}
