package txstate

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func TestState(t *testing.T) {
	t.Parallel()
	first, second, undone := errors.New("first"), errors.New("second"), errors.New("undone")
	rollback := func() error { return undone }
	var s State
	if err := s.Ready(false); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(true); err == nil {
		t.Error("an open reader was not in the way")
	}
	if s.Fail(nil) != nil || s.Failed != nil {
		t.Error("nothing failed")
	}
	if err := s.Fail(first); !errors.Is(err, first) {
		t.Error(err)
	}
	if err := s.Fail(second); !errors.Is(err, second) {
		t.Error(err)
	}
	err := s.Ready(false)
	if !errors.Is(err, first) || errors.Is(err, second) {
		t.Errorf("got %v, want the first error", err)
	}
	if err := s.GiveUp(err, rollback); !errors.Is(err, first) || !errors.Is(err, undone) {
		t.Errorf("got %v", err)
	}
	s.Over = true
	if err := s.GiveUp(s.Ready(false), rollback); err == nil || errors.Is(err, undone) {
		t.Errorf("what is over was rolled back: %v", err)
	}
	if got, want := (&State{What: "unit", Over: true}).Ready(false).Error(), "the unit is over"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var l Log[string]
	var done []string
	rows := map[string]int64{"a": 1, "b": 2}
	do := func(_ context.Context, r string) (int64, error) {
		done = append(done, r)
		l.Add(r, 1, rows[r])
		return rows[r], nil
	}
	l.Add("a", 1, 1)
	l.Add("b", 1, -1) // the engine did not say
	for range 2 {
		if err := l.Again(t.Context(), do); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "a", "b"}, done); diff != "" {
		t.Error(diff)
	}
	rows["b"] = 3
	if f := tidegate.FaultOf(l.Again(t.Context(), do)); f.Code != "warehouse.conflict" || f.Action != tidegate.Retry {
		t.Errorf("got %v for other rows than before", f)
	}
	broken := errors.New("broken")
	if err := l.Again(t.Context(), func(context.Context, string) (int64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestLogOfTooMuch(t *testing.T) {
	t.Parallel()
	var l Log[int]
	l.Add(1, maxLog, 1)
	if err := l.Kept(); err != nil {
		t.Error(err)
	}
	l.Add(2, 1, 1)
	if f := tidegate.FaultOf(l.Kept()); f.Code != "warehouse.order" || f.Action != tidegate.Halt {
		t.Errorf("got %v", f)
	}
	l.Add(3, 1, 1)
	if len(l.steps) != 0 {
		t.Errorf("%d steps are kept of what cannot be repeated", len(l.steps))
	}
}
