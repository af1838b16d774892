package grumble

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

// TestATroubleIsNotAStorm: what goes on is logged once a minute, what changes and what ends at once.
func TestATroubleIsNotAStorm(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	lines := func() int { return strings.Count(out.String(), "\n") }
	const failed, goesOn = "loading failed", "loading goes on"
	g := Log{Every: time.Minute}
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	away := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.connection", Message: "the server cannot be reached", Hint: "check host and port"}
	g.Over(t.Context(), log, now, goesOn)
	if lines() != 0 {
		t.Errorf("an end without a trouble: %s", out.String())
	}
	for i := range 150 { // 2.5 minutes
		g.About(t.Context(), log, now.Add(time.Duration(i)*time.Second), failed, errors.Join(errors.New("beginning to load"), away), "attempt", i+1)
	}
	if lines() != 3 || !strings.Contains(out.String(), "check host and port") {
		t.Errorf("%d lines: %s", lines(), out.String())
	}
	g.About(t.Context(), log, now.Add(150*time.Second), failed, &tidegate.Fault{Code: "warehouse.permission"})
	if lines() != 4 {
		t.Errorf("another trouble is not told at once: %s", out.String())
	}
	g.Over(t.Context(), log, now.Add(160*time.Second), goesOn)
	g.Over(t.Context(), log, now.Add(161*time.Second), goesOn)
	if lines() != 5 || !strings.Contains(out.String(), "after=2m40s") {
		t.Errorf("its end is not told once: %s", out.String())
	}
	g = Log{} // says nothing while nothing changes
	for i := range 1000 {
		g.About(t.Context(), log, now.Add(time.Duration(i)*time.Minute), failed, away)
	}
	if lines() != 6 {
		t.Errorf("what goes on is logged again: %s", out.String())
	}
}
