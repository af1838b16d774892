package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Tail shows events as the journal holds them.
func (h *Hub) Tail(ctx context.Context, req api.TailRequest, emit func(api.TailedEvent) error) (err error) {
	reader, err := h.tailFrom(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	shown := 0
	for req.Limit == 0 || shown < req.Limit {
		entry, err := nextEntry(ctx, reader, req.Follow)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		events, err := envelope.Decode(nil, entry.Payload, entry.First)
		if err != nil {
			return fmt.Errorf("decoding frame %s: %w", entry.First, err)
		}
		for i := range events {
			if !wanted(&events[i], req) || req.Limit > 0 && shown >= req.Limit {
				continue
			}
			shown++
			if err := emit(tailed(&events[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Hub) tailFrom(req api.TailRequest) (*journal.Reader, error) {
	switch {
	case req.From != nil:
		return h.journal.OpenAt(*req.From)
	case !req.Since.IsZero():
		return h.journal.OpenAtTime(req.Since)
	default:
		return h.journal.OpenAt(h.journal.Durable())
	}
}

func nextEntry(ctx context.Context, r *journal.Reader, follow bool) (journal.Entry, error) {
	if follow {
		return r.Next(ctx)
	}
	entry, ok, err := r.TryNext()
	if err == nil && !ok {
		err = io.EOF
	}
	return entry, err
}

func wanted(e *tidegate.Event, req api.TailRequest) bool {
	if req.From != nil && e.Offset.Position < req.From.Position {
		return false // the frame begins before the offset asked for
	}
	return (req.Source == "" || e.Source == req.Source) && (!req.Refused || e.Refusal != "")
}

func tailed(e *tidegate.Event) api.TailedEvent {
	out := api.TailedEvent{Offset: e.Offset.String(), Source: e.Source, ReceivedAt: e.ReceivedAt, Refusal: e.Refusal}
	if id, typ, err := shape.Peek(e); err == nil {
		out.MessageID, out.Type = id, string(typ)
	}
	out.Event = json.RawMessage(append([]byte(nil), e.Body...))
	if !json.Valid(out.Event) { // a refused event may be anything
		out.Event, _ = json.Marshal(string(e.Body))
	}
	return out
}

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
