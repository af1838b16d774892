package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// createAttempts bounds how often the creation of tables is tried: two syncs
// that are opened for the first time at once may meet in the catalogue.
const createAttempts = 6

// create makes the tables, the fence and the views, in one transaction: a crash
// leaves all of them or none.
func (l *Ledger) create(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := l.transact(ctx, l.createIn)
		if err == nil || attempt == createAttempts || ctx.Err() != nil || tidegate.FaultOf(err).Action != tidegate.Retry {
			return err
		}
		if err := retry.Wait(ctx, time.Duration(attempt*attempt)*5*time.Millisecond); err != nil {
			return fmt.Errorf("creating the tables: %w", err)
		}
	}
}

func (l *Ledger) createIn(ctx context.Context, tx warehouse.Tx) error {
	all := tables()
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		if _, err := tx.Ensure(ctx, l.names.of(kind), all[kind]); err != nil {
			return fmt.Errorf("creating %s: %w", l.names.of(kind), err)
		}
	}
	if err := l.index(ctx, tx); err != nil {
		return err
	}
	if l.home != nil {
		if err := l.createDesk(ctx, tx); err != nil {
			return err
		}
	}
	var fences int64
	var payloads string
	err := one(ctx, tx, string("SELECT payloads, 1 FROM "+l.sql.of("fence")), nil, &payloads, &fences)
	if err != nil && !errors.Is(err, errNoRow) {
		return fmt.Errorf("reading the fence: %w", err)
	}
	if fences == 0 {
		if _, err := tx.Exec(ctx, string("INSERT INTO "+l.sql.of("fence")+" VALUES ("+l.sql.text(1)+", "+l.sql.text(2)+", "+number(format)+", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, "+l.sql.text(3)+", NULL)"), l.workspace, l.sync, l.payloads()); err != nil {
			return fmt.Errorf("writing the fence: %w", err)
		}
	} else if payloads != l.payloads() {
		if err := l.switchPayloads(ctx, tx); err != nil {
			return fmt.Errorf("switching the payloads to %s: %w", l.payloads(), err)
		}
	}
	return l.register(ctx, tx)
}

// index makes the indexes that are missing. Asking first spares a lock on tables that
// another run is writing.
func (l *Ledger) index(ctx context.Context, tx warehouse.Tx) error {
	known := l.sql.e.words().indexes
	if known == "" {
		return nil
	}
	for _, i := range []struct {
		kind    string
		columns []string
	}{
		{"ledger", []string{"key_hash"}}, {"records", []string{"key_hash"}}, {"attempts", []string{"key_hash"}}, {"log", []string{"recorded_at"}},
	} {
		t, name := l.names.of(i.kind), l.names.of(i.kind+"_index").Name
		var there int64
		if err := one(ctx, tx, string(known), []any{t.Schema, name}, &there); err != nil {
			return fmt.Errorf("looking for the index of %s: %w", t, err)
		}
		if there > 0 {
			continue
		}
		sql, err := l.sql.d.Index(name, t.Schema, t.Name, i.columns...)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(sql)); err != nil {
			return fmt.Errorf("indexing %s: %w", t, err)
		}
	}
	return nil
}

func (l *Ledger) payloads() string {
	if l.opts.HashOnly {
		return "hash"
	}
	return "full"
}

// switchPayloads forgets values that are not to be kept any more. The other way
// round, values come back as they are delivered.
func (l *Ledger) switchPayloads(ctx context.Context, tx warehouse.Tx) error {
	list := []sqltext.Text{}
	if l.opts.HashOnly {
		list = append(list, "UPDATE "+l.sql.of("records")+" SET payload = NULL WHERE payload IS NOT NULL", "UPDATE "+l.sql.of("attempts")+" SET payload = NULL WHERE payload IS NOT NULL",
			"UPDATE "+l.sql.of("log")+" SET before = NULL, after = NULL WHERE before IS NOT NULL OR after IS NOT NULL")
	}
	for _, sql := range list {
		if _, err := tx.Exec(ctx, string(sql)); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET payloads = "+l.sql.text(1)), l.payloads()); err != nil {
		return err
	}
	return l.unpublishAll(ctx, tx)
}

// register lists the sync among those that the documented views show.
func (l *Ledger) register(ctx context.Context, tx warehouse.Tx) error {
	registry := warehouse.Table{Schema: Schema, Name: "ledgers"}
	if _, err := tx.Ensure(ctx, registry, registrySchema()); err != nil {
		return fmt.Errorf("creating %s: %w", registry, err)
	}
	var known int64
	if err := one(ctx, tx, string("SELECT count(*) FROM "+l.sql.shared("ledgers")+" WHERE workspace = $1 AND sync = $2"), []any{l.workspace, l.sync}, &known); err != nil {
		return fmt.Errorf("reading %s: %w", registry, err)
	}
	if known > 0 {
		return nil
	}
	list := []any{l.workspace, l.sync}
	params := l.sql.text(1) + ", " + l.sql.text(2)
	for i, kind := range []string{"fence", "runs", "log", "records", "attempts"} {
		list = append(list, l.names.of(kind).Name)
		params += ", " + l.sql.text(i+3)
	}
	if _, err := tx.Exec(ctx, string("INSERT INTO "+l.sql.shared("ledgers")+" VALUES ("+params+")"), list...); err != nil {
		return fmt.Errorf("writing %s: %w", registry, err)
	}
	return l.buildViews(ctx, tx)
}

