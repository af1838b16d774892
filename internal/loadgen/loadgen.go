// Package loadgen sends tracking events to an ingest listener as fast as it
// takes them, or at a fixed rate, and remembers exactly which ones were
// acknowledged. It spends as little of the machine as it can, since it usually
// shares it with what it measures: bodies are encoded once and patched in
// place, connections are raw and kept alive, nothing is allocated per request.
//
// Invariants: an event counts as acknowledged only after the whole of a 200 was
// read. A messageId is used for one event only; with Options.Resend a request
// that was not acknowledged is sent again with the same ones, as SDKs do. In
// the open loop a request's latency counts from when it was due, not from when
// a connection was free, so that a stalled server is not flattered.
//
// It does not check what the server stored: Acked says what must be there.
// Run owns its goroutines and returns after all of them.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultTimeout = 30 * time.Second
	redialPause    = 50 * time.Millisecond
	redialLimit    = 200 // failed dials in a row after which a connection is given up
	longestPause   = time.Second
	maxConns       = 9999
)

// Options say what to send. Address, WriteKey and Now are required.
type Options struct {
	Address  string // host:port
	WriteKey string
	Conns    int    // connections, each with one request at a time; 1 when zero
	Batch    int    // events a request; 1 when zero, sent singly to /v1/t, more to /v1/batch
	Names    int    // how many different events there are, up to 4; 1 when zero
	Run      string // part of every messageId: up to 8 letters and digits that no other run uses

	// Duration, Events and the context end the run, whichever comes first. One must.
	Duration time.Duration
	Events   int64
	// Rate is events a second over all connections (open loop). Zero: as fast as answers come (closed loop).
	Rate float64
	// Resend repeats what was not acknowledged instead of going on with new events.
	Resend  bool
	Timeout time.Duration // of one request; 30 s when zero
	Now     func() time.Time
}

// Report says what came of a run.
type Report struct {
	Conns    int           `json:"conns"`
	Batch    int           `json:"batch"`
	Events   int64         `json:"events"`   // acknowledged
	Requests int64         `json:"requests"` // acknowledged
	Bytes    int64         `json:"bytes"`    // bodies acknowledged
	Refused  int64         `json:"refused"`  // requests answered with anything but 200
	Errors   int64         `json:"errors"`   // requests without an answer, and failed dials
	Elapsed  time.Duration `json:"elapsed_ns"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
	// LastError is the last of Errors, or the last refusal's status; nil without any.
	LastError error `json:"-"`
	// Acked holds the messageIds that were acknowledged.
	Acked *Acked `json:"-"`
}

// EventsPerSecond is the rate of acknowledged events.
func (r *Report) EventsPerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Events) / r.Elapsed.Seconds()
}

// Run sends until the options or ctx end it. The error is about the options;
// what went wrong on the wire is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.complete(ctx); err != nil {
		return nil, err
	}
	start := o.Now()
	if o.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Duration+o.Timeout) // connections stop by themselves; this ends a hung server's
		defer cancel()
	}
	workers := make([]*worker, o.Conns)
	var next atomic.Int64
	var group sync.WaitGroup
	for lane := range workers {
		w := newWorker(&o, lane, start, &next)
		workers[lane] = w
		group.Go(func() { w.run(ctx) })
	}
	group.Wait()
	return report(&o, workers, o.Now().Sub(start)), nil
}

func (o *Options) complete(ctx context.Context) error {
	if o.Conns == 0 {
		o.Conns = 1
	}
	if o.Batch == 0 {
		o.Batch = 1
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	switch {
	case o.Address == "" || o.WriteKey == "" || o.Now == nil:
		return errors.New("a load run needs Address, WriteKey and Now")
	case o.Conns < 0 || o.Conns > maxConns || o.Batch < 0 || o.Rate < 0:
		return fmt.Errorf("a load run with %d connections (at most %d), batches of %d and rate %v", o.Conns, maxConns, o.Batch, o.Rate)
	case len(o.Run) > runWidth:
		return fmt.Errorf("the name %q of a load run is longer than %d", o.Run, runWidth)
	case o.Duration == 0 && o.Events == 0 && ctx.Done() == nil:
		return errors.New("nothing ends the load run: give Duration, Events or a context")
	}
	return nil
}

func report(o *Options, workers []*worker, elapsed time.Duration) *Report {
	r := &Report{Conns: o.Conns, Batch: o.Batch, Elapsed: elapsed, Acked: &Acked{run: padRun(o.Run), batch: o.Batch}}
	var latencies histogram
	for _, w := range workers {
		r.Requests += w.acked
		r.Bytes += w.acked * int64(len(w.request)-w.head)
		r.Refused += w.refused
		r.Errors += w.errors
		if w.lastError != nil {
			r.LastError = w.lastError
		}
		r.Acked.lanes = append(r.Acked.lanes, w.ranges)
		latencies.merge(&w.latencies)
	}
	r.Events = r.Requests * int64(o.Batch)
	r.P50, r.P99, r.Max = latencies.quantile(0.50), latencies.quantile(0.99), latencies.max
	return r
}

// Discard is the baseline to measure a server beside: it reads the body and
// answers 200.
func Discard() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, "reading the body", http.StatusBadRequest)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = io.WriteString(w, `{"success":true}`)
	})
}
