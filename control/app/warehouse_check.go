package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

const (
	// checkRows is how many rows CheckWarehouse loads.
	checkRows = 1000
	// A person waits: a warehouse that does not let anybody in within this time, or does not do
	// what a step asks of it, is told as one that does not answer. Virtual warehouses and paused
	// clusters have to wake up within the second.
	connectPatience = 20 * time.Second
	stepPatience    = 3 * time.Minute
)

// CheckWarehouses does with every warehouse of p what loading and syncing do, in a
// schema of its own that it drops again, and says how long each step took. It
// goes on to the next step where that makes sense, so that every missing grant is named.
func CheckWarehouses(ctx context.Context, p *project.Project, data string, now func() time.Time) []api.Finding {
	found := checkOne(ctx, p, data, "", now)
	for _, w := range p.Warehouses {
		for _, f := range checkOne(ctx, p, data, w.Name, now) {
			f.Check = w.Name + ": " + f.Check
			found = append(found, f)
		}
	}
	return found
}

func checkOne(ctx context.Context, p *project.Project, data, name string, now func() time.Time) []api.Finding {
	ctx, end := context.WithCancel(ctx)
	defer end()
	c := &warehouseCheck{now: now}
	log := slog.New(&warnings{check: c})
	var wh loader.Warehouse
	if !c.step(ctx, "connect", connectPatience, func(ctx context.Context) (string, error) {
		var err error
		wh, err = openNamed(ctx, fileSecrets(data, now), p, data, name, log, now)
		return "it answers", err
	}) {
		return c.found
	}
	dialect, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return append(c.found, api.Finding{Check: "dialect", Level: "error", Detail: fmt.Sprintf("no SQL dialect is called %q", wh.Dialect())})
	}
	c.run(ctx, wh, dialect)
	c.step(ctx, "close", stepPatience, func(context.Context) (string, error) { return "it closes", wh.Close() })
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(c.found, c.warned...)
}

type warehouseCheck struct {
	now   func() time.Time
	found []api.Finding

	mu     sync.Mutex
	warned []api.Finding // by the adapter's log
}

// step runs one step, for as long as patience lasts, and notes what came of it; false when it failed.
func (c *warehouseCheck) step(ctx context.Context, name string, patience time.Duration, run func(context.Context) (string, error)) bool {
	begin := c.now()
	late := &tidegate.Fault{
		Action: tidegate.Retry, Code: "warehouse.connection", Message: fmt.Sprintf("there is no answer within %s", patience),
		Hint: "correct the address in the warehouse's configuration (host, port and protocol, account, or endpoint), or let the network between pass: a firewall drops what it does not like; a paused cluster may need longer to wake, then try again",
	}
	trying, end := context.WithCancelCause(ctx) // by checkOne, for what run has opened may hold on to it
	timer := time.AfterFunc(patience, func() { end(late) })
	detail, err := run(trying)
	timer.Stop()
	if err != nil && ctx.Err() == nil && trying.Err() != nil && !errors.Is(err, late) {
		err = late // an engine's own words for a context that is over
	}
	if err != nil {
		f := tidegate.FaultOf(err)
		c.found = append(c.found, api.Finding{Check: name, Level: "error", Detail: f.Error(), Hint: f.Hint})
		return false
	}
	c.found = append(c.found, api.Finding{Check: name, Level: "ok", Detail: fmt.Sprintf("%s in %s", detail, c.now().Sub(begin).Round(10*time.Microsecond))})
	return true
}

