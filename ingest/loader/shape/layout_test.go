package shape

import (
	"testing"

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
