package ledger

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// target is whose confirmations the ledger holds; empty when nothing was planned yet.
func (l *Ledger) target(ctx context.Context, tx warehouse.Tx) (string, error) {
	var target string
	if err := one(ctx, tx, string("SELECT target FROM "+l.sql.of("fence")), nil, &target); err != nil {
		return "", fmt.Errorf("reading the fence: %w", err)
	}
	return target, nil
}

// aimed says whether the ledger knows that its sync writes to Options.Target. It is the fault
// "ledger.other_target" when it holds what another one confirmed: taken for this one's,
// nothing would be sent, and records that nobody confirmed would be removed (Invariant 4).
func (l *Ledger) aimed(ctx context.Context, tx warehouse.Tx) (bool, error) {
	if l.opts.Target == "" {
		return true, nil
	}
	target, err := l.target(ctx, tx)
	if err != nil || target == l.opts.Target {
		return true, err
	}
	if target == "" {
		return false, nil
	}
	var confirmed int64
	if err := one(ctx, tx, string("SELECT count(*) FROM "+l.sql.of("records")), nil, &confirmed); err != nil {
		return false, fmt.Errorf("counting what was confirmed: %w", err)
	}
	if confirmed == 0 {
		return false, nil
	}
	return false, &tidegate.Fault{
		Action: tidegate.Halt, Code: "ledger.other_target", Subject: "sync " + l.sync,
		Message: fmt.Sprintf("it writes to %s now, and its ledger knows what %s confirmed: %d records", l.opts.Target, target, confirmed),
		Hint: fmt.Sprintf("run: tidegate sync resync %s (every row is sent to %s, what %s holds stays there), or name a new sync, or take the change back",
			l.sync, l.opts.Target, target),
	}
}

// aim is aimed, and takes the target down where there is none yet.
func (l *Ledger) aim(ctx context.Context) error {
	if l.opts.Target == "" {
		return nil
	}
	var known bool
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		known, err = l.aimed(ctx, tx)
		return err
	})
	if err != nil || known {
		return err
	}
	l.writes.Lock()
	defer l.writes.Unlock()
	return l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET target = "+l.sql.text(1)), l.opts.Target); err != nil {
			return fmt.Errorf("taking the target down: %w", err)
		}
		return nil
	})
}
