package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
)

// Rejoin lets the loader of p's warehouse go on at the oldest event that the journal of data keeps, after
// one of the two was lost or put back and its place is not one of this journal (Invariant 8). Unless do, it only
// says so. Where nothing is wrong it refuses: events that wait would be passed over. No server may run on data.
func Rejoin(ctx context.Context, p *project.Project, data string, now func() time.Time, do bool) (_ api.Rejoined, err error) {
	var opened closers
	defer func() { err = errors.Join(err, opened.close()) }()
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(ctx, journal.Options{
		Dir: filepath.Join(data, journalDir), Log: log, Now: now, Retain: retention(p),
		Begin: func(ctx context.Context) (begin int64, err error) {
			runs, err := store.Open(ctx, store.Options{Path: filepath.Join(data, storeFile), Log: log, Now: now})
			if err != nil {
				return 0, fmt.Errorf("opening the control store: %w", err)
			}
			defer func() { err = errors.Join(err, runs.Close()) }()
			return begins(runs)(ctx)
		},
		Fatal: func(error) {}, // nothing is appended here
	})
	if err != nil {
		return api.Rejoined{}, fmt.Errorf("opening the journal: %w", err)
	}
	opened.add(func() error { return j.Close(context.WithoutCancel(ctx)) })
	wh, err := openWarehouse(ctx, fileSecrets(data, now), data, p.Warehouse, log, now)
	if err != nil {
		return api.Rejoined{}, err
	}
	opened.add(wh.Close)
	at, mark, err := loader.Cursor(ctx, wh)
	if err != nil {
		return api.Rejoined{}, err
	}
	st := j.Stats()
	out := api.Rejoined{Before: at, After: st.Oldest, Events: st.Durable.Position - st.Oldest.Position}
	if at.Position >= st.Oldest.Position && at.Position <= st.Durable.Position && j.Fits(mark) == nil {
		return out, &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.joined", Subject: "offset " + at.String(),
			Message: fmt.Sprintf("the journal has this place (it keeps %s to %s): nothing is to be mended", st.Oldest, st.Durable),
		}
	}
	if !do {
		return out, nil
	}
	return out, loader.SetCursor(ctx, wh, st.Oldest, j.Mark(st.Oldest))
}
