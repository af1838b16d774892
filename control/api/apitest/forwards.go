package apitest

import (
	"context"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest/forward"
)

// Forwards implements api.Hub.
func (h *Hub) Forwards(ctx context.Context) ([]api.ForwardStatus, error) {
	f, err := h.Forward(ctx, "orders")
	return []api.ForwardStatus{f}, err
}

// Forward implements api.Hub.
func (h *Hub) Forward(context.Context, string) (api.ForwardStatus, error) {
	return api.ForwardStatus{Name: "orders", Destination: "crm", Object: "contacts", Mode: "upsert", State: forward.Running, Dead: 1, Progress: forward.Tally{Read: 3, Delivered: 2, Dead: 1}}, nil
}

// PauseForward implements api.Hub.
func (h *Hub) PauseForward(context.Context, string, bool) error { return nil }

// DeadEvents implements api.Hub.
func (h *Hub) DeadEvents(_ context.Context, name string, f api.DeadFilter) ([]api.DeadEvent, error) {
	if name != "orders" {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "forward.not_found", Subject: "forward " + name, Message: "there is no such forward"}
	}
	if f.Position != nil && *f.Position != 7 {
		return nil, nil
	}
	return []api.DeadEvent{{Position: 7, Source: "web", MessageID: "m", Type: "track", Code: "record.invalid", Message: "no", Event: []byte(`{"type":"track"}`)}}, nil
}

// DeadCauses implements api.Hub.
func (h *Hub) DeadCauses(context.Context, string) ([]store.LetterCause, error) {
	return []store.LetterCause{{Code: "record.invalid", Message: "no", Letters: 1}}, nil
}

// RetryDead implements api.Hub.
func (h *Hub) RetryDead(context.Context, string, api.DeadFilter) (int64, error) { return 1, nil }

// DiscardDead implements api.Hub.
func (h *Hub) DiscardDead(context.Context, string, api.DeadFilter) (int64, error) { return 1, nil }
