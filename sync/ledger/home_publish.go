package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

const (
	// publications is how many may stand on one base: each is a value that every query of the ledger compares with.
	publications = 200
	// historyRows is how many rows the published state may have beyond twice its keys.
	historyRows = 10_000
)

// unpublishedSchema lists what the next publication must hold: keys, or runs. v is
// the publication that is to hold it, NULL while there is none.
func unpublishedSchema() tidegate.Schema {
	return joined(texts("run_id"), keyColumns(), ints("v"))
}

// publicationSchema is one row: how the desk and its home stand. rows and loads
// are what was published since base; whole asks for a whole publication.
func publicationSchema() tidegate.Schema {
	return joined(ints("published", "pending", "base", "rows", "loads"), bools("whole"))
}

// publication is that row.
type publication struct {
	published, pending, base, rows, loads int64
	whole                                 bool
	waiting                               int64 // keys that are not published; runs that touched none wait for the next that did
}

// inStep says that the home shows what the desk holds.
func (p publication) inStep() bool {
	return p.published > 0 && p.pending == 0 && !p.whole && p.waiting == 0
}

// createDesk makes the tables by which the desk knows what its home lacks.
func (l *Ledger) createDesk(ctx context.Context, tx warehouse.Tx) error {
	if _, err := tx.Ensure(ctx, l.names.of("unpublished"), unpublishedSchema()); err != nil {
		return fmt.Errorf("creating %s: %w", l.names.of("unpublished"), err)
	}
	if _, err := tx.Ensure(ctx, l.names.of("publication"), publicationSchema()); err != nil {
		return fmt.Errorf("creating %s: %w", l.names.of("publication"), err)
	}
	_, err := l.publication(ctx, tx)
	if errors.Is(err, errNoRow) {
		_, err = tx.Exec(ctx, string("INSERT INTO "+l.sql.of("publication")+" VALUES (0, 0, 0, 0, 0, true)"))
	}
	return err
}

func (l *Ledger) publication(ctx context.Context, tx warehouse.Tx) (p publication, err error) {
	err = one(ctx, tx, string("SELECT published, pending, base, rows, loads, whole, (SELECT count(*) FROM "+l.sql.of("unpublished")+" WHERE key_hash IS NOT NULL) FROM "+l.sql.of("publication")), nil,
		&p.published, &p.pending, &p.base, &p.rows, &p.loads, &p.whole, &p.waiting)
	if err != nil {
		err = fmt.Errorf("reading how far the ledger is published: %w", err)
	}
	return p, err
}

func (l *Ledger) publicationNow(ctx context.Context) (p publication, err error) {
	err = l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		p, err = l.publication(ctx, tx)
		return err
	})
	return p, err
}

// unpublish notes keys that the next publication must hold; from selects run_id, key_hash, key_check.
func (l *Ledger) unpublish(ctx context.Context, tx warehouse.Tx, from sqltext.Text, args ...any) error {
	if l.home == nil {
		return nil
	}
	if _, err := tx.Exec(ctx, string("INSERT INTO "+l.sql.of("unpublished")+" (run_id, key_hash, key_check) "+from), args...); err != nil {
		return fmt.Errorf("noting what is to be published: %w", err)
	}
	return nil
}

// unpublishAll asks for a whole publication.
func (l *Ledger) unpublishAll(ctx context.Context, tx warehouse.Tx) error {
	if l.home == nil {
		return nil
	}
	if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("publication")+" SET whole = true")); err != nil {
		return fmt.Errorf("noting that all is to be published: %w", err)
	}
	return nil
}

// settleHome brings desk and home to the same ledger: a newer publication of another
// hub is taken over, anything else that differs is published.
func (l *Ledger) settleHome(ctx context.Context) error {
	if l.home == nil {
		return nil
	}
	l.writes.Lock()
	defer l.writes.Unlock()
	newest, err := l.home.head(ctx)
	if err != nil {
		return err
	}
	p, err := l.publicationNow(ctx)
	if err != nil {
		return err
	}
	switch {
	case newest.v != 0 && newest.v == p.pending:
		if err := l.confirm(ctx, newest.v); err != nil {
			return err
		}
	case newest.v > p.published:
		return l.takeOver(ctx, newest, p)
	case newest.v < p.published: // the warehouse lost publications that were there
		l.opts.Log.WarnContext(ctx, "the published ledger is older than the hub's and is published whole", "sync", l.sync)
		if err := l.transact(ctx, l.unpublishAll); err != nil {
			return err
		}
	}
	return l.publish(ctx, newest.v)
}

