package ledger

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// byKey settles changes as the outcome of their key says, the others as delivered.
func byKey(of map[tidegate.Key]func(Planned) *Result) func(Planned) *Result {
	return func(p Planned) *Result {
		if f := of[p.Key]; f != nil {
			return f(p)
		}
		return delivered(p)
	}
}

// TestARemovalWaitsForADoubt: a record is not removed while it may be another key's,
// because a delivery for that key ended in doubt, nor once it is.
func TestARemovalWaitsForADoubt(t *testing.T) {
	t.Parallel()
	for _, place := range placements() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, place)
			w.exec("CREATE TABLE people (id BIGINT, email VARCHAR, age BIGINT)")
			w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20)")
			w.run()
			w.exec("UPDATE people SET id = 3 WHERE id = 1") // the record passes to another key
			id, s := w.plan()
			want(t, s, Summary{Read: 2, Unchanged: 1, Added: 1, Removed: 1, LedgerRows: 2})
			w.deliver(id, byKey(map[tidegate.Key]func(Planned) *Result{
				"[3]": outcome(destinations.InDoubt, w.now.Add(time.Hour)), "[1]": outcome(destinations.Deferred, time.Time{}),
			}))
			w.finish(id)
			id, s = w.plan()
			want(t, s, Summary{Read: 2, Unchanged: 2, Waiting: 1, LedgerRows: 2})
			w.finish(id)
			w.now = w.now.Add(2 * time.Hour)
			id, s = w.plan()
			want(t, s, Summary{Read: 2, Unchanged: 1, Added: 1, Retries: 1, LedgerRows: 2})
			w.deliver(id, delivered)
			w.finish(id)
			want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 3}) // the removal is forgotten
			want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
		})
	}
}

// TestAMemberLeavesOnlyWhatIsItsOwn: a member of an audience whose identifier changed
// does not leave by the old one once another key was confirmed, or may be, to own it.
func TestAMemberLeavesOnlyWhatIsItsOwn(t *testing.T) {
	t.Parallel()
	for _, place := range placements() {
		for name, of := range map[string]func(w *world) func(Planned) *Result{
			"confirmed": func(*world) func(Planned) *Result { return delivered },
			"in doubt":  func(w *world) func(Planned) *Result { return outcome(destinations.InDoubt, w.now.Add(time.Hour)) },
		} {
			t.Run(place+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorldAt(t, place)
				w.mode = tidegate.Audience
				w.exec("CREATE TABLE people (id BIGINT, email VARCHAR, age BIGINT)")
				w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20)")
				w.run()
				w.exec("UPDATE people SET email = 'c@x.io' WHERE id = 1")
				w.exec("INSERT INTO people VALUES (3, 'a@x.io', 30)")
				id, s := w.plan()
				want(t, s, Summary{Read: 3, Unchanged: 1, Added: 1, Changed: 1, LedgerRows: 2})
				w.deliver(id, byKey(map[tidegate.Key]func(Planned) *Result{"[1]": outcome(destinations.Deferred, w.now), "[3]": of(w)}))
				w.finish(id)
				id, s = w.plan()
				if s.Added != 1 || s.Changed != 0 || s.Removed != 0 {
					t.Errorf("%+v", s)
				}
				for _, p := range w.changes(id) {
					if p.Key != "[1]" || p.Op != tidegate.Added || p.DestinationID != "" || p.Identifier != "c@x.io" {
						t.Errorf("%+v", p)
					}
				}
				w.deliver(id, delivered)
				w.finish(id)
				w.exec("UPDATE people SET email = 'd@x.io' WHERE id = 2") // nobody else's: it moves
				id, _ = w.plan()
				for _, p := range w.changes(id) {
					if p.Key == "[2]" && (p.Op != tidegate.Changed || p.DestinationID == "") {
						t.Errorf("%+v", p)
					}
				}
			})
		}
	}
}
