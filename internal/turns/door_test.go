package turns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestDoor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d Door
		if err := d.Enter(); err != nil {
			t.Fatal(err)
		}
		closed := make(chan bool, 2)
		for range 2 {
			go func() { closed <- d.Close() }()
		}
		synctest.Wait()
		if err := d.Enter(); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v while it is being closed", err)
		}
		select {
		case <-closed:
			t.Error("closed with somebody inside")
		default:
		}
		d.Leave()
		if a, b := <-closed, <-closed; a == b {
			t.Errorf("two calls of Close both say that they are the first: %v", a)
		}
	})
}

func TestHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all Turns[string]
		var mine, other Held[string]
		take := func(h *Held[string], name string) {
			t.Helper()
			if err := h.Take(t.Context(), &all, name); err != nil {
				t.Fatal(err)
			}
		}
		take(&mine, "a")
		take(&mine, "a") // held already
		take(&mine, "b")
		take(&other, "a")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var alone Held[string]
		if err := alone.TakeAlone(ctx, &all, "a"); err == nil || !alone.Empty() {
			t.Errorf("two users and one alone: %v", err)
		}
		mine.Give("a")
		mine.Give("nothing")
		if names := mine.Release(); len(names) != 1 || names[0] != "b" || !mine.Empty() {
			t.Errorf("released %v", names)
		}
		other.Release()
		for _, name := range []string{"a", "b"} {
			if err := alone.TakeAlone(t.Context(), &all, name); err != nil {
				t.Fatal(err)
			}
		}
		alone.Release()
		if len(all.held) != 0 {
			t.Errorf("%d names are kept without users", len(all.held))
		}
	})
}