// publishSoon publishes what a run left. The desk has it: when the warehouse does not
// answer, the next run publishes before it reads anything.
func (l *Ledger) publishSoon(ctx context.Context) {
	if l.home == nil {
		return
	}
	if err := l.publishNow(ctx); err != nil {
		l.opts.Log.WarnContext(ctx, "the ledger could not be published; the next run tries again", "sync", l.sync, "error", err)
	}
}

func (l *Ledger) publishNow(ctx context.Context) error {
	l.writes.Lock()
	defer l.writes.Unlock()
	p, err := l.publicationNow(ctx)
	if err != nil || p.pending != 0 { // settleHome finds out what became of that
		return err
	}
	return l.publish(ctx, p.published)
}

// publish publishes what is not published; expected is the publication before it.
// l.writes is held. A crash at any place leaves a publication that nothing shows, or
// one that the manifest shows and settleHome confirms.
func (l *Ledger) publish(ctx context.Context, expected int64) error {
	var keys int64
	var v int64
	var next publication
	err := l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		p, err := l.publication(ctx, tx)
		if err != nil || !p.whole && p.waiting == 0 {
			return err
		}
		if err := one(ctx, tx, string("SELECT count(*) FROM "+l.sql.of("ledger")), nil, &keys); err != nil {
			return fmt.Errorf("counting keys: %w", err)
		}
		v = max(l.opts.Now().UnixMicro(), p.published+1, p.pending+1, expected+1)
		next = p
		next.whole = p.whole || p.published == 0 || p.loads >= l.home.most || p.rows+p.waiting > 2*keys+historyRows || v-p.base > l.opts.KeepLog.Microseconds()
		if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("unpublished")+" SET v = "+l.sql.int(1)), v); err != nil {
			return fmt.Errorf("tagging what is published: %w", err)
		}
		_, err = tx.Exec(ctx, string("UPDATE "+l.sql.of("publication")+" SET pending = "+l.sql.int(1)+", whole = "+boolean(next.whole)), v)
		return err
	})
	if err != nil || v == 0 {
		return err
	}
	if next.whole {
		next.base = v
	}
	if err := l.load(ctx, v, next, expected); err != nil {
		if errors.Is(err, warehouse.ErrNoTable) { // somebody dropped a table: all of it is published again
			err = errors.Join(err, l.transact(ctx, l.unpublishAll))
		}
		return fmt.Errorf("publishing the ledger: %w", err)
	}
	if err := l.confirm(ctx, v); err != nil {
		return err
	}
	if next.whole {
		l.home.sweep(ctx, l, v)
	}
	return nil
}

func boolean(b bool) sqltext.Text {
	if b {
		return "true"
	}
	return "false"
}

// load writes the rows of publication v, and the row that shows them last.
func (l *Ledger) load(ctx context.Context, v int64, p publication, expected int64) error {
	if p.whole {
		if err := l.home.create(ctx, l); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		kind string
		sql  sqltext.Text
	}{{"state", l.sql.published(v, p.whole)}, {"log", l.sql.publishedLog(v, p.whole)}, {"runs", l.sql.publishedRuns(v, p.whole)}} {
		if err := l.loadPart(ctx, v, part.kind, part.sql); err != nil {
			return err
		}
	}
	newest, err := l.home.head(ctx)
	if err != nil {
		return err
	}
	if newest.v != expected {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "lease.lost", Subject: "sync " + l.sync, Message: "another hub has published this ledger meanwhile",
			Hint: "nothing, when another hub has the lease; otherwise see that only one hub runs this sync",
		}
	}
	return l.loadPart(ctx, v, "manifest", l.sql.manifest(v, p.base))
}

// loadPart streams rows of the desk into a table of the home. The load has the
// publication's number in its name, so that an answer that is lost doubles nothing.
func (l *Ledger) loadPart(ctx context.Context, v int64, kind string, sql sqltext.Text) error {
	return l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		var n int64
		if err := one(ctx, tx, string("SELECT count(*) FROM ("+sql+") AS x"), nil, &n); err != nil {
			return fmt.Errorf("counting rows for %s: %w", kind, err)
		}
		if n == 0 {
			return nil
		}
		rows, err := tx.Query(ctx, string(sql))
		if err != nil {
			return fmt.Errorf("reading rows for %s: %w", kind, err)
		}
		_, err = l.home.wh.Load(ctx, warehouse.Load{ID: fmt.Sprintf("ledger/%d", v), Table: l.home.n.of(kind)}, rows)
		if err := errors.Join(err, rows.Close()); err != nil {
			return fmt.Errorf("loading %s: %w", l.home.n.of(kind), err)
		}
		return nil
	})
}

