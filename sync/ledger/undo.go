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

// Log lists results of the change log, newest first.
func (l *Ledger) Log(ctx context.Context, f LogFilter) ([]LogEntry, error) { return nil, nil }
