package ledger

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
)

// person is a row of the random model; its key is (country, id).
type person struct {
	country *string
	id      *int64
	email   string
	score   *string // decimal text
	seen    *time.Time
}

func (p person) key() string {
	return string(must(model.KeyOf([]any{deref(p.country), deref(p.id)})))
}

func (p person) bad() bool { return p.country == nil || p.id == nil }

// payload is the oracle's own mapping.
func (p person) payload(withSeen bool) string {
	r := tidegate.Record{"email": p.email, "score": deref(p.score)}
	if withSeen {
		r["seen"] = nil
		if p.seen != nil {
			r["seen"] = p.seen.UTC().Format("2006-01-02T15:04:05.000000Z")
		}
	}
	return string(model.AppendJSON(nil, r))
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func randomPerson(r *rand.Rand, keys int) person {
	country, id := pick(r, "de", "fr", ""), int64(r.IntN(keys)-2)
	p := person{country: &country, id: &id, email: fmt.Sprintf("%d@%s%d%s", r.IntN(3), country, id, pick(r, "x.io", "ü.io", `q"\`))} // identifies one key
	if r.IntN(40) == 0 {
		p.id = nil
	}
	if r.IntN(3) > 0 {
		s := pick(r, "0", "1.5", "-3.25", "99999999999999999999999999999.123456789")
		p.score = &s
	}
	if r.IntN(3) > 0 {
		t := time.UnixMicro(pick[int64](r, 0, -1, 1700000000123456)).UTC()
		p.seen = &t
	}
	return p
}

// randomWorld runs one schedule of plans, outcomes, crashes, mapping changes
// and losses, with a naive diff in Go beside every plan.
type randomWorld struct {
	*world
	r        *rand.Rand
	people   []person
	withSeen bool
}

func (w *randomWorld) store() {
	schema := tidegate.Schema{
		column("country", tidegate.String), column("id", tidegate.Int), column("email", tidegate.String),
		{Name: "score", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
		column("seen", tidegate.Timestamp),
	}
	rows := make([]tidegate.Row, 0, len(w.people))
	for _, p := range w.people {
		rows = append(rows, tidegate.Row{deref(p.country), deref(p.id), p.email, decimal(p.score), deref(p.seen)})
	}
	w.table("people", schema, rows...)
}

func (w *randomWorld) mutate() {
	switch w.r.IntN(10) {
	case 0:
		w.people = nil
	case 1:
		w.people = append(w.people, w.people...)
	default:
		for range w.r.IntN(12) {
			p := randomPerson(w.r, 12)
			w.people = append(w.people, p)
		}
		for range w.r.IntN(6) {
			if len(w.people) > 0 {
				i := w.r.IntN(len(w.people))
				w.people = append(w.people[:i], w.people[i+1:]...)
			}
		}
	}
	if len(w.people) > 60 {
		w.people = w.people[:20]
	}
	if w.r.IntN(6) == 0 {
		w.withSeen = !w.withSeen
	}
	w.fields = []tidegate.FieldMapping{{Field: "email", Column: "email"}, {Field: "score", Column: "score"}}
	if w.withSeen {
		w.fields = append(w.fields, tidegate.FieldMapping{Field: "seen", Column: "seen"})
	}
	w.store()
}

// good returns the usable rows by key and the number of the others.
func (w *randomWorld) good() (rows map[string]string, bad map[string]bool, badRows int64) {
	n := map[string]int64{}
	rows, bad = map[string]string{}, map[string]bool{}
	for _, p := range w.people {
		if p.bad() {
			badRows++
			continue
		}
		n[p.key()]++
		rows[p.key()] = p.payload(w.withSeen)
	}
	for k, count := range n {
		if count > 1 {
			delete(rows, k)
			bad[k] = true
			badRows += count
		}
	}
	return rows, bad, badRows
}

func newRandomWorld(t testing.TB, place string, seed uint64) *randomWorld {
	t.Helper()
	w := &randomWorld{world: newWorldAt(t, place), r: rand.New(rand.NewPCG(seed, 7))}
	w.def.PrimaryKey = []string{"country", "id"}
	w.people = nil
	w.store()
	return w
}

// plant opens the ledger over a store with a bug.
func (w *randomWorld) plant(plant func(engineUnderTest) warehouse.Execer) {
	if plant != nil {
		w.world.store = plant(w.wh)
		w.open()
	}
}

func schedules(short int) int {
	if os.Getenv("TIDEGATE_LONG") != "" {
		return short * 100
	}
	return short
}

// TestPlanIsTheNaiveDiff: with everything delivered, a plan is exactly the
// difference between the last confirmed payloads and the mapped model, and the
// plan after it is empty. The same holds wherever the ledger lives, so that all
// placements plan the same.
func TestPlanIsTheNaiveDiff(t *testing.T) {
	t.Parallel()
	for _, place := range append(placements(), homes()...) {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			naiveDiff(t, place, 0, schedules(few(place, 3)), nil)
		})
	}
}

func naiveDiff(t testing.TB, place string, from uint64, seeds int, plant func(engineUnderTest) warehouse.Execer) {
	t.Helper()
	for seed := from; seed < from+uint64(seeds); seed++ {
		w := newRandomWorld(t, place, seed)
		w.plant(plant)
		confirmed := map[string]string{}
		for range rounds(place) {
			w.mutate()
			id, s := w.lookAndPlan()
			rows, bad, badRows := w.good()
			wantOps := map[string]string{}
			for k, after := range rows {
				if before, known := confirmed[k]; !known {
					wantOps[k] = "added " + after
				} else if before != after {
					wantOps[k] = "changed " + before + " " + after
				}
			}
			for k, before := range confirmed {
				if _, still := rows[k]; !still && !bad[k] {
					wantOps[k] = "removed " + before
				}
			}
			got := map[string]string{}
			for _, p := range w.changes(id) {
				text := string(p.Op)
				for _, r := range []tidegate.Record{p.Before, p.After} {
					if r != nil {
						text += " " + string(model.AppendJSON(nil, r))
					}
				}
				got[string(p.Key)] = text
			}
			if d := cmp.Diff(wantOps, got); d != "" {
				t.Fatalf("seed %d, run %s (-want +got):\n%s", seed, id, d)
			}
			if s.Read != int64(len(w.people)) || s.BadKeys != badRows || s.LedgerRows != int64(len(confirmed)) {
				t.Fatalf("seed %d: %+v for %d rows, %d bad, %d confirmed", seed, s, len(w.people), badRows, len(confirmed))
			}
			w.deliver(id, delivered)
			w.finish(id)
			for k := range confirmed {
				if _, still := rows[k]; !still && !bad[k] {
					delete(confirmed, k)
				}
			}
			for k, after := range rows {
				confirmed[k] = after
			}
			id, s = w.plan()
			if s.Added+s.Changed+s.Removed != 0 {
				t.Fatalf("seed %d: the plan after everything was delivered holds %+v", seed, s)
			}
			w.finish(id)
		}
	}
}

// TestItConverges: whatever outcomes and crashes come, once everything is
// delivered the destination holds the mapped model, and no key was ever removed
// that the destination could not have.
func TestItConverges(t *testing.T) {
	t.Parallel()
	for _, place := range append(placements(), homes()...) {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			fired := converges(t, place, 1000, schedules(few(place, 4)), nil)
			if few(place, 2) == 1 {
				return // a short one
			}
			for _, kind := range []string{"delivered", "rejected", "in_doubt", "deferred", "lost answer", "abandoned", "reopened", "planned twice"} {
				if fired[kind] == 0 {
					t.Errorf("%s never happened: the test proves nothing about it", kind)
				}
			}
		})
	}
}

func converges(t testing.TB, place string, from uint64, seeds int, plant func(engineUnderTest) warehouse.Execer) map[string]int {
	t.Helper()
	fired := map[string]int{}
	for seed := from; seed < from+uint64(seeds); seed++ {
		w := newRandomWorld(t, place, seed)
		w.plant(plant)
		for range rounds(place) {
			w.mutate()
			w.randomRun(fired)
		}
		if _, err := w.l.RetryNow(w.ctx, ""); err != nil {
			t.Fatal(err)
		}
		w.people = dedupe(w.people)
		w.store()
		w.run() // everything that is due by now
		if _, err := w.l.RetryNow(w.ctx, ""); err != nil {
			t.Fatal(err)
		}
		w.run()
		rows, _, _ := w.good()
		got := map[string]string{}
		for k, v := range w.held {
			got[string(k)] = v
		}
		if d := cmp.Diff(rows, got); d != "" {
			t.Fatalf("seed %d (-model +destination):\n%s", seed, d)
		}
		if s := w.run(); s.Added+s.Changed+s.Removed != 0 {
			t.Fatalf("seed %d: it does not come to rest: %+v", seed, s)
		}
	}
	return fired
}

func dedupe(people []person) []person {
	seen := map[string]bool{}
	var out []person
	for _, p := range people {
		if !p.bad() && !seen[p.key()] {
			seen[p.key()] = true
			out = append(out, p)
		}
	}
	return out
}

func (w *randomWorld) randomRun(fired map[string]int) {
	id, s := w.plan()
	if w.r.IntN(4) == 0 {
		fired["planned twice"]++
		again, err := w.l.Plan(w.ctx, w.request(id))
		if err != nil || !reflect.DeepEqual(again, s) {
			w.t.Fatalf("planning again: %v, %+v and %+v", err, s, again)
		}
	}
	abandon := w.r.IntN(4) == 0
	w.deliver(id, func(p Planned) *Result {
		next := pick(w.r, time.Time{}, w.now, w.now.Add(90*time.Second))
		kind := pick(w.r, "delivered", "delivered", "delivered", "rejected", "in_doubt", "deferred", "lost answer", "applied, lost answer")
		fired[kind]++
		fault := &tidegate.Fault{Code: "x", Message: "no"}
		switch kind {
		case "rejected", "deferred":
			return &Result{NextAttempt: next, Outcome: destinations.Outcome{Disposition: destinations.Disposition(kind), Fault: fault}}
		case "in_doubt":
			if w.r.IntN(2) == 0 {
				w.hold(p)
			}
			return &Result{NextAttempt: next, Outcome: destinations.Outcome{Disposition: destinations.InDoubt, Fault: fault}}
		case "applied, lost answer":
			w.hold(p)
			return nil
		case "lost answer":
			return nil
		}
		return delivered(p)
	})
	if w.r.IntN(3) == 0 {
		fired["reopened"]++
		w.open()
	}
	if abandon {
		fired["abandoned"]++
		return
	}
	w.finish(id)
}

// TestMergedResults takes merged rows apart: no ordinal is lost, twice or another's.
func TestMergedResults(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		said := map[int64]resultRow{}
		var rows []resultRow
		for _, o := range rapid.SliceOfNDistinct(rapid.Int64Range(0, 40), 0, 40, rapid.ID).Draw(t, "ordinals") {
			r := resultRow{First: o, Last: o, Disposition: rapid.SampledFrom([]string{"delivered", "rejected"}).Draw(t, "disposition"), DestinationID: rapid.SampledFrom([]string{"", "", "1"}).Draw(t, "id")}
			said[o], rows = r, append(rows, r)
		}
		got := map[int64]resultRow{}
		last := resultRow{First: -1, Last: -2}
		for _, r := range merge(rows) {
			if r.First <= last.Last {
				t.Fatalf("%+v follows %+v", r, last)
			}
			if next := last.Last + 1; next == r.First && last.Disposition == r.Disposition && last.DestinationID == r.DestinationID {
				t.Fatalf("%+v and %+v are one", last, r)
			}
			for o := r.First; o <= r.Last; o++ {
				one := r
				one.First, one.Last = o, o
				got[o] = one
			}
			last = r
		}
		if diff := cmp.Diff(said, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func decimal(p *string) any {
	if p == nil {
		return nil
	}
	return tidegate.DecimalText(*p)
}
