package destinationtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// fault is one way in which a call goes wrong and what a connector must make of it.
type fault struct {
	name   string
	inject intercept
	action tidegate.Action
	after  time.Duration // exact for a Throttle; -1: any that is positive
	silent bool          // no answer comes
}

func faults() []fault {
	return []fault{
		{"401", status(http.StatusUnauthorized), tidegate.Halt, 0, false},
		{"403", status(http.StatusForbidden), tidegate.Halt, 0, false},
		{"413", status(http.StatusRequestEntityTooLarge), tidegate.Reject, 0, false},
		{"429 without a time", status(http.StatusTooManyRequests), tidegate.Throttle, -1, false},
		{"429 with seconds", status(http.StatusTooManyRequests, "Retry-After", "7"), tidegate.Throttle, 7 * time.Second, false},
		{"429 with a date", status(http.StatusTooManyRequests, "Retry-After", now.Add(9*time.Second).Format(http.TimeFormat)), tidegate.Throttle, 9 * time.Second, false},
		{"500", status(http.StatusInternalServerError), tidegate.Retry, 0, false},
		{"502", status(http.StatusBadGateway), tidegate.Retry, 0, false},
		{"503", status(http.StatusServiceUnavailable), tidegate.Retry, 0, false},
		{"504", status(http.StatusGatewayTimeout), tidegate.Retry, 0, false},
		{"reset", reset, tidegate.Retry, 0, false},
		{"reset after apply", resetAfter, tidegate.Retry, 0, false},
		{"timeout after apply", silentAfter, tidegate.Retry, 0, true},
		{"truncated answer", truncate, tidegate.Retry, 0, false},
		{"HTML instead of JSON", page, tidegate.Retry, 0, false},
	}
}

// writes are the kinds of writes into which faults are injected; each starts
// with records 0 to n-1 in place. Inserts are not among them: to repeat one is a
// conflict.
func (s Sample) writes(n int) map[string]destinations.Batch {
	changed := s.records(0, n)
	for _, r := range changed {
		r[s.Values[tidegate.String]] = "changed"
	}
	return map[string]destinations.Batch{
		"upsert": s.batch(tidegate.Changed, tidegate.Upsert, 2, changed...),
		"update": s.batch(tidegate.Changed, tidegate.Update, 2, changed...),
		"remove": s.batch(tidegate.Removed, tidegate.Mirror, 2, s.records(0, n)...),
	}
}

// declares skips the test unless the object has the mode of a batch.
func (b *bench) declares(batch destinations.Batch) {
	b.t.Helper()
	if !slices.Contains(b.object(batch.Object).Modes, batch.Mode) {
		b.t.Skipf("the object has no mode %s", batch.Mode)
	}
}

// testFaults injects each fault at each request of each kind of write. After
// it, the same batch again must succeed and leave the state that it describes.
func testFaults(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	for name := range sample.writes(1) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range faults() {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					injectAtEach(t, s, sample, name, f)
				})
			}
		})
	}
}

func injectAtEach(t *testing.T, s Suite, sample Sample, write string, f fault) {
	t.Helper()
	const most = 8 // requests of one Write
	for at := range most {
		b := start(t, s)
		n := min(3, b.object(sample.Object).Limit.Records)
		b.mustDeliver(sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.records(0, n)...))
		batch := sample.writes(n)[write]
		b.declares(batch)
		before := b.sim.Records(sample.Object)
		b.proxy.arm(at, f.inject)
		if f.silent {
			b.client.Timeout = impatience
		}
		_, err := b.write(t.Context(), batch)
		b.client.Timeout = patience
		if _, fired, _ := b.proxy.tally(); fired == 0 {
			if at == 0 {
				t.Fatal("the write made no request")
			}
			return
		}
		if err == nil {
			t.Fatalf("request %d: no error", at)
		}
		got := faultOf(t, err)
		if got.Action != f.action || got.Code == "" || got.Action == tidegate.Halt && got.Hint == "" {
			t.Errorf("request %d: %s %q hint %q (%v), want %s", at, got.Action, got.Code, got.Hint, err, f.action)
		}
		if f.action == tidegate.Throttle && (f.after >= 0 && got.After != f.after || got.After <= 0) {
			t.Errorf("request %d: wait %s, want %s", at, got.After, f.after)
		}
		if f.action != tidegate.Retry { // the call was refused as a whole
			if diff := cmp.Diff(before, b.sim.Records(sample.Object)); diff != "" {
				t.Errorf("request %d: the call was refused and changed something:\n%s", at, diff)
			}
		}
		b.proxy.arm(-1, nil)
		b.mustDeliver(batch)
		for _, it := range batch.Items {
			if it.Op != tidegate.Removed {
				b.mustHold(sample, it.Record)
			} else if b.held(sample, it.Identifier) != nil {
				t.Errorf("%v is still there", it.Identifier)
			}
		}
		if want := len(batch.Items); write != "remove" && len(b.sim.Records(sample.Object)) != want {
			t.Errorf("%d records after the repeat, want %d", len(b.sim.Records(sample.Object)), want)
		}
	}
	t.Errorf("a write of %s makes more than %d requests", sample.Object, most)
}

// A cancelled call returns at once; one that does not listen ends too, but late.
const (
	atOnce = 2 * time.Second
	deaf   = 3 * time.Second
)

// testCancel cancels at each request: Write returns at once.
func testCancel(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	for name := range sample.writes(1) {
		for at := range 8 {
			b := start(t, s)
			if !slices.Contains(b.object(sample.Object).Modes, sample.writes(1)[name].Mode) {
				break
			}
			b.mustDeliver(sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.records(0, 1)...))
			ctx, cancel := context.WithCancel(t.Context())
			b.proxy.arm(at, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
				drain(r)
				cancel()
				<-r.Context().Done() // ends when the client hangs up
			})
			b.client.Timeout = deaf
			began := time.Now() //nolint:forbidigo // the test measures how long a call takes
			_, err := b.write(ctx, sample.writes(1)[name])
			cancel()
			if _, fired, _ := b.proxy.tally(); fired == 0 {
				if at == 0 {
					t.Errorf("%s: no request", name)
				}
				break
			}
			if took := time.Since(began); took > atOnce {
				t.Fatalf("%s, request %d: returned after %s", name, at, took)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s, request %d: %v, want the context's error", name, at, err)
			}
		}
	}
}

// testEcho has the API repeat the credentials of a call in its errors, as some
// do: no fault may pass them on.
func testEcho(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	for _, code := range []int{400, 401, 403, 409, 422, 429, 500} {
		b := start(t, s)
		b.proxy.arm(-1, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			drain(r)
			text := "refused: Bearer " + Canary + " and"
			for _, v := range r.Header {
				text += " " + v[0]
			}
			body, err := json.Marshal(map[string]any{"status": "error", "message": text, "error": text, "category": text, "errors": []string{text}})
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = w.Write(body)
		})
		if _, err := b.write(t.Context(), sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.Record(0))); err == nil {
			t.Errorf("%d: no error", code)
		}
	}
}

// testEmpty writes nothing: no call.
func testEmpty(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	b.proxy.arm(-1, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { _, _ = io.Copy(io.Discard, r.Body) })
	out, err := b.dest.Write(t.Context(), destinations.Batch{Object: sample.Object, Mode: tidegate.Upsert, IdentifierField: sample.Identifier})
	if n, _, _ := b.proxy.tally(); err != nil || len(out) != 0 || n != 0 {
		t.Errorf("%d outcomes, %v, %d calls", len(out), err, n)
	}
}
