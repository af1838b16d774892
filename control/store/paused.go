package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// PausedSyncs returns the syncs that were paused by hand, and since when.
func (w *Workspace) PausedSyncs(ctx context.Context) (_ map[string]time.Time, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT sync, at FROM paused_syncs WHERE workspace = ?", w.id)
	if err != nil {
		return nil, w.s.classify("reading paused syncs from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out := map[string]time.Time{}
	for rows.Next() {
		var name string
		var at int64
		if err := rows.Scan(&name, &at); err != nil {
			return nil, fmt.Errorf("reading a paused sync: %w", err)
		}
		out[name] = fromMicros(at)
	}
	return out, w.s.classify("reading paused syncs from", rows.Err())
}

// PauseSync remembers that a sync is paused by hand, or forgets it. The first
// time of several counts.
func (w *Workspace) PauseSync(ctx context.Context, name string, pause bool) error {
	query, args := "DELETE FROM paused_syncs WHERE workspace = ? AND sync = ?", []any{w.id, name}
	if pause {
		query, args = "INSERT INTO paused_syncs (workspace, sync, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", append(args, micros(w.s.now()))
	}
	_, err := w.s.write.ExecContext(ctx, query, args...)
	return w.s.classify("writing a paused sync to", err)
}
