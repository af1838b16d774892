package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

// BenchmarkPlanPostgres is BenchmarkPlan with model and ledger in PostgreSQL (with
// its default settings), beside EXCEPT in both directions and the copy that it needs.
func BenchmarkPlanPostgres(b *testing.B) {
	rows := benchRows(b)
	w := newWorldAt(b, inPostgres)
	w.store = traced(w.wh)
	w.open()
	w.fields = nil
	for _, c := range []string{"email", "fn", "ln", "age", "ltv", "seen", "plan"} {
		w.fields = append(w.fields, tidegate.FieldMapping{Field: c, Column: c})
	}
	w.exec(fmt.Sprintf(`CREATE TABLE people AS SELECT i AS id, 'user' || i || '@example.com' AS email, 'First' || (i %% 1000) AS fn, 'Last' || (i %% 5000) AS ln, (i %% 100)::integer AS age,
		(i * 1.25)::numeric(18,2) AS ltv, timestamptz '2024-01-01Z' + (i %% 1000000) * interval '1 second' AS seen, 'plan' || (i %% 5) AS plan FROM generate_series(0::bigint, %d) AS t(i)`, rows-1))
	w.exec("CREATE TABLE snapshot AS SELECT * FROM people")
	seedOrFill(b, w, rows)
	w.exec("VACUUM ANALYZE")
	for _, c := range []planCase{{name: "0%", where: "false"}, {name: "1%", where: "id % 100 = 3", changed: 1}} {
		b.Run(c.bench(rows), func(b *testing.B) {
			var m measured
			for range b.N {
				w.exec("UPDATE people SET age = age + 1 WHERE " + c.where)
				w.exec("VACUUM ANALYZE people")
				id := w.newRun()
				req := w.request(id)
				start := time.Now()
				s, err := w.l.Plan(w.ctx, req)
				m.Plan += time.Since(start).Seconds()
				if err != nil || s.Read != int64(rows) || s.Changed != int64(rows*c.changed/100) || s.Added+s.Removed+s.BadKeys != 0 {
					b.Fatal(err, s)
				}
				if s.Changed > 0 {
					settle(b, w, id, s.Changed)
				}
				start = time.Now()
				w.finish(id)
				m.Finish += time.Since(start).Seconds()
				start = time.Now()
				w.exec("DROP TABLE IF EXISTS naive")
				w.exec("CREATE TABLE naive AS (SELECT * FROM people EXCEPT SELECT * FROM snapshot) UNION ALL (SELECT * FROM snapshot EXCEPT SELECT * FROM people)")
				m.Except += time.Since(start).Seconds()
				start = time.Now()
				w.exec("DROP TABLE snapshot")
				w.exec("CREATE TABLE snapshot AS SELECT * FROM people")
				m.Snapshot += time.Since(start).Seconds()
			}
			n, ours := float64(b.N), m.Plan+m.Finish
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(m.Plan/n, "plan-s")
			b.ReportMetric(m.Finish/n, "state-s")
			b.ReportMetric(m.Except/n, "except-s")
			b.ReportMetric((m.Except+m.Snapshot)/n, "except+copy-s")
			b.ReportMetric(m.Except/ours, "x-except")
			b.ReportMetric((m.Except+m.Snapshot)/ours, "x-except+copy")
		})
	}
}
