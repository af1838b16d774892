package apitest

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/ingest/replay"
)

// day is when everything of this hub happened.
var day = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// Reconcile implements api.Hub: one hour with a gap of one.
func (h *Hub) Reconcile(_ context.Context, p api.ReconcilePeriod) (api.Reconciliation, error) {
	return api.Reconciliation{
		From: day, To: day.Add(time.Hour), Balanced: p.Source == "quiet",
		Hours:  []api.ReconciledHour{{Hour: day, SourceCounts: api.SourceCounts{Source: "web", Accepted: 5, Loaded: 3, Waiting: 1}, Gap: 1}},
		Tables: []api.ReconciledTable{{Table: "web.tracks", Hour: day, Booked: 3, Found: 3}},
	}, nil
}

// DeadLetters implements api.Hub.
func (h *Hub) DeadLetters(_ context.Context, q api.DeadQuery) (api.DeadLetters, error) {
	letter := replay.DeadLetter{Source: "web", Offset: "0:7", MessageID: "m7", ReceivedAt: day, Code: "plan.violation", Reason: "total is missing"}
	if q.Body {
		letter.Body = `{"event":"Sold"}`
	}
	return api.DeadLetters{
		Total: 1, Items: []replay.DeadLetter{letter},
		Causes: []api.DeadCause{{Source: "web", Code: "plan.violation", Reason: "total is missing", Count: 1, First: day, Last: day, Example: "0:7"}},
	}, nil
}

// PlanReplay implements api.Hub.
func (h *Hub) PlanReplay(_ context.Context, r api.ReplayRequest) (api.ReplayPlan, error) {
	if r.Filter == "(" {
		return api.ReplayPlan{}, &tidegate.Fault{Action: tidegate.Halt, Code: "filter.invalid", Subject: "filter", Message: "unexpected end"}
	}
	return api.ReplayPlan{From: "0:0", To: "0:9", Oldest: "0:0", Since: day, Counts: replay.Totals{Read: 9, Wanted: 4, Dead: 1, Sources: map[string]map[string]int64{"web": {"track": 4}}}}, nil
}

// StartReplay implements api.Hub.
func (h *Hub) StartReplay(_ context.Context, actor string, r api.ReplayRequest) (api.Replay, error) {
	h.Lock()
	defer h.Unlock()
	h.Replayed = append(h.Replayed, r)
	return api.Replay{ID: "rpl_1", State: "waiting", Request: r, From: "0:0", To: "0:9", Expected: 4, Actor: actor, CreatedAt: day, UpdatedAt: day}, nil
}

// Replays implements api.Hub.
func (h *Hub) Replays(ctx context.Context, _ int) ([]api.Replay, error) {
	r, err := h.ReplayOf(ctx, "rpl_1")
	return []api.Replay{r}, err
}

// ReplayOf implements api.Hub.
func (h *Hub) ReplayOf(_ context.Context, id string) (api.Replay, error) {
	if id != "rpl_1" {
		return api.Replay{}, &tidegate.Fault{Action: tidegate.Halt, Code: "replay.not_found", Subject: "replay " + id, Message: "there is no such replay"}
	}
	missing := int64(0)
	return api.Replay{
		ID: "rpl_1", State: "done", Request: api.ReplayRequest{Into: "try"}, From: "0:0", To: "0:9", Next: "0:9", Expected: 4, Counts: replay.Totals{Read: 9, Wanted: 4, Dead: 1, Resolved: 1},
		Diff:  []replay.TableDiff{{Table: "sold", Shadow: 4, Same: 2, Added: 1, Changed: 1, Missing: &missing, Columns: map[string]int64{"total": 1}, Sample: []replay.RowDiff{{ID: "m1", What: "changed", Fields: map[string][2]string{"total": {"1", "10"}}}}}},
		Actor: "admin", CreatedAt: day, UpdatedAt: day,
	}, nil
}

// CancelReplay implements api.Hub.
func (h *Hub) CancelReplay(ctx context.Context, id string) (api.Replay, error) {
	r, err := h.ReplayOf(ctx, id)
	r.State = "canceled"
	return r, err
}

// Streams implements api.Hub.
func (h *Hub) Streams(context.Context) ([]tidegate.Stream, error) {
	return []tidegate.Stream{{Name: "orders", Events: []string{"Sold"}}, {Name: "other"}}, nil
}

