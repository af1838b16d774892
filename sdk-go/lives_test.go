package analytics

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// fickle is a transport to a server that remembers, over a network that does
// what it likes. It cancels stop at the request that its number names.
type fickle struct {
	mu     sync.Mutex
	rng    *rand.Rand
	rate   float64
	order  []string       // message ids as they were first kept
	kept   map[string]int // how often each was kept
	refuse map[string]bool
	count  int
	stopAt int
	stop   context.CancelFunc
}

func (f *fickle) RoundTrip(r *http.Request) (*http.Response, error) {
	ids, err := idsOf(r)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; f.count == f.stopAt && f.stop != nil {
		f.stop()
	}
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(body))), Request: r}, nil
	}
	fault := 0
	if f.rng.Float64() < f.rate {
		fault = 1 + f.rng.IntN(5)
	}
	switch fault {
	case 1:
		return nil, errors.New("connection refused")
	case 2:
		return answer(http.StatusServiceUnavailable, "")
	case 3:
		if len(ids) > 1 {
			return answer(http.StatusRequestEntityTooLarge, "")
		}
	}
	refusals := ""
	for i, id := range ids {
		if f.refuse[id] {
			refusals += fmt.Sprintf(`,{"index":%d,"code":"event.blocked","message":"no"}`, i)
			continue
		}
		if f.kept[id]++; f.kept[id] == 1 {
			f.order = append(f.order, id)
		}
	}
	switch fault {
	case 4:
		return nil, errors.New("connection reset")
	case 5:
		return answer(http.StatusInternalServerError, "")
	}
	return answer(http.StatusOK, `{"success":true,"errors":[`+string(bytes.TrimPrefix([]byte(refusals), []byte(",")))+`]}`)
}

func idsOf(r *http.Request) ([]string, error) {
	defer r.Body.Close()
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	var body struct {
		Batch []struct {
			MessageID string `json:"messageId"`
		} `json:"batch"`
	}
	if err := json.NewDecoder(z).Decode(&body); err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range body.Batch {
		ids = append(ids, e.MessageID)
	}
	return ids, nil
}

// TestLives runs whole lives of programs, with random messages, faults and ends:
// what was accepted is at the server once and in order, or was told to be lost;
// nothing is told twice, and nothing is told both ways.
func TestLives(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 15
	}
	if os.Getenv("TIDEGATE_LONG") != "" {
		seeds = 1500
	}
	for seed := range seeds {
		for _, spooled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/spool=%v", seed, spooled), func(t *testing.T) {
				t.Parallel()
				live(t, rand.New(rand.NewPCG(seed, 11)), spooled)
			})
		}
	}
}

func live(t *testing.T, rng *rand.Rand, spooled bool) {
	t.Helper()
	server := &fickle{rng: rand.New(rand.NewPCG(rng.Uint64(), 1)), rate: 0.5 * rng.Float64(), kept: map[string]int{}, refuse: map[string]bool{}}
	heard := &outcomes{}
	config := func(c *Config) {
		c.Transport, c.Callback, c.BatchSize, c.MaxMessageBytes = server, heard, 1+rng.IntN(20), 500
		c.Backoff = func(int) time.Duration { return 0 }
		if spooled {
			c.SpoolDir, c.SpoolBytes = filepath.Join(t.TempDir(), "spool"), 1<<20
		}
	}
	dir := ""
	var accepted []string
	lives := 1 + rng.IntN(4)
	for life := range lives {
		c := newClient(t, "http://hub.test", func(c *Config) {
			config(c)
			if dir == "" {
				dir = c.SpoolDir
			}
			c.SpoolDir = dir
		})
		ctx, cancel := context.WithCancel(soon(t))
		server.endAt(rng.IntN(20), cancel, life < lives-1)
		for range rng.IntN(60) {
			id := fmt.Sprintf("m-%d", len(accepted))
			if rng.IntN(30) == 0 {
				server.refuseID(id)
			}
			if err := c.Enqueue(Track{UserId: "u", Event: "E", MessageId: id}); err != nil {
				t.Fatal(err)
			}
			accepted = append(accepted, id)
			if rng.IntN(40) == 0 {
				_ = c.Flush(ctx) // its error is that of ctx, or tells of refusals that the callback hears too
			}
		}
		err := c.Close(ctx)
		cancel()
		if s := mustBalance(t, c); !spooled && s.Queued != 0 || life == lives-1 && s.Queued != 0 {
			t.Errorf("life %d ended with %+v: %v", life, s, err)
		}
	}
	server.judge(t, accepted, heard, spooled)
}

func (f *fickle) endAt(n int, stop context.CancelFunc, early bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopAt, f.stop = f.count+1+n, nil
	if early {
		f.stop = stop
	}
}

func (f *fickle) refuseID(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse[id] = true
}

func (f *fickle) judge(t *testing.T, accepted []string, heard *outcomes, spooled bool) {
	t.Helper()
	told := map[string]string{}
	tell := func(m Message, how string) {
		id := m.(Track).MessageId
		if before := told[id]; before != "" {
			t.Errorf("%s was told as %s and as %s", id, before, how)
		}
		told[id] = how
	}
	for _, m := range heard.succeeded {
		tell(m, "delivered")
	}
	for i, m := range heard.failed {
		how := "refused"
		if errors.Is(heard.errs[i], ErrClosed) {
			how = "closed"
		}
		tell(m, how)
	}
	for _, id := range accepted {
		switch how := told[id]; {
		case how == "":
			t.Errorf("%s was accepted and nothing was told of it", id)
		case how == "delivered" && f.kept[id] == 0:
			t.Errorf("%s was told as delivered, and the server never had it", id)
		case (how == "refused") != f.refuse[id] && how != "closed":
			t.Errorf("%s was told as %s", id, how)
		case how == "closed" && spooled:
			t.Errorf("%s was lost though there is a spool", id)
		}
	}
	last := -1
	for _, id := range f.order {
		var n int
		if _, err := fmt.Sscanf(id, "m-%d", &n); err != nil || n <= last {
			t.Fatalf("%s came after m-%d: %v", id, last, err)
		}
		last = n
	}
}
