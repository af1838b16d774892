package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tidegate/tidegate/warehouse"
)

const notSystem = "NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA', '_temporary_and_external_tables')"

// Tables implements warehouse.Lister: the tables and views that the user may see.
func (w *Warehouse) Tables(ctx context.Context) ([]warehouse.Table, error) {
	q, err := compile("SELECT database, name FROM system.tables WHERE is_temporary = 0 AND database "+notSystem+" ORDER BY database, name", nil)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	rows, err := w.drained(ctx, w.reads, q)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	tables := make([]warehouse.Table, 0, len(rows))
	for _, row := range rows {
		t := warehouse.Table{}
		t.Schema, _ = row[0].(string)
		t.Name, _ = row[1].(string)
		if !strings.HasPrefix(t.Name, ".inner") && !strings.HasPrefix(t.Name, "_tidegate_rewrite_") && !strings.HasPrefix(t.Name, "_tidegate_rehearsal_") {
			tables = append(tables, t)
		}
	}
	return tables, nil
}

var treeTable = regexp.MustCompile(`(?m)^\s*TABLE id: \d+(?:, alias: [^\n]*?)?, table_name: ([^\n]+)$`)

// TablesOf implements warehouse.TableFinder by the tree that the server makes of
// the query, and of the queries of the views in it; tables of the system are left out.
func (w *Warehouse) TablesOf(ctx context.Context, sql string) ([]warehouse.Table, error) {
	q, err := compile(sql, nil)
	if err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	if !q.plain {
		return nil, nil
	}
	found := map[string]bool{}
	if err := w.addNamed(ctx, q.sql, found); err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	all, err := w.Tables(ctx) // the tree does not quote, so that a point may be part of a name
	if err != nil {
		return nil, err
	}
	if err := w.addBelowViews(ctx, found); err != nil {
		return nil, fmt.Errorf("finding the tables below views: %w", err)
	}
	var tables []warehouse.Table
	for _, t := range all {
		if found[t.Schema+"."+t.Name] {
			tables = append(tables, t)
		}
	}
	return tables, nil
}

// addNamed adds the tables and views that sql names to found, as the tree spells them.
func (w *Warehouse) addNamed(ctx context.Context, sql string, found map[string]bool) error {
	rows, err := w.drained(ctx, w.reads, &query{sql: "EXPLAIN QUERY TREE run_passes = 1\n" + sql})
	if err != nil {
		return err
	}
	var tree strings.Builder
	for _, row := range rows {
		line, _ := row[0].(string)
		tree.WriteString(line + "\n")
	}
	for _, m := range treeTable.FindAllStringSubmatch(tree.String(), -1) {
		name, _, _ := strings.Cut(m[1], ", final: ")
		found[name] = true
	}
	return nil
}

// addBelowViews adds what the views in found read, and their views in turn: a load of
// that changes them. A view that the server does not explain, for want of a right or of a
// table, stands for itself.
func (w *Warehouse) addBelowViews(ctx context.Context, found map[string]bool) error {
	rows, err := w.drained(ctx, w.reads, &query{sql: "SELECT concat(database, '.', name), as_select FROM system.tables WHERE is_temporary = 0 AND as_select != '' AND database " + notSystem})
	if err != nil {
		return err
	}
	views := make(map[string]string, len(rows))
	for _, row := range rows {
		name, _ := row[0].(string)
		views[name], _ = row[1].(string)
	}
	for more := true; more; { // each turn takes a view out, or is the last
		more = false
		for name, text := range views {
			if !found[name] {
				continue
			}
			delete(views, name)
			more = true
			var refused *serverError
			if err := w.addNamed(ctx, text, found); err != nil && !errors.As(err, &refused) {
				return err
			}
		}
	}
	return nil
}

// Estimate implements warehouse.Estimator: the rows that the query reads of its tables, by their
// indexes. The server does not say bytes, and nothing where no table is read.
func (w *Warehouse) Estimate(ctx context.Context, sql string) (warehouse.Estimate, error) {
	none := warehouse.Estimate{Rows: -1, Bytes: -1}
	q, err := compile(sql, nil)
	if err == nil && !q.plain {
		err = refused("only a query of rows has an estimate")
	}
	if err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	rows, err := w.drained(ctx, w.reads, &query{sql: "EXPLAIN ESTIMATE\n" + q.sql})
	if err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	total := int64(0)
	for _, row := range rows {
		n, _ := row[3].(int64)
		total += n
	}
	if total == 0 {
		return none, nil
	}
	return warehouse.Estimate{Rows: total, Bytes: -1}, nil
}

func timeOf(v any) (time.Time, bool) {
	t, ok := v.(time.Time)
	return t, ok
}
