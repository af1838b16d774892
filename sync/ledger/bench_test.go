package ledger

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the baseline's own hash
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// planCase is what happens to a share of the rows.
type planCase struct {
	name, where             string // which rows change
	changed, added, removed int    // percent
}

func planCases() []planCase {
	return []planCase{
		{name: "0%", where: "false"},
		{name: "1%", where: "hash(id) % 100 = 3", changed: 1},
		{name: "100%", where: "true", changed: 100},
		{name: "added", added: 1},
		{name: "removed", removed: 1},
	}
}

// bench is the benchmark's name of c.
func (c planCase) bench(rows int) string {
	switch {
	case c.added > 0:
		return fmt.Sprintf("rows=%d/added=%d%%", rows, c.added)
	case c.removed > 0:
		return fmt.Sprintf("rows=%d/removed=%d%%", rows, c.removed)
	}
	return fmt.Sprintf("rows=%d/changed=%s", rows, c.name)
}

// happen does to the model what the case says.
func (c planCase) happen(w *world, rows int) {
	switch {
	case c.added > 0:
		w.exec(fmt.Sprintf("INSERT INTO people SELECT * FROM (%s) AS more", somePeople(w.now.UnixMicro(), int64(rows*c.added/100))))
	case c.removed > 0:
		w.exec(fmt.Sprintf("DELETE FROM people WHERE hash(id) %% %d = %d", 100/c.removed, w.runs%(100/c.removed))) // others each time
	default:
		w.exec("UPDATE people SET age = age + 1 WHERE " + c.where)
	}
}

// somePeople is n rows of the model, from a number on.
func somePeople(from, n int64) string {
	id := "i"
	if textKeys() {
		id = "'cus_' || left(md5(CAST(i AS VARCHAR)), 14)"
	}
	return "SELECT " + id + ` AS id, 'user' || i || '@example.com' AS email, 'First' || (i % 1000) AS fn, 'Last' || (i % 5000) AS ln,
		(i % 100)::INTEGER AS age, (i % 100000000 * 1.25)::DECIMAL(18,2) AS ltv, TIMESTAMP '2024-01-01' + to_seconds(i % 1000000) AS seen, 'plan' || (i % 5) AS plan ` +
		fmt.Sprintf("FROM range(%d, %d) AS t(i)", from, from+n)
}

func textKeys() bool { return os.Getenv("TIDEGATE_BENCH_KEYS") == "text" }

// measured is what one process found for one case.
type measured struct {
	Plan, Finish      float64 // seconds: the plan, and the new state of the ledger
	Cold              float64 // both, the first time that the process did it
	Peak              float64 // MiB of the process, read and planned and folded
	Except, Snapshot  float64 // the same diff as EXCEPT both ways, and the full copy that it needs next time
	Lookup, InProcess float64 // seconds a million rows of one lookup a row, in PostgreSQL and in SQLite
}

