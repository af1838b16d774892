package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// TestHomeDiesAtEveryCall cuts the home off at each call of a run, before or after the call took
// effect, with the desk kept or lost: nothing is lost, and nothing that the home shows is
// anything but a whole publication.
func TestHomeDiesAtEveryCall(t *testing.T) {
	t.Parallel()
	for _, place := range someHome() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, place)
			stride := max(1, 3/schedules(1))
			for step := 1; ; step += stride {
				died := false
				for _, after := range []bool{step%2 == 1, step%2 == 0} {
					if died = homeDies(t, w, step, after, step%2 == 0) || died; stride > 1 {
						break
					}
				}
				if !died {
					if step < 8 {
						t.Errorf("a run asks its home %d times: the test proves little", step)
					}
					return
				}
			}
		})
	}
}

func homeDies(t *testing.T, place *world, step int, after, lost bool) bool {
	t.Helper()
	w := emptyWorld(t)
	w.wh, w.store, w.loads = place.wh, place.store, place.loads
	w.name = fmt.Sprintf("crm%d%t", step, after)
	w.opts = place.opts
	w.open()
	w.people(10, 20, 30)
	w.run()
	w.people(50, -1, 30, 1)
	dying := &dyingHome{Home: w.opts.Home, left: step, after: after}
	w.opts.Home = dying
	err := w.oneRun()
	died := dying.left <= 0
	w.opts.Home = place.opts.Home
	if lost {
		w.store = deskOf(w)
	}
	w.open()
	if verr := w.l.Verify(w.ctx); verr != nil {
		t.Fatalf("step %d: %v", step, verr)
	}
	w.run()
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	w.publishedIsDesk()
	if len(w.held) != 3 || w.held["[1]"] != `{"age":50,"email":"a@x.io"}` {
		t.Fatalf("step %d: %v", step, w.held)
	}
	if err != nil && !errors.Is(err, errDied) {
		t.Fatalf("step %d: %v", step, err)
	}
	place.loads = w.loads
	return died
}

// dyingHome fails at one call and at every one after; with after, that call is made first.
type dyingHome struct {
	Home
	left  int
	after bool
}

func (d *dyingHome) call(do func() error) error {
	d.left--
	if d.left < 0 || d.left == 0 && !d.after {
		return errDied
	}
	err := do()
	if d.left == 0 {
		return errors.Join(err, errDied)
	}
	return err
}

func (d *dyingHome) Exec(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = d.call(func() error { n, err = d.Home.Exec(ctx, sql, args...); return err })
	return n, err
}

func (d *dyingHome) Query(ctx context.Context, sql string, args ...any) (r tidegate.RowReader, err error) {
	err = d.call(func() error { r, err = d.Home.Query(ctx, sql, args...); return err })
	if err != nil && r != nil {
		err, r = errors.Join(err, r.Close()), nil
	}
	return r, err
}

func (d *dyingHome) Describe(ctx context.Context, t warehouse.Table) (s tidegate.Schema, err error) {
	err = d.call(func() error { s, err = d.Home.Describe(ctx, t); return err })
	return s, err
}

func (d *dyingHome) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (have tidegate.Schema, err error) {
	err = d.call(func() error { have, err = d.Home.Ensure(ctx, t, s); return err })
	return have, err
}

func (d *dyingHome) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (n int64, err error) {
	err = d.call(func() error { n, err = d.Home.Load(ctx, l, rows); return err })
	return n, err
}
