package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory remembers states as a store does.
type memory struct {
	mu     sync.Mutex
	states map[key]State
	fail   error
}

func (m *memory) AlertStates(context.Context) ([]State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []State
	for _, s := range m.states {
		list = append(list, s)
	}
	return list, m.fail
}

func (m *memory) PutAlertState(_ context.Context, s State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.states[s.key()] = s
	}
	return m.fail
}

func (m *memory) DeleteAlertState(_ context.Context, alert, sync string, c Condition) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.states, key{alert, sync, c})
	return m.fail
}

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) left() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.states)
}

// bed is an engine with everything around it.
type bed struct {
	*memory
	engine   *Engine
	history  []tidegate.Run
	standing []Standing
	told     []string // "ALERT +sync/condition -sync/condition"
	refuse   error
	runs     int
}

func newBed(alerts ...tidegate.Alert) *bed {
	b := &bed{memory: &memory{states: map[key]State{}}}
	b.engine = b.newEngine(alerts...)
	return b
}

func (b *bed) newEngine(alerts ...tidegate.Alert) *Engine {
	e := New(Options{
		States: b.memory, Hub: "hub", Now: time.Now, Random: func() float64 { return 1 },
		History: func(context.Context, string, int) ([]tidegate.Run, error) { return b.history, nil },
		Standing: func() []Standing {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.standing
		},
		Tell: func(_ context.Context, a tidegate.Alert, n Notice) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.refuse != nil {
				return b.refuse
			}
			line := a.Name
			for _, s := range n.Raised {
				line += fmt.Sprintf(" +%s/%s", s.Sync, s.Condition)
			}
			for _, s := range n.Resolved {
				line += fmt.Sprintf(" -%s/%s", s.Sync, s.Condition)
			}
			b.told = append(b.told, line)
			return nil
		},
	})
	e.Set(alerts, []string{"a", "b", "c"})
	return e
}

// play runs the engine over fake time.
func (b *bed) play(t *testing.T, act func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.engine.Run(ctx) }()
	synctest.Wait()
	act()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// forget forgets what was told.
func (b *bed) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = nil
}

func (b *bed) stand(list ...Standing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.standing = list
}

func (b *bed) ends(sync string, state tidegate.RunState) {
	b.runs++
	run := tidegate.Run{ID: fmt.Sprintf("run_%03d", b.runs), Sync: sync, State: state}
	switch state {
	case tidegate.RunPartial:
		run.Counts = tidegate.Counts{Read: 100, Added: 100, Delivered: 90, Rejected: 10}
	case tidegate.RunSucceeded:
		run.Counts = tidegate.Counts{Read: 100, Added: 100, Delivered: 100}
	case tidegate.RunFailed:
		run.Fault = &tidegate.RunFault{Code: "auth.expired", Message: "the token has expired", Hint: "make a new one"}
	case tidegate.RunHeld, tidegate.RunQueued, tidegate.RunRunning, tidegate.RunCanceled:
	}
	b.engine.Ended(run)
	synctest.Wait()
}

func pass(d time.Duration) {
	time.Sleep(d) // fake time: the bubble's clock jumps
	synctest.Wait()
}

func (b *bed) want(t *testing.T, lines ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.told, lines) {
		t.Errorf("told\n  %s\nwant\n  %s", strings.Join(b.told, "\n  "), strings.Join(lines, "\n  "))
	}
}

func TestRaisedOnceAndResolvedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		b.play(t, func() {
			for range 5 { // a failure that goes on is told once
				b.ends("a", tidegate.RunFailed)
				pass(10 * time.Minute)
			}
			b.want(t, "ops +a/failed")
			b.ends("a", tidegate.RunSucceeded)
			pass(time.Hour)
			b.want(t, "ops +a/failed", "ops -a/failed")
			if n := b.left(); n != 0 || len(b.engine.List()) != 0 {
				t.Errorf("%d states left", n)
			}
		})
	})
}

func TestNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		b.play(t, func() {
			b.ends("a", tidegate.RunFailed) // told at once
			for range 20 {                  // flapping for 20 seconds: silence
				pass(time.Second)
				b.ends("b", tidegate.RunFailed)
				b.ends("c", tidegate.RunPartial)
				b.ends("b", tidegate.RunSucceeded)
			}
			b.want(t, "ops +a/failed")
			b.ends("b", tidegate.RunHeld)
			pass(2 * time.Minute) // then one message with all of it; what came and went is left out
			b.want(t, "ops +a/failed", "ops +b/held +c/partial")
		})
	})
}

