package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // reads both files
)

// TestMigrateKilled moves a hub's tables from one file to another while SIGKILL ends the program at random
// moments, from the start again where it was done before; in the end both hold the same tables, row by row.
func TestMigrateKilled(t *testing.T) {
	t.Parallel()
	n := newNode(t, map[string]string{"tidegate.yaml": `warehouse: {kind: duckdb, config: {memory_limit: 300MB, threads: 1}}
sources: [{name: web, write_key: WK}]
warehouses: [{name: there, kind: duckdb, config: {memory_limit: 300MB, threads: 1}}]
`})
	n.start()
	s := &sender{node: n, acked: map[string]bool{}}
	const batches = 400
	for i := range batches {
		_, body := s.body()
		if code, answer, err := n.post("/v1/batch", body); err != nil || code != http.StatusOK {
			t.Fatal(code, answer, err)
		}
		if code, answer, err := n.post("/v1/identify", fmt.Sprintf(`{"userId":"u%d","messageId":"i%d","traits":{"visits":%d}}`, i%50, i, i)); err != nil || code != http.StatusOK {
			t.Fatal(code, answer, err)
		}
	}
	n.waitFor(2*time.Minute, "the events to be loaded", func() bool {
		tracks, err := n.queryInt("SELECT count(*) FROM web.tracks")
		identifies, err2 := n.queryInt("SELECT count(*) FROM web.identifies")
		return err == nil && err2 == nil && tracks == 5*batches && identifies == batches
	})
	n.stop()

	migrate := []string{"warehouse", "migrate", "--to", "there", "--project", n.project, "--data", n.data}
	again := func() {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(n.data, "warehouses")); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	n.mustCLI(migrate...)
	whole := time.Since(began)
	again()
	kills := 0
	for range 16 {
		ctx, end := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(whole)))) // SIGKILL then
		out, err := exec.CommandContext(ctx, n.bin, migrate...).CombinedOutput()
		killed := ctx.Err() != nil
		end()
		if err == nil { // done before
			again()
			continue
		}
		if !killed {
			t.Fatalf("after %d kills: %v\n%s", kills, err, out)
		}
		kills++
	}
	n.mustCLI(migrate...)
	t.Logf("killed %d times of 16", kills)

	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for name, path := range map[string]string{"here": filepath.Join(n.data, "warehouse.duckdb"), "there": filepath.Join(n.data, "warehouses", "there", "warehouse.duckdb")} {
		if _, err := db.ExecContext(t.Context(), "ATTACH '"+path+"' AS "+name+" (READ_ONLY)"); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := db.QueryContext(t.Context(), "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_catalog = 'here' AND table_schema = 'web' ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(tables) < 4 {
		t.Errorf("only the tables %q", tables)
	}
	for _, table := range tables {
		var here, there, differ int64
		err := db.QueryRowContext(t.Context(), fmt.Sprintf(`SELECT (SELECT count(*) FROM here.%[1]s), (SELECT count(*) FROM there.%[1]s),
			(SELECT count(*) FROM ((FROM here.%[1]s EXCEPT ALL FROM there.%[1]s) UNION ALL (FROM there.%[1]s EXCEPT ALL FROM here.%[1]s)))`, table)).Scan(&here, &there, &differ)
		if err != nil || here != there || differ != 0 {
			t.Errorf("%s: %d rows became %d, %d differ, %v", table, here, there, differ, err)
		}
	}
}
