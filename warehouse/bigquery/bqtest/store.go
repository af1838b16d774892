package bqtest

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/duckdb/duckdb-go/v2"
	bq "google.golang.org/api/bigquery/v2"
)

// lineLoader reads rows of JSON into texts.
type lineLoader struct {
	fields []*bq.TableFieldSchema
	byName map[string]int
	rows   int
	cells  []driver.Value // of all rows, one after another; nil for NULL
}

func (l *lineLoader) line(line []byte) error {
	l.rows++
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return fmt.Errorf("parsing row %d: %w", l.rows, err)
	}
	from := len(l.cells)
	l.cells = append(l.cells, make([]driver.Value, len(l.fields))...)
	for key, v := range object {
		at, ok := l.byName[strings.ToLower(key)]
		if !ok {
			return fmt.Errorf("no such field: %s, row %d", key, l.rows)
		}
		switch n := v.(type) {
		case nil:
		case string:
			l.cells[from+at] = n
		case json.Number:
			l.cells[from+at] = n.String()
		case bool:
			l.cells[from+at] = fmt.Sprint(n)
		default:
			return fmt.Errorf("field %s of row %d holds an object or a list", key, l.rows)
		}
	}
	return nil
}

// createFor makes the destination of a load.
func (s *Server) createFor(ctx context.Context, t *bq.TableReference, schema *bq.TableSchema) error {
	s.mu.Lock()
	d := s.datasets[t.DatasetId]
	s.mu.Unlock()
	if d == nil {
		return notFound("Dataset %s:%s", Project, t.DatasetId)
	}
	defs := make([]string, len(schema.Fields))
	for i, f := range schema.Fields {
		typ, ok := types[strings.ToLower(f.Type)]
		if !ok {
			return failure(http.StatusBadRequest, "invalid", "Invalid type %s", f.Type)
		}
		defs[i] = quoteName(f.Name) + " " + typ
	}
	_, err := s.db.ExecContext(ctx, "CREATE TABLE "+target{t.DatasetId, t.TableId}.quoted()+" ("+strings.Join(defs, ", ")+")")
	return err
}

// insertTable makes a table.
func (s *Server) insertTable(ctx context.Context, dataset string, body []byte) (any, error) {
	var t bq.Table
	if err := json.Unmarshal(body, &t); err != nil || t.TableReference == nil || t.Schema == nil {
		return nil, failure(http.StatusBadRequest, "parseError", "no table with columns: %v", err)
	}
	t.TableReference.DatasetId = dataset
	id := target{dataset, t.TableReference.TableId}
	if err := checkName("table", id.table); err != nil {
		return nil, err
	}
	if _, err := s.fields(ctx, dataset, id.table); err == nil {
		return nil, failure(http.StatusConflict, "duplicate", "Already Exists: Table %s:%s", Project, id.key())
	}
	if err := s.createFor(ctx, t.TableReference, t.Schema); err != nil {
		return nil, err
	}
	var large []string
	for _, f := range t.Schema.Fields {
		if f.Type == "BIGNUMERIC" && f.Precision == 0 {
			large = append(large, f.Name)
		}
	}
	s.mu.Lock()
	s.births++
	s.layouts[id.key()] = layout{born: s.births, large: large}
	s.mu.Unlock()
	return s.table(ctx, dataset, id.table)
}

// store writes the rows into the table: all or none.
func (s *Server) store(ctx context.Context, t *bq.TableReference, l *lineLoader) (int64, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	s.mu.Lock()
	s.births++
	staged := fmt.Sprintf("__load_%d", s.births)
	s.mu.Unlock()
	defs, casts, names := make([]string, len(l.fields)), make([]string, len(l.fields)), make([]string, len(l.fields))
	for i, f := range l.fields {
		defs[i], casts[i], names[i] = fmt.Sprintf("c%d VARCHAR", i), fmt.Sprintf("c%d", i), quoteName(f.Name)
		switch f.Type {
		case "BYTES":
			casts[i] = "from_base64(" + casts[i] + ")"
		case "TIMESTAMP":
			casts[i] = "CAST(" + casts[i] + " AS TIMESTAMPTZ)"
		}
	}
	if _, err := conn.ExecContext(ctx, "CREATE TEMP TABLE "+staged+" ("+strings.Join(defs, ", ")+")"); err != nil {
		return 0, err
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS temp."+staged) }()
	if err := conn.Raw(func(c any) error {
		a, err := duckdb.NewAppender(c.(driver.Conn), "temp", "main", staged)
		if err != nil {
			return err
		}
		for width := len(l.fields); len(l.cells) >= width; l.cells = l.cells[width:] {
			if err := a.AppendRow(l.cells[:width]...); err != nil {
				_ = a.Close()
				return err
			}
		}
		return a.Close()
	}); err != nil {
		return 0, err
	}
	result, err := conn.ExecContext(ctx, "INSERT INTO "+target{t.DatasetId, t.TableId}.quoted()+" ("+strings.Join(names, ", ")+") SELECT "+strings.Join(casts, ", ")+" FROM "+staged)
	if err != nil {
		return 0, failure(http.StatusBadRequest, "invalid", "Error while reading data, error message: %v", err)
	}
	return result.RowsAffected()
}

// fieldOf is a column of a table.
func (s *Server) fieldOf(of target, name, typ string) *bq.TableFieldSchema {
	f := fieldOf(name, typ)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.layouts[of.key()].large, name) {
		f.Type = "BIGNUMERIC"
	}
	return f
}

// Tables are the names of a dataset's tables, sorted.
func (s *Server) Tables(tb testing.TB, dataset string) []string {
	tb.Helper()
	names, err := s.tables(s.life(), dataset)
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

func (s *Server) tables(ctx context.Context, dataset string) (names []string, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT table_name FROM duckdb_tables() WHERE schema_name = $1 AND table_name <> '__pin' ORDER BY table_name", dataset)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
