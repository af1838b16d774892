package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// moved are the tables that go with a ledger; the others belong to a run that lasts.
var moved = []string{"ledger", "records", "attempts", "runs", "log", "bad_keys"} //nolint:gochecknoglobals // a constant list

// Move carries what from remembers over to to, which must be empty: a ledger of
// the same sync in another database. Nothing is sent again, because payloads and
// the hashes of keys go with it; where the other engine has another hash
// function the next plan compares payloads. Plans that wait are given up, runs
// that sent something are folded in first.
//
// A crash leaves the ledger in from, or in both with the same generation: the
// same Move then only empties from.
//
// A published ledger (Options.Home) moves with its desk. Between two ledgers of one
// desk nothing is copied: what was published is taken back, or the next plan publishes it.
func Move(ctx context.Context, from, to *Ledger) error {
	if from.sync != to.sync || from.workspace != to.workspace {
		return fmt.Errorf("moving the ledger of sync %q: the other is of sync %q", from.sync, to.sync)
	}
	if err := move(ctx, from, to); err != nil {
		return fmt.Errorf("moving the ledger of sync %q: %w", from.sync, err)
	}
	return nil
}

// Copy brings to up to what from remembers, and leaves from as it is but for waiting
// plans, which are given up, and runs that sent something, which are folded in. What to
// held before is forgotten. No run of the sync may be going on.
//
// Of a ledger that is published (Options.Home) it is the newest publication, whichever hub made it. Between two ledgers
// of one desk nothing is copied: the next plan publishes it to the other home.
func Copy(ctx context.Context, from, to *Ledger) error {
	if from.sync != to.sync || from.workspace != to.workspace {
		return fmt.Errorf("copying the ledger of sync %q: the other is of sync %q", from.sync, to.sync)
	}
	if err := duplicate(ctx, from, to); err != nil {
		return fmt.Errorf("copying the ledger of sync %q: %w", from.sync, err)
	}
	return nil
}

func duplicate(ctx context.Context, from, to *Ledger) error {
	if err := from.settleHome(ctx); err != nil {
		return err
	}
	if from.wh == to.wh {
		return to.transact(ctx, to.unpublishAll)
	}
	epoch, err := from.settle(ctx)
	if err != nil {
		return err
	}
	var was fence
	if err := from.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		was, err = from.verify(ctx, tx)
		return err
	}); err != nil {
		return err
	}
	if err := to.empty(ctx); err != nil {
		return err
	}
	return copyLedger(ctx, from, to, epoch, was)
}

// Exists says whether wh holds a ledger of the sync, without making one.
func Exists(ctx context.Context, wh interface {
	Dialect() string
	Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error)
}, workspace, sync string,
) (bool, error) {
	d, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return false, nil
	}
	kind := "fence"
	if Keeps(d.Name()) {
		kind = "manifest"
	}
	_, err := wh.Describe(ctx, namesOf(d, workspace, sync).of(kind))
	if errors.Is(err, warehouse.ErrNoTable) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the ledger of sync %q: %w", sync, err)
	}
	return true, nil
}

func move(ctx context.Context, from, to *Ledger) error {
	if from.wh == to.wh {
		if from.home != nil && to.home == nil {
			return from.withdraw(ctx)
		}
		return nil
	}
	if err := from.settleHome(ctx); err != nil {
		return err
	}
	if err := moveTables(ctx, from, to); err != nil || from.home == nil {
		return err
	}
	return from.withdraw(ctx)
}

func moveTables(ctx context.Context, from, to *Ledger) error {
	if none, err := from.blank(ctx); err != nil || none {
		return err
	}
	epoch, err := from.settle(ctx)
	if err != nil {
		return err
	}
	var was, is fence
	if err := from.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		was, err = from.verify(ctx, tx)
		return err
	}); err != nil {
		return err
	}
	if err := to.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		is, err = to.verify(ctx, tx)
		return err
	}); err != nil {
		return err
	}
	switch {
	case was.generation == 0 && was.keys == 0:
		return nil // nothing was ever delivered
	case is.generation == was.generation && is.keys == was.keys && is.fingerprint == was.fingerprint:
		// copied before a crash
	case is.generation > 0 || is.keys > 0:
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "ledger.exists", Subject: "sync " + from.sync, Message: fmt.Sprintf("both databases hold a ledger of this sync, of %d and %d keys", was.keys, is.keys),
			Hint: "keep ledger.placement as it is, or forget the other ledger by its resync",
		}
	default:
		if err := copyLedger(ctx, from, to, epoch, was); err != nil {
			return err
		}
	}
	return from.empty(ctx)
}

