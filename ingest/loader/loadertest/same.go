package loadertest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/privacy"
)

// Target is a warehouse that events are loaded into and people are deleted from.
type Target interface {
	loader.Warehouse
	privacy.Warehouse
}

// Same loads the same events into both, perLoad at a time, twice each: a second loader finds
// everything loaded. Then it calls calm and compares every table, column by column and row by row; the
// comparison with a shadow; places; and what a deletion leaves.
func Same(t *testing.T, want, got Target, events []string, perLoad int, calm func()) {
	t.Helper()
	for _, w := range []loader.Warehouse{got, want} {
		tp := NewTape(events, 10)
		Load(t, tp, w, perLoad)
		Load(t, tp, w, perLoad)
	}
	calm()
	tables := Everything(t, want)
	if len(tables) < 20 {
		t.Errorf("only %d tables", len(tables)/2)
	}
	if d := cmp.Diff(tables, Everything(t, got)); d != "" {
		t.Errorf("-want +got: %s", d)
	}
	if d := cmp.Diff(Shadow(t, want, events), Shadow(t, got, events)); d != "" {
		t.Errorf("the comparison with a shadow: -want +got: %s", d)
	}
	if d := cmp.Diff(Places(t, want), Places(t, got)); d != "" {
		t.Errorf("places: -want +got: %s", d)
	}
	if d := cmp.Diff(Forget(t, want), Forget(t, got)); d != "" {
		t.Errorf("the books after a deletion: -want +got: %s", d)
	}
	if d := cmp.Diff(Everything(t, want), Everything(t, got)); d != "" {
		t.Errorf("after a deletion: -want +got: %s", d)
	}
}
