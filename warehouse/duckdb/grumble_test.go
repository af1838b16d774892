package duckdb

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

// TestFailingAgainAndAgainIsLoggedOnceAMinute: on a full disk the engine fails with every load.
func TestFailingAgainAndAgainIsLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var log bytes.Buffer // slog writes under a lock of its own
	w, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	fail := func(times int) {
		for range times {
			if _, err := w.enter(); err != nil {
				t.Fatal(err)
			}
			w.leave(&tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.broken", Message: "no space left on device"})
			<-w.Recovered()
		}
	}
	fail(3)
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	fail(2)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "the warehouse engine failed"); n != 2 {
		t.Errorf("five failures in two minutes were logged %d times:\n%s", n, log.String())
	}
}
