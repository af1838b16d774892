//go:build go1.25

// A module of an old go version keeps the old timers, which a bubble cannot hold.
//go:debug asynctimerchan=0

package analytics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// step is how a script answers one request.
type step struct {
	status  int
	headers http.Header
	hang    bool // until the request's context ends
}

// script is a transport that remembers when it was asked, on the bubble's clock.
type script struct {
	began time.Time

	mu    sync.Mutex
	steps []step
	at    []time.Duration // since the script began
	body  []string
}

// set puts other steps in the place of those that are left.
func (s *script) set(steps ...step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = steps
}

// times waits until all are waiting and returns when requests came.
func (s *script) times() []time.Duration {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at)
}

func (s *script) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.body)
}

func (s *script) note(text []byte) step {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Since(s.began))
	s.body = append(s.body, string(text))
	if len(s.steps) == 0 {
		return step{status: 200}
	}
	now := s.steps[0]
	s.steps = s.steps[1:]
	return now
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	now := s.note(text)
	if now.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if now.headers == nil {
		now.headers = http.Header{}
	}
	return &http.Response{StatusCode: now.status, Header: now.headers, Body: http.NoBody, Request: r}, nil
}

func repeat(n int, s step) []step {
	list := make([]step, n)
	for i := range list {
		list[i] = s
	}
	return list
}

// bubble runs the test on a clock of its own that jumps when all are waiting.
func bubble(t *testing.T, steps []step, change func(*Config), test func(t *testing.T, c *Client, s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: steps, began: time.Now()}
		c := newClient(t, "http://hub.test", func(cfg *Config) {
			cfg.Transport, cfg.Backoff, cfg.DisableCompression = s, nil, true
			if change != nil {
				change(cfg)
			}
		})
		test(t, c, s)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		_ = c.Close(over) // of a test that left it open
	})
}

func TestIntervalCountsFromTheFirstMessage(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(c *Config) { c.Interval = 5 * time.Second }, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 1)
		time.Sleep(4 * time.Second)
		enqueue(t, c, 1, 2)
		time.Sleep(10 * time.Second)
		enqueue(t, c, 2, 3)
		time.Sleep(6 * time.Second)
		if len(s.times()) != 2 || s.times()[0] != 5*time.Second || s.times()[1] != 19*time.Second {
			t.Errorf("requests left at %v, want 5s and 19s", s.times())
		}
		if n := strings.Count(s.bodies()[0], `"messageId"`); n != 2 {
			t.Errorf("the first request has %d messages, want 2", n)
		}
	})
}

func TestFullBatchLeavesAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(c *Config) { c.BatchSize = 10 }, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 25)
		if len(s.times()) != 2 || s.times()[1] != 0 {
			t.Errorf("requests left at %v, want two at once", s.times())
		}
		time.Sleep(2 * time.Hour) // Interval is one
		if len(s.times()) != 3 || s.times()[2] != time.Hour {
			t.Errorf("requests left at %v, the last one after an hour", s.times())
		}
	})
}

func TestBytesMakeABatchLeave(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(c *Config) { c.BatchBytes = 3000 }, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 40)
		if len(s.times()) == 0 || s.times()[0] != 0 {
			t.Errorf("requests left at %v", s.times())
		}
	})
}

func TestBackoffDoublesAndIsRandom(t *testing.T) {
	t.Parallel()
	bubble(t, repeat(14, step{status: 503}), nil, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 1)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		uneven := 0
		for i := range 14 {
			wait := s.times()[i+1] - s.times()[i]
			full := min(100*time.Millisecond<<i, 30*time.Second)
			if wait < full/2 || wait > full {
				t.Errorf("wait %d is %v, want %v to %v", i, wait, full/2, full)
			}
			if wait%time.Millisecond != 0 {
				uneven++
			}
		}
		if uneven == 0 {
			t.Error("the waits are not random")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		status     int
		header     func(now time.Time) string
		atLeast    time.Duration
		notBeyond  time.Duration
		knownSteps int
	}{
		{"seconds", 429, func(time.Time) string { return "7" }, 7 * time.Second, 7700 * time.Millisecond, 1},
		{"seconds with 503", 503, func(time.Time) string { return "20" }, 20 * time.Second, 21 * time.Second, 1},
		{"a date", 429, func(now time.Time) string { return now.Add(90 * time.Second).UTC().Format(http.TimeFormat) }, 89 * time.Second, 91 * time.Second, 1},
		{"a date that is over", 429, func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0, 100 * time.Millisecond, 1},
		{"a week", 429, func(time.Time) string { return "604800" }, maxRetryAfter, maxRetryAfter + time.Second, 1},
		{"nonsense", 429, func(time.Time) string { return "soon" }, 50 * time.Millisecond, 100 * time.Millisecond, 1},
		{"beyond all numbers", 429, func(time.Time) string { return "99999999999999999999" }, 50 * time.Millisecond, 100 * time.Millisecond, 1},
		{"negative", 429, func(time.Time) string { return "-5" }, 50 * time.Millisecond, 100 * time.Millisecond, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, nil, func(t *testing.T, client *Client, s *script) {
				s.set(step{status: c.status, headers: http.Header{"Retry-After": {c.header(time.Now())}}})
				enqueue(t, client, 0, 1)
				if err := client.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := s.times()[1]; got < c.atLeast || got > c.notBeyond {
					t.Errorf("the second attempt came after %v, want %v to %v", got, c.atLeast, c.notBeyond)
				}
			})
		})
	}
}

