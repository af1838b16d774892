package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// aimedAt is what a sync writes to. The fence keeps it as text.
type aimedAt struct {
	target  string // "contacts of crm"
	account string // "hubspot 1000001"; empty when nobody could tell it
}

// String is the text for the fence and for people.
func (a aimedAt) String() string {
	if a.account == "" {
		return a.target
	}
	return a.target + " (" + a.account + ")"
}

// parseAim takes String apart. The name of a destination has no space, so that nothing
// behind the last " of " but an account can have one.
func parseAim(text string) aimedAt {
	at := strings.LastIndex(text, " of ")
	named, account, found := strings.Cut(text[max(at, 0):], " (")
	if at < 0 || !found {
		return aimedAt{target: text}
	}
	return aimedAt{target: text[:at] + named, account: strings.TrimSuffix(account, ")")}
}

// object is the target without the destination's name.
func (a aimedAt) object() string { return a.target[:max(strings.LastIndex(a.target, " of "), 0)] }

// same says whether what was confirmed by one is what the other holds. Where both accounts are
// known the name that leads there says nothing: it may be new, or lead elsewhere than before.
func (a aimedAt) same(b aimedAt) bool {
	if a.account != "" && b.account != "" {
		return a.account == b.account && a.object() == b.object()
	}
	return a.target == b.target
}

// aim is where the sync writes to now.
func (l *Ledger) aim() aimedAt { return aimedAt{target: l.opts.Target, account: l.opts.Account} }

// target is whose confirmations the ledger holds; empty when nothing was planned yet.
func (l *Ledger) target(ctx context.Context, tx warehouse.Tx) (string, error) {
	var target string
	if err := one(ctx, tx, string("SELECT target FROM "+l.sql.of("fence")), nil, &target); err != nil {
		return "", fmt.Errorf("reading the fence: %w", err)
	}
	return target, nil
}

// aimed says whether the ledger has taken down that its sync writes to where it does. It is the fault
// "ledger.other_target" when it holds what another one confirmed: taken for this one's,
// nothing would be sent, and records that nobody confirmed would be removed (Invariant 4).
func (l *Ledger) aimed(ctx context.Context, tx warehouse.Tx) (bool, error) {
	if l.opts.Target == "" {
		return true, nil
	}
	text, err := l.target(ctx, tx)
	if err != nil || text == "" {
		return false, err
	}
	then, now := parseAim(text), l.aim()
	if then.same(now) {
		return now.account == "" || then == now, nil // an account that is not known this time is not forgotten
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
		Message: fmt.Sprintf("it writes to %s now, and its ledger knows what %s confirmed: %d records", now, then, confirmed),
		Hint: fmt.Sprintf("run: tidegate sync resync %s (every row is sent to %s, what %s holds stays there), or name a new sync, or take the change back",
			l.sync, now, then),
	}
}

// takeAim is aimed, and takes down where the sync writes to when the ledger does not know it yet.
func (l *Ledger) takeAim(ctx context.Context) error {
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
		if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET target = "+l.sql.text(1)), l.aim().String()); err != nil {
			return fmt.Errorf("taking the target down: %w", err)
		}
		return nil
	})
}
