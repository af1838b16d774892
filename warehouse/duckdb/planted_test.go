package duckdb_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// planted is an adapter with one thing wrong.
type planted struct {
	warehouse.Warehouse
	ensure func(w warehouse.Warehouse, ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error)
	load   func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error)
}

func (p planted) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	if p.ensure == nil {
		return p.Warehouse.Ensure(ctx, t, s)
	}
	return p.ensure(p.Warehouse, ctx, t, s)
}

func (p planted) Load(ctx context.Context, l warehouse.Load, r tidegate.RowReader) (int64, error) {
	if p.load == nil {
		return p.Warehouse.Load(ctx, l, r)
	}
	var rows []tidegate.Row
	for {
		row, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return p.load(p.Warehouse, ctx, l, r.Schema(), rows, nil)
		}
		if err != nil {
			return p.load(p.Warehouse, ctx, l, r.Schema(), rows, err)
		}
		rows = append(rows, append(tidegate.Row{}, row...))
	}
}

// broke is a reader that gives rows and then err, if there is one.
type broke struct {
	tidegate.RowReader
	err error
}

func (b broke) Next(ctx context.Context) (tidegate.Row, error) {
	row, err := b.RowReader.Next(ctx)
	if errors.Is(err, io.EOF) && b.err != nil {
		err = b.err
	}
	return row, err
}

// plants are adapters that are wrong in ways in which adapters have been.
func plants() map[string]planted {
	pass := func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
		return w.Load(ctx, l, broke{tidegate.Rows(s, rows...), broken})
	}
	var calls atomic.Int64
	return map[string]planted{
		"loses the values of a column": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			for _, row := range rows {
				if len(row) > 1 {
					row[len(row)-1] = nil
				}
			}
			return pass(w, ctx, l, s, rows, broken)
		}},
		"loses a column": {ensure: func(w warehouse.Warehouse, ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
			return w.Ensure(ctx, t, s[:max(1, len(s)-1)])
		}},
		"widens too far": {ensure: func(w warehouse.Warehouse, ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
			have, err := w.Describe(ctx, t)
			for _, c := range s {
				at := have.Index(c.Name)
				if err == nil && at >= 0 && have[at].Type.Kind == tidegate.Date && c.Type.Kind == tidegate.Timestamp {
					if _, err := w.Ensure(ctx, t, tidegate.Schema{{Name: c.Name, Type: tidegate.Type{Kind: tidegate.String}}}); err != nil {
						return nil, err
					}
				}
			}
			return w.Ensure(ctx, t, s)
		}},
		"narrows decimals": {ensure: func(w warehouse.Warehouse, ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
			s = append(tidegate.Schema{}, s...)
			for i, c := range s {
				if c.Type.Kind == tidegate.Decimal {
					s[i].Type = tidegate.Type{Kind: tidegate.Decimal, Precision: c.Type.Precision, Scale: 2}
				}
			}
			return w.Ensure(ctx, t, s)
		}},
		"does not widen and says so of nobody": {ensure: func(w warehouse.Warehouse, ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
			have, err := w.Describe(ctx, t)
			if errors.Is(err, warehouse.ErrNoTable) {
				return w.Ensure(ctx, t, s)
			}
			var fresh tidegate.Schema
			for _, c := range s {
				if at := have.Index(c.Name); at < 0 || have[at].Type.Kind != tidegate.Int || c.Type.Kind != tidegate.Float {
					fresh = append(fresh, c)
				}
			}
			return w.Ensure(ctx, t, fresh)
		}},
		"drops a row into a widened column": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			have, err := w.Describe(ctx, l.Table)
			if err != nil {
				return 0, err
			}
			for _, c := range s {
				if at := have.Index(c.Name); at >= 0 && len(rows) > 1 && have[at].Type.Kind == tidegate.Decimal && have[at].Type != c.Type {
					n, err := pass(w, ctx, l, s, rows[:len(rows)-1], broken)
					return n + 1, err
				}
			}
			return pass(w, ctx, l, s, rows, broken)
		}},
		"applies a load twice": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			n, err := pass(w, ctx, l, s, rows, broken)
			if err == nil && l.Key == nil {
				l.ID += " again"
				_, err = pass(w, ctx, l, s, rows, nil)
			}
			return n, err
		}},
		"forgets which loads it knows": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			l.ID += strings.Repeat("x", int(calls.Add(1)%500))
			return pass(w, ctx, l, s, rows, broken)
		}},
		"keeps what a broken reader gave": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			if broken == nil {
				return pass(w, ctx, l, s, rows, nil)
			}
			part := l
			part.ID += " part"
			if _, err := pass(w, ctx, part, s, rows, nil); err != nil {
				return 0, err
			}
			return pass(w, ctx, l, s, rows, broken)
		}},
		"takes a broken reader for the end": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, _ error) (int64, error) {
			return pass(w, ctx, l, s, rows, nil)
		}},
		"lets the first row of a key win": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			if l.Key != nil && !l.KeepExisting {
				for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
					rows[i], rows[j] = rows[j], rows[i]
				}
			}
			return pass(w, ctx, l, s, rows, broken)
		}},
		"replaces what it was to keep": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			l.KeepExisting = false
			return pass(w, ctx, l, s, rows, broken)
		}},
		"appends what it was to replace": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			l.Key = nil
			return pass(w, ctx, l, s, rows, broken)
		}},
		"takes NULL for nothing said": {load: func(w warehouse.Warehouse, ctx context.Context, l warehouse.Load, s tidegate.Schema, rows []tidegate.Row, broken error) (int64, error) {
			for _, row := range rows {
				for i := range row {
					if row[i] == nil && s[i].Type.Kind == tidegate.String {
						row[i] = ""
					}
				}
			}
			return pass(w, ctx, l, s, rows, broken)
		}},
	}
}

// TestHistoriesKillPlantedBugs: a suite that lets any of these through proves nothing. What
// it tells must be short enough to be read.
func TestHistoriesKillPlantedBugs(t *testing.T) {
	t.Parallel()
	for name, bug := range plants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bug.Warehouse = open(t)
			_, err := warehousetest.Histories(t.Context(), warehousetest.Engine{Dialect: sqltext.DuckDB()}, bug, 2000)
			if err == nil {
				t.Fatal("2000 histories did not find it")
			}
			told, _, _ := strings.Cut(err.Error(), "\nin step ")
			told, _, _ = strings.Cut(told, "\nafter step ")
			t.Logf("%s", told)
			if steps := strings.Count(told, ". ensure "); steps == 0 || steps > 2 {
				t.Errorf("it was not cut down: %d steps", steps)
			}
		})
	}
}
