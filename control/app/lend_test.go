package app

import (
	"context"
	"path/filepath"
	"testing"
)

// TestALentFileIsNamedFromAnywhere: `tidegate exec` may run in another folder than the server.
func TestALentFileIsNamedFromAnywhere(t *testing.T) {
	t.Parallel()
	want, err := filepath.Abs("data/warehouse.duckdb")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"data/warehouse.duckdb", want} {
		err := fromAnywhere(func(_ context.Context, got string) error {
			if got != want {
				t.Errorf("%s is called %s", path, got)
			}
			return nil
		})(t.Context(), path)
		if err != nil {
			t.Error(err)
		}
	}
}
