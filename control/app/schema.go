package app

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/warehouse"
)

// schemaLog is where the hub's own loader notes what becomes of its tables.
var schemaLog = evolve.Log{Schema: loader.BooksSchema, Unbook: loader.Unbook}

// eventSchema looks at the tables of a project's sources and widens their columns.
type eventSchema struct {
	warehouse loader.Warehouse
	project   *project.Project
	now       func() time.Time
	between   func(ctx context.Context, do func(ctx context.Context) error) error // two loads
}

func (h *Hub) eventSchema() eventSchema {
	return eventSchema{warehouse: h.warehouse, project: h.active.Load().project, now: h.o.Now, between: h.loader.Between}
}

// EventTables lists the sources' tables with what does not fit them.
func (h *Hub) EventTables(ctx context.Context, schema, table string) ([]evolve.EventTable, error) {
	return h.eventSchema().tables(ctx, schema, table)
}

// WidenColumn gives a column a wider type between two loads, or says what that would do.
func (h *Hub) WidenColumn(ctx context.Context, req api.WidenRequest, by string) (evolve.WidenResult, error) {
	return h.eventSchema().widen(ctx, req, by)
}

// SchemaHistory lists what became of the columns of event tables, newest first.
func (h *Hub) SchemaHistory(ctx context.Context, schema, table string, limit int) ([]evolve.ColumnChange, error) {
	return schemaLog.History(ctx, h.warehouse, schema, table, limit)
}

// Collisions lists the names that became one column or one table.
func (h *Hub) Collisions(ctx context.Context, limit int) ([]evolve.NameCollision, error) {
	return schemaLog.Collisions(ctx, h.warehouse, limit)
}

func (s eventSchema) tables(ctx context.Context, schema, table string) ([]evolve.EventTable, error) {
	schemas := s.schemas()
	if schema != "" {
		if !slices.Contains(schemas, schema) {
			return nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "schema.not_found", Subject: "schema " + schema, Message: "no source has tables there",
				Hint: "the schemas of the sources: " + strings.Join(schemas, ", "),
			}
		}
		schemas = []string{schema}
	}
	return evolve.Survey(ctx, s.warehouse, schemas, table)
}

// schemas are those that events go to, in the order of their names.
func (s eventSchema) schemas() []string {
	all, _ := schemasOfEvents(s.project, s.warehouse.Dialect(), "")
	return all
}

func (s eventSchema) widen(ctx context.Context, req api.WidenRequest, by string) (evolve.WidenResult, error) {
	if !slices.Contains(s.schemas(), req.Schema) {
		return evolve.WidenResult{}, &tidegate.Fault{Action: tidegate.Halt, Code: "schema.not_found", Subject: "schema " + req.Schema, Message: "no source has tables there", Hint: "name the column as SOURCE.TABLE.COLUMN"}
	}
	r := evolve.Request{Table: warehouse.Table{Schema: req.Schema, Name: req.Table}, Column: req.Column, By: by, At: s.now().UTC()}
	var err error
	if req.To != "" {
		if r.To, err = evolve.ParseType(req.To); err != nil {
			return evolve.WidenResult{}, err
		}
	}
	if req.DryRun {
		return schemaLog.Plan(ctx, s.warehouse, r)
	}
	var result evolve.WidenResult
	err = s.between(ctx, func(ctx context.Context) (err error) {
		result, err = schemaLog.Widen(ctx, s.warehouse, r)
		return err
	})
	return result, err
}

// SchemaFiles answers what the hub does about event tables while no hub has the
// warehouse. It is for one command at a time; whoever opened it closes it.
type SchemaFiles struct {
	schema eventSchema
	by     string
}

// OpenSchema opens the warehouse of p for `by`, who is named in the history.
func OpenSchema(ctx context.Context, p *project.Project, data string, now func() time.Time, by string) (*SchemaFiles, error) {
	if err := usedBefore(p, data); err != nil {
		return nil, err
	}
	wh, err := openWarehouse(ctx, fileSecrets(data, now), data, p.Warehouse, slog.New(slog.DiscardHandler), now)
	if err != nil {
		return nil, err
	}
	alone := func(ctx context.Context, do func(ctx context.Context) error) error { return do(ctx) } // nothing loads
	return &SchemaFiles{eventSchema{wh, p, now, alone}, by}, nil
}

// EventTables lists the sources' tables with what does not fit them.
func (s *SchemaFiles) EventTables(ctx context.Context, f api.TableFilter) ([]evolve.EventTable, error) {
	return s.schema.tables(ctx, f.Schema, f.Table)
}

// WidenColumn gives a column a wider type, or says what that would do.
func (s *SchemaFiles) WidenColumn(ctx context.Context, req api.WidenRequest) (evolve.WidenResult, error) {
	return s.schema.widen(ctx, req, s.by)
}

// SchemaHistory lists what became of the columns of event tables, newest first.
func (s *SchemaFiles) SchemaHistory(ctx context.Context, f api.TableFilter, limit int) ([]evolve.ColumnChange, error) {
	return schemaLog.History(ctx, s.schema.warehouse, f.Schema, f.Table, limit)
}

// Collisions lists the names that became one column or one table.
func (s *SchemaFiles) Collisions(ctx context.Context) ([]evolve.NameCollision, error) {
	return schemaLog.Collisions(ctx, s.schema.warehouse, api.MaxCollisions)
}

// Close gives the warehouse up.
func (s *SchemaFiles) Close() error { return s.schema.warehouse.Close() }
