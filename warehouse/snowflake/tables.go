package snowflake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// maxListed bounds the tables that are listed.
const maxListed = 1_000_000

// Tables implements warehouse.Lister: tables and views of the database that the role may see.
func (w *Warehouse) Tables(ctx context.Context) (tables []warehouse.Table, err error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	o := on{db: w.reading}
	a, err := w.do(ctx, o, request{op: "list", sql: "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> 'INFORMATION_SCHEMA' ORDER BY table_schema, table_name"})
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	r := w.reader(ctx, o, a)
	defer func() { err = errors.Join(err, r.Close()) }()
	for len(tables) < maxListed {
		row, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("listing tables: %w", err)
		}
		schema, _ := row[0].(string)
		name, _ := row[1].(string)
		tables = append(tables, warehouse.Table{Schema: lowered(schema), Name: lowered(name)})
	}
	return tables, nil
}

// plan is what Snowflake says that it would do.
type plan struct {
	GlobalStats struct {
		BytesAssigned *int64 `json:"bytesAssigned"`
	} `json:"GlobalStats"`
	Operations [][]struct {
		Operation string   `json:"operation"`
		Objects   []string `json:"objects"`
	} `json:"Operations"`
}

// explain compiles a query and does not run it. That costs nothing.
func (w *Warehouse) explain(ctx context.Context, sql string) (*plan, error) {
	if err := checkQuery(sql); err != nil {
		return nil, err
	}
	if word := (&tokens{sql: sql}).next(); word != "select" && word != "with" && word != "(" {
		return nil, refused("only a query has a plan")
	}
	bound, params, err := bind(sql, nil)
	if err != nil {
		return nil, err
	}
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	rows, err := w.all(ctx, on{db: w.reading}, request{op: "estimate", sql: "EXPLAIN USING JSON " + bound, args: params})
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, row := range rows {
		if len(row) > 0 {
			_, _ = fmt.Fprint(&text, row[0])
		}
	}
	p := &plan{}
	if err := json.Unmarshal([]byte(text.String()), p); err != nil {
		return nil, fmt.Errorf("reading the plan of a query: %w", err)
	}
	return p, nil
}

// TablesOf implements warehouse.TableFinder by the plan, which names the tables below
// views, too. Tables of other databases have the database before the schema.
func (w *Warehouse) TablesOf(ctx context.Context, sql string) ([]warehouse.Table, error) {
	p, err := w.explain(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	var tables []warehouse.Table
	seen := make(map[warehouse.Table]bool)
	for _, step := range p.Operations {
		for _, op := range step {
			if !strings.HasSuffix(op.Operation, "Scan") && !strings.HasSuffix(op.Operation, "Reference") {
				continue
			}
			for _, object := range op.Objects {
				t, ok := w.tableOf(object)
				if ok && !seen[t] {
					seen[t] = true
					tables = append(tables, t)
				}
			}
		}
	}
	return tables, nil
}

// tableOf reads DATABASE.SCHEMA."a name".
func (w *Warehouse) tableOf(path string) (warehouse.Table, bool) {
	var parts []string
	for t := (&tokens{sql: path}); ; {
		word := t.next()
		if word == "" {
			break
		}
		text := path[t.start:t.at]
		switch {
		case word == `"` && len(text) > 1:
			parts = append(parts, strings.ReplaceAll(text[1:len(text)-1], `""`, `"`))
		case word != ".":
			parts = append(parts, text)
		}
	}
	if len(parts) != 3 {
		return warehouse.Table{}, false
	}
	t := warehouse.Table{Schema: lowered(parts[1]), Name: lowered(parts[2])}
	if !sqltext.Same(parts[0], strings.Trim(w.database, `"`)) {
		t.Schema = lowered(parts[0]) + "." + t.Schema
	}
	return t, true
}

// Estimate implements warehouse.Estimator by the plan. Bytes is what the partitions
// have that are left after pruning; Snowflake bills the time that it takes, not bytes.
func (w *Warehouse) Estimate(ctx context.Context, sql string) (warehouse.Estimate, error) {
	none := warehouse.Estimate{Rows: -1, Bytes: -1}
	p, err := w.explain(ctx, sql)
	if err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	if p.GlobalStats.BytesAssigned != nil {
		none.Bytes = *p.GlobalStats.BytesAssigned
	}
	return none, nil
}
