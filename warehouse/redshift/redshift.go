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
	user    string
	reader  string // user of queries
	exact   bool   // the case of identifiers counts
	pool    *pgxpool.Pool
	reading *pgxpool.Pool // of queries; the same as pool unless there is a user for reading
	tunnel  *pgwire.Tunnel
	bucket  *bucket
	turns   turns.Turns[string] // loads of one name, and schema changes of one table, go one at a time

	closeOnce sync.Once
	closeErr  error

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
		dialect: sqltext.Redshift(), log: env.Log, now: env.Now, user: cfg.User, reader: cfg.User, exact: cfg.CaseSensitive,
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
	if cfg.SSH != nil {
		if w.tunnel, err = pgwire.NewTunnel(*cfg.SSH); err != nil {
			return nil, errors.Join(err, w.Close())
		}
		server.Dial = w.tunnel.Dial
	}
	if w.pool, err = pgwire.Pool(ctx, server, cfg.User, cfg.Password); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.reading = w.pool
	if cfg.ReadUser != "" {
		w.reader = cfg.ReadUser
		if w.reading, err = pgwire.Pool(ctx, server, cfg.ReadUser, cfg.ReadPassword); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	for _, p := range []*pgxpool.Pool{w.pool, w.reading} {
		if err := w.greet(ctx, p); err != nil {
			return nil, errors.Join(fmt.Errorf("opening the warehouse: %w", err), w.Close())
		}
	}
	return w, nil
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
func (w *Warehouse) greet(ctx context.Context, p *pgxpool.Pool) error {
	s, err := w.session(ctx, p)
	if err != nil && p != w.pool {
		return pgwire.OfReader(err)
	}
	if err != nil {
		return err
	}
	defer s.End()
	rows, err := s.rows(ctx, "SELECT version()")
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
	w.closeOnce.Do(func() {
		if w.pool != nil {
			w.pool.Close()
		}
		if w.reading != nil && w.reading != w.pool {
			w.reading.Close()
		}
		if w.tunnel != nil {
			w.closeErr = w.tunnel.Close()
		}
		w.bucket.close()
	})
	return w.closeErr
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

func (w *Warehouse) session(ctx context.Context, p *pgxpool.Pool) (*session, error) {
	user := w.user
	if p == w.reading {
		user = w.reader
	}
	s, err := pgwire.Acquire(ctx, p, user, serverFault)
	if err != nil {
		return nil, err
	}
	return &session{Session: s, w: w}, nil
}

// control runs statements of the program's own that return nothing of interest, in one round trip.
func (s *session) control(ctx context.Context, sql sqltext.Text) error {
	return s.Control(ctx, string(sql))
}

// exec runs one statement and returns the rows it touched.
func (s *session) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	values, err := pgwire.Args(args, appendArg)
	if err != nil {
		return 0, err
	}
	result := s.PG.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return 0, s.Fault(ctx, result.Err, sql)
	}
	return result.CommandTag.RowsAffected(), nil
}

// rows runs one of the program's own statements and returns all that it returns.
func (s *session) rows(ctx context.Context, sql string, args ...any) ([]tidegate.Row, error) {
	r, err := s.start(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return tidegate.AllRows(ctx, r)
}

// count runs one of the program's own statements, which returns one number.
func (s *session) count(ctx context.Context, sql string, args ...any) (int64, error) {
	rows, err := s.rows(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	n, ok := rows[0][0].(int64)
	if !ok {
		return 0, fmt.Errorf("counting: got %v", rows[0][0])
	}
	return n, nil
}

// start runs one statement and returns its rows, all of them as text.
func (s *session) start(ctx context.Context, sql string, args []any) (*pgwire.Reader, error) {
	values, err := pgwire.Args(args, appendArg)
	if err != nil {
		return nil, err
	}
	return s.Start(ctx, sql, values, func(fields []pgconn.FieldDescription) pgwire.Columns {
		columns := make([]column, len(fields))
		for i, f := range fields {
			columns[i] = newColumn(f.Name, f.DataTypeOID, f.TypeModifier)
		}
		cell := func(i int, raw []byte) (any, error) { return columns[i].cell(raw) }
		return pgwire.Columns{Schema: schemaOf(columns), Cell: cell}
	})
}