// buildViews makes the documented views anew.
func (l *Ledger) buildViews(ctx context.Context, tx warehouse.Tx) error {
	var all []registered
	err := warehouse.Each(ctx, tx, string("SELECT fence_table, runs_table, log_table, records_table, attempts_table FROM "+l.sql.shared("ledgers")+" ORDER BY workspace, sync"), nil, func(row tidegate.Row) error {
		var r registered
		if err := scan(row, &r.fence, &r.runs, &r.log, &r.records, &r.attempts); err != nil {
			return err
		}
		all = append(all, r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the ledgers: %w", err)
	}
	list, err := l.sql.views(all)
	if err != nil {
		return err
	}
	for _, sql := range list {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("creating a view: %w", err)
		}
	}
	return nil
}

// Resync forgets what was confirmed: the next run sends every row again and
// removes none, because a key that the ledger does not hold cannot be removed
// (Invariant 8). It is the way out of the fault "ledger.damaged". One
// transaction: a crash leaves the damaged ledger, which stops again.
func (l *Ledger) Resync(ctx context.Context) error {
	if err := l.forget(ctx); err != nil {
		return fmt.Errorf("resyncing %q: %w", l.sync, err)
	}
	l.publishSoon(ctx)
	return nil
}

func (l *Ledger) forget(ctx context.Context) error {
	l.writes.Lock()
	defer l.writes.Unlock()
	return l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		unfinished, err := l.unfinished(ctx, tx, "")
		if err != nil {
			return err
		}
		for _, run := range unfinished {
			if err := l.endRun(ctx, tx, run, runSuperseded); err != nil {
				return err
			}
		}
		all := tables()
		for _, kind := range []string{"ledger", "records", "attempts", "bad_keys", "results", "intents", "tickets"} {
			if _, err := tx.Exec(ctx, string("DROP TABLE IF EXISTS "+l.sql.of(kind)+l.sql.e.words().cascade)); err != nil {
				return fmt.Errorf("dropping %s: %w", l.names.of(kind), err)
			}
			if _, err := tx.Ensure(ctx, l.names.of(kind), all[kind]); err != nil {
				return fmt.Errorf("creating %s: %w", l.names.of(kind), err)
			}
		}
		if err := l.index(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET format = "+number(format)+", generation = generation + 1, dirty = 0, target = NULL")); err != nil {
			return fmt.Errorf("counting the generation: %w", err)
		}
		if _, err := tx.Exec(ctx, l.sql.seal()); err != nil {
			return fmt.Errorf("sealing the ledger: %w", err)
		}
		if err := l.unpublishAll(ctx, tx); err != nil {
			return err
		}
		return l.buildViews(ctx, tx)
	})
}

// fence is what the last writer left of a ledger that is to be used.
type fence struct {
	format, generation, dirty, lastRead int64
	keys, acked, confirmed              int64
	fingerprintXor, fingerprint         int64
	sums                                [7]int64 // all of the checksum, in the order of sumColumns
}

// asked is what is asked for in the pass that verifies __ledger: one further column of its rows, until drop.
type asked struct {
	more sqltext.Text
	drop func()
	// packed says that the column holds all fingerprints that are acked, packed, and makes their xor and sum of it.
	packed func(cell any) (xor, sum int64, err error)
}

// nothingAsked asks for nothing further.
func nothingAsked() asked { return asked{more: "0", drop: func() {}} }

// verify holds __ledger and __records to the checksum of the fence.
func (l *Ledger) verify(ctx context.Context, tx warehouse.Tx) (fence, error) {
	return l.verifyWith(ctx, tx, func(fence) asked { return nothingAsked() })
}

// verifyWith verifies, and asks in the same pass for what with returns for the fence.
func (l *Ledger) verifyWith(ctx context.Context, tx warehouse.Tx, with func(f fence) asked) (fence, error) {
	var f fence
	var keyXor, recordXor int64
	err := one(ctx, tx, string("SELECT format, generation, dirty, last_read, "+sumList()+" FROM "+l.sql.of("fence")), nil,
		&f.format, &f.generation, &f.dirty, &f.lastRead, &f.keys, &f.acked, &keyXor, &f.fingerprintXor, &f.fingerprint, &f.confirmed, &recordXor)
	if err != nil {
		return f, fmt.Errorf("reading the fence: %w", err)
	}
	if f.format != format {
		return f, l.damaged(fmt.Sprintf("the tables were written in format %d, and this version reads format %d", f.format, format))
	}
	var is, was [7]int64
	was = [7]int64{f.keys, f.acked, keyXor, f.fingerprintXor, f.fingerprint, f.confirmed, recordXor}
	a := with(f)
	defer a.drop()
	var more any
	err = one(ctx, tx, string("SELECT "+sumList()+", more FROM ("+l.sql.sums(", "+a.more+" AS more", a.packed != nil)+") AS x"), nil, &is[0], &is[1], &is[2], &is[3], &is[4], &is[5], &is[6], &more)
	if err == nil && a.packed != nil {
		is[3], is[4], err = a.packed(more)
	}
	if err != nil {
		return f, fmt.Errorf("summing the ledger up: %w", err)
	}
	f.sums = was
	if is != was {
		return f, l.damaged(fmt.Sprintf("its tables hold %d keys and %d records where the last run left %d and %d, or other ones", is[0], is[5], was[0], was[5]))
	}
	return f, nil
}

// Verify holds the ledger to the checksum that its last writer left: nil, or the
// Halt fault "ledger.damaged".
func (l *Ledger) Verify(ctx context.Context) error {
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		_, err := l.verify(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("verifying the ledger of sync %q: %w", l.sync, err)
	}
	return nil
}

func (l *Ledger) damaged(message string) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "ledger.damaged", Subject: "sync " + l.sync, Message: message,
		Hint: fmt.Sprintf("restore the tables of %s, or run: tidegate sync resync %s (every row is sent again, none is removed)", Schema, l.sync),
	}
}
