package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

const engines = `warehouse: {kind: duckdb, config: {memory_limit: 300MB, threads: 1}}
sources: [{name: web, write_key: WK}]
warehouses:
  - {name: rows, kind: postgres, config: {host: %q, port: %d, database: %q, user: %q}}
  - {name: columns, kind: clickhouse, config: {host: %q, port: %d, user: %q, password: "${env:CLICKHOUSE_PASSWORD}"}}
  - {name: back, kind: duckdb, config: {memory_limit: 300MB, threads: 1}}
`

// moved is a hub whose tables are moved from engine to engine.
type moved struct {
	*node
	open map[string]func(t *testing.T) loader.Warehouse // by the name in the project; "warehouse" is the hub's own
}

// TestMigrateKilledBetweenEngines moves a hub's tables from DuckDB to PostgreSQL, from there to ClickHouse and from there into
// another file of DuckDB's, while SIGKILL ends the program at random moments of each move; in the end all four hold
// the same tables, column by column and row by row.
func TestMigrateKilledBetweenEngines(t *testing.T) {
	t.Parallel()
	m := newMoved(t)
	m.fill(t)
	want := m.tables(t, "warehouse")
	if len(want) < 8 { // columns and rows of each
		t.Errorf("only %d parts of tables", len(want))
	}
	for _, hop := range []struct{ from, to string }{{"warehouse", "rows"}, {"rows", "columns"}, {"columns", "back"}} {
		kills := m.move(t, hop.from, hop.to)
		t.Logf("from %q to %q: killed %d times", hop.from, hop.to, kills)
		if d := cmp.Diff(want, m.tables(t, hop.to)); d != "" {
			t.Fatalf("from %q to %q: -before +after: %s", hop.from, hop.to, d)
		}
	}
	if d := cmp.Diff(want, m.tables(t, "warehouse")); d != "" {
		t.Errorf("the first warehouse has changed: %s", d)
	}
	columns := m.open["columns"](t)
	defer columns.Close()
	const low = "SELECT count() FROM system.columns WHERE database = 'web' AND table = 'tracks' AND name = 'event' AND type LIKE 'LowCardinality%'"
	if got := warehousetest.Rows(t, columns, low); len(got) != 1 || got[0][0] != int64(1) {
		t.Errorf("ClickHouse was not told what a loader tells it: %v", got)
	}
}

func newMoved(t *testing.T) *moved {
	t.Helper()
	var shared pgtest.Shared
	t.Cleanup(shared.Stop)
	rows, columns := shared.Get(t, missing), chdbtest.Get(t, missing)
	database := rows.Database(t)
	m := &moved{node: newNode(t, map[string]string{
		"tidegate.yaml": fmt.Sprintf(engines, rows.Host, rows.Port, database, pgtest.Superuser, columns.Host, columns.Port, chdbtest.User),
	})}
	m.env = []string{"CLICKHOUSE_PASSWORD=" + chdbtest.Password}
	env := warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now}
	opened := func(w warehouse.Warehouse, err error) loader.Warehouse {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return w.(loader.Warehouse)
	}
	file := func(path string) func(t *testing.T) loader.Warehouse {
		return func(t *testing.T) loader.Warehouse {
			t.Helper()
			return opened(duckdb.Open(t.Context(), duckdb.Options{Path: path, MemoryLimit: "300MB", Threads: 1, Log: env.Log, Now: env.Now}))
		}
	}
	m.open = map[string]func(t *testing.T) loader.Warehouse{
		"warehouse": file(m.data + "/warehouse.duckdb"), "back": file(m.data + "/warehouses/back/warehouse.duckdb"),
		"rows": func(t *testing.T) loader.Warehouse {
			t.Helper()
			return opened(postgres.Open(t.Context(), postgres.Config{Host: rows.Host, Port: rows.Port, Database: database, User: pgtest.Superuser}, env))
		},
		"columns": func(t *testing.T) loader.Warehouse {
			t.Helper()
			return opened(clickhouse.Open(t.Context(), clickhouse.Config{Host: columns.Host, Port: columns.Port, User: chdbtest.User, Password: secret.New(chdbtest.Password)}, env))
		},
	}
	return m
}

// fill loads events of all kinds of values.
func (m *moved) fill(t *testing.T) {
	t.Helper()
	m.start()
	s := &sender{node: m.node, acked: map[string]bool{}}
	const batches = 100
	for i := range batches {
		_, body := s.body()
		if code, answer, err := m.post("/v1/batch", body); err != nil || code != http.StatusOK {
			t.Fatal(code, answer, err)
		}
		person := fmt.Sprintf(`{"userId":"u%d","messageId":"i%d","traits":{"visits":%d,"score":%d.25,"tags":["a",%d],"note":%s,"since":"2024-02-29T23:59:59.%03dZ"}}`,
			i%40, i, i, i, i, must(json.Marshal(fmt.Sprintf("ä \"quoted\" \\ line\n%d 🌊", i))), i)
		if code, answer, err := m.post("/v1/identify", person); err != nil || code != http.StatusOK {
			t.Fatal(code, answer, err)
		}
	}
	m.waitFor(2*time.Minute, "the events to be loaded", func() bool {
		tracks, err := m.queryInt("SELECT count(*) FROM web.tracks")
		identifies, err2 := m.queryInt("SELECT count(*) FROM web.identifies")
		return err == nil && err2 == nil && tracks == 5*batches && identifies == batches
	})
	m.stop()
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

// tables is all that a warehouse holds of the source.
func (m *moved) tables(t *testing.T, name string) map[string][]string {
	t.Helper()
	w := m.open[name](t)
	defer w.Close()
	return loadertest.Everything(t, w)
}

// clear drops what a move has brought into a warehouse.
func (m *moved) clear(t *testing.T, name string) {
	t.Helper()
	if name == "back" {
		if err := os.RemoveAll(m.data + "/warehouses"); err != nil {
			t.Fatal(err)
		}
		return
	}
	w := m.open[name](t)
	defer w.Close()
	for _, schema := range []string{"web", "_tidegate"} {
		drop := "DROP SCHEMA IF EXISTS " + schema + " CASCADE"
		if name == "columns" {
			drop = "DROP DATABASE IF EXISTS " + schema + " SYNC"
		}
		if _, err := w.Exec(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
	}
}

// move moves all tables, killed on the way again and again, and returns how often.
func (m *moved) move(t *testing.T, from, to string) (kills int) {
	t.Helper()
	args := []string{"warehouse", "migrate", "--from", from, "--to", to, "--project", m.project, "--data", m.data}
	began := time.Now()
	m.mustCLI(args...)
	whole := time.Since(began)
	m.clear(t, to)
	for range 8 {
		ctx, end := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(whole)))) // SIGKILL then
		cmd := exec.CommandContext(ctx, m.bin, args...)
		cmd.Env = append(os.Environ(), m.env...)
		out, err := cmd.CombinedOutput()
		killed := ctx.Err() != nil
		end()
		if err == nil { // done before
			m.clear(t, to)
			continue
		}
		if !killed {
			t.Fatalf("from %q to %q, after %d kills: %v\n%s", from, to, kills, err, out)
		}
		kills++
	}
	m.mustCLI(args...)
	return kills
}