// TestARunThatTriedNothingEndsNothing: while what an earlier run left behind waits for another try, a run
// that had nothing to do is no end of it, however soon it comes.
func TestARunThatTriedNothingEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		left := tidegate.Run{ID: "run_1", Sync: "a", State: tidegate.RunPartial, Counts: tidegate.Counts{Read: 3, Unchanged: 2, Changed: 1, Deferred: 1}}
		nothing := tidegate.Run{ID: "run_2", Sync: "a", State: tidegate.RunSucceeded, Counts: tidegate.Counts{Read: 3, Unchanged: 3, Waiting: 1}}
		b.play(t, func() {
			b.engine.Ended(left)
			b.engine.Ended(nothing) // before the engine looked
			synctest.Wait()
			b.want(t, "ops +a/partial")
			for range 10 {
				pass(time.Minute)
				b.engine.Ended(nothing)
				synctest.Wait()
			}
			b.want(t, "ops +a/partial")
			nothing.Counts.Waiting = 0
			b.engine.Ended(nothing)
			pass(time.Minute)
			b.want(t, "ops +a/partial", "ops -a/partial")
		})
	})
}

func TestATroubleThatComesBackBeforeItsEndWasToldHasNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		b.play(t, func() {
			b.ends("a", tidegate.RunFailed)
			b.ends("a", tidegate.RunSucceeded) // within the quiet minute
			b.ends("a", tidegate.RunFailed)
			pass(time.Hour)
			b.want(t, "ops +a/failed")
		})
	})
}

func TestEveryConditionAndWhoWatchesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(
			tidegate.Alert{Name: "all"},
			tidegate.Alert{Name: "held_only", On: []string{"held"}},
			tidegate.Alert{Name: "of_b", Syncs: []string{"b"}},
			tidegate.Alert{Name: "much", On: []string{"partial"}, PartialPercent: 20},
		)
		for range 5 {
			b.history = append(b.history, tidegate.Run{ID: "old", State: tidegate.RunSucceeded, Counts: tidegate.Counts{Read: 1000}})
		}
		b.play(t, func() {
			b.ends("a", tidegate.RunHeld)
			pass(time.Hour)
			b.ends("b", tidegate.RunPartial) // 10 % left behind, and 100 rows instead of 1000
			pass(time.Hour)
			b.stand(Standing{Sync: "c", LateSince: time.Now()})
			pass(time.Hour)
			b.stand(Standing{Sync: "c", Fault: &tidegate.RunFault{Message: "no such table"}})
			pass(time.Hour)
			b.want(t, "all +a/held", "held_only +a/held", "all +b/deviation +b/partial", "of_b +b/deviation +b/partial", "all +c/late", "all +c/failed -c/late")
		})
	})
}

func TestToldAgainUntilItIsTakenAlsoAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alerts := []tidegate.Alert{{Name: "ops"}}
		b := newBed(alerts...)
		b.refuse = errors.New("away")
		b.play(t, func() {
			b.ends("a", tidegate.RunFailed)
			pass(time.Hour)
			b.want(t)
			if list := b.engine.List(); len(list) != 1 || !strings.Contains(list[0].Untold, "the last time: away; it is tried again at ") {
				t.Errorf("why it is not told: %+v", list)
			}
		})
		b.refuse = nil
		b.engine = b.newEngine(alerts...)
		b.play(t, func() {
			pass(time.Hour)
			b.want(t, "ops +a/failed")
		})
		b.engine = b.newEngine(alerts...) // what was told is not told again
		b.play(t, func() {
			pass(time.Hour)
			b.ends("a", tidegate.RunSucceeded)
			pass(time.Hour)
			b.want(t, "ops +a/failed", "ops -a/failed")
		})
	})
}

// TestWhyAnAlertIsNotToldYet: what came within a minute of a message waits, and says until when.
func TestWhyAnAlertIsNotToldYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		b.play(t, func() {
			b.ends("a", tidegate.RunFailed)
			pass(10 * time.Second)
			b.ends("b", tidegate.RunFailed)
			list := b.engine.List()
			if len(list) != 2 || !list[0].Told || list[0].Untold != "" || list[1].Told || !strings.Contains(list[1].Untold, "is told at 00:01:00 UTC") {
				t.Errorf("%+v", list)
			}
			pass(time.Hour)
			if list := b.engine.List(); !list[1].Told || list[1].Untold != "" {
				t.Errorf("%+v", list)
			}
		})
	})
}

func TestWhatIsNoLongerWatchedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		b.play(t, func() {
			b.ends("a", tidegate.RunFailed)
			b.ends("b", tidegate.RunFailed)
			b.engine.Set([]tidegate.Alert{{Name: "ops"}}, []string{"b"})
			pass(time.Hour)
			if n := b.left(); n != 1 {
				t.Errorf("%d states left", n)
			}
			b.engine.Set(nil, []string{"b"})
			pass(time.Hour)
			if n := b.left(); n != 0 {
				t.Errorf("%d states left", n)
			}
		})
	})
}

// TestAStoreThatCannotBeWrittenDelaysNothing: the full disk that somebody is to be told of is
// often the store's own. A run says once how it ended.
func TestAStoreThatCannotBeWrittenDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		b.play(t, func() {
			b.setFail(errors.New("disk full"))
			b.ends("a", tidegate.RunFailed)
			pass(time.Hour)
			b.want(t, "ops +a/failed")
			if n := b.left(); n != 0 {
				t.Fatalf("%d states are stored", n)
			}
			b.setFail(nil)
			pass(time.Minute)
			if n := b.left(); n != 1 {
				t.Errorf("%d states are stored now", n)
			}
			b.ends("a", tidegate.RunSucceeded)
			pass(time.Minute)
			b.want(t, "ops +a/failed", "ops -a/failed")
			if n := b.left(); n != 0 {
				t.Errorf("%d states are left", n)
			}
		})
	})
}

// TestATroubleOfTheEngineIsLoggedOnce: and so is its end.
func TestATroubleOfTheEngineIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		b := newBed(tidegate.Alert{Name: "ops"})
		b.engine.o.Log = slog.New(slog.NewTextHandler(&out, nil))
		b.play(t, func() {
			b.setFail(errors.New("disk full"))
			b.ends("a", tidegate.RunFailed)
			pass(time.Hour)
			b.setFail(nil)
			pass(time.Minute)
		})
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
	})
}

// TestPartsOfTheHub: what waits for long enough is told, once, and so is its end; an alert has
// a patience of its own, and one about syncs is not about the hub.
func TestPartsOfTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(
			tidegate.Alert{Name: "ops"}, tidegate.Alert{Name: "soon", LoadingAfter: "1m"}, tidegate.Alert{Name: "of_syncs", Syncs: []string{"a"}},
			tidegate.Alert{Name: "only_journal", On: []string{"journal"}},
		)
		b.engine.Set(b.engine.alerts, []string{"a", "the loader", "the journal"})
		away := &tidegate.RunFault{Code: "warehouse.connection", Message: "the server cannot be reached", Hint: "check host and port"}
		b.play(t, func() {
			loader := Standing{Sync: "the loader", Part: Loading, Since: time.Now(), Fault: away}
			journal := Standing{Sync: "the journal", Part: Journal}
			b.stand(loader, journal)
			pass(5 * time.Minute)
			b.want(t, "soon +the loader/loading")
			pass(time.Hour)
			b.want(t, "soon +the loader/loading", "ops +the loader/loading")
			journal.Fault = &tidegate.RunFault{Code: "journal.full", Message: "the disk is full"}
			b.stand(loader, journal)
			pass(time.Minute)
			b.want(t, "soon +the loader/loading", "ops +the loader/loading", "ops +the journal/journal", "soon +the journal/journal", "only_journal +the journal/journal")
			b.stand(Standing{Sync: "the loader", Part: Loading}, Standing{Sync: "the journal", Part: Journal})
			b.forget()
			pass(time.Hour)
			b.want(t, "ops -the journal/journal -the loader/loading", "soon -the journal/journal -the loader/loading", "only_journal -the journal/journal")
		})
	})
}

// TestDeadLettersAreFoundByTheirForward: what is told can be typed as it stands.
func TestDeadLettersAreFoundByTheirForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(tidegate.Alert{Name: "ops"})
		b.engine.Set(b.engine.alerts, []string{"forward crm"})
		b.play(t, func() {
			b.stand(Standing{Sync: "forward crm", Forward: true, Dead: 3})
			pass(time.Minute)
			b.want(t, "ops +forward crm/partial")
			if hint := b.engine.List()[0].Hint; !strings.Contains(hint, "`tidegate forward dead crm`") || !strings.Contains(hint, "`tidegate forward retry crm`") {
				t.Error(hint)
			}
		})
	})
}

func TestAnUnknownAlertIsNotTested(t *testing.T) {
	t.Parallel()
	if f := tidegate.FaultOf(newBed().engine.Test(t.Context(), "ops")); f == nil || f.Code != "alert.not_found" {
		t.Errorf("%+v", f)
	}
}
