package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// arrive takes the published ledger over when the desk is new: a hub that lost its disk, or
// another machine.
func (l *Ledger) arrive(ctx context.Context) error {
	if l.home == nil {
		return nil
	}
	p, err := l.publicationNow(ctx)
	if err != nil || p.published != 0 || p.pending != 0 {
		return err
	}
	if none, err := l.blank(ctx); err != nil || !none {
		return err
	}
	l.writes.Lock()
	defer l.writes.Unlock()
	newest, err := l.home.head(ctx)
	if err != nil || newest.v == 0 {
		return err
	}
	return l.takeOver(ctx, newest, p)
}

// takeOver makes the desk what its home shows: the hub lost its desk, or another hub
// has run this sync since. l.writes is held.
func (l *Ledger) takeOver(ctx context.Context, newest head, p publication) error {
	if newest.format != format {
		return l.damaged(fmt.Sprintf("the tables were written in format %d, and this version reads format %d", newest.format, format))
	}
	if p.published == 0 {
		none, err := l.blank(ctx)
		if err != nil {
			return err
		}
		if !none {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "ledger.exists", Subject: "sync " + l.sync, Message: "both the hub and the warehouse hold a ledger of this sync, and neither comes from the other",
				Hint: "keep ledger.placement as it was, or forget the one that is wrong: tidegate sync resync " + l.sync,
			}
		}
	}
	if err := l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error { return l.hydrate(ctx, tx, newest) }); err != nil {
		return fmt.Errorf("taking the published ledger over: %w", err)
	}
	return nil
}

// hydrate is one transaction of the desk.
func (l *Ledger) hydrate(ctx context.Context, tx warehouse.Tx, newest head) error {
	unfinished, err := l.unfinished(ctx, tx, "")
	if err != nil {
		return err
	}
	for _, run := range unfinished {
		l.opts.Log.WarnContext(ctx, "a run is given up: another hub has published results of this sync since it was planned", "sync", l.sync, "run", run.runID)
		if err := l.drop(ctx, tx, run.runID, "plan"); err != nil {
			return err
		}
	}
	for _, kind := range []string{"ledger", "records", "attempts", "runs", "log", "bad_keys", "intents", "results", "tickets", "unpublished"} {
		if _, err := tx.Exec(ctx, string("DELETE FROM "+l.sql.of(kind))); err != nil {
			return fmt.Errorf("emptying %s: %w", l.names.of(kind), err)
		}
	}
	for _, kind := range []string{"ledger", "records", "attempts", "log", "runs"} {
		if err := l.fetch(ctx, tx, kind, l.home.fetch(kind)); err != nil {
			return err
		}
	}
	sql := "UPDATE " + l.sql.of("fence") + " SET generation = " + l.sql.int(1) + ", last_read = " + l.sql.int(2) + ", epoch = CASE WHEN epoch > " + l.sql.int(3) + " THEN epoch ELSE " + l.sql.int(3) + " END, target = " + l.sql.text(4) + ", dirty = 0"
	var target any // NULL: of nobody
	if newest.target != "" {
		target = newest.target
	}
	if _, err := tx.Exec(ctx, string(sql), newest.generation, newest.lastRead, newest.epoch, target); err != nil {
		return fmt.Errorf("taking the fence over: %w", err)
	}
	if _, err := tx.Exec(ctx, l.sql.seal()); err != nil {
		return fmt.Errorf("sealing the ledger: %w", err)
	}
	f, err := l.verify(ctx, tx)
	if err != nil {
		return err
	}
	if f.sums != newest.sums {
		return l.damaged(fmt.Sprintf("the published tables hold %d keys and %d records where the last run left %d and %d, or other ones", f.keys, f.confirmed, newest.sums[0], newest.sums[5]))
	}
	// How much was published since the base is not known: the next publication is whole.
	_, err = tx.Exec(ctx, string("UPDATE "+l.sql.of("publication")+" SET published = "+number(newest.v)+", pending = 0, base = "+number(newest.base)+", rows = 0, loads = "+number(l.home.most)+", whole = false"))
	if err == nil && l.opts.HashOnly {
		err = l.switchPayloads(ctx, tx)
	}
	return err
}

// fetch copies the result of a query of the home into a table of the desk.
func (l *Ledger) fetch(ctx context.Context, tx warehouse.Tx, kind string, sql sqltext.Text) error {
	rows, err := l.home.wh.Query(ctx, string(sql))
	if err != nil {
		return fmt.Errorf("reading the published %s: %w", kind, err)
	}
	_, err = tx.Load(ctx, warehouse.Load{ID: "home/" + kind, Table: l.names.of(kind)}, rows)
	if err := errors.Join(err, rows.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", l.names.of(kind), err)
	}
	if _, err := tx.Exec(ctx, string("DELETE FROM "+l.sql.shared("loads")+" WHERE load_id = $1"), "home/"+kind); err != nil {
		return fmt.Errorf("forgetting the load: %w", err)
	}
	return nil
}

// fetch is a table of the desk as the home shows it.
func (h *home) fetch(kind string) sqltext.Text {
	from := func(schema tidegate.Schema, prefix string, where sqltext.Text) sqltext.Text {
		raw, list := []string{"gone", "recorded", "a_state"}, sqltext.Text("t.key_hash AS key_hash, t.key_check AS key_check")
		raw = append(raw, "key_hash", "key_check")
		for _, c := range schema[len(keyColumns()):] {
			name := prefix + c.Name
			if name != "a_state" {
				raw = append(raw, name)
			}
			list += sqltext.Text(", t." + name + " AS " + c.Name)
		}
		return "SELECT " + list + " FROM (" + h.latest(raw...) + ") AS t WHERE NOT t.gone" + where
	}
	switch kind {
	case "ledger":
		return from(ledgerSchema(), "", "")
	case "records":
		return from(recordsSchema(), recordPrefix, " AND t.recorded")
	case "attempts":
		return from(attemptsSchema(), attemptPrefix, " AND t.a_state IS NOT NULL")
	}
	schema := logSchema()
	if kind == "runs" {
		schema = runsSchema()
	}
	list := make([]sqltext.Text, len(schema))
	for i, c := range schema {
		list[i] = sqltext.Text(c.Name)
	}
	return "SELECT " + sqltext.Join(list, ", ") + " FROM " + h.s.of(kind) + " WHERE " + h.visible(h.s.of("manifest"))
}

// withdraw takes the ledger out of its home; the desk keeps it. A crash before the end
// leaves it published, or published in part, which the same call ends.
func (l *Ledger) withdraw(ctx context.Context) error {
	if err := l.settleHome(ctx); err != nil {
		return err
	}
	l.writes.Lock()
	defer l.writes.Unlock()
	if err := l.home.remove(ctx, l); err != nil {
		return fmt.Errorf("taking the published ledger back: %w", err)
	}
	return l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if _, err := tx.Exec(ctx, string("DELETE FROM "+l.sql.of("unpublished"))); err != nil {
			return fmt.Errorf("forgetting what was to be published: %w", err)
		}
		_, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("publication")+" SET published = 0, pending = 0, base = 0, rows = 0, loads = 0, whole = true"))
		return err
	})
}
