package ledger

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
)

// Size is how much a ledger holds.
type Size struct {
	Confirmed int64 `json:"confirmed"` // keys of which the destination confirmed a payload
	Pending   int64 `json:"pending"`   // keys that failed or are in doubt
}

// Size counts the ledger as it was after the last finished run.
func (l *Ledger) Size(ctx context.Context) (Size, error) {
	var s Size
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return one(ctx, tx, string("SELECT (SELECT count(fingerprint) FROM "+l.sql.of("ledger")+"), (SELECT count(*) FROM "+l.sql.of("records")+" WHERE state IN ('failed', 'in_doubt'))"), nil, &s.Confirmed, &s.Pending)
	})
	if err != nil {
		return Size{}, fmt.Errorf("counting the ledger of sync %q: %w", l.sync, err)
	}
	return s, nil
}

// Rejections lists up to limit records that the destination does not hold as it
// should, newest first; those of a running run included.
func (l *Ledger) Rejections(ctx context.Context, limit int) ([]Rejection, error) {
	var list []Rejection
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		runID := ""
		err := each(ctx, tx, string(l.planQuery("r.state = 'planned' ORDER BY r.started_at")), nil, func(row tidegate.Row) error {
			s, err := storedPlanOf(row)
			if s.sent && !s.stale() {
				runID = s.runID // at most one run is being delivered
			}
			return err
		})
		if err != nil {
			return err
		}
		var args []any
		if runID != "" {
			args = []any{runID}
		}
		return each(ctx, tx, l.sql.rejections(runID, limit), args, func(row tidegate.Row) error {
			r, err := rejectionOf(row)
			list = append(list, r)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing the rejections of sync %q: %w", l.sync, err)
	}
	return list, nil
}

func rejectionOf(row tidegate.Row) (Rejection, error) {
	var r Rejection
	var key, op, payload string
	f := &r.Fault
	if err := scan(row, &key, &op, &r.State, &f.Action, &f.Code, &f.Subject, &f.Message, &f.Hint, &r.Cluster, &payload, &r.Attempts, &r.NextAttempt, &r.RunID, &r.At); err != nil {
		return r, err
	}
	r.Key, r.Op = tidegate.Key(key), tidegate.Op(op)
	var err error
	r.Payload, err = model.ParseRecord([]byte(payload))
	return r, err
}

// RetryNow makes the failed and in-doubt records of one cluster (of all when
// empty) due, so that the next plan holds them, and returns how many. Records
// of a run that is being delivered become due with its own results.
func (l *Ledger) RetryNow(ctx context.Context, cluster string) (n int64, err error) {
	l.writes.Lock()
	defer l.writes.Unlock()
	err = l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		n, err = tx.Exec(ctx, string("UPDATE "+l.sql.of("records")+" SET next_attempt_at = $1 WHERE state IN ('failed', 'in_doubt') AND ($2 = '' OR cluster = $2)"), l.opts.Now(), cluster)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("making rejections of sync %q due: %w", l.sync, err)
	}
	return n, nil
}
