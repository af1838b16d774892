package redshift

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// loadMemory is how long the ID of a load is remembered: longer than anybody
// repeats one, and short enough to bound the table.
const loadMemory = 90 * 24 * time.Hour

// makeBooks makes the tables of the adapter. turns has one row, which every load updates; schemas and
// snapshots are empty and there to be locked. Every statement is of the kind that does nothing when it is repeated.
const makeBooks sqltext.Text = `CREATE SCHEMA IF NOT EXISTS _tidegate;
	CREATE TABLE IF NOT EXISTS _tidegate.loads (load_id VARCHAR(1024) NOT NULL, table_schema VARCHAR(127) NOT NULL, table_name VARCHAR(127) NOT NULL, rows BIGINT, loaded_at TIMESTAMPTZ NOT NULL)
		DISTSTYLE ALL COMPOUND SORTKEY (loaded_at);
	CREATE TABLE IF NOT EXISTS _tidegate.turns (id INTEGER NOT NULL, loads BIGINT NOT NULL) DISTSTYLE ALL;
	CREATE TABLE IF NOT EXISTS _tidegate.schemas (n INTEGER) DISTSTYLE ALL;
	CREATE TABLE IF NOT EXISTS _tidegate.snapshots (n INTEGER) DISTSTYLE ALL`

// bookkeeping makes the tables of the schema _tidegate that this adapter needs.
func (w *Warehouse) bookkeeping(ctx context.Context, s *session) error {
	w.books.Lock()
	defer w.books.Unlock()
	if w.booked {
		return nil
	}
	have, err := s.count(ctx, "SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = '_tidegate' AND c.relname IN ('loads', 'turns', 'schemas', 'snapshots')")
	if err != nil {
		return fmt.Errorf("looking for the bookkeeping tables: %w", err)
	}
	if have < 4 {
		if err := s.control(ctx, makeBooks); err != nil {
			return fmt.Errorf("making the bookkeeping tables: %w", err)
		}
	}
	if err := w.firstTurn(ctx, s); err != nil {
		return err
	}
	// At every start, for the user of queries may be new.
	share, err := w.share("GRANT USAGE ON SCHEMA _tidegate", "GRANT SELECT ON ALL TABLES IN SCHEMA _tidegate", "ALTER DEFAULT PRIVILEGES IN SCHEMA _tidegate GRANT SELECT ON TABLES")
	if err != nil {
		return err
	}
	if share != "" {
		if err := s.control(ctx, share); err != nil {
			return fmt.Errorf("letting the user of queries read the bookkeeping tables: %w", err)
		}
	}
	_, err = s.Exec(ctx, "DELETE FROM _tidegate.loads WHERE loaded_at < $1", w.now().Add(-loadMemory))
	if err != nil && tidegate.FaultOf(err).Action != tidegate.Retry { // who comes in between is welcome: the next start forgets as well
		return fmt.Errorf("forgetting old loads: %w", err)
	}
	w.booked = true
	return nil
}

// firstTurn makes the row of _tidegate.turns.
func (w *Warehouse) firstTurn(ctx context.Context, s *session) error {
	have, err := s.count(ctx, "SELECT count(*) FROM _tidegate.turns")
	if err != nil || have > 0 {
		return err
	}
	if err := s.control(ctx, "BEGIN; LOCK _tidegate.turns"); err != nil {
		return fmt.Errorf("making the first turn: %w", err)
	}
	defer s.Rollback(ctx)
	if have, err = s.count(ctx, "SELECT count(*) FROM _tidegate.turns"); err != nil || have > 0 {
		return err
	}
	return s.control(ctx, "INSERT INTO _tidegate.turns (id, loads) VALUES (1, 0); COMMIT")
}

// mark is a row of _tidegate.loads.
type mark struct{ id, schema, table string }

const findMark = "SELECT count(*) FROM _tidegate.loads WHERE load_id = $1 AND table_schema = $2 AND table_name = $3"

// there says whether m is in the books as the session sees them.
func (s *session) there(ctx context.Context, m mark) (bool, error) {
	n, err := s.count(ctx, findMark, m.id, m.schema, m.table)
	if err != nil {
		return false, fmt.Errorf("looking for the load: %w", err)
	}
	return n > 0, nil
}

// remember writes m into the books.
func (s *session) remember(ctx context.Context, m mark, rows int64) error {
	_, err := s.Exec(ctx, "INSERT INTO _tidegate.loads (load_id, table_schema, table_name, rows, loaded_at) VALUES ($1, $2, $3, $4, $5)", m.id, m.schema, m.table, rows, s.w.now())
	if err != nil {
		return fmt.Errorf("remembering the load: %w", err)
	}
	return nil
}

// share gives the user of queries a right, where it is a user of its own; grant lacks the TO.
func (w *Warehouse) share(grants ...sqltext.Text) (sqltext.Text, error) {
	if w.pools.Reader == w.pools.Writer {
		return "", nil
	}
	user, err := w.dialect.Ident(w.pools.Reader)
	if err != nil {
		return "", fmt.Errorf("naming the user of queries: %w", err)
	}
	all := make([]sqltext.Text, len(grants))
	for i, grant := range grants {
		all[i] = grant + " TO " + user
	}
	return sqltext.Join(all, "; "), nil
}
