package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Options are the outside world of a Ledger.
type Options struct {
	// Now is the clock; required.
	Now func() time.Time
	// Log hears what a healthy system never says; nil is silent.
	Log *slog.Logger
	// KeepLog is how long rows of __log and __runs stay; 0 means 30 days.
	KeepLog time.Duration
	// Model is where the model is read when that is another database than the one that
	// holds the ledger: a warehouse that is read-only to us. Nil: the ledger is beside the model.
	Model warehouse.Warehouse
	// Home is where the ledger is kept when the model's warehouse has no transactions that are cheap
	// enough for a run: runs work on the database that is opened, and what they leave is published there. It is Model too.
	Home Home
	// Target names what the sync writes to: OBJECT of DESTINATION. A ledger that knows what another target
	// confirmed is not used for it. Empty: nobody asks.
	Target string
	// Account is the account behind the destination's name, where it can be told. Then it counts, not the name.
	Account string
	// HashOnly keeps fingerprints instead of payloads: no values in plans that have ended, no undo, no drift.
	HashOnly bool
}

// Ledger is the memory of one sync. Open makes one.
type Ledger struct {
	wh        warehouse.Execer
	workspace string
	sync      string
	names     names
	sql       statements
	opts      Options
	home      *home // nil without Options.Home
	bringFrom int64 // keys from which fingerprints are brought here

	writes sync.Mutex // one transaction at a time touches the fence
	epoch  int64      // highest epoch that a write of this Ledger carried; guarded by writes
}

var runIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// Open creates the ledger's tables in wh where they are missing. What they hold is
// verified by Plan, against the checksum that the last writer left.
func Open(ctx context.Context, wh warehouse.Execer, workspace, sync string, opts Options) (*Ledger, error) {
	if opts.Now == nil {
		return nil, errors.New("opening a ledger: Options.Now is missing")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.KeepLog == 0 {
		opts.KeepLog = 30 * 24 * time.Hour
	}
	dialect, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return nil, fmt.Errorf("opening the ledger of sync %q: no dialect is called %q", sync, wh.Dialect())
	}
	e, ok := engineOf(dialect)
	if !ok {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "ledger.placement", Subject: "sync " + sync, Message: fmt.Sprintf("a ledger cannot live in a warehouse of the kind %s", dialect.Name()),
			Hint: "set ledger.placement: local on the sync",
		}
	}
	n := namesOf(dialect, workspace, sync)
	if err := dialect.Check(n.of("ledger").Name); err != nil {
		return nil, fmt.Errorf("opening the ledger of sync %q: %w", sync, err)
	}
	h, err := homeOf(opts.Home, workspace, sync)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger of sync %q: %w", sync, err)
	}
	l := &Ledger{wh: wh, home: h, workspace: workspace, sync: sync, names: n, sql: statements{d: dialect, n: n, e: e}, opts: opts, bringFrom: bringFrom}
	if err := l.create(ctx); err != nil {
		return nil, fmt.Errorf("opening the ledger of sync %q: %w", sync, err)
	}
	if err := l.arrive(ctx); err != nil {
		return nil, fmt.Errorf("opening the ledger of sync %q: %w", sync, err)
	}
	return l, nil
}

// transact runs use in one transaction.
func (l *Ledger) transact(ctx context.Context, use func(ctx context.Context, tx warehouse.Tx) error) error {
	tx, err := l.wh.Begin(ctx)
	if err != nil {
		return err
	}
	if err := use(ctx, tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// read runs use in a transaction that is given up afterwards.
func (l *Ledger) read(ctx context.Context, use func(ctx context.Context, tx warehouse.Tx) error) error {
	tx, err := l.wh.Begin(ctx)
	if err != nil {
		return err
	}
	return errors.Join(use(ctx, tx), tx.Rollback())
}

// fenced is transact for the holder of epoch. The update makes the fence a
// write of this transaction, so that of two concurrent holders one fails.
func (l *Ledger) fenced(ctx context.Context, epoch int64, use func(ctx context.Context, tx warehouse.Tx) error) error {
	l.writes.Lock()
	defer l.writes.Unlock()
	err := l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		n, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET epoch = $1 WHERE epoch <= $1"), epoch)
		if err != nil {
			return fmt.Errorf("checking the epoch: %w", err)
		}
		if n == 0 {
			return &tidegate.Fault{Action: tidegate.Halt, Code: "lease.lost", Subject: "sync " + l.sync, Message: fmt.Sprintf("another holder of the lease has written since epoch %d", epoch), Hint: "nothing: the run that holds the lease continues"}
		}
		return use(ctx, tx)
	})
	if err == nil {
		l.epoch = max(l.epoch, epoch)
	}
	return err
}

var errNoRow = errors.New("the query returned no row")

// one reads the first row of a query into into, which are pointers as scan takes them.
func one(ctx context.Context, tx warehouse.Tx, sql string, args []any, into ...any) error {
	found := false
	err := warehouse.Each(ctx, tx, sql, args, func(row tidegate.Row) error {
		if found {
			return nil
		}
		found = true
		return scan(row, into...)
	})
	if err == nil && !found {
		return errNoRow
	}
	return err
}

// scan copies cells; NULL gives a zero value. JSON cells go into strings.
func scan(row tidegate.Row, into ...any) error {
	if len(row) < len(into) {
		return fmt.Errorf("reading a row: it has %d cells, not %d", len(row), len(into))
	}
	for i, p := range into {
		var ok bool
		switch p := p.(type) {
		case *any:
			*p, ok = row[i], true
		case *int64:
			*p, ok = as[int64](row[i])
		case *int:
			var n int64
			n, ok = as[int64](row[i])
			*p = int(n)
		case *bool:
			*p, ok = as[bool](row[i])
		case *time.Time:
			*p, ok = as[time.Time](row[i])
		case *string:
			if text, isJSON := row[i].(tidegate.JSONText); isJSON {
				*p = string(text)
				continue
			}
			*p, ok = as[string](row[i])
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("reading a row: cell %d is a %T", i, row[i])
		}
	}
	return nil
}

func as[T any](cell any) (v T, ok bool) {
	if cell == nil {
		return v, true
	}
	v, ok = cell.(T)
	return v, ok
}
