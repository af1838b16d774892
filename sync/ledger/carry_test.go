package ledger

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// TestChecksumIsCarriedOn: after every kind of outcome of a few keys the fence holds what
// reading both tables whole gives, and it holds what others changed meanwhile against them.
func TestChecksumIsCarriedOn(t *testing.T) {
	t.Parallel()
	w := newWorldAt(t, inPostgres)
	fired := false
	w.store = &mutant{Execer: w.wh, old: "WITH touched AS", new: "WITH touched AS", fired: &fired}
	w.open()
	w.exec("CREATE TABLE people AS SELECT i AS id, 'p' || i || '@x.io' AS email, CAST(i % 90 AS integer) AS age FROM generate_series(1::bigint, 400) AS t(i)")
	want(t, w.run(), Summary{Read: 400, Added: 400})
	if fired {
		t.Fatal("a checksum of nothing was carried on")
	}
	later := w.now.Add(time.Hour)
	excluded := func(Planned) *Result { return &Result{Excluded: true} }
	for _, step := range []struct {
		name, sql string
		outcome   func(Planned) *Result
	}{
		{"added", "INSERT INTO people VALUES (1001, 'q@x.io', 1), (1002, 'r@x.io', 2), (1003, 's@x.io', 3)", delivered},
		{"changed", "UPDATE people SET age = age + 1 WHERE id % 50 = 3", delivered},
		{"removed", "DELETE FROM people WHERE id IN (7, 8)", delivered},
		{"changed and rejected", "UPDATE people SET age = age + 1 WHERE id IN (11, 12, 13)", outcome(destinations.Rejected, later)},
		{"rejected again, with another", "UPDATE people SET age = age + 1 WHERE id IN (12, 14)", outcome(destinations.Rejected, time.Time{})},
		{"removed and in doubt", "DELETE FROM people WHERE id IN (21, 22)", outcome(destinations.InDoubt, later)},
		{"added and rejected", "INSERT INTO people VALUES (1004, 't@x.io', 1), (1005, 'u@x.io', 2)", outcome(destinations.Rejected, later)},
		{"added without an answer", "INSERT INTO people VALUES (1006, 'v@x.io', 1)", func(Planned) *Result { return nil }},
		{"changed and excluded", "UPDATE people SET age = age + 1 WHERE id IN (31, 32)", excluded},
		{"changed, of which one failed", "UPDATE people SET age = age + 5 WHERE id IN (11, 12, 40)", delivered},
		{"all that is left", "UPDATE people SET age = age + 1 WHERE id IN (13, 14, 31, 32, 1004)", delivered},
	} {
		w.exec(step.sql)
		id, s := w.plan()
		if s.Added+s.Changed+s.Removed == 0 {
			t.Fatalf("%s: nothing is planned: %+v", step.name, s)
		}
		w.deliver(id, step.outcome)
		fired = false
		w.finish(id)
		if !fired {
			t.Errorf("%s: the checksum was taken anew", step.name)
		}
		if err := w.l.Verify(w.ctx); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
	w.exec("UPDATE people SET age = age + 1 WHERE id = 50")
	id, _ := w.plan()
	w.exec("UPDATE _tidegate.crm__ledger SET fingerprint = fingerprint + 1 WHERE key_hash = (SELECT max(key_hash) FROM _tidegate.crm__ledger WHERE acked)")
	w.deliver(id, delivered)
	w.finish(id)
	if f := tidegate.FaultOf(w.l.Verify(w.ctx)); f == nil || f.Code != "ledger.damaged" {
		t.Fatalf("what another changed during a run was sealed with it: %v", f)
	}
}

// TestFingerprintsSeeTheWholeValue: changes that a hash of half a value, a sum of the
// cells or a sum of the rows would not see.
func TestFingerprintsSeeTheWholeValue(t *testing.T) {
	t.Parallel()
	const a, b, c, d, m, n, at, f, x, day = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
	schema := tidegate.Schema{
		column("id", tidegate.Int), column("a", tidegate.Int), column("b", tidegate.Int), column("c", tidegate.String), column("d", tidegate.String),
		{Name: "m", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
		{Name: "n", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
		column("at", tidegate.Timestamp), column("f", tidegate.Float), column("x", tidegate.Bytes), column("day", tidegate.Date),
	}
	noon := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for _, place := range placements() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, place)
			w.fields = []tidegate.FieldMapping{{Field: "email", Column: "c"}}
			for _, c := range schema[1:] {
				w.fields = append(w.fields, tidegate.FieldMapping{Field: c.Name, Column: c.Name})
			}
			rows := make([]tidegate.Row, 40)
			for i := range rows {
				rows[i] = tidegate.Row{int64(i), int64(1), int64(2), fmt.Sprintf("c%d", i), fmt.Sprintf("d%d", i), tidegate.DecimalText("12.5"), tidegate.DecimalText("1"), noon, 0.5, []byte{0, 1}, tidegate.DateOf(noon)}
			}
			w.table("people", schema, rows...)
			want(t, w.run(), Summary{Read: 40, Added: 40})
			for _, step := range []struct {
				name    string
				changed int64
				change  func()
			}{
				{"a number whose halves are the other's", 1, func() { rows[3][a] = int64(1) << 32 }},
				{"a number and its complement", 1, func() { rows[3][a] = ^(int64(1) << 32) }},
				{"the least number", 1, func() { rows[3][a] = int64(math.MinInt64) }},
				{"two numbers of a row change places", 1, func() { rows[4][a], rows[4][b] = rows[4][b], rows[4][a] }},
				{"a sign", 1, func() { rows[5][m] = tidegate.DecimalText("-12.5") }},
				{"another size", 1, func() { rows[6][m] = tidegate.DecimalText("10000") }},
				{"two sizes change places", 1, func() { rows[6][m], rows[6][n] = tidegate.DecimalText("1"), tidegate.DecimalText("10000") }},
				{"two texts of a row change places", 1, func() { rows[7][c], rows[7][d] = rows[7][d], rows[7][c] }},
				{"a text over the border", 1, func() { rows[8][c], rows[8][d] = "c", "8d8" }},
				{"an empty text for none", 1, func() { rows[9][d] = "" }},
				{"none for an empty text", 1, func() { rows[9][d] = nil }},
				{"two rows exchange a value", 2, func() { rows[10][d], rows[11][d] = rows[11][d], rows[10][d] }},
				{"two rows exchange their numbers", 2, func() { rows[12][a], rows[13][a] = int64(7), int64(8) }},
				{"and again", 2, func() { rows[12][a], rows[13][a] = int64(8), int64(7) }},
				{"a time whose halves are the other's", 1, func() { rows[14][at] = noon.Add((1<<32 + 1) * time.Microsecond) }},
				{"a microsecond", 1, func() { rows[14][at] = noon.Add((1<<32 + 2) * time.Microsecond) }},
				{"no time", 1, func() { rows[14][at] = nil }},
				{"the last bit of a float", 1, func() { rows[15][f] = math.Nextafter(0.5, 1) }},
				{"a byte", 1, func() { rows[16][x] = []byte{0, 2} }},
				{"a day", 1, func() { rows[17][day] = tidegate.DateOf(noon.AddDate(0, 0, 1)) }},
			} {
				step.change()
				w.table("people", schema, rows...)
				if s := w.run(); s.Changed != step.changed || s.Added+s.Removed+s.BadKeys != 0 {
					t.Errorf("%s: %+v", step.name, s)
				}
			}
			want(t, w.run(), Summary{Read: 40, Unchanged: 40, LedgerRows: 40})
		})
	}
}