// warnings is a log whose warnings are findings: what an adapter says of a setting that hinders nothing yet.
type warnings struct {
	check *warehouseCheck
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (w *warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// WithAttrs implements slog.Handler.
func (w *warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &warnings{w.check, append(slices.Clip(w.attrs), attrs...)}
}

// WithGroup implements slog.Handler; groups are not shown.
func (w *warnings) WithGroup(string) slog.Handler { return w }

// Handle implements slog.Handler.
func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	f := api.Finding{Check: "settings", Level: "warning", Detail: r.Message}
	add := func(a slog.Attr) bool {
		if a.Key == "hint" {
			f.Hint = a.Value.String()
			return true
		}
		f.Detail += ", " + a.Key + " " + a.Value.String()
		if err, ok := a.Value.Any().(error); ok && f.Hint == "" {
			f.Hint = tidegate.FaultOf(err).Hint
		}
		return true
	}
	for _, a := range w.attrs {
		add(a)
	}
	r.Attrs(add)
	w.check.mu.Lock()
	defer w.check.mu.Unlock()
	w.check.warned = append(w.check.warned, f)
	return nil
}

// run does what needs an open warehouse.
func (c *warehouseCheck) run(ctx context.Context, wh loader.Warehouse, dialect sqltext.Dialect) {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	table := warehouse.Table{Schema: "tidegate_check_" + hex.EncodeToString(random[:]), Name: "t"}
	schema := tidegate.Schema{
		{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}},
		{Name: "text", Type: tidegate.Type{Kind: tidegate.String}},
	}
	if !c.step(ctx, "create a schema and a table", stepPatience, func(ctx context.Context) (string, error) {
		_, err := wh.Ensure(ctx, table, schema)
		return "made", err
	}) {
		return
	}
	name, err := dialect.Table(table.Schema, table.Name)
	if err != nil {
		return // Ensure has taken the name
	}
	appended := c.step(ctx, "load", stepPatience, func(ctx context.Context) (string, error) {
		n, err := wh.Load(ctx, warehouse.Load{ID: "append " + table.Schema, Table: table}, checkReader(schema))
		return fmt.Sprintf("%d rows", n), err
	})
	replaced := c.step(ctx, "load by key", stepPatience, func(ctx context.Context) (string, error) {
		n, err := wh.Load(ctx, warehouse.Load{ID: "replace " + table.Schema, Table: table, Key: []string{"id"}}, checkReader(schema))
		return fmt.Sprintf("%d rows", n), err
	})
	c.step(ctx, "widen a column", stepPatience, func(ctx context.Context) (string, error) {
		wide := tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.String}}}
		_, err := wh.Ensure(ctx, table, wide)
		return "done", err
	})
	c.step(ctx, "read", stepPatience, func(ctx context.Context) (string, error) {
		n, err := countRows(ctx, wh, string("SELECT id, text FROM "+name))
		if err == nil && n != checkRows && (appended || replaced) {
			err = fmt.Errorf("reading the rows back: %d came, %d were loaded", n, checkRows)
		}
		return fmt.Sprintf("%d rows", n), err
	})
	c.step(ctx, "refuse a write in a query", stepPatience, func(ctx context.Context) (string, error) {
		if _, err := countRows(ctx, wh, string("DELETE FROM "+name+" WHERE true")); err == nil {
			return "", errors.New("a query deleted rows")
		}
		return "refused", nil
	})
	c.step(ctx, "write in a transaction", stepPatience, func(ctx context.Context) (string, error) {
		return "committed", transact(ctx, wh, string("DELETE FROM "+name+" WHERE true"))
	})
	c.step(ctx, "clean up", stepPatience, func(ctx context.Context) (string, error) {
		quoted, err := dialect.Ident(table.Schema)
		if err != nil {
			return "", err
		}
		_, err = wh.Exec(ctx, string("DROP TABLE "+name))
		if err == nil {
			_, err = wh.Exec(ctx, string("DROP SCHEMA "+quoted))
		}
		return "dropped", err
	})
}

func checkReader(schema tidegate.Schema) tidegate.RowReader {
	rows := make([]tidegate.Row, checkRows)
	for i := range rows {
		rows[i] = tidegate.Row{int64(i), "tidegate warehouse check"}
	}
	return tidegate.Rows(schema, rows...)
}

func countRows(ctx context.Context, wh warehouse.Warehouse, sql string) (n int, err error) {
	rows, err := wh.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		if _, err := rows.Next(ctx); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n++
	}
}

// transact runs one statement in a transaction of its own.
func transact(ctx context.Context, wh warehouse.Execer, sql string) error {
	tx, err := wh.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sql); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
