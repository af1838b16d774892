package app

import (
	"context"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// schemaLog is where the hub's own loader notes what becomes of its tables.
var schemaLog = evolve.Log{Schema: loader.BooksSchema}

// EventTables lists the sources' tables with what does not fit them.
func (h *Hub) EventTables(ctx context.Context, schema, table string) ([]evolve.EventTable, error) {
	schemas := h.eventSchemas()
	if schema != "" {
		if !slices.Contains(schemas, schema) {
			return nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "schema.not_found", Subject: "schema " + schema, Message: "no source has tables there",
				Hint: "the schemas of the sources: " + strings.Join(schemas, ", "),
			}
		}
		schemas = []string{schema}
	}
	return evolve.Survey(ctx, h.warehouse, schemas, table)
}

// eventSchemas are the schemas of the sources, in the order of their names.
func (h *Hub) eventSchemas() []string {
	d, ok := sqltext.Find(h.warehouse.Dialect())
	if !ok {
		return nil
	}
	opts := shape.Options{Reserved: d.Reserved, MaxName: d.MaxName()}
	var all []string
	for _, src := range h.active.Load().project.Sources {
		all = append(all, opts.Schema(src.Name))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// WidenColumn gives a column a wider type between two loads, or says what that would do.
func (h *Hub) WidenColumn(ctx context.Context, req api.WidenRequest, by string) (evolve.WidenResult, error) {
	if !slices.Contains(h.eventSchemas(), req.Schema) {
		return evolve.WidenResult{}, &tidegate.Fault{Action: tidegate.Halt, Code: "schema.not_found", Subject: "schema " + req.Schema, Message: "no source has tables there", Hint: "name the column as SOURCE.TABLE.COLUMN"}
	}
	r := evolve.Request{Table: warehouse.Table{Schema: req.Schema, Name: req.Table}, Column: req.Column, By: by, At: h.o.Now().UTC()}
	var err error
	if req.To != "" {
		if r.To, err = evolve.ParseType(req.To); err != nil {
			return evolve.WidenResult{}, err
		}
	}
	if req.DryRun {
		return evolve.Plan(ctx, h.warehouse, r)
	}
	var result evolve.WidenResult
	err = h.loader.Between(ctx, func(ctx context.Context) (err error) {
		result, err = schemaLog.Widen(ctx, h.warehouse, r)
		return err
	})
	return result, err
}

// SchemaHistory lists what became of the columns of event tables, newest first.
func (h *Hub) SchemaHistory(ctx context.Context, schema, table string, limit int) ([]evolve.ColumnChange, error) {
	return schemaLog.History(ctx, h.warehouse, schema, table, limit)
}

// Collisions lists the names that became one column or one table.
func (h *Hub) Collisions(ctx context.Context, limit int) ([]evolve.NameCollision, error) {
	return schemaLog.Collisions(ctx, h.warehouse, limit)
}
