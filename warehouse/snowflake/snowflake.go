package snowflake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Warehouse is a database of Snowflake. Make one with Open.
type Warehouse struct {
	database, schema string
	roles            map[*sql.DB]string // for messages
	tag              string
	dialect          sqltext.Dialect
	log              *slog.Logger
	now              func() time.Time
	dir              string  // of files that wait for their upload
	db               *sql.DB // the pool of sessions
	reading          *sql.DB // of queries; the same as db unless there is a role for reading
	idle             []func()
	tables           turns.Turns[warehouse.Table] // loads run together, a rewrite alone
	altering         turns.Turns[warehouse.Table] // changes of the catalogue, one at a time per table

	door turns.Door // for calls, readers and transactions

	hopeless atomic.Pointer[context.CancelCauseFunc] // ends the greeting; nil after it

	mu     sync.Mutex
	booked bool // the bookkeeping table is there
	staged bool // the stage is there
}

var (
	_ warehouse.Warehouse   = (*Warehouse)(nil)
	_ warehouse.Execer      = (*Warehouse)(nil)
	_ warehouse.Lister      = (*Warehouse)(nil)
	_ warehouse.Estimator   = (*Warehouse)(nil)
	_ warehouse.TableFinder = (*Warehouse)(nil)
)

// sessionLife is how long a session is used: tokens live for four hours.
const (
	sessionLife = 2 * time.Hour
	sessionIdle = 5 * time.Minute
)

func open(ctx context.Context, cfg Config, env warehouse.Env) (*Warehouse, error) {
	if env.Now == nil {
		return nil, errors.New("opening snowflake: Env.Now is missing")
	}
	w := &Warehouse{
		database: cfg.Database, schema: cfg.Schema, tag: cfg.Tag, dialect: sqltext.Snowflake(), log: env.Log, now: env.Now, dir: uploadDir(env.Dir),
		roles: make(map[*sql.DB]string),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.schema == "" {
		w.schema = w.dialect.DefaultSchema()
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	quiet()
	var err error
	if w.db, err = w.pool(cfg, cfg.Role, cfg.Warehouse); err != nil {
		return nil, err
	}
	w.reading = w.db
	if cfg.ReadRole != "" || cfg.ReadWarehouse != "" {
		if w.reading, err = w.pool(cfg, or(cfg.ReadRole, cfg.Role), or(cfg.ReadWarehouse, cfg.Warehouse)); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	if err := w.greet(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the warehouse: %w", err), w.Close())
	}
	return w, nil
}

// failed is told of every call that had no answer. While the warehouse is opened, one that
// another attempt does not mend ends the waiting: the driver tries again for a minute.
func (w *Warehouse) failed(err error) {
	if end := w.hopeless.Load(); end != nil && lasting(err) {
		(*end)(err)
	}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// uploadDir is where files wait for their upload: the data folder, unless its name
// means something to the driver, which reads it as a pattern inside of quotes.
func uploadDir(dir string) string {
	if absolute, err := filepath.Abs(dir); dir != "" && err == nil && !strings.ContainsAny(absolute, `*?[]\'"~`) {
		return absolute
	}
	return os.TempDir()
}

func (c *Config) check() error {
	for name, value := range map[string]string{"account": c.Account, "user": c.User, "database": c.Database} {
		if value == "" {
			return configFault(name, name+" is missing", "set it; docs/warehouses/snowflake.md has an example")
		}
	}
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return configFault("endpoint", "it is no address", "write it as https://host")
		}
	}
	return nil
}

func configFault(subject, message, hint string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.config", Subject: subject, Message: message, Hint: hint}
}

// pool makes a pool of sessions. It sends nothing.
func (w *Warehouse) pool(cfg Config, role, warehouseName string) (*sql.DB, error) {
	c, idle, err := driverConfig(cfg, role, warehouseName, w.schema, w.now, w.failed)
	if err != nil {
		return nil, err
	}
	w.idle = append(w.idle, idle)
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, c))
	most := cfg.MaxConnections
	if most == 0 {
		most = 10
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxLifetime(sessionLife)
	db.SetConnMaxIdleTime(sessionIdle)
	w.roles[db] = role
	return db, nil
}

// greet proves that statements run, for both roles, and that the database and the virtual warehouse
// are there: a login takes names that do not exist. It needs no running virtual warehouse, and so
// costs nothing. What another attempt does not mend ends it at once.
func (w *Warehouse) greet(ctx context.Context, cfg Config) error {
	trying, end := context.WithCancelCause(ctx)
	defer end(nil)
	w.hopeless.Store(&end)
	defer w.hopeless.Store(nil)
	err := w.look(trying, cfg)
	if cause := context.Cause(trying); err != nil && cause != nil {
		return w.classify(ctx, on{}, cause, "")
	}
	return err
}

// look is greet while nothing is hopeless.
func (w *Warehouse) look(ctx context.Context, cfg Config) error {
	for _, db := range []*sql.DB{w.db, w.reading} {
		rows, err := w.all(ctx, on{db: db}, request{op: "greet", sql: "SELECT CURRENT_DATABASE(), CURRENT_WAREHOUSE(), CURRENT_ROLE(), CURRENT_SCHEMA()"})
		if err != nil {
			return err
		}
		if len(rows) != 1 || len(rows[0]) != 4 {
			return errors.New("snowflake did not say where it is")
		}
		role, _ := rows[0][2].(string)
		setting, compute := "warehouse", cfg.Warehouse
		if db != w.db && cfg.ReadWarehouse != "" {
			setting, compute = "read_warehouse", cfg.ReadWarehouse
		}
		switch {
		case rows[0][0] == nil:
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "warehouse.permission", Subject: "database " + w.database, Message: "the database does not exist, or the role may not use it",
				Hint: "correct database, or GRANT USAGE ON DATABASE " + shown(w.database) + " TO ROLE " + shown(role) + page,
			}
		case rows[0][1] == nil:
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "warehouse.no_compute", Subject: setting, Message: "the session has no virtual warehouse",
				Hint: "correct " + setting + ", or GRANT USAGE ON WAREHOUSE " + shown(compute) + " TO ROLE " + shown(role) + page,
			}
		case rows[0][3] == nil && !strings.EqualFold(w.schema, w.dialect.DefaultSchema()):
			w.log.Warn("the schema of tables that a query names without one does not exist, or the role may not use it", "schema", w.schema, "role", role,
				"hint", "correct schema, or GRANT USAGE ON SCHEMA "+shown(w.schema)+" TO ROLE "+shown(role))
		}
		w.mu.Lock()
		w.roles[db] = role
		w.mu.Unlock()
		if w.db == w.reading {
			break
		}
	}
	return nil
}

// Dialect names the SQL that is spoken here.
func (w *Warehouse) Dialect() string { return w.dialect.Name() }

// Close waits for running calls, readers and transactions to end, and ends the sessions.
func (w *Warehouse) Close() error {
	if !w.door.Close() {
		return nil
	}
	var err error
	if w.db != nil {
		err = w.db.Close()
	}
	if w.reading != nil && w.reading != w.db {
		err = errors.Join(err, w.reading.Close())
	}
	for _, closeIdle := range w.idle {
		closeIdle()
	}
	if err != nil {
		return fmt.Errorf("ending the sessions: %w", err)
	}
	return nil
}

// role is who runs statements on o, for messages.
func (w *Warehouse) role(o on) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.db == nil {
		return w.roles[w.db]
	}
	return w.roles[o.db]
}
