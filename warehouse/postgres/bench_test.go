package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
)

// benchTable is the table of a benchmark: narrow like a ledger, wide like an event table.
type benchTable struct {
	name    string
	columns int
	schema  tidegate.Schema
}

func benchTables() []benchTable {
	narrow := columns("id", tidegate.Int, "name", tidegate.String, "amount", tidegate.Float, "at", tidegate.Timestamp)
	wide := columns("id", tidegate.Int)
	kinds := []tidegate.Kind{tidegate.String, tidegate.String, tidegate.Int, tidegate.Float, tidegate.Timestamp, tidegate.Bool}
	for i := 1; i < 60; i++ {
		wide = append(wide, tidegate.Column{Name: fmt.Sprint("c", i), Type: kind(kinds[i%len(kinds)])})
	}
	return []benchTable{{"narrow", len(narrow), narrow}, {"wide", len(wide), wide}}
}

// generated gives n rows of a schema, without holding them.
type generated struct {
	schema  tidegate.Schema
	next, n int
	row     tidegate.Row
}

func (g *generated) Schema() tidegate.Schema { return g.schema }
func (g *generated) Close() error            { return nil }

var benchStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (g *generated) Next(context.Context) (tidegate.Row, error) {
	if g.next == g.n {
		return nil, io.EOF
	}
	if g.row == nil {
		g.row = make(tidegate.Row, len(g.schema))
	}
	i := g.next
	g.next++
	for c, col := range g.schema {
		switch col.Type.Kind {
		case tidegate.Int:
			g.row[c] = int64(i * (c + 1))
		case tidegate.Float:
			g.row[c] = float64(i) / 7
		case tidegate.Timestamp:
			g.row[c] = benchStart.Add(time.Duration(i) * time.Millisecond)
		case tidegate.Bool:
			g.row[c] = i%3 == 0
		default:
			g.row[c] = "value of event " + fmt.Sprint(i%1000)
		}
	}
	return g.row, nil
}

// BenchmarkLoad beside psql's COPY of the same rows as CSV from a file, which is the
// fastest that people do by hand.
func BenchmarkLoad(b *testing.B) {
	cfg := config(b)
	w := open(b, cfg)
	defer w.Close()
	for _, table := range benchTables() {
		for _, n := range []int{10_000, 100_000} {
			if testing.Short() && n > 10_000 {
				continue
			}
			at := warehouse.Table{Schema: "bench", Name: fmt.Sprint(table.name, n)}
			if _, err := w.Ensure(b.Context(), at, table.schema); err != nil {
				b.Fatal(err)
			}
			empty := func(b *testing.B) {
				b.Helper()
				b.StopTimer()
				if _, err := w.Exec(b.Context(), fmt.Sprintf("TRUNCATE bench.%s", at.Name)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			load := func(b *testing.B, key []string) {
				b.Helper()
				for i := range b.N {
					empty(b)
					l := warehouse.Load{ID: fmt.Sprint(b.Name(), b.N, i, key), Table: at, Key: key}
					if got, err := w.Load(b.Context(), l, &generated{schema: table.schema, n: n}); err != nil || got != int64(n) {
						b.Fatal(got, err)
					}
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			}
			b.Run(fmt.Sprintf("%s/%d/append", table.name, n), func(b *testing.B) { load(b, nil) })
			b.Run(fmt.Sprintf("%s/%d/psql", table.name, n), func(b *testing.B) {
				file := csvFile(b, table.schema, n)
				for range b.N {
					empty(b)
					server(b).Psql(b, cfg.Database, fmt.Sprintf(`\copy bench.%s from '%s' csv`, at.Name, file), "")
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
			b.Run(fmt.Sprintf("%s/%d/keyed", table.name, n), func(b *testing.B) { load(b, []string{"id"}) })
		}
	}
}

// csvFile writes the rows by the engine's own COPY TO.
func csvFile(b *testing.B, s tidegate.Schema, n int) string {
	b.Helper()
	b.StopTimer()
	defer b.StartTimer()
	cfg := config(b)
	w := open(b, cfg)
	defer w.Close()
	at := warehouse.Table{Schema: "bench", Name: "source"}
	if _, err := w.Ensure(b.Context(), at, s); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Load(b.Context(), warehouse.Load{ID: "x", Table: at}, &generated{schema: s, n: n}); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "rows.csv")
	server(b).Psql(b, cfg.Database, fmt.Sprintf(`\copy bench.source to '%s' csv`, file), "")
	return file
}

// BenchmarkRead beside pgx reading the same rows into values.
func BenchmarkRead(b *testing.B) {
	cfg := config(b)
	w := open(b, cfg)
	defer w.Close()
	const n = 100_000
	for _, table := range benchTables() {
		at := warehouse.Table{Schema: "bench", Name: table.name}
		if _, err := w.Ensure(b.Context(), at, table.schema); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Load(b.Context(), warehouse.Load{ID: "x", Table: at}, &generated{schema: table.schema, n: n}); err != nil {
			b.Fatal(err)
		}
		sql := "SELECT * FROM bench." + table.name
		b.Run(table.name+"/adapter", func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				r, err := w.Query(b.Context(), sql)
				if err != nil {
					b.Fatal(err)
				}
				count := 0
				for {
					if _, err := r.Next(b.Context()); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						b.Fatal(err)
					}
					count++
				}
				_ = r.Close()
				if count != n {
					b.Fatal(count)
				}
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
		b.Run(table.name+"/pgx", func(b *testing.B) {
			b.ReportAllocs()
			c, err := pgx.Connect(b.Context(), server(b).URL(pgtest.Superuser, cfg.Database))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close(b.Context())
			for range b.N {
				rows, err := c.Query(b.Context(), sql)
				if err != nil {
					b.Fatal(err)
				}
				count := 0
				for rows.Next() {
					if _, err := rows.Values(); err != nil {
						b.Fatal(err)
					}
					count++
				}
				if rows.Err() != nil || count != n {
					b.Fatal(count, rows.Err())
				}
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkSmall is what the smallest calls cost: round trips, mostly.
func BenchmarkSmall(b *testing.B) {
	w := open(b, config(b))
	defer w.Close()
	s := columns("id", tidegate.Int)
	at := warehouse.Table{Schema: "bench", Name: "small"}
	if _, err := w.Ensure(b.Context(), at, s); err != nil {
		b.Fatal(err)
	}
	b.Run("query", func(b *testing.B) {
		for range b.N {
			r, err := w.Query(b.Context(), "SELECT 1")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
			_ = r.Close()
		}
	})
	b.Run("ensure", func(b *testing.B) {
		for range b.N {
			if _, err := w.Ensure(b.Context(), at, s); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		for i := range b.N {
			if _, err := w.Load(b.Context(), warehouse.Load{ID: fmt.Sprint(b.N, i), Table: at}, tidegate.Rows(s, tidegate.Row{int64(i)})); err != nil {
				b.Fatal(err)
			}
		}
	})
}
