package redshift

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Warehouse is a database of Redshift. Make one with Open.
type Warehouse struct {
	dialect sqltext.Dialect
	log     *slog.Logger
	now     func() time.Time
	exact   bool // the case of identifiers counts
	pools   *pgwire.Pools
	bucket  *bucket
	turns   turns.Turns[string] // loads of one name, and schema changes of one table, go one at a time

	books  sync.Mutex // held while the bookkeeping tables are made
	booked bool
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
		return nil, errors.New("opening redshift: Env.Now is missing")
	}
	w := &Warehouse{
		dialect: sqltext.Redshift(), log: env.Log, now: env.Now, exact: cfg.CaseSensitive,
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if w.bucket, err = newBucket(cfg, env.Now); err != nil {
		return nil, err
	}
	settings, err := sessionSettings(cfg)
	if err != nil {
		return nil, err
	}
	server := pgwire.Server{
		Host: cfg.Host, Port: cmp.Or(cfg.Port, 5439), Database: cfg.Database, TLS: cfg.TLS, RootCert: cfg.RootCert, MaxConnections: cmp.Or(cfg.MaxConnections, 8),
		// What is not among these few is set by a statement: the server refuses settings that it does not know at the beginning.
		Params:       map[string]string{"application_name": "tidegate", "client_encoding": "UTF8"},
		AfterConnect: func(ctx context.Context, pg *pgconn.PgConn) error { return prepare(ctx, pg, settings) },
	}
	speech := pgwire.Speech{Classify: serverFault, AppendArg: appendArg, Columns: describeResult}
	write, read := pgwire.Account{User: cfg.User, Password: cfg.Password}, pgwire.Account{User: cfg.ReadUser, Password: cfg.ReadPassword}
	if w.pools, err = pgwire.Open(ctx, server, cfg.SSH, write, read, speech, greet); err != nil {
		w.bucket.close()
		return nil, err
	}
	if err := w.greetReader(ctx); err != nil {
		w.bucket.close()
		return nil, errors.Join(err, w.pools.Close())
	}
	return w, nil
}

// greetReader lets a user of queries that is new here read the books. A hub reads them when it starts, before it writes anything.
func (w *Warehouse) greetReader(ctx context.Context) error {
	if w.pools.Reader == w.pools.Writer {
		return nil
	}
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return err
	}
	defer s.End()
	closed, err := s.count(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname = '_tidegate' AND NOT has_schema_privilege($1, nspname, 'USAGE')", w.pools.Reader)
	if err != nil {
		return fmt.Errorf("looking whether the user of queries may read the books: %w", err)
	}
	if closed == 0 {
		return nil
	}
	return w.bookkeeping(ctx, s)
}

// sessionSettings are statements that a connection begins with. Floats are shown with all their digits.
func sessionSettings(cfg Config) (sqltext.Text, error) {
	group, err := literal("query_group", cmp.Or(cfg.QueryGroup, "tidegate"))
	if err != nil {
		return "", err
	}
	sensitive := sqltext.Text("false")
	if cfg.CaseSensitive {
		sensitive = "true"
	}
	return "SET timezone TO 'UTC'; SET datestyle TO 'ISO, YMD'; SET extra_float_digits TO 2; SET query_group TO " + group +
		"; SET enable_case_sensitive_identifier TO " + sensitive, nil
}

func prepare(ctx context.Context, pg *pgconn.PgConn, settings sqltext.Text) error {
	if _, err := pg.Exec(ctx, string(settings)).ReadAll(); err != nil {
		return fmt.Errorf("preparing a connection: %w", err)
	}
	return nil
}

// greet proves that a user can connect, and looks at what it connected to.
func greet(ctx context.Context, s *pgwire.Session) error {
	rows, err := s.Rows(ctx, "SELECT version()")
	if err != nil {
		return err
	}
	if version, _ := rows[0][0].(string); !isRedshift(version) {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.version", Message: "the server is no Redshift: " + version,
			Hint: "use kind: postgres for PostgreSQL, or correct host and port",
		}
	}
	return nil
}

// Dialect names the SQL that is spoken here.
func (w *Warehouse) Dialect() string { return w.dialect.Name() }

// Close waits for running calls, readers and transactions to end, and closes
// the connections.
func (w *Warehouse) Close() error {
	err := w.pools.Close()
	w.bucket.close()
	return err
}

// fold is a name as the catalogue has it.
func (w *Warehouse) fold(name string) string {
	if w.exact {
		return name
	}
	return sqltext.Fold(name)
}

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

// count runs one of the program's own statements, which returns one number.
func (s *session) count(ctx context.Context, sql string, args ...any) (int64, error) {
	rows, err := s.Rows(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	n, ok := rows[0][0].(int64)
	if !ok {
		return 0, fmt.Errorf("counting: got %v", rows[0][0])
	}
	return n, nil
}