// BenchmarkPlan plans over a model of 8 columns with 0 %, 1 % and 100 % of its rows
// changed, 1 % added or 1 % removed, the ledger in place. Beside it, on the same rows: EXCEPT in both
// directions as one would write it by hand, the copy of the table that this
// needs for its next time, and one lookup a row in PostgreSQL, as an application such as
// Multiwoven does it, and in SQLite, which asks no server (20,000 rows of each, taken to all). Each case runs in a process of its own,
// so that its peak of memory is its own; it is measured when the process does it the
// second time, as a hub that runs for long does, and cold-s is the first time, ledger and
// plan together. TIDEGATE_BENCH_ROWS sets the rows (1 M), TIDEGATE_BENCH_CASES the cases
// (0%,1%,100%,added,removed), TIDEGATE_BENCH_KEYS=text makes the key a text of 18 characters, without lookups,
// TIDEGATE_BENCH_SHUFFLED gives the model another order than the ledger and the copy have, TIDEGATE_BENCH_MEMORY limits the engine, TIDEGATE_BENCH_TRACE prints the
// time of every statement, TIDEGATE_BENCH_ALONE leaves out what is measured beside.
func BenchmarkPlan(b *testing.B) {
	rows := benchRows(b)
	dir := b.TempDir()
	if err := seedFile(b, dir, rows); err != nil {
		b.Fatal(err)
	}
	cases := os.Getenv("TIDEGATE_BENCH_CASES")
	for _, c := range planCases() {
		if cases != "" && !strings.Contains(","+cases+",", ","+c.name+",") {
			continue
		}
		b.Run(c.bench(rows), func(b *testing.B) {
			var sum measured
			for range b.N {
				m := planInChild(b, dir, c.name, rows)
				sum.Plan, sum.Finish, sum.Except, sum.Snapshot, sum.Lookup = sum.Plan+m.Plan, sum.Finish+m.Finish, sum.Except+m.Except, sum.Snapshot+m.Snapshot, sum.Lookup+m.Lookup
				sum.Cold, sum.InProcess = sum.Cold+m.Cold, sum.InProcess+m.InProcess
				sum.Peak = max(sum.Peak, m.Peak)
			}
			n := float64(b.N)
			ours := sum.Plan + sum.Finish
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(sum.Plan/n, "plan-s")
			b.ReportMetric(sum.Finish/n, "state-s")
			b.ReportMetric(sum.Cold/n, "cold-s")
			b.ReportMetric(sum.Peak, "peak-MiB")
			b.ReportMetric(sum.Except/n, "except-s")
			b.ReportMetric((sum.Except+sum.Snapshot)/n, "except+copy-s")
			if sum.Lookup > 0 {
				b.ReportMetric(sum.Lookup*float64(rows)/1e6/n, "lookup-s")
				b.ReportMetric(sum.Lookup*float64(rows)/1e6/ours, "x-lookup")
			}
			if sum.InProcess > 0 {
				b.ReportMetric(sum.InProcess*float64(rows)/1e6/n, "lookup-sqlite-s")
				b.ReportMetric(sum.InProcess*float64(rows)/1e6/ours, "x-lookup-sqlite")
			}
			b.ReportMetric(sum.Except/ours, "x-except")
			b.ReportMetric((sum.Except+sum.Snapshot)/ours, "x-except+copy")
		})
	}
}

func benchRows(b *testing.B) int {
	b.Helper()
	s := os.Getenv("TIDEGATE_BENCH_ROWS")
	if s == "" {
		return 1_000_000
	}
	rows, err := strconv.Atoi(s)
	if err != nil {
		b.Fatal(err)
	}
	return rows
}

func benchWorld(tb testing.TB, dir string) *world {
	tb.Helper()
	w := emptyWorld(tb)
	wh, err := duckdb.Open(w.ctx, duckdb.Options{Path: filepath.Join(dir, "bench.duckdb"), MemoryLimit: os.Getenv("TIDEGATE_BENCH_MEMORY"), Now: w.clock})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := wh.Close(); err != nil {
			tb.Error(err)
		}
	})
	w.wh, w.store = wh, traced(wh)
	w.fields = nil
	for _, c := range []string{"email", "fn", "ln", "age", "ltv", "seen", "plan"} {
		w.fields = append(w.fields, tidegate.FieldMapping{Field: c, Column: c})
	}
	w.open()
	return w
}

func alone() bool { return os.Getenv("TIDEGATE_BENCH_ALONE") != "" }

// seedFile makes the model, its copy and a ledger in which all of it is
// confirmed, in another process: this one stays small.
func seedFile(b *testing.B, dir string, rows int) error {
	b.Helper()
	_, err := child(dir, "seed", rows)
	return err
}

func planInChild(b *testing.B, dir, name string, rows int) (m measured) {
	b.Helper()
	out, err := child(dir, name, rows)
	if err == nil {
		err = json.Unmarshal(out, &m)
	}
	if err != nil {
		b.Fatal(err)
	}
	return m
}

const childMark = "measured: "

func child(dir, name string, rows int) ([]byte, error) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBenchChild$", "-test.v", "-test.timeout", "2h")
	cmd.Env = append(os.Environ(), "TIDEGATE_BENCH_CHILD="+name, "TIDEGATE_BENCH_DIR="+dir, "TIDEGATE_BENCH_ROWS="+strconv.Itoa(rows))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("measuring %s: %w: %s", name, err, out)
	}
	_, line, _ := bytes.Cut(out, []byte(childMark))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return line, nil
}

