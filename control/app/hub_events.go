package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Explain says which rows an event would become. It goes the way of a real
// event: the surface's own judgement, then the loader's own shaping.
func (h *Hub) Explain(ctx context.Context, source string, event json.RawMessage) (api.Explanation, error) {
	if err := h.askedSource(ctx, source); err != nil {
		return api.Explanation{}, err
	}
	return explain(ctx, source, event, h.o, &h.judge, h.warehouse.Dialect(), func(t warehouse.Table) (tidegate.Schema, error) {
		schema, err := h.warehouse.Describe(ctx, t)
		if errors.Is(err, warehouse.ErrNoTable) {
			return nil, nil
		}
		return schema, err
	})
}

// Explain is Hub.Explain without a running hub: against no tables at all, and by the
// rules of p in the folder o.Project. Without a project there are none.
func Explain(ctx context.Context, o Options, p *project.Project, source string, event json.RawMessage) (_ api.Explanation, err error) {
	rules, done, err := offlineRules(p, o.Project, fileSecrets(o.Data, o.Now))
	if err != nil {
		return api.Explanation{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if p != nil {
		var of sources
		of.set(p.Sources)
		o.rules = of.rulesOf
	}
	return explain(ctx, source, event, o, rules, "duckdb", nil)
}

func explain(ctx context.Context, source string, event json.RawMessage, o Options, rules judge.Judge, dialect string, describe func(warehouse.Table) (tidegate.Schema, error)) (api.Explanation, error) {
	d, ok := sqltext.Find(dialect)
	if !ok {
		return api.Explanation{}, fmt.Errorf("explaining an event: there is no dialect %q", dialect)
	}
	ev, fault := ingest.Judge(event, o.Now())
	if fault != nil {
		return api.Explanation{Refusal: tidegate.StoredFault(fault), Tables: []api.ExplainedTable{}}, nil
	}
	ev.Source = source
	ev, verdict, err := judged(ctx, rules, ev)
	if err != nil {
		return api.Explanation{}, err
	}
	if verdict != nil && verdict.Fate != judge.Keep.String() {
		return api.Explanation{Verdict: verdict, Tables: []api.ExplainedTable{}}, nil
	}
	tables, err := shape.Explain(ev, shape.Options{Reserved: d.Reserved, MaxName: d.MaxName(), RulesOf: o.rules}, o.Now(), describe)
	if err != nil {
		return api.Explanation{}, &tidegate.Fault{Action: tidegate.Reject, Code: shape.DeadCode(err), Subject: "event", Message: err.Error(), Hint: "it would become a dead letter", Err: err}
	}
	out := api.Explanation{Verdict: verdict, Tables: make([]api.ExplainedTable, 0, len(tables))}
	for _, t := range tables {
		row := api.ExplainedTable{Schema: ev.Source, Name: t.Table}
		for _, c := range t.Columns {
			row.Columns = append(row.Columns, api.ExplainedColumn{Name: c.Name, Type: c.Type, Value: c.Value, New: c.New})
		}
		out.Tables = append(out.Tables, row)
	}
	return out, nil
}