// blank says whether there is nothing to move: never used, or moved already.
func (l *Ledger) blank(ctx context.Context) (bool, error) {
	var n int64
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return one(ctx, tx, string("SELECT generation + (SELECT count(*) FROM "+l.sql.of("runs")+") FROM "+l.sql.of("fence")), nil, &n)
	})
	return n == 0, err
}

// settle folds in what was sent and gives up what was not.
func (l *Ledger) settle(ctx context.Context) (epoch int64, err error) {
	err = l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return one(ctx, tx, string("SELECT epoch FROM "+l.sql.of("fence")), nil, &epoch)
	})
	if err != nil {
		return 0, err
	}
	return epoch, l.fenced(ctx, epoch, func(ctx context.Context, tx warehouse.Tx) error {
		runs, err := l.unfinished(ctx, tx, "")
		if err != nil {
			return err
		}
		for _, run := range runs {
			if run.sent {
				err = l.fold(ctx, tx, run, runSuperseded)
			} else {
				err = l.endRun(ctx, tx, run, runSuperseded)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// copyLedger is one transaction of the target.
func copyLedger(ctx context.Context, from, to *Ledger, epoch int64, was fence) error {
	return from.read(ctx, func(ctx context.Context, reading warehouse.Tx) error {
		return to.fenced(ctx, epoch, func(ctx context.Context, tx warehouse.Tx) error {
			for _, kind := range moved {
				rows, err := reading.Query(ctx, string("SELECT * FROM "+from.sql.of(kind)))
				if err != nil {
					return fmt.Errorf("reading %s: %w", from.names.of(kind), err)
				}
				_, err = tx.Load(ctx, warehouse.Load{ID: "move/" + kind, Table: to.names.of(kind)}, rows)
				if err := errors.Join(err, rows.Close()); err != nil {
					return fmt.Errorf("writing %s: %w", to.names.of(kind), err)
				}
				if _, err := tx.Exec(ctx, string("DELETE FROM "+to.sql.shared("loads")+" WHERE load_id = $1"), "move/"+kind); err != nil {
					return fmt.Errorf("forgetting the load: %w", err)
				}
			}
			if to.opts.HashOnly {
				if err := to.switchPayloads(ctx, tx); err != nil {
					return err
				}
			}
			var target any // of whom it knows what was confirmed
			if known, err := from.target(ctx, reading); err != nil {
				return err
			} else if known != "" {
				target = known
			}
			sql := "UPDATE " + to.sql.of("fence") + " SET generation = " + to.sql.int(1) + ", last_read = " + to.sql.int(2) + ", target = " + to.sql.text(3)
			if _, err := tx.Exec(ctx, string(sql), was.generation, was.lastRead, target); err != nil {
				return fmt.Errorf("carrying the generation over: %w", err)
			}
			if _, err := tx.Exec(ctx, to.sql.seal()); err != nil {
				return err
			}
			return to.unpublishAll(ctx, tx)
		})
	})
}

// empty makes a ledger as new, but for its epoch.
func (l *Ledger) empty(ctx context.Context) error {
	l.writes.Lock()
	defer l.writes.Unlock()
	return l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		for _, kind := range moved {
			if _, err := tx.Exec(ctx, string("DELETE FROM "+l.sql.of(kind))); err != nil {
				return fmt.Errorf("emptying %s: %w", l.names.of(kind), err)
			}
		}
		if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET generation = 0, dirty = 0, last_read = -1, target = NULL")); err != nil {
			return fmt.Errorf("emptying the fence: %w", err)
		}
		if _, err := tx.Exec(ctx, l.sql.seal()); err != nil {
			return err
		}
		return l.unpublishAll(ctx, tx)
	})
}