// TestBenchChild is the other process of BenchmarkPlan.
func TestBenchChild(t *testing.T) {
	name := os.Getenv("TIDEGATE_BENCH_CHILD")
	if name == "" {
		t.Skip("it is run by BenchmarkPlan")
	}
	rows, err := strconv.Atoi(os.Getenv("TIDEGATE_BENCH_ROWS"))
	if err != nil {
		t.Fatal(err)
	}
	runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0)) // as a hub does, whose callbacks from the engine find a slot
	w := benchWorld(t, os.Getenv("TIDEGATE_BENCH_DIR"))
	if name == "seed" {
		order := ""
		if os.Getenv("TIDEGATE_BENCH_SHUFFLED") != "" {
			order = " ORDER BY hash(i)"
		}
		w.exec("CREATE TABLE people AS " + somePeople(0, int64(rows)) + order)
		if !alone() {
			w.exec("CREATE TABLE snapshot AS " + somePeople(0, int64(rows)))
		}
		seedOrFill(t, w, rows)
		w.exec("CHECKPOINT")
		return
	}
	for _, c := range planCases() {
		if c.name == name {
			cold := measure(t, w, c, rows)
			m := measure(t, w, c, rows)
			m.Cold, m.Peak = cold.Plan+cold.Finish, cold.Peak
			fmt.Printf("%s%s\n", childMark, must(json.Marshal(m)))
		}
	}
}

func measure(t *testing.T, w *world, c planCase, rows int) (m measured) {
	t.Helper()
	w.runs, w.now = w.runs+int(time.Now().Unix()), time.Now()
	before := peopleOf(t, w)
	c.happen(w, rows)
	after := peopleOf(t, w)
	w.exec("CHECKPOINT")
	if c.removed > 0 {
		w.mode = tidegate.Mirror
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Log("the peak of memory is that of the whole process:", err)
	}
	id := w.newRun()
	req := w.request(id)
	start := time.Now()
	s, err := w.l.Plan(w.ctx, req)
	m.Plan = time.Since(start).Seconds()
	if err != nil {
		t.Fatal(err)
	}
	added := int64(rows * c.added / 100)
	if s.Read != after || s.Added != added || s.Removed != before+added-after || s.BadKeys != 0 || !about(s.Changed, int64(rows*c.changed/100)) || !about(s.Removed, int64(rows*c.removed/100)) {
		t.Fatalf("%+v", s)
	}
	if n := s.Changed + s.Added + s.Removed; n > 0 {
		settle(t, w, id, n)
	}
	start = time.Now()
	w.finish(id)
	m.Finish = time.Since(start).Seconds()
	m.Peak = peak(t)
	if alone() {
		return m
	}
	start = time.Now()
	w.exec("CREATE OR REPLACE TABLE naive AS (SELECT * FROM people EXCEPT SELECT * FROM snapshot) UNION ALL (SELECT * FROM snapshot EXCEPT SELECT * FROM people)")
	m.Except = time.Since(start).Seconds()
	start = time.Now()
	w.exec("CREATE OR REPLACE TABLE snapshot AS SELECT * FROM people")
	m.Snapshot = time.Since(start).Seconds()
	if !textKeys() && c.added+c.removed == 0 {
		m.Lookup, m.InProcess = inServer(t, w, rows), inSQLite(t, w, rows)
	}
	return m
}

