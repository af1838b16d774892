package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Size is how much a ledger holds.
type Size struct {
	Confirmed int64 `json:"confirmed"` // keys of which the destination confirmed a payload
	Pending   int64 `json:"pending"`   // keys that failed or are in doubt
	Parked    int64 `json:"parked"`    // of Pending, those without a next attempt
}

// Size counts the ledger as it was after the last finished run.
func (l *Ledger) Size(ctx context.Context) (Size, error) {
	var s Size
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return one(ctx, tx, string(sizeOf("0", l.sql.of("records"), l.sql.of("attempts"))), nil, new(int), &s.Confirmed, &s.Pending, &s.Parked)
	})
	if err != nil {
		return Size{}, fmt.Errorf("counting the ledger of sync %q: %w", l.sync, err)
	}
	return s, nil
}

func sizeOf(label, records, attempts sqltext.Text) sqltext.Text {
	return "SELECT " + label + ", (SELECT count(*) FROM " + records + "), count(*), count(*) FILTER (WHERE next_attempt_at IS NULL) FROM " + attempts + " WHERE state IN ('failed', 'in_doubt')"
}

// sizesAtOnce is how many ledgers one statement of Sizes counts.
const sizesAtOnce = 100

// Sizes is Size for the ledgers that wh itself holds of syncs, without opening, and so
// creating, one: hundreds are counted by a few statements. A sync without a ledger there is left out.
func Sizes(ctx context.Context, wh interface {
	warehouse.Execer
	Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error)
}, workspace string, syncs []string,
) (sizes map[string]Size, err error) {
	dialect, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return nil, fmt.Errorf("counting ledgers: no dialect is called %q", wh.Dialect())
	}
	if _, err := wh.Describe(ctx, warehouse.Table{Schema: Schema, Name: "ledgers"}); errors.Is(err, warehouse.ErrNoTable) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("counting ledgers: %w", err)
	}
	tx, err := wh.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting ledgers: %w", err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	there, err := registeredOf(ctx, tx, statements{d: dialect}, workspace)
	if err != nil {
		return nil, fmt.Errorf("counting ledgers: %w", err)
	}
	known := slices.DeleteFunc(slices.Clone(syncs), func(sync string) bool { return !there[sync] })
	sizes = make(map[string]Size, len(known))
	for some := range slices.Chunk(known, sizesAtOnce) {
		if err := countInto(ctx, tx, dialect, workspace, some, sizes); err != nil {
			return nil, fmt.Errorf("counting ledgers: %w", err)
		}
	}
	return sizes, nil
}

// registeredOf are the syncs of a workspace that have a ledger.
func registeredOf(ctx context.Context, tx warehouse.Tx, sql statements, workspace string) (map[string]bool, error) {
	there := map[string]bool{}
	return there, warehouse.Each(ctx, tx, string("SELECT sync FROM "+sql.shared("ledgers")+" WHERE workspace = $1"), []any{workspace}, func(row tidegate.Row) error {
		var sync string
		err := scan(row, &sync)
		there[sync] = true
		return err
	})
}

func countInto(ctx context.Context, tx warehouse.Tx, d sqltext.Dialect, workspace string, syncs []string, sizes map[string]Size) error {
	arms := make([]string, len(syncs))
	for i, sync := range syncs {
		sql := statements{d: d, n: namesOf(d, workspace, sync)}
		arms[i] = string(sizeOf(number(int64(i)), sql.of("records"), sql.of("attempts")))
	}
	return warehouse.Each(ctx, tx, strings.Join(arms, "\nUNION ALL "), nil, func(row tidegate.Row) error {
		var at int
		var s Size
		if err := scan(row, &at, &s.Confirmed, &s.Pending, &s.Parked); err != nil {
			return err
		}
		if at < 0 || at >= len(syncs) {
			return fmt.Errorf("the count is of ledger %d, and %d were asked for", at, len(syncs))
		}
		sizes[syncs[at]] = s
		return nil
	})
}

