package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.SnapshotTx = (*tx)(nil)

// How long a second connection may take to come, and wait for a lock: whoever asks for one can do without.
const (
	besideTimeout              = 15 * time.Second
	besideLocks   sqltext.Text = "SET LOCAL lock_timeout = '15s'"
)

var (
	errNoneToSpare = errors.New("all connections are in use")
	snapshotName   = regexp.MustCompile(`^[0-9A-Fa-f-]{1,64}$`)
)

// Beside implements warehouse.SnapshotTx. The new transaction does not lock _tidegate.snapshots: a rewrite that
// waits for this one would be before it, and this one waits for the new one to end.
func (t *tx) Beside(ctx context.Context) (warehouse.Tx, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return nil, err
	}
	b, err := t.beside(ctx)
	if err != nil {
		return nil, fmt.Errorf("beginning a transaction beside another: %w", err)
	}
	return b, nil
}

func (t *tx) beside(ctx context.Context) (*tx, error) {
	pool := t.w.pools.Write
	if now := pool.Stat(); now.AcquiredConns()+1 >= now.MaxConns() { // the last one is left to those who cannot do without
		return nil, errNoneToSpare
	}
	soon, cancel := context.WithTimeout(ctx, besideTimeout)
	defer cancel()
	s, err := t.w.session(soon, pool)
	if err != nil {
		return nil, err
	}
	if err := t.share(ctx, s); err != nil {
		s.Rollback(ctx)
		s.End()
		return nil, err
	}
	return &tx{s: s, w: t.w}, nil
}

// share begins a transaction of s in the snapshot of t.
func (t *tx) share(ctx context.Context, s *session) error {
	rows, err := t.s.Rows(ctx, "SELECT pg_catalog.pg_export_snapshot()")
	if err != nil {
		return t.Fail(err)
	}
	name, _ := rows[0][0].(string)
	if !snapshotName.MatchString(name) { // it stands in a statement that takes no parameter
		return fmt.Errorf("the server calls a snapshot %q", name)
	}
	return s.control(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '"+sqltext.Text(name)+"'; "+besideLocks)
}
