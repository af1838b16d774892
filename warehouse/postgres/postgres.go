package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Warehouse is a database of a PostgreSQL server. Make one with Open.
type Warehouse struct {
	dialect sqltext.Dialect
	log     *slog.Logger
	now     func() time.Time
	pools   *pgwire.Pools

	mu      sync.Mutex
	booked  bool            // the bookkeeping tables are there
	indexed map[string]bool // keys of tables that have their index
}

var (
	_ warehouse.Warehouse   = (*Warehouse)(nil)
	_ warehouse.Execer      = (*Warehouse)(nil)
	_ warehouse.Lister      = (*Warehouse)(nil)
	_ warehouse.Estimator   = (*Warehouse)(nil)
	_ warehouse.TableFinder = (*Warehouse)(nil)
)

func open(ctx context.Context, cfg Config, env warehouse.Env) (*Warehouse, error) {
	if env.Now == nil {
		return nil, errors.New("opening postgres: Env.Now is missing")
	}
	w := &Warehouse{dialect: sqltext.Postgres(), log: env.Log, now: env.Now, indexed: map[string]bool{}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	server := pgwire.Server{
		Host: cfg.Host, Port: cmp.Or(cfg.Port, 5432), Database: cfg.Database, TLS: cfg.TLS, RootCert: cfg.RootCert, ClientCert: cfg.ClientCert, ClientKey: cfg.ClientKey,
		MaxConnections: cmp.Or(cfg.MaxConnections, 8),
		Params:         map[string]string{"application_name": "tidegate", "client_encoding": "UTF8", "timezone": "UTC", "datestyle": "ISO, YMD", "standard_conforming_strings": "on"},
	}
	speech := pgwire.Speech{Classify: serverFault, AppendArg: appendArg, Columns: describeResult}
	write, read := pgwire.Account{User: cfg.User, Password: cfg.Password}, pgwire.Account{User: cfg.ReadUser, Password: cfg.ReadPassword}
	var err error
	if w.pools, err = pgwire.Open(ctx, server, cfg.SSH, write, read, speech, greet); err != nil {
		return nil, err
	}
	if err := w.greetReader(ctx); err != nil {
		return nil, errors.Join(err, w.pools.Close())
	}
	return w, nil
}

// greetReader lets a role of queries that is new here read the books. A hub reads them when it starts, before it writes anything.
func (w *Warehouse) greetReader(ctx context.Context) error {
	if w.pools.Reader == w.pools.Writer {
		return nil
	}
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return err
	}
	defer s.End()
	rows, err := s.Rows(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname = '_tidegate' AND NOT has_schema_privilege($1, nspname, 'USAGE')", w.pools.Reader)
	if err != nil {
		return fmt.Errorf("looking whether the role of queries may read the books: %w", err)
	}
	if rows[0][0] == int64(0) {
		return nil
	}
	return w.bookkeeping(ctx, s)
}

// greet proves that a role can connect, and looks at whom it connected to.
func greet(ctx context.Context, s *pgwire.Session) error {
	rows, err := s.Rows(ctx, "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding')")
	if err != nil {
		return err
	}
	if version, ok := rows[0][0].(int64); ok && version < 120000 {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.version", Message: fmt.Sprintf("the server is PostgreSQL %d.%d", version/10000, version%10000),
			Hint: "use PostgreSQL 12 or newer",
		}
	}
	if encoding := rows[0][1]; encoding != "UTF8" {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.encoding", Message: fmt.Sprintf("the database is encoded in %v, which cannot hold every text", encoding),
			Hint: "create the database with ENCODING 'UTF8'",
		}
	}
	return nil
}

// Dialect names the SQL that is spoken here.
func (w *Warehouse) Dialect() string { return w.dialect.Name() }

// Close waits for running calls, readers and transactions to end, and closes
// the connections.
func (w *Warehouse) Close() error { return w.pools.Close() }

// session is one connection in use.
type session struct {
	*pgwire.Session
	w *Warehouse
}

func (w *Warehouse) session(ctx context.Context, of *pgxpool.Pool) (*session, error) {
	s, err := w.pools.Session(ctx, of)
	if err != nil {
		return nil, err
	}
	return &session{Session: s, w: w}, nil
}

// control runs statements of the program's own that return nothing of interest, in one round trip.
func (s *session) control(ctx context.Context, sql sqltext.Text) error {
	return s.Control(ctx, string(sql))
}

// loadMemory is how long the ID of a load is remembered: longer than anybody
// repeats one, and short enough to bound the table.
const loadMemory = 90 * 24 * time.Hour

// bookkeeping makes the tables of the schema _tidegate that this adapter needs.
func (w *Warehouse) bookkeeping(ctx context.Context, s *session) error {
	w.mu.Lock()
	booked := w.booked
	w.mu.Unlock()
	if booked {
		return nil
	}
	rows, err := s.Rows(ctx, "SELECT to_regclass('_tidegate.loads') IS NOT NULL AND to_regclass('_tidegate.keyed') IS NOT NULL AND to_regclass('_tidegate.snapshots') IS NOT NULL")
	if err != nil {
		return fmt.Errorf("looking for the bookkeeping tables: %w", err)
	}
	if rows[0][0] != true {
		// One implicit transaction; the lock keeps two processes from doing it at once.
		err = s.control(ctx, `SELECT pg_advisory_xact_lock(`+lockSpace+`, 0);
			CREATE SCHEMA IF NOT EXISTS _tidegate;
			CREATE TABLE IF NOT EXISTS _tidegate.loads (load_id text NOT NULL, table_schema text NOT NULL, table_name text NOT NULL, rows bigint, loaded_at timestamptz NOT NULL,
				PRIMARY KEY (load_id, table_schema, table_name));
			CREATE TABLE IF NOT EXISTS _tidegate.keyed (table_schema text NOT NULL, table_name text NOT NULL, loads bigint NOT NULL, PRIMARY KEY (table_schema, table_name)) WITH (fillfactor = 50);
			CREATE TABLE IF NOT EXISTS _tidegate.snapshots ();
			COMMENT ON TABLE _tidegate.loads IS 'Loads that are in their tables; a load of the same ID is not done again.';
			COMMENT ON TABLE _tidegate.keyed IS 'Keyed loads per table; they take turns on its rows.';
			COMMENT ON TABLE _tidegate.snapshots IS 'Locked by transactions that read and by changes that rewrite a table.'`)
		if err != nil {
			return fmt.Errorf("making the bookkeeping tables: %w", err)
		}
	}
	// At every start, for the role of queries may be new.
	share, err := w.share("GRANT USAGE ON SCHEMA _tidegate", "GRANT SELECT ON ALL TABLES IN SCHEMA _tidegate", "ALTER DEFAULT PRIVILEGES IN SCHEMA _tidegate GRANT SELECT ON TABLES")
	if err != nil {
		return err
	}
	if share != "" {
		if err := s.control(ctx, "SELECT pg_advisory_xact_lock("+lockSpace+", 0)"+share); err != nil {
			return fmt.Errorf("letting the role of queries read the bookkeeping tables: %w", err)
		}
	}
	if _, err := s.Exec(ctx, "DELETE FROM _tidegate.loads WHERE loaded_at < $1", w.now().Add(-loadMemory)); err != nil {
		return fmt.Errorf("forgetting old loads: %w", err)
	}
	w.mu.Lock()
	w.booked = true
	w.mu.Unlock()
	return nil
}