// peopleOf is how many rows the model has.
func peopleOf(t *testing.T, w *world) (n int64) {
	t.Helper()
	err := w.l.read(w.ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return one(ctx, tx, "SELECT count(*) FROM people", nil, &n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// about says whether n is what a share picked by hash, or a sample, gives.
func about(n, expected int64) bool { return 10*n >= 9*expected && 10*n <= 11*expected }

// peak is the greatest resident size of the process in MiB, where Linux tells it.
func peak(t *testing.T) float64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb float64
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %f kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	return 0
}

// sampled is how many rows are looked up, spread over the model; their time is taken to all.
const sampled = 20_000

// finder is the fingerprint that is known of a key.
type finder func(id int64) ([]byte, error)

// lookup is the seconds a million rows take when each is hashed and found by its key,
// a thread for each finder.
func lookup(t *testing.T, w *world, rows int, finders ...finder) float64 {
	t.Helper()
	r := must(w.wh.Query(w.ctx, fmt.Sprintf("SELECT * FROM people WHERE id %% %d = 0", max(rows/sampled, 1))))
	defer r.Close()
	all := make(chan []any, 2*sampled) // filled before the clock starts
	for {
		row, err := r.Next(w.ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all <- slices.Clone(row)
	}
	close(all)
	n, start := len(all), time.Now()
	var group errgroup.Group
	for _, find := range finders {
		group.Go(func() error {
			for row := range all {
				sum := sha1.Sum(must(json.Marshal(row))) //nolint:gosec // the baseline's own hash
				seen, err := find(row[0].(int64))
				if err != nil || bytes.Equal(seen, sum[:]) {
					return fmt.Errorf("looking up %v: %w", row[0], err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return time.Since(start).Seconds() / float64(n) * 1e6
}

// inSQLite looks rows up in this process, all in memory.
func inSQLite(t *testing.T, w *world, rows int) float64 {
	t.Helper()
	db := must(sql.Open("sqlite", ":memory:"))
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, q := range []string{
		"CREATE TABLE seen (id INTEGER PRIMARY KEY, fingerprint BLOB)",
		fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + %d FROM n WHERE i < %d) INSERT INTO seen SELECT i, randomblob(20) FROM n", max(rows/sampled, 1), rows),
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	find := must(db.Prepare("SELECT fingerprint FROM seen WHERE id = ?"))
	defer find.Close()
	return lookup(t, w, rows, func(id int64) (seen []byte, err error) {
		return seen, find.QueryRow(id).Scan(&seen)
	})
}

// inServer looks rows up as Multiwoven does (its incremental_delta.rb, read 2026-11-21): a
// SELECT by sync and key in PostgreSQL for each row, by five threads. It is prepared and in
// Go, and the index has a million keys at most: what it costs there is more. It is 0 without PostgreSQL.
func inServer(t *testing.T, w *world, rows int) float64 {
	t.Helper()
	s, err := pgtest.Start()
	if err != nil {
		t.Log("no lookups in PostgreSQL:", err)
		return 0
	}
	defer s.Stop()
	step := max(rows/1_000_000, 1)
	if every := max(rows/sampled, 1); every%step != 0 {
		t.Fatalf("of %d rows every %d is looked up, which are not among every %d", rows, every, step)
	}
	s.Exec(t, "postgres", fmt.Sprintf(`CREATE TABLE seen (sync bigint, key text, fingerprint bytea, UNIQUE (sync, key));
		INSERT INTO seen SELECT 1, i::text, decode(md5(i::text), 'hex') FROM generate_series(0, %d, %d) AS t(i); ANALYZE seen`, rows, step))
	var finders []finder
	for range 5 {
		db := must(pgx.Connect(w.ctx, s.URL(pgtest.Superuser, "postgres")))
		defer func() { _ = db.Close(w.ctx) }()
		finders = append(finders, func(id int64) (seen []byte, err error) {
			return seen, db.QueryRow(w.ctx, "SELECT fingerprint FROM seen WHERE sync = 1 AND key = $1", strconv.FormatInt(id, 10)).Scan(&seen)
		})
	}
	return lookup(t, w, rows, finders...)
}

// BenchmarkDeliver is what the ledger adds to a delivery: reading the plan,
// and an intent and a call of Record per 5,000 changes, then the fold.
func BenchmarkDeliver(b *testing.B) {
	const rows, window = 200_000, 5_000
	w := newWorld(b)
	w.exec(fmt.Sprintf("CREATE TABLE people AS SELECT range AS id, 'user' || range || '@example.com' AS email, (range %% 100)::INTEGER AS age FROM range(%d)", rows))
	var plan, deliver, fold time.Duration
	for range b.N {
		w.exec("UPDATE people SET age = age + 1")
		start := time.Now()
		id := w.newRun()
		if _, err := w.l.Plan(w.ctx, w.request(id)); err != nil {
			b.Fatal(err)
		}
		plan += time.Since(start)
		start = time.Now()
		r, err := w.l.Changes(w.ctx, id, 0)
		if err != nil {
			b.Fatal(err)
		}
		for first := int64(0); first < rows; first += window {
			results := make([]Result, 0, window)
			page := make([]Planned, window)
			if err := w.l.Intend(w.ctx, id, 1, first, first+window-1); err != nil {
				b.Fatal(err)
			}
			for len(results) < window {
				n, err := r.Read(w.ctx, page[len(results):])
				if err != nil {
					b.Fatal(err)
				}
				for _, p := range page[len(results):][:n] {
					results = append(results, Result{Ordinal: p.Ordinal, Outcome: destinations.Outcome{Disposition: destinations.Delivered, DestinationID: "1"}})
				}
			}
			if err := w.l.Record(w.ctx, id, 1, results); err != nil {
				b.Fatal(err)
			}
		}
		deliver += time.Since(start)
		start = time.Now()
		w.finish(id)
		fold += time.Since(start)
	}
	perRow := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N*rows) }
	b.ReportMetric(perRow(plan), "plan-µs/row")
	b.ReportMetric(perRow(deliver), "deliver-µs/row")
	b.ReportMetric(perRow(fold), "fold-µs/row")
}

// seedLedger fills the ledger as a first delivery of everything would have.
func seedLedger(tb testing.TB, w *world, rows int) {
	tb.Helper()
	id := w.newRun()
	s, err := w.l.Plan(w.ctx, w.request(id))
	if err != nil || s.Added != int64(rows) {
		tb.Fatal(err, s)
	}
	settle(tb, w, id, s.Added)
	w.finish(id)
}

func seedOrFill(tb testing.TB, w *world, rows int) {
	tb.Helper()
	if rows > 2_000_000 {
		fillLedger(tb, w)
		return
	}
	seedLedger(tb, w, rows)
}

// fillLedger writes what seedLedger does, but by SQL: rows by the hundred million.
func fillLedger(tb testing.TB, w *world) {
	tb.Helper()
	p := &planner{req: w.request(w.newRun()), w: &planWriter{Ledger: w.l}}
	err := w.l.transact(w.ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if err := p.source(ctx, tx); err != nil {
			return err
		}
		c, err := w.l.sql.compare(p.src)
		if err != nil {
			return err
		}
		key := sqltext.Text("'[' || c0 || ']'")
		if textKeys() {
			key = `'["' || c0 || '"]'`
		}
		const payload sqltext.Text = `'{"age":' || c4 || ',"email":"' || c1 || '","fn":"' || c2 || '","ln":"' || c3 || '","ltv":"' || c5 || '","plan":"' || c7 || '","seen":"' || CAST(c6 AS VARCHAR) || '"}'`
		from := "(SELECT " + c.hash + " AS h, " + c.check + " AS k, m.* FROM (" + c.rows + ") AS m) AS f"
		if w.l.sql.d.Name() == "postgres" { // where the hash of a key costs much
			if _, err := tx.Exec(ctx, string("CREATE TEMP TABLE filled ON COMMIT DROP AS SELECT * FROM "+from)); err != nil {
				return err
			}
			from = "filled"
		}
		for _, sql := range []sqltext.Text{
			"INSERT INTO " + c.ledger + " SELECT h, k, fingerprint, true FROM " + from,
			"INSERT INTO " + w.l.sql.of("records") + " SELECT h, k, " + key + ", " + payload + `, fingerprint | 1, '"' || c1 || '"', 'd' || c0, 'seed', now() FROM ` + from,
			"UPDATE " + w.l.sql.of("fence") + " SET generation = 1",
			sqltext.Text(w.l.sql.seal()),
		} {
			if _, err := tx.Exec(ctx, string(sql)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// settle records every change of a plan as delivered, at once, each as a record of its own: what two
// keys share is not deleted with one of them.
func settle(tb testing.TB, w *world, id string, changes int64) {
	tb.Helper()
	if err := w.l.Intend(w.ctx, id, 1, 0, changes-1); err != nil {
		tb.Fatal(err)
	}
	w.exec("INSERT INTO _tidegate.crm__results (run_id, ordinal, disposition, destination_id, recorded_at) SELECT '" + id + "', ordinal, 'delivered', '" + id + "/' || ordinal, now() FROM _tidegate.crm__" + id + "__plan WHERE ordinal >= 0")
}
