package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
)

// reading is how a run reads an incremental model. It is kept with the run's plan.
type reading struct {
	// Mark is the largest value that was there before the rows were read.
	Mark model.Mark `json:"mark,omitempty"`
	// FullAt is when the model was last read whole.
	FullAt time.Time `json:"full_at"`
	// Version is that of query and mapping: another one means that every row may be another.
	Version string `json:"version"`
}

// readIncrementally makes req read only the rows that changed lately. It is an
// optimisation and nothing else: unless everything that the last run found was
// confirmed, the ledger is as that run left it, query and mapping are the same and
// the last whole read is recent, the model is read whole.
func (h *Hub) readIncrementally(ctx context.Context, def tidegate.Sync, led *ledger.Ledger, req *ledger.PlanRequest) error {
	m := req.Model
	if m.Incremental == "" || def.Mode == tidegate.Full {
		return nil
	}
	wh, err := h.modelWarehouse(ctx, h.active.Load(), def.Model)
	if err != nil {
		return err
	}
	now := reading{FullAt: h.o.Now().UTC(), Version: readVersion(m, req.Mapping)}
	last, ok, err := h.lastReading(ctx, def.Name, led)
	if err != nil {
		return err
	}
	if ok && last.Version == now.Version && last.Mark != "" && h.o.Now().Sub(last.FullAt) < m.FullEvery {
		if req.Model, err = m.Since(wh, last.Mark); err != nil {
			return err
		}
		req.Partial, now.FullAt = true, last.FullAt
	}
	// Asked before the rows are read, the mark is never beyond them.
	if now.Mark, err = req.Model.Mark(ctx, wh); err != nil {
		return err
	}
	if now.Mark == "" && req.Partial {
		now.Mark = last.Mark
	}
	note, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("noting how the model was read: %w", err)
	}
	req.Note = string(note)
	return nil
}

func readVersion(m *model.Model, mp *mapping.Mapping) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%v\x00%s", mp.Version(), m.SQL, m.Args, m.Incremental))
	return hex.EncodeToString(sum[:12])
}

// lastReading is how the last finished run read the model, when the ledger still
// is what that run made of it and nothing is left to be done.
func (h *Hub) lastReading(ctx context.Context, name string, led *ledger.Ledger) (r reading, ok bool, err error) {
	run, found, err := h.runs.LastFinished(ctx, tidegate.DefaultWorkspace, name)
	if err != nil || !found || run.State != tidegate.RunSucceeded {
		return r, false, err
	}
	sum, err := led.Summary(ctx, run.ID)
	if errors.Is(err, ledger.ErrNoPlan) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading the last run's summary: %w", err)
	}
	size, err := led.Size(ctx)
	if err != nil {
		return r, false, fmt.Errorf("counting the ledger of sync %s: %w", name, err)
	}
	c := run.Counts
	untouched := size.Pending == 0 && size.Confirmed == sum.LedgerRows+sum.Baselined+c.Added-c.Removed
	if sum.Note == "" || !untouched || c.Delivered != c.Added+c.Changed+c.Removed {
		return r, false, nil
	}
	if err := json.Unmarshal([]byte(sum.Note), &r); err != nil {
		return r, false, nil //nolint:nilerr // a note that cannot be read is none: the model is read whole
	}
	return r, true, nil
}