// Rejections lists up to limit records that the destination does not hold as it
// should, newest first; those of a running run included.
func (l *Ledger) Rejections(ctx context.Context, limit int) ([]Rejection, error) {
	var list []Rejection
	err := l.eachFailure(ctx, func(runID string) string { return l.sql.rejections(runID, limit) }, func(row tidegate.Row) error {
		r, err := rejectionOf(row)
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the rejections of sync %q: %w", l.sync, err)
	}
	return list, nil
}

// eachFailure runs a query over failures, the one for the run that is being delivered when there is one.
func (l *Ledger) eachFailure(ctx context.Context, sql func(runID string) string, f func(row tidegate.Row) error) error {
	return l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		runID, err := l.delivering(ctx, tx)
		if err != nil {
			return err
		}
		var args []any
		if runID != "" {
			args = []any{runID}
		}
		return warehouse.Each(ctx, tx, sql(runID), args, f)
	})
}

func rejectionOf(row tidegate.Row) (Rejection, error) {
	var r Rejection
	var key, op, payload string
	f := &r.Fault
	if err := scan(row, &key, &op, &r.State, &f.Action, &f.Code, &f.Subject, &f.Message, &f.Hint, &r.Cluster, &payload, &r.Attempts, &r.NextAttempt, &r.FirstFailedAt, &r.RunID, &r.At); err != nil {
		return r, err
	}
	r.Key, r.Op = tidegate.Key(key), tidegate.Op(op)
	r.Parked = r.State != stateBadKey && r.NextAttempt.IsZero()
	var err error
	r.Payload, err = model.ParseRecord([]byte(payload))
	return r, err
}

// delivering is the run of which something has left and nothing is folded yet;
// there is one at most.
func (l *Ledger) delivering(ctx context.Context, tx warehouse.Tx) (runID string, err error) {
	err = warehouse.Each(ctx, tx, string(l.planQuery("r.state = 'planned' ORDER BY r.started_at")), nil, func(row tidegate.Row) error {
		s, err := storedPlanOf(row)
		if s.sent && !s.stale() {
			runID = s.runID
		}
		return err
	})
	return runID, err
}

// clusterKeys is how many keys of a cluster are shown.
const clusterKeys = 5

// Clusters groups the rejections by their cause, most frequent first; those of a
// running run are among them.
func (l *Ledger) Clusters(ctx context.Context, limit int) ([]Cluster, error) {
	var list []Cluster
	err := l.eachFailure(ctx, func(runID string) string { return l.sql.clusters(runID, limit, clusterKeys) }, func(row tidegate.Row) error {
		var c Cluster
		var key string
		f := &c.Fault
		if err := scan(row, &c.Cluster, &c.Count, &c.Parked, &c.First, &c.Last, &key, &f.Action, &f.Code, &f.Subject, &f.Message, &f.Hint); err != nil {
			return err
		}
		if n := len(list); n == 0 || list[n-1].Cluster != c.Cluster {
			list = append(list, c)
		}
		last := &list[len(list)-1]
		last.Keys = append(last.Keys, tidegate.Key(key))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("grouping the rejections of sync %q: %w", l.sync, err)
	}
	return list, nil
}

// RetryNow makes the failed and in-doubt records of one cluster (of all when
// empty) due, so that the next plan holds them, and returns how many. Their time
// to be tried starts anew. Records of a run that is being delivered become due
// with its own results.
func (l *Ledger) RetryNow(ctx context.Context, cluster string) (int64, error) {
	return l.retry(ctx, "("+l.sql.text(2)+" = '' OR cluster = $2)", cluster)
}

// RetryKey is RetryNow for one key; it says whether that failed or is in doubt.
func (l *Ledger) RetryKey(ctx context.Context, key tidegate.Key) (bool, error) {
	n, err := l.retry(ctx, "key = $2", string(key))
	return n > 0, err
}

func (l *Ledger) retry(ctx context.Context, which sqltext.Text, arg string) (n int64, err error) {
	l.writes.Lock()
	defer l.writes.Unlock()
	err = l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		n, err = tx.Exec(ctx, string("UPDATE "+l.sql.of("attempts")+" SET next_attempt_at = "+l.sql.time(1)+", first_failed_at = NULL WHERE state IN ('failed', 'in_doubt') AND "+which), l.opts.Now(), arg)
		if err != nil || n == 0 {
			return err
		}
		return l.unpublish(ctx, tx, "SELECT NULL, key_hash, key_check FROM "+l.sql.of("attempts")+" WHERE next_attempt_at = "+l.sql.time(1), l.opts.Now())
	})
	if err != nil {
		return 0, fmt.Errorf("making rejections of sync %q due: %w", l.sync, err)
	}
	return n, nil
}
