package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest/forward"
)

func letter(position int64, dead bool) forward.Letter {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC).Add(time.Duration(position) * time.Hour)
	l := forward.Letter{
		Position: position, Lanes: []string{"user a", `record ["x"]`}, Event: []byte{1, 2, byte(position)}, Source: "web", MessageID: "m", Type: tidegate.Track, Name: "Order", User: "a",
		ReceivedAt: at, Attempts: 3, FirstAt: at.Add(time.Second), NextAt: at.Add(time.Minute), Code: "http.500", Message: "no", Hint: "ask",
	}
	if dead {
		l.Dead, l.DiedAt, l.NextAt = true, at.Add(time.Hour), time.Time{}
	}
	return l
}

func TestLetters(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := open(t, filepath.Join(t.TempDir(), "control.db"), newClock()).In("default")
	l := w.Letters("crm")
	all := []forward.Letter{letter(1, false), letter(2, true), letter(3, true), letter(4, true), letter(5, false)}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(l.Put(ctx, all))
	check(w.Letters("other").Put(ctx, all[:1]))
	got, err := l.Get(ctx, []int64{5, 2, 99, 1})
	check(err)
	if diff := cmp.Diff([]forward.Letter{all[0], all[1], all[4]}, got); diff != "" {
		t.Errorf("letters that were read differ (-want +got):\n%s", diff)
	}
	waiting, err := l.Waiting(ctx)
	check(err)
	want := []forward.Letter{all[0], all[4]}
	for i := range want {
		want[i].Event = nil
	}
	if diff := cmp.Diff(want, waiting); diff != "" {
		t.Errorf("waiting letters differ (-want +got):\n%s", diff)
	}
	dead, err := l.DeadLetters(ctx, "http.500", 4, 10)
	check(err)
	if diff := cmp.Diff([]forward.Letter{all[2], all[1]}, dead); diff != "" {
		t.Errorf("dead letters differ (-want +got):\n%s", diff)
	}
	if n, err := l.Revive(ctx, []int64{2, 1}); n != 1 || err != nil {
		t.Errorf("%d letters were revived, %v; only the dead one is", n, err)
	}
	check(l.Remove(ctx, []int64{1, 3})) // a dead letter stays
	if n, err := l.Prune(ctx, 1, time.Time{}); n != 1 || err != nil {
		t.Errorf("%d letters were pruned, %v; want the older of two", n, err)
	}
	counts, err := l.Count(ctx)
	check(err)
	if diff := cmp.Diff(forward.Counts{Waiting: 2, Dead: 1}, counts); diff != "" {
		t.Error(diff)
	}
	causes, err := l.Causes(ctx, 10)
	check(err)
	if len(causes) != 1 || causes[0].Letters != 1 || causes[0].Code != "http.500" {
		t.Errorf("the causes are %+v", causes)
	}
	if n, err := l.Discard(ctx, []int64{4, 5}); n != 1 || err != nil {
		t.Errorf("%d letters were discarded, %v; only the dead one is", n, err)
	}
}

// TestEraseLetters: over more pages than one, waiting and dead, of every forward, and
// no trace of them in the file.
func TestEraseLetters(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "control.db")
	s := open(t, path, newClock())
	w := s.In("default")
	var list []forward.Letter
	for i := range int64(450) {
		l := letter(i, i%2 == 0)
		l.User, l.Event = "b", []byte("remain")
		if i%3 == 0 {
			l.User, l.Event = "a", []byte("ada@example.com")
		}
		list = append(list, l)
	}
	for name, letters := range map[string][]forward.Letter{"crm": list, "other": list[:4]} {
		if err := w.Letters(name).Put(ctx, letters); err != nil {
			t.Fatal(err)
		}
	}
	ofAda := func(l *forward.Letter) bool { return l.User == "a" && string(l.Event) == "ada@example.com" }
	want := map[string]int64{"crm": 150, "other": 2}
	counted, err := w.CountLetters(ctx, ofAda)
	if diff := cmp.Diff(want, counted); diff != "" || err != nil {
		t.Errorf("counted %v (-want +got):\n%s", err, diff)
	}
	erased, err := w.EraseLetters(ctx, ofAda)
	if diff := cmp.Diff(want, erased); diff != "" || err != nil {
		t.Errorf("erased %v (-want +got):\n%s", err, diff)
	}
	if counted, err = w.CountLetters(ctx, ofAda); len(counted) != 0 || err != nil {
		t.Errorf("left: %v, %v", counted, err)
	}
	if counts, err := w.Letters("crm").Count(ctx); err != nil || counts.Waiting+counts.Dead != 300 {
		t.Errorf("of the others %+v are left, %v", counts, err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, []byte("ada@example.com")) {
			t.Errorf("%s still holds what was erased, or cannot be read: %v", file, err)
		}
	}
}

func TestForwardStates(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := open(t, filepath.Join(t.TempDir(), "control.db"), newClock()).In("default")
	for _, f := range []store.ForwardState{{Name: "a"}, {Name: "b", Paused: true}, {Name: "a", Started: true, Paused: true}, {Name: "c"}} {
		if err := w.PutForward(ctx, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Letters("c").Put(ctx, []forward.Letter{letter(1, true)}); err != nil {
		t.Fatal(err)
	}
	if err := w.ForgetForward(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	list, err := w.ForwardStates(ctx)
	if diff := cmp.Diff([]store.ForwardState{{Name: "a", Started: true, Paused: true}, {Name: "b", Paused: true}}, list); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if counts, err := w.Letters("c").Count(ctx); err != nil || counts != (forward.Counts{}) {
		t.Errorf("a forgotten forward has %+v, %v", counts, err)
	}
}
