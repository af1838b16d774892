package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Explain says which rows an event would become. It goes the way of a real
// event: the surface's own judgement, then the loader's own shaping.
func (h *Hub) Explain(ctx context.Context, source string, event json.RawMessage) (api.Explanation, error) {
	return explain(source, event, h.o, h.warehouse.Dialect(), func(t warehouse.Table) (tidegate.Schema, error) {
		schema, err := h.warehouse.Describe(ctx, t)
		if errors.Is(err, warehouse.ErrNoTable) {
			return nil, nil
		}
		return schema, err
	})
}

// Explain is Hub.Explain without a running hub: against no tables at all.
func Explain(o Options, source string, event json.RawMessage) (api.Explanation, error) {
	return explain(source, event, o, "duckdb", nil)
}

func explain(source string, event json.RawMessage, o Options, dialect string, describe func(warehouse.Table) (tidegate.Schema, error)) (api.Explanation, error) {
	d, ok := sqltext.Find(dialect)
	if !ok {
		return api.Explanation{}, fmt.Errorf("explaining an event: there is no dialect %q", dialect)
	}
	ev, fault := ingest.Judge(event, o.Now())
	if fault != nil {
		return api.Explanation{Refusal: tidegate.StoredFault(fault), Tables: []api.ExplainedTable{}}, nil
	}
	ev.Source = source
	tables, err := shape.Explain(ev, shape.Options{Reserved: d.Reserved, MaxName: d.MaxName()}, o.Now(), describe)
	if err != nil {
		return api.Explanation{}, &tidegate.Fault{Action: tidegate.Reject, Code: shape.DeadCode(err), Subject: "event", Message: err.Error(), Hint: "it would become a dead letter", Err: err}
	}
	out := api.Explanation{Tables: make([]api.ExplainedTable, 0, len(tables))}
	for _, t := range tables {
		row := api.ExplainedTable{Schema: source, Name: t.Table}
		for _, c := range t.Columns {
			row.Columns = append(row.Columns, api.ExplainedColumn{Name: c.Name, Type: c.Type, Value: c.Value, New: c.New})
		}
		out.Tables = append(out.Tables, row)
	}
	return out, nil
}
