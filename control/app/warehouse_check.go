package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// checkRows is how many rows CheckWarehouse loads.
const checkRows = 1000

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
	c := &warehouseCheck{now: now}
	var wh loader.Warehouse
	if !c.step("connect", func() (string, error) {
		var err error
		wh, err = openNamed(ctx, p, data, name, slog.New(slog.DiscardHandler), now)
		return "it answers", err
	}) {
		return c.found
	}
	dialect, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return append(c.found, api.Finding{Check: "dialect", Level: "error", Detail: fmt.Sprintf("no SQL dialect is called %q", wh.Dialect())})
	}
	c.run(ctx, wh, dialect)
	c.step("close", func() (string, error) { return "it closes", wh.Close() })
	return c.found
}

type warehouseCheck struct {
	now   func() time.Time
	found []api.Finding
}

// step runs one step and notes what came of it; false when it failed.
func (c *warehouseCheck) step(name string, run func() (string, error)) bool {
	begin := c.now()
	detail, err := run()
	if err != nil {
		f := tidegate.FaultOf(err)
		c.found = append(c.found, api.Finding{Check: name, Level: "error", Detail: f.Error(), Hint: f.Hint})
		return false
	}
	c.found = append(c.found, api.Finding{Check: name, Level: "ok", Detail: fmt.Sprintf("%s in %s", detail, c.now().Sub(begin).Round(10*time.Microsecond))})
	return true
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
	if !c.step("create a schema and a table", func() (string, error) {
		_, err := wh.Ensure(ctx, table, schema)
		return "made", err
	}) {
		return
	}
	name, err := dialect.Table(table.Schema, table.Name)
	if err != nil {
		return // Ensure has taken the name
	}
	appended := c.step("load", func() (string, error) {
		n, err := wh.Load(ctx, warehouse.Load{ID: "append " + table.Schema, Table: table}, checkReader(schema))
		return fmt.Sprintf("%d rows", n), err
	})
	replaced := c.step("load by key", func() (string, error) {
		n, err := wh.Load(ctx, warehouse.Load{ID: "replace " + table.Schema, Table: table, Key: []string{"id"}}, checkReader(schema))
		return fmt.Sprintf("%d rows", n), err
	})
	c.step("widen a column", func() (string, error) {
		wide := tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.String}}}
		_, err := wh.Ensure(ctx, table, wide)
		return "done", err
	})
	c.step("read", func() (string, error) {
		n, err := countRows(ctx, wh, string("SELECT id, text FROM "+name))
		if err == nil && n != checkRows && (appended || replaced) {
			err = fmt.Errorf("reading the rows back: %d came, %d were loaded", n, checkRows)
		}
		return fmt.Sprintf("%d rows", n), err
	})
	c.step("refuse a write in a query", func() (string, error) {
		if _, err := countRows(ctx, wh, string("DELETE FROM "+name+" WHERE true")); err == nil {
			return "", errors.New("a query deleted rows")
		}
		return "refused", nil
	})
	c.step("write in a transaction", func() (string, error) {
		return "committed", transact(ctx, wh, string("DELETE FROM "+name+" WHERE true"))
	})
	c.step("clean up", func() (string, error) {
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
