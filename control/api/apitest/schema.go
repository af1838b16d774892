package apitest

import (
	"context"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
)

func noticed() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// EventTables implements api.Hub.
func (h *Hub) EventTables(_ context.Context, schema, table string) ([]evolve.EventTable, error) {
	if schema != "" && schema != "web" {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "schema.not_found", Subject: "schema " + schema, Message: "no source has tables there"}
	}
	if table != "" && table != "order_completed" {
		return nil, nil
	}
	return []evolve.EventTable{{
		Schema: "web", Table: "order_completed", Columns: []evolve.ColumnState{{Name: "id", Type: "string"}, {Name: "total", Type: "int"}},
		Conflicts: []evolve.ColumnConflict{{
			Column: "total", Type: "int", Reason: "type_conflict", Values: 3, Since: noticed(), Last: noticed().Add(time.Hour),
			Found: []evolve.SetAside{{Type: "float", Values: 3, Example: "12.5"}}, Proposal: "float",
		}},
	}}, nil
}

// WidenColumn implements api.Hub.
func (h *Hub) WidenColumn(_ context.Context, req api.WidenRequest, by string) (evolve.WidenResult, error) {
	if req.Column != "total" {
		return evolve.WidenResult{}, &tidegate.Fault{Action: tidegate.Halt, Code: "column.not_found", Subject: "column " + req.Column, Message: "the table has no such column"}
	}
	h.Lock()
	defer h.Unlock()
	h.WidenedBy = by
	r := evolve.WidenResult{Schema: req.Schema, Table: req.Table, Column: req.Column, OldType: "int", NewType: "float", Values: 3}
	if req.To != "" {
		r.NewType = req.To
	}
	if !req.DryRun {
		r.Done, r.Backfilled = true, 3
	}
	return r, nil
}

// SchemaHistory implements api.Hub.
func (h *Hub) SchemaHistory(_ context.Context, schema, _ string, _ int) ([]evolve.ColumnChange, error) {
	if schema != "" && schema != "web" {
		return nil, nil
	}
	return []evolve.ColumnChange{
		{At: noticed(), Schema: "web", Table: "order_completed", Column: "total", Change: evolve.Widened, OldType: "int", NewType: "float", By: "ada", Backfilled: 3},
		{
			At: noticed(), Schema: "web", Table: "order_completed", Column: "total", Change: evolve.Added, NewType: "int",
			Source: "web", Name: "properties.total", MessageID: "m1", Offset: "0:7",
		},
	}, nil
}

// Collisions implements api.Hub.
func (h *Hub) Collisions(context.Context, int) ([]evolve.NameCollision, error) {
	return []evolve.NameCollision{{At: noticed(), Schema: "web", Table: "order_completed", Column: "user_name", Kept: "properties.user_name", Other: "properties.userName"}}, nil
}
