package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate"
)

// Requests that share buffers one after the other never mix: what was
// acknowledged is in the journal once, and nothing else is.
func TestConcurrentRequestsDoNotMix(t *testing.T) {
	t.Parallel()
	const workers, requests = 8, 150
	h := newHub(t, nil)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for n := range requests {
				event := fmt.Sprintf(`{"type":"page","userId":"u","messageId":"%d-%d","x":"%s"}`, w, n, strings.Repeat("x", (w*n)%700))
				body := `{"batch":[` + event + `,{"type":"bad"},` + strings.Replace(event, "-", "+", 1) + `]}`
				if n%3 == 0 {
					body = zip(body)
				}
				if n%5 == 0 { // a refused request leaves its traces in the buffers
					h.send("/v1/batch", body[:len(body)/2])
				}
				if got := h.send("/v1/batch", body); got.Code != http.StatusOK {
					t.Errorf("%d: %s", got.Code, got.Body)
				}
			}
		})
	}
	group.Wait()
	events, appends := h.journal.take()
	if appends != workers*requests {
		t.Errorf("%d appends, want %d", appends, workers*requests)
	}
	seen := map[string]int{}
	for _, ev := range events {
		seen[string(ev.Body)]++
	}
	for w := range workers {
		for n := range requests {
			for _, mark := range []string{"-", "+"} {
				event := fmt.Sprintf(`{"type":"page","userId":"u","messageId":"%d%s%d","x":"%s"}`, w, mark, n, strings.Repeat("x", (w*n)%700))
				if seen[event] != 1 {
					t.Fatalf("%s is there %d times", event[:40], seen[event])
				}
			}
		}
	}
	if len(seen) != 2*workers*requests+1 {
		t.Errorf("%d different events, want %d and the refused one", len(seen), 2*workers*requests)
	}
}

// slowReader is a journal that gives up on a request while it still reads its payload.
type slowReader struct {
	mu    sync.Mutex
	held  [][]byte // as given
	known [][]byte // as it was then
}

func (s *slowReader) Append(_ context.Context, payload []byte, _ int) (tidegate.Offset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.known = append(s.held, payload), append(s.known, bytes.Clone(payload))
	return tidegate.Offset{}, errors.New("gave up waiting")
}

// After a failed Append the payload is left alone: a group commit may write it yet.
func TestPayloadOfAFailedAppendIsNotReused(t *testing.T) {
	t.Parallel()
	journal := &slowReader{}
	h := newHub(t, func(o *Options) { o.Journal = journal })
	for n := range 20 {
		mustFind(t, h.send("/v1/track", fmt.Sprintf(`{"userId":"u%d","event":"E"}`, n)), 503)
	}
	for i := range journal.held {
		if !bytes.Equal(journal.held[i], journal.known[i]) {
			t.Errorf("payload %d was changed to %q from %q", i, journal.held[i], journal.known[i])
		}
	}
}