// Stream implements api.Hub: the hub's Events, from the offset that is asked for.
func (h *Hub) Stream(ctx context.Context, name string, from api.StreamFrom, emit func(api.StreamItem) error) error {
	if name != "orders" && name != "other" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "stream.not_found", Subject: "stream " + name, Message: "there is no such stream"}
	}
	if err := emit(api.StreamItem{}); err != nil {
		return err
	}
	h.Lock()
	events := h.Events
	h.Unlock()
	for _, e := range events {
		at, err := api.ParseOffset(e.Offset)
		if err != nil {
			return err
		}
		if from.Next != nil && at.Position < from.Next.Position {
			continue
		}
		item := api.StreamItem{Next: tidegate.Offset{Position: at.Position + 1}}
		item.Event = &api.StreamEvent{Offset: e.Offset, Source: e.Source, Type: e.Type, MessageID: e.MessageID, ReceivedAt: e.ReceivedAt, Event: e.Event}
		if err := emit(item); err != nil {
			return err
		}
	}
	if from.Follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// Suppressions implements api.Hub.
func (h *Hub) Suppressions(context.Context) ([]privacy.Entry, error) {
	h.Lock()
	defer h.Unlock()
	return append([]privacy.Entry(nil), h.Suppressed...), nil
}

// Suppress implements api.Hub.
func (h *Hub) Suppress(_ context.Context, actor string, r api.SuppressRequest) (int64, error) {
	h.Lock()
	defer h.Unlock()
	for _, p := range r.People {
		h.Suppressed = append(h.Suppressed, privacy.Entry{Source: r.Source, Person: p, At: day, Actor: actor, Reason: r.Reason})
	}
	return int64(len(r.People)), nil
}

// Unsuppress implements api.Hub.
func (h *Hub) Unsuppress(_ context.Context, r api.SuppressRequest) (n int64, err error) {
	h.Lock()
	defer h.Unlock()
	var kept []privacy.Entry
	for _, e := range h.Suppressed {
		gone := false
		for _, p := range r.People {
			gone = gone || p == e.Person && r.Source == e.Source
		}
		if gone {
			n++
		} else {
			kept = append(kept, e)
		}
	}
	h.Suppressed = kept
	return n, nil
}

// Delete implements api.Hub.
func (h *Hub) Delete(ctx context.Context, actor string, r api.DeleteRequest) (api.Deletion, error) {
	if r.Suppress {
		if _, err := h.Suppress(ctx, actor, r.SuppressRequest); err != nil {
			return api.Deletion{}, err
		}
	}
	h.Lock()
	defer h.Unlock()
	h.Deleted = append(h.Deleted, r)
	return api.Deletion{ID: "del_1", State: "waiting", Request: r, Receipt: privacy.Receipt{People: len(r.People), Places: []privacy.Place{}}, Actor: actor, CreatedAt: day, UpdatedAt: day}, nil
}

// Deletions implements api.Hub.
func (h *Hub) Deletions(ctx context.Context, _ int) ([]api.Deletion, error) {
	d, err := h.DeletionOf(ctx, "del_1")
	return []api.Deletion{d}, err
}

// DeletionOf implements api.Hub.
func (h *Hub) DeletionOf(_ context.Context, id string) (api.Deletion, error) {
	if id != "del_1" {
		return api.Deletion{}, &tidegate.Fault{Action: tidegate.Halt, Code: "deletion.not_found", Subject: "deletion " + id, Message: "there is no such deletion"}
	}
	return api.Deletion{
		ID: "del_1", State: "done", Actor: "admin", CreatedAt: day, UpdatedAt: day,
		Receipt: privacy.Receipt{
			People: 1, Linked: 2, Below: "0:9", DoneAt: day,
			Places:  []privacy.Place{{Kind: "warehouse", Name: "web.tracks", Found: 3, Deleted: 3, VerifiedAt: day}},
			Remains: []privacy.Remains{{Place: "crm: contacts", What: "1 records, which have to be deleted there"}},
		},
	}, nil
}

// ScanPrivacy implements api.Hub.
func (h *Hub) ScanPrivacy(_ context.Context, r api.ScanRequest) (privacy.Report, error) {
	if r.Source == "broken" {
		return privacy.Report{}, errors.New("the journal cannot be read")
	}
	return privacy.Report{Looked: 100, Skipped: 20, Findings: []privacy.Found{{Source: "web", Event: "Sold", Path: "properties.note", Kind: "email", Count: 7}}}, nil
}
