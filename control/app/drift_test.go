package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func TestDriftDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	check := func(every string) tidegate.Sync { return tidegate.Sync{Drift: tidegate.DriftCheck{Every: every}} }
	paused := check("1h")
	paused.Paused = true
	syncs := map[string]tidegate.Sync{"by_hand": check(""), "never": check("1h"), "recent": check("1h"), "long_ago": check("1h"), "just": check("1h"), "paused": paused, "broken": check("often")}
	looked := map[string]time.Time{"recent": now.Add(-59 * time.Minute), "just": now.Add(-time.Hour), "long_ago": now.Add(-30 * time.Hour)}
	if diff := cmp.Diff([]string{"just", "long_ago", "never"}, driftDue(syncs, looked, now)); diff != "" {
		t.Error(diff)
	}
}
