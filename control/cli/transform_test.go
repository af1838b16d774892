package cli

import (
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/project"
)

// TestSourceOf: an event that names no source is one that the transformation does not pass over.
func TestSourceOf(t *testing.T) {
	t.Parallel()
	p := &project.Project{
		Sources:    []tidegate.Source{{Name: "app"}, {Name: "web"}},
		Transforms: []tidegate.Transform{{Name: "all"}, {Name: "some", Sources: []string{"web", "app"}}},
	}
	for transformation, want := range map[string]string{"all": "app", "some": "web", "none": "app"} {
		if got := sourceOf(p, transformation); got != want {
			t.Errorf("%s: %q, want %q", transformation, got, want)
		}
	}
	if got := sourceOf(&project.Project{}, "all"); got != "" {
		t.Errorf("without a source: %q", got)
	}
}
