package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Warehouse is a ClickHouse server. Make one with Open.
type Warehouse struct {
	dialect sqltext.Dialect
	log     *slog.Logger
	now     func() time.Time
	writes  *client
	reads   *client // the same as writes unless there is a user for reading
	cluster string
	final   bool

	wait time.Duration // before an insert is sent again

	door   turns.Door
	tables turns.Turns[warehouse.Table] // one writer at a time for each table

	mu sync.Mutex
	// settled says that the books are there and no committed unit waits for its end.
	settled  bool
	settling sync.Mutex
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
		return nil, errors.New("opening clickhouse: Env.Now is missing")
	}
	w := &Warehouse{dialect: sqltext.ClickHouse(), log: env.Log, now: env.Now, cluster: cfg.Cluster, final: cfg.Final != "never", wait: firstWait}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if w.writes, err = newClient(cfg, cfg.User, cfg.Password); err != nil {
		return nil, err
	}
	w.reads = w.writes
	if cfg.ReadUser != "" {
		if w.reads, err = newClient(cfg, cfg.ReadUser, cfg.ReadPassword); err != nil {
			return nil, err
		}
	}
	if err := w.greet(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the warehouse: %w", err), w.Close())
	}
	return w, nil
}

// oldest is the first version that this adapter is made for.
const oldestYear, oldestMonth = 24, 8

// greet proves that both users can connect, and looks at what they connected to.
func (w *Warehouse) greet(ctx context.Context) error {
	rows, err := w.rows(ctx, "SELECT version()")
	if codeOf(err) == 81 { // the session's own database
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.database", Message: "the database does not exist: " + tidegate.FaultOf(err).Message, Hint: "correct database, or create it", Err: err,
		}
	}
	if err == nil && w.reads != w.writes {
		if _, err = w.drained(ctx, w.reads, &query{sql: "SELECT 1"}); err != nil {
			var f *tidegate.Fault
			if errors.As(err, &f) && f.Code == "auth.refused" {
				f.Hint = strings.Replace(f.Hint, "user and password", "read_user and read_password", 1)
			}
		}
	}
	if err != nil {
		return err
	}
	version, _ := rows[0][0].(string)
	parts := strings.SplitN(version, ".", 3)
	if len(parts) == 3 {
		year, _ := strconv.Atoi(parts[0])
		month, _ := strconv.Atoi(parts[1])
		if year < oldestYear || year == oldestYear && month < oldestMonth {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "warehouse.version", Message: "the server is ClickHouse " + version,
				Hint: fmt.Sprintf("use ClickHouse %d.%d or newer", oldestYear, oldestMonth),
			}
		}
	}
	return nil
}

// Dialect names the SQL that is spoken here.
func (w *Warehouse) Dialect() string { return w.dialect.Name() }

// Close waits for running calls, readers and units to end, and closes the connections.
func (w *Warehouse) Close() error {
	w.door.Close()
	err := w.writes.close()
	if w.reads != nil && w.reads != w.writes {
		err = errors.Join(err, w.reads.close())
	}
	return err
}

// exec runs a statement that changes something. It waits until the change is visible
// everywhere. A call that may be repeated is, when its answer is lost.
func (w *Warehouse) exec(ctx context.Context, q *call) error {
	settings := map[string]string{"session_timezone": "UTC", "mutations_sync": "2", "alter_sync": "2", "lightweight_deletes_sync": "2", "async_insert": "0", "final": "1", "join_use_nulls": "1"}
	if w.cluster != "" {
		settings["allow_nondeterministic_mutations"] = "1" // what they read elsewhere stands still meanwhile
		settings["distributed_ddl_task_timeout"] = "180"
		settings["distributed_ddl_output_mode"] = "throw"
	}
	for name, value := range q.settings {
		settings[name] = value
	}
	q.settings = settings
	if !q.repeat {
		return w.once(ctx, q)
	}
	return w.persist(ctx, func() error { return w.once(ctx, q) })
}

func (w *Warehouse) once(ctx context.Context, q *call) error {
	q.id = newID(w.now())
	err := w.writes.run(ctx, q)
	if err != nil && ctx.Err() != nil {
		w.writes.kill(ctx, q.id)
	}
	return err
}

// attempts is how often a call is made whose answer is lost, and firstWait the
// wait before the second of them; later ones are longer.
const (
	attempts  = 4
	firstWait = 100 * time.Millisecond
)

// persist makes a call that may be made twice again when its answer is lost.
func (w *Warehouse) persist(ctx context.Context, do func() error) error {
	wait := w.wait
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || attempt == attempts || !lost(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		wait *= 4
	}
}

// Exec implements warehouse.Execer: one statement. The engine does not say how many
// rows it touched; 0 is returned.
func (w *Warehouse) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := w.door.Enter(); err != nil {
		return 0, err
	}
	defer w.door.Leave()
	q, err := w.statement(sql, args)
	if err == nil {
		err = w.exec(ctx, q)
	}
	if err != nil {
		return 0, fmt.Errorf("executing a statement: %w", err)
	}
	return 0, nil
}

// statement prepares a statement that may change something.
func (w *Warehouse) statement(sql string, args []any) (*call, error) {
	if err := sqlcheck.Text(sql); err != nil {
		return nil, err
	}
	if endsTransaction(sql) {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: "a unit is not begun or ended by a statement", Hint: "use Begin, Commit and Rollback"}
	}
	bound, params, err := bindArgs(translate(sql), args)
	if err != nil {
		return nil, err
	}
	q := &call{sql: bound, params: params}
	// Blocks of equal content are not dropped as repeats: only loads have names.
	q.settings = map[string]string{"insert_deduplicate": "0"}
	return q, nil
}
