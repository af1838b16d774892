package ledger

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

// TestLookBesideARun looks at a plan while another run waits, and while it is being
// delivered: the look shows what the ledger knows, and the run goes on as if nobody had looked.
func TestLookBesideARun(t *testing.T) {
	t.Parallel()
	for _, place := range placements() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, place)
			w.exec("CREATE TABLE people (id BIGINT, email VARCHAR, age BIGINT)")
			w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20)")
			want(t, w.run(), Summary{Read: 2, Added: 2})
			w.exec("UPDATE people SET age = 11 WHERE id = 1")
			id, s := w.plan()
			want(t, s, Summary{Read: 2, Unchanged: 1, Changed: 1, LedgerRows: 2})
			w.exec("UPDATE people SET age = 12 WHERE id = 1")
			w.exec("DELETE FROM people WHERE id = 2")
			look := func(runID string, wanted Summary) {
				t.Helper()
				l, err := w.l.Look(w.ctx, w.request(runID), 10)
				if err != nil {
					t.Fatal(err)
				}
				want(t, l.Summary, wanted)
			}
			look("look_1", Summary{Read: 1, Changed: 1, Removed: 1, LedgerRows: 2})
			look(id, Summary{Read: 2, Unchanged: 1, Changed: 1, LedgerRows: 2}) // the plan that waits is shown as it stands
			if err := w.l.Intend(w.ctx, id, 1, 0, 0); err != nil {
				t.Fatal(err)
			}
			look("look_2", Summary{Read: 1, Changed: 1, Removed: 1, LedgerRows: 2})
			w.deliver(id, delivered)
			look("look_3", Summary{Read: 1, Changed: 1, Removed: 1, LedgerRows: 2})
			w.finish(id)
			if w.held["[1]"] != `{"age":11,"email":"a@x.io"}` {
				t.Errorf("the run delivered %v", w.held)
			}
			if _, err := w.l.Look(w.ctx, w.request(id), 10); tidegate.FaultOf(err).Code != "plan.stale" || !strings.Contains(tidegate.FaultOf(err).Hint, "cancel the run") {
				t.Errorf("looking at a plan that has ended: %v", err)
			}
			want(t, w.run(), Summary{Read: 1, Changed: 1, Removed: 1, LedgerRows: 2})
		})
	}
}
