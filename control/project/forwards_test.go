package project

import (
	"strings"
	"testing"
)

// TestAbsentMembersAreSought in the other places of the event, and a way to live without them is told.
func TestAbsentMembersAreSought(t *testing.T) {
	t.Parallel()
	cell := func(column string) any {
		return map[string]any{"context.traits.email": "a@b.example"}[column]
	}
	if hint := absentHint("email", cell); !strings.HasPrefix(hint, "this event has context.traits.email; ") || !strings.Contains(hint, "has(") || strings.Contains(hint, "a@b") {
		t.Error(hint)
	}
	if hint := absentHint("phone", cell); !strings.HasPrefix(hint, "read what only some events have") {
		t.Error(hint)
	}
}
