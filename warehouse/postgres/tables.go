package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/warehouse"
)

// Tables implements warehouse.Lister: tables, views, materialized views and
// foreign tables that the role may see; of a partitioned table the whole, not its parts.
func (w *Warehouse) Tables(ctx context.Context) ([]warehouse.Table, error) {
	rows, err := w.all(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
		AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND has_schema_privilege(n.oid, 'USAGE')
		ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	return tablesOf(rows), nil
}

func (w *Warehouse) all(ctx context.Context, sql string) ([]tidegate.Row, error) {
	r, err := w.read(ctx, sql, nil)
	if err != nil {
		return nil, err
	}
	return tidegate.AllRows(ctx, r)
}

func tablesOf(rows []tidegate.Row) []warehouse.Table {
	tables := make([]warehouse.Table, len(rows))
	for i, row := range rows {
		tables[i].Schema, _ = row[0].(string)
		tables[i].Name, _ = row[1].(string)
	}
	return tables
}

// TablesOf implements warehouse.TableFinder by the locks that the server takes
// when it reads the statement, so nothing that it names is missed. A view comes
// with the tables that it reads; tables of the system are left out.
func (w *Warehouse) TablesOf(ctx context.Context, sql string) ([]warehouse.Table, error) {
	if err := pgwire.CheckQuery(sql, false); err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	s, err := w.session(ctx, w.pools.Read)
	if err != nil {
		return nil, err
	}
	defer s.endReading(ctx)
	rows, err := s.locked(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	return tablesOf(rows), nil
}

func (s *session) locked(ctx context.Context, sql string) ([]tidegate.Row, error) {
	if err := s.control(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"); err != nil {
		return nil, err
	}
	if _, err := s.PG.Prepare(ctx, "", sql, nil); err != nil {
		return nil, s.Fault(ctx, err, sql)
	}
	return s.Rows(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
		AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
		ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`)
}

var errNoPlan = errors.New("the server showed none")

// Estimate implements warehouse.Estimator from the planner's statistics; Bytes
// is the size of the result.
func (w *Warehouse) Estimate(ctx context.Context, sql string) (warehouse.Estimate, error) {
	none := warehouse.Estimate{Rows: -1, Bytes: -1}
	sql = "EXPLAIN (FORMAT json) " + sql
	if err := pgwire.CheckQuery(sql, false); err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	rows, err := w.all(ctx, sql)
	if err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	var plans []struct {
		Plan struct {
			Rows  float64 `json:"Plan Rows"`
			Width float64 `json:"Plan Width"`
		}
	}
	text, _ := rows[0][0].(tidegate.JSONText)
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) == 0 {
		return none, fmt.Errorf("reading the plan of a query: %w", cmp.Or(err, errNoPlan))
	}
	plan := plans[0].Plan
	return warehouse.Estimate{Rows: max(1, int64(plan.Rows)), Bytes: int64(plan.Rows * plan.Width)}, nil
}