// The server corrects the client's clock by sentAt, so each attempt has its own;
// the messages are the same to the byte.
func TestRetriesDifferInSentAtOnly(t *testing.T) {
	t.Parallel()
	bubble(t, repeat(2, step{status: 500}), nil, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 3)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, sentFirst, _ := strings.Cut(s.bodies()[0], `"sentAt"`)
		last, sentLast, _ := strings.Cut(s.bodies()[2], `"sentAt"`)
		if first != last || sentFirst == sentLast {
			t.Errorf("attempts are\n%s\n%s", s.bodies()[0], s.bodies()[2])
		}
	})
}

func TestAttemptTimeout(t *testing.T) {
	t.Parallel()
	bubble(t, []step{{hang: true}}, func(c *Config) { c.AttemptTimeout = 3 * time.Second }, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 1)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.times()[1]; got < 3*time.Second || got > 3100*time.Millisecond {
			t.Errorf("the second attempt came after %v", got)
		}
	})
}

// Messages are given up by their own age, the older ones first, and only after an
// attempt.
func TestGivingUpByAge(t *testing.T) {
	t.Parallel()
	heard := &outcomes{}
	bubble(t, repeat(10_000, step{status: 500}), func(c *Config) { c.GiveUpAfter, c.Callback, c.BatchSize = time.Minute, heard, 2 }, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 1)
		time.Sleep(50 * time.Second)
		enqueue(t, c, 1, 2) // the two leave together
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if len(heard.lost()) != 1 || heard.lost()[0].(Track).MessageId != "m-0" || !errors.Is(heard.reasons()[0], ErrGivenUp) {
			t.Fatalf("after 95 s lost %v because %v", heard.lost(), heard.reasons())
		}
		var server *ServerError
		if !errors.As(heard.reasons()[0], &server) || server.Status != 500 {
			t.Errorf("the reason does not tell of the last attempt: %v", heard.reasons()[0])
		}
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if len(heard.lost()) != 2 {
			t.Fatalf("after 145 s lost %v", heard.lost())
		}
		s.set()
		enqueue(t, c, 2, 4)
		synctest.Wait()
		if len(heard.arrived()) != 2 {
			t.Errorf("what came later succeeded %d times", len(heard.arrived()))
		}
		mustBalance(t, c)
	})
}

// Close does not sit out a long wait, but tries at once; what the server asked
// for counts on.
func TestCloseHurries(t *testing.T) {
	t.Parallel()
	bubble(t, repeat(10_000, step{status: 503}), nil, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 1)
		go func() { _ = c.Flush(context.Background()) }()
		time.Sleep(5 * time.Minute) // waits are 15 to 30 s now
		tried := len(s.times())
		s.set()
		began := time.Now()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 0 || len(s.times()) != tried+1 {
			t.Errorf("Close took %v and %d attempts", took, len(s.times())-tried)
		}
	})
	bubble(t, []step{{status: 429, headers: http.Header{"Retry-After": {"60"}}}}, nil, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || len(s.times()) != 1 {
			t.Errorf("Close ended with %v after %d attempts", err, len(s.times()))
		}
	})
}

// A clock that is set back does not hold messages for longer than Interval.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	var back atomic.Int64
	bubble(t, nil, func(c *Config) {
		c.Interval = 5 * time.Second
		c.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
	}, func(t *testing.T, c *Client, s *script) {
		enqueue(t, c, 0, 1)
		synctest.Wait()
		back.Store(int64(24 * time.Hour))
		time.Sleep(11 * time.Second)
		if len(s.times()) != 1 {
			t.Errorf("requests left at %v", s.times())
		}
	})
}
