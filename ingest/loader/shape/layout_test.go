package shape

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

// TestCardinality: engines are told of vocabularies and of ids only, in both spellings of
// a context's columns.
func TestCardinality(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]tidegate.Cardinality{
		"id": tidegate.UniqueValues, OffsetColumn: tidegate.UniqueValues,
		"event": tidegate.FewValues, "context_library_name": tidegate.FewValues, "library_name": tidegate.FewValues, LoadIDColumn: tidegate.FewValues,
		"user_id": tidegate.UnknownCardinality, "context_page_url": tidegate.UnknownCardinality, "context_traits_email": tidegate.UnknownCardinality,
		"order_id": tidegate.UnknownCardinality, "context_ip": tidegate.UnknownCardinality,
	} {
		if got := column(name, tidegate.String).Cardinality; got != want {
			t.Errorf("%s: cardinality %d, want %d", name, got, want)
		}
		if got := column(name, tidegate.Int).Cardinality; got != tidegate.UnknownCardinality {
			t.Errorf("%s as a number: cardinality %d; only texts have one", name, got)
		}
	}
}

// TestWithCardinality: a described table gets what its maker was told, and keeps the rest.
func TestWithCardinality(t *testing.T) {
	t.Parallel()
	for _, made := range []tidegate.Schema{layoutOf(TracksTable, RudderStack).columns, layoutOf(TracksTable, Native).columns, layoutOf(UsersTable, RudderStack).columns} {
		made = slices.DeleteFunc(made, func(c tidegate.Column) bool { return c.Name == "" })
		described := make(tidegate.Schema, len(made))
		for i, c := range made {
			described[i] = tidegate.Column{Name: c.Name, Type: c.Type}
		}
		if d := cmp.Diff(made, WithCardinality(described)); d != "" {
			t.Errorf("(-made +described):\n%s", d)
		}
	}
}
