package duckdb

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// TablesOf implements warehouse.TableFinder from the engine's own syntax tree.
// (Its function duckdb_get_table_names answers "none" when a common table
// expression is joined with USING.) Names of common table expressions are not
// tables; a view is named, and so is what it reads.
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
	if err := c.belowViews(ctx, &f, defaultSchema); err != nil {
		return nil, err
	}
	slices.SortFunc(f.tables, func(a, b warehouse.Table) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
	return f.tables, nil
}

// belowViews adds what the views among the tables of f read, and their views in
// turn: a load of that changes them. It ends because f takes each table once.
func (c *conn) belowViews(ctx context.Context, f *tableFinder, defaultSchema string) error {
	if len(f.tables) == 0 {
		return nil
	}
	rows, err := c.rows(ctx, `SELECT schema_name, table_name, NULL FROM duckdb_tables() WHERE NOT internal AND NOT temporary AND database_name = current_database()
		UNION ALL SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal AND NOT temporary AND database_name = current_database()`)
	if err != nil {
		return fmt.Errorf("listing views: %w", err)
	}
	texts := make(map[warehouse.Table]string, len(rows))
	for _, row := range rows {
		text, _ := row[2].(string)
		texts[warehouse.Table{Schema: sqltext.Fold(row[0].(string)), Name: sqltext.Fold(row[1].(string))}] = text
	}
	for done := 0; done < len(f.tables); { // it grows
		view := f.tables[done]
		done++
		query := viewQuery(texts[warehouse.Table{Schema: sqltext.Fold(view.Schema), Name: sqltext.Fold(view.Name)}])
		if query == "" {
			continue
		}
		text, err := c.parsed(ctx, query)
		if err != nil {
			return fmt.Errorf("reading the view %s: %w", view, err)
		}
		var tree any
		if err := json.Unmarshal([]byte(text), &tree); err != nil {
			return fmt.Errorf("reading the parsed view %s: %w", view, err)
		}
		// A name without a schema is looked for beside the view first.
		f.beside = func(name string) string {
			if _, there := texts[warehouse.Table{Schema: sqltext.Fold(view.Schema), Name: sqltext.Fold(name)}]; there {
				return view.Schema
			}
			return defaultSchema
		}
		f.walk(tree, nil)
	}
	return nil
}

// viewQuery is the SELECT of a CREATE VIEW statement as the engine keeps it:
// what follows the first AS outside of quotes and brackets.
func viewQuery(create string) string {
	depth, quote := 0, byte(0)
	for i := range len(create) {
		switch ch := create[i]; {
		case quote != 0:
			if ch == quote {
				quote = 0
			}
		case ch == '"' || ch == '\'':
			quote = ch
		case ch == '(':
			depth++
		case ch == ')':
			depth--
		case depth == 0 && (ch == ' ' || ch == '\n') && len(create) > i+3 && strings.EqualFold(create[i+1:i+3], "as") && (create[i+3] == ' ' || create[i+3] == '\n'):
			return strings.TrimRight(create[i+4:], "; \n")
		}
	}
	return ""
}

// tableFinder collects the tables of a syntax tree, each once.
type tableFinder struct {
	schema string                   // of names without one
	beside func(name string) string // instead of schema; nil: none
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
	switch {
	case schema == "" && f.beside != nil:
		schema = f.beside(name)
	case schema == "":
		schema = f.schema
	}
	t := warehouse.Table{Schema: schema, Name: name}
	if !f.seen[t] {
		f.seen[t] = true
		f.tables = append(f.tables, t)
	}
}