// confirm notes on the desk that publication v is visible.
func (l *Ledger) confirm(ctx context.Context, v int64) error {
	err := l.transact(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		var n, keys int64
		if err := one(ctx, tx, string("SELECT count(DISTINCT (key_hash, key_check)), (SELECT count(*) FROM "+l.sql.of("ledger")+") FROM "+l.sql.of("unpublished")+" WHERE v = "+number(v)+" AND key_hash IS NOT NULL"), nil, &n, &keys); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string("DELETE FROM "+l.sql.of("unpublished")+" WHERE v = "+number(v))); err != nil {
			return err
		}
		// The right sides are the values of before: whole is that of this publication.
		_, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("publication")+" SET published = "+number(v)+", pending = 0, base = CASE WHEN whole THEN "+number(v)+" ELSE base END, rows = CASE WHEN whole THEN "+number(keys)+
			" ELSE rows + "+number(n)+" END, loads = CASE WHEN whole THEN 1 ELSE loads + 1 END, whole = false"))
		return err
	})
	if err != nil {
		return fmt.Errorf("noting that the ledger is published: %w", err)
	}
	return nil
}

// published is the rows of __state for publication v: every key, or those that were touched.
func (s statements) published(v int64, whole bool) sqltext.Text {
	keys := "SELECT DISTINCT key_hash, key_check FROM " + s.of("unpublished") + " WHERE v = " + number(v) + " AND key_hash IS NOT NULL"
	if whole {
		keys = "SELECT key_hash, key_check FROM " + s.of("ledger") + " UNION SELECT key_hash, key_check FROM " + s.of("records") + " UNION SELECT key_hash, key_check FROM " + s.of("attempts")
	}
	list := "CAST(" + number(v) + " AS BIGINT) AS v, t.key_hash AS key_hash, t.key_check AS key_check, n.key_hash IS NULL AND r.key_hash IS NULL AND a.key_hash IS NULL AS gone" +
		", n.fingerprint AS fingerprint, coalesce(n.acked, false) AS acked, r.key_hash IS NOT NULL AS recorded"
	for _, part := range []struct {
		alias, prefix string
		schema        tidegate.Schema
	}{{"r", recordPrefix, recordsSchema()}, {"a", attemptPrefix, attemptsSchema()}} {
		for _, c := range part.schema[len(keyColumns()):] {
			list += sqltext.Text(", " + part.alias + "." + c.Name + " AS " + part.prefix + c.Name)
		}
	}
	by := func(kind string, alias sqltext.Text) sqltext.Text {
		return " LEFT JOIN " + s.of(kind) + " AS " + alias + " ON " + alias + ".key_hash = t.key_hash AND " + alias + ".key_check = t.key_check"
	}
	return "SELECT " + list + " FROM (" + keys + ") AS t" + by("ledger", "n") + by("records", "r") + by("attempts", "a")
}

func (s statements) ofRuns(v int64, whole bool) sqltext.Text {
	if whole {
		return ""
	}
	return " WHERE run_id IN (SELECT run_id FROM " + s.of("unpublished") + " WHERE v = " + number(v) + " AND run_id IS NOT NULL)"
}

func (s statements) publishedLog(v int64, whole bool) sqltext.Text {
	return "SELECT CAST(" + number(v) + " AS BIGINT) AS v, * FROM " + s.of("log") + s.ofRuns(v, whole)
}

func (s statements) publishedRuns(v int64, whole bool) sqltext.Text {
	where := s.ofRuns(v, whole)
	if whole {
		where = " WHERE state <> '" + runPlanned + "'"
	}
	return "SELECT CAST(" + number(v) + " AS BIGINT) AS v, * FROM " + s.of("runs") + where
}

// manifest is the row that shows publication v.
func (s statements) manifest(v, base int64) sqltext.Text {
	columns := sqltext.Text("")
	for _, name := range append(carried(), sumColumns()...) {
		columns += ", " + sqltext.Text(name)
	}
	return "SELECT CAST(" + number(v) + " AS BIGINT) AS v, CAST(" + number(base) + " AS BIGINT) AS base, workspace, sync, payloads, target" + columns + ", now() AS published_at FROM " + s.of("fence")
}
