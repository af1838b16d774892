package redshift

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/warehouse"
)

// Tables implements warehouse.Lister: tables, views, materialized views and
// external tables (Spectrum) that the user may see.
func (w *Warehouse) Tables(ctx context.Context) ([]warehouse.Table, error) {
	local, err := w.all(ctx, `SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pg_internal', 'pg_automv', 'catalog_history', 'pg_auto_copy', 'pg_s3')
		AND n.nspname NOT LIKE 'pg_temp%' AND has_schema_privilege(n.nspname, 'USAGE')`)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	external, err := w.all(ctx, "SELECT schemaname, tablename FROM svv_external_tables")
	if err != nil {
		return nil, fmt.Errorf("listing external tables: %w", err)
	}
	tables := make([]warehouse.Table, 0, len(local)+len(external))
	for _, row := range slices.Concat(local, external) {
		schema, _ := row[0].(string)
		name, _ := row[1].(string)
		tables = append(tables, warehouse.Table{Schema: schema, Name: name})
	}
	slices.SortFunc(tables, func(a, b warehouse.Table) int {
		return strings.Compare(a.Schema+"\x00"+a.Name, b.Schema+"\x00"+b.Name)
	})
	return slices.Compact(tables), nil
}

// TablesOf implements warehouse.TableFinder. The server does not tell what a statement reads, so the
// names in its text are looked up among the tables that are there, and those in the texts of the views among
// them: nothing that is read is missed.
func (w *Warehouse) TablesOf(ctx context.Context, sql string) ([]warehouse.Table, error) {
	if err := w.check(ctx, sql); err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	all, err := w.Tables(ctx)
	if err != nil {
		return nil, err
	}
	there := make(map[warehouse.Table]bool, len(all))
	for _, t := range all {
		there[t] = true
	}
	var found []warehouse.Table
	add := func(text string) {
		for _, t := range w.named(text) {
			if there[t] && !slices.Contains(found, t) {
				found = append(found, t)
			}
		}
	}
	add(sql)
	if len(found) == 0 {
		return nil, nil
	}
	views, err := w.views(ctx)
	if err != nil {
		return nil, err
	}
	for done := 0; done < len(found); { // it grows, by tables that were not there yet
		view := found[done]
		done++
		add(views[view])
	}
	return found, nil
}

// views returns the texts of views. One that names a table without its schema finds it in the default schema
// only: the catalogue spells out every other one.
func (w *Warehouse) views(ctx context.Context) (map[warehouse.Table]string, error) {
	rows, err := w.all(ctx, "SELECT schemaname, viewname, definition FROM pg_views WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
	if err != nil {
		return nil, fmt.Errorf("listing views: %w", err)
	}
	texts := make(map[warehouse.Table]string, len(rows))
	for _, row := range rows {
		schema, _ := row[0].(string)
		name, _ := row[1].(string)
		texts[warehouse.Table{Schema: schema, Name: name}], _ = row[2].(string)
	}
	return texts, nil
}

// check lets the server read a query without running it.
func (w *Warehouse) check(ctx context.Context, sql string) error {
	if err := pgwire.CheckQuery(sql, true); err != nil {
		return err
	}
	s, err := w.session(ctx, w.pools.Read)
	if err != nil {
		return err
	}
	defer s.End()
	_, err = s.PG.Prepare(ctx, "", sql, nil)
	return s.Fault(ctx, err, sql)
}

// named are the names in a statement that a table could have: pairs with a point between, and single ones.
func (w *Warehouse) named(sql string) []warehouse.Table {
	var list []warehouse.Table
	tk := &pgwire.Tokens{SQL: sql}
	before, point := "", false // the name before, and whether a point came after it
	for word := tk.Next(); word != ""; word = tk.Next() {
		if word == "." {
			point = before != ""
			continue
		}
		name := w.fold(word)
		if point {
			list = append(list, warehouse.Table{Schema: before, Name: name})
		} else {
			list = append(list, warehouse.Table{Schema: w.dialect.DefaultSchema(), Name: name})
		}
		before, point = name, false
	}
	return list
}

var (
	planned   = regexp.MustCompile(`rows=(\d+) width=(\d+)`)
	errNoPlan = errors.New("reading the plan of a query: the server showed none")
)

// Estimate implements warehouse.Estimator from the planner's statistics; Bytes
// is the size of the result.
func (w *Warehouse) Estimate(ctx context.Context, sql string) (warehouse.Estimate, error) {
	none := warehouse.Estimate{Rows: -1, Bytes: -1}
	sql = "EXPLAIN " + sql
	if err := pgwire.CheckQuery(sql, true); err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	rows, err := w.all(ctx, sql)
	if err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	for _, row := range rows { // the first step is the last to be done
		line, _ := row[0].(string)
		m := planned.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, err1 := strconv.ParseInt(m[1], 10, 64)
		width, err2 := strconv.ParseInt(m[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return none, fmt.Errorf("reading the plan of a query: %w", err)
		}
		return warehouse.Estimate{Rows: max(1, n), Bytes: n * width}, nil
	}
	return none, errNoPlan
}
