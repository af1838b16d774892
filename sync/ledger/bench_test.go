package ledger

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// BenchmarkPlan plans over a model of 8 columns with 0 %, 1 % and 100 % of its
// rows changed, each beside the EXCEPT that a naive diff would run on full
// copies (in both directions). TIDEGATE_BENCH_ROWS sets the rows (1 M); a plan of
// 10 M rows with 1 % changed is to take 4 s at most.
func BenchmarkPlan(b *testing.B) {
	rows := 1_000_000
	if s := os.Getenv("TIDEGATE_BENCH_ROWS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		rows = n
	}
	w := newWorld(b)
	columns := []string{"id", "email", "fn", "ln", "age", "ltv", "seen", "plan"}
	w.exec(fmt.Sprintf(`CREATE TABLE people AS SELECT range AS id, 'user' || range || '@example.com' AS email, 'First' || (range %% 1000) AS fn, 'Last' || (range %% 5000) AS ln,
		(range %% 100)::INTEGER AS age, (range * 1.25)::DECIMAL(18,2) AS ltv, TIMESTAMP '2024-01-01' + to_seconds(range %% 1000000) AS seen, 'plan' || (range %% 5) AS plan FROM range(%d)`, rows))
	w.fields = nil
	for _, c := range columns[1:] {
		w.fields = append(w.fields, tidegate.FieldMapping{Field: c, Column: c})
	}
	seedLedger(b, w, rows)
	w.exec("CREATE TABLE snapshot AS SELECT * FROM people")
	for _, changed := range []struct {
		name, where string
		rows        int
	}{{"0%", "false", 0}, {"1%", "id % 100 = 3", rows / 100}, {"100%", "true", rows}} {
		w.exec("UPDATE people SET age = age + 1 WHERE " + changed.where)
		b.Run(fmt.Sprintf("rows=%d/changed=%s", rows, changed.name), func(b *testing.B) {
			var plan, except time.Duration
			for range b.N {
				id := w.newRun()
				req := w.request(id)
				start := time.Now()
				s, err := w.l.Plan(w.ctx, req)
				plan += time.Since(start)
				if err != nil {
					b.Fatal(err)
				}
				if int(s.Changed) < changed.rows || s.Read != int64(rows) || s.Added+s.Removed+s.BadKeys != 0 {
					b.Fatalf("%+v", s)
				}
				w.finish(id)
				start = time.Now()
				w.exec("CREATE OR REPLACE TABLE naive AS (SELECT * FROM people EXCEPT SELECT * FROM snapshot) UNION ALL (SELECT * FROM snapshot EXCEPT SELECT * FROM people)")
				except += time.Since(start)
			}
			b.ReportMetric(plan.Seconds()/float64(b.N), "plan-s/op")
			b.ReportMetric(except.Seconds()/float64(b.N), "except-s/op")
			b.ReportMetric(except.Seconds()/plan.Seconds(), "x-except")
		})
	}
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
			if err := w.l.Intend(w.ctx, id, 1, first, first+window-1); err != nil {
				b.Fatal(err)
			}
			for range window {
				p, err := r.Next(w.ctx)
				if err != nil {
					b.Fatal(err)
				}
				results = append(results, Result{Ordinal: p.Ordinal, Outcome: destinations.Outcome{Disposition: destinations.Delivered, DestinationID: "1"}})
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
func seedLedger(b *testing.B, w *world, rows int) {
	b.Helper()
	id := w.newRun()
	s, err := w.l.Plan(w.ctx, w.request(id))
	if err != nil || s.Added != int64(rows) {
		b.Fatal(err, s)
	}
	if err := w.l.Intend(w.ctx, id, 1, 0, int64(rows-1)); err != nil {
		b.Fatal(err)
	}
	w.exec("INSERT INTO _tidegate.crm__results (run_id, ordinal, disposition, destination_id, recorded_at) SELECT '" + id + "', ordinal, 'delivered', 'd' || ordinal, now() FROM _tidegate.crm__" + id + "__plan WHERE ordinal >= 0")
	w.finish(id)
}
