package duckdb

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// TablesOf implements warehouse.TableFinder from the engine's own syntax tree.
// (Its function duckdb_get_table_names answers "none" when a common table
// expression is joined with USING.) Names of common table expressions are not
// tables; a view is named itself and not what it reads.
func (w *Warehouse) TablesOf(ctx context.Context, sql string) ([]warehouse.Table, error) {
	s, err := w.session()
	if err != nil {
		return nil, err
	}
	tables, err := s.tablesOf(ctx, w.dialect.DefaultSchema(), sql)
	s.end(err)
	if err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	return tables, nil
}

func (c *conn) tablesOf(ctx context.Context, defaultSchema, sql string) ([]warehouse.Table, error) {
	st, err := c.prepare(ctx, sql) // for its errors, which have a position
	if err != nil {
		return nil, err
	}
	st.close()
	text, err := c.parsed(ctx, sql)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return nil, fmt.Errorf("reading the parsed statement: %w", err)
	}
	f := tableFinder{schema: defaultSchema, seen: map[warehouse.Table]bool{}}
	f.walk(tree, nil)
	slices.SortFunc(f.tables, func(a, b warehouse.Table) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
	return f.tables, nil
}

// tableFinder collects the tables of a syntax tree, each once.
type tableFinder struct {
	schema string // of names without one
	seen   map[warehouse.Table]bool
	tables []warehouse.Table
}

// walk visits node; ctes are the folded names of the common table expressions in scope.
func (f *tableFinder) walk(node any, ctes map[string]bool) {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			f.walk(child, ctes)
		}
	case map[string]any:
		if n["type"] == "BASE_TABLE" {
			f.add(n, ctes)
		}
		ctes = f.scope(n, ctes)
		for key, child := range n {
			if key != "cte_map" {
				f.walk(child, ctes)
			}
		}
	}
}

// scope walks the common table expressions of a query node, each of which sees
// those before it, and returns the names that the rest of the node sees.
func (f *tableFinder) scope(n map[string]any, ctes map[string]bool) map[string]bool {
	holder, _ := n["cte_map"].(map[string]any)
	list, _ := holder["map"].([]any)
	if len(list) == 0 {
		return ctes
	}
	ctes = maps.Clone(ctes)
	if ctes == nil {
		ctes = map[string]bool{}
	}
	for _, item := range list {
		entry, _ := item.(map[string]any)
		name, _ := entry["key"].(string)
		name = sqltext.Fold(name)
		inner := ctes
		if recursive(entry["value"]) {
			inner = maps.Clone(ctes)
			inner[name] = true
		}
		f.walk(entry["value"], inner)
		ctes[name] = true
	}
	return ctes
}

// recursive says whether a common table expression may name itself.
func recursive(value any) bool {
	v, _ := value.(map[string]any)
	query, _ := v["query"].(map[string]any)
	node, _ := query["node"].(map[string]any)
	return node["type"] == "RECURSIVE_CTE_NODE"
}

func (f *tableFinder) add(n map[string]any, ctes map[string]bool) {
	schema, _ := n["schema_name"].(string)
	name, _ := n["table_name"].(string)
	if schema == "" && ctes[sqltext.Fold(name)] {
		return
	}
	if schema == "" {
		schema = f.schema
	}
	t := warehouse.Table{Schema: schema, Name: name}
	if !f.seen[t] {
		f.seen[t] = true
		f.tables = append(f.tables, t)
	}
}
