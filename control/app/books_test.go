package app

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
)

// TestWaitingIsCountedByFrames: what waits at the start is told by frames, plain and packed,
// from any offset, also within a frame.
func TestWaitingIsCountedByFrames(t *testing.T) {
	t.Parallel()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(t.TempDir(), "journal"), Now: time.Now, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	var packer envelope.Packer
	var sources []string // of every event
	for i, frame := range []struct {
		source string
		events int
	}{{"web", 3}, {"app", 1}, {"web", 40}, {"", 2}} {
		e := envelope.Envelope{Source: frame.source, ReceivedAt: time.Unix(int64(i), 0)}
		for range frame.events {
			e.Events = append(e.Events, envelope.Event{Body: []byte(`{"type":"track","event":"` + strings.Repeat("E", 40*i) + `"}`)})
			sources = append(sources, frame.source)
		}
		if _, err := j.Append(t.Context(), packer.Pack(&e), frame.events); err != nil {
			t.Fatal(err)
		}
	}
	b := newBooks(j)
	for from := range len(sources) + 1 {
		want, got := map[string]int64{}, map[string]int64{}
		for _, s := range sources[from:] {
			want[s]++
		}
		if err := b.countWaiting(t.Context(), tidegate.Offset{Position: int64(from)}, got); err != nil || !maps.Equal(got, want) {
			t.Errorf("from %d: %v, %v; want %v", from, got, err, want)
		}
	}
}
