package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

// worker drives one connection. Its lane is the part of the messageIds that no
// other worker uses.
type worker struct {
	o     *Options
	lane  int
	start time.Time
	next  *atomic.Int64 // the number of the next request, of all workers

	request []byte // headers and body, patched in place
	head    int    // where the body begins
	ids     []int  // where in request the sequence numbers stand
	users   []int  // where in request the user numbers stand
	orders  []int  // where in request the numbers of orders stand

	conn     net.Conn
	unwatch  func() bool // ends the watch that closes conn when the run is cancelled
	answers  *bufio.Reader
	deadline time.Time // of conn, renewed seldom

	sequence  int64
	acked     int64
	refused   int64
	errors    int64
	lastError error
	ranges    []Range
	latencies histogram
}

func newWorker(o *Options, lane int, start time.Time, next *atomic.Int64) *worker {
	w := &worker{o: o, lane: lane, start: start, next: next, answers: bufio.NewReaderSize(nil, 4<<10)}
	w.encode()
	return w
}

// run sends request after request until the run ends or the server is gone.
func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	for {
		due, ok := w.turn(ctx)
		if !ok {
			return
		}
		w.patch()
		for {
			sent := due
			if sent.IsZero() {
				sent = w.o.Now()
			}
			pause, acked := w.exchange(ctx)
			if acked {
				w.latencies.add(w.o.Now().Sub(sent))
				w.note()
				break
			}
			if pause < 0 || w.over() || !wait(ctx, pause) {
				return
			}
			if !w.o.Resend {
				break
			}
		}
		w.sequence += int64(w.o.Batch)
	}
}

// over says whether the run's time is up.
func (w *worker) over() bool {
	return w.o.Duration > 0 && w.o.Now().Sub(w.start) >= w.o.Duration
}

// turn takes the next request; in the open loop it waits until it is due.
func (w *worker) turn(ctx context.Context) (due time.Time, ok bool) {
	if ctx.Err() != nil || w.over() {
		return time.Time{}, false
	}
	n := w.next.Add(1) - 1
	if w.o.Events > 0 && n*int64(w.o.Batch) >= w.o.Events {
		return time.Time{}, false
	}
	if w.o.Rate == 0 {
		return time.Time{}, true
	}
	due = w.start.Add(time.Duration(float64(n) * float64(w.o.Batch) / w.o.Rate * float64(time.Second)))
	if w.o.Duration > 0 && due.Sub(w.start) >= w.o.Duration {
		return time.Time{}, false
	}
	return due, wait(ctx, due.Sub(w.o.Now()))
}

// wait pauses for d; false means that ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// exchange sends the request once and reads its answer. Without an
// acknowledgement it says how long to pause, negative when to give up.
func (w *worker) exchange(ctx context.Context) (pause time.Duration, acked bool) {
	if w.conn == nil {
		if err := w.dial(ctx); err != nil {
			if ctx.Err() == nil {
				w.errors, w.lastError = w.errors+1, err
			}
			return -1, false
		}
	}
	answer, err := w.roundTrip()
	if err != nil || answer.close {
		w.hangUp()
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			w.errors, w.lastError = w.errors+1, err
		}
		return redialPause, false
	case answer.status != 200:
		w.refused, w.lastError = w.refused+1, fmt.Errorf("status %d", answer.status)
		return min(answer.retryAfter, longestPause), false
	}
	return 0, true
}

// dial connects, with patience for a server that restarts.
func (w *worker) dial(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		conn, err := (&net.Dialer{Timeout: w.o.Timeout}).DialContext(ctx, "tcp", w.o.Address)
		if err == nil {
			w.conn, w.deadline = conn, time.Time{}
			w.unwatch = context.AfterFunc(ctx, func() { _ = conn.Close() }) // breaks a round trip off
			w.answers.Reset(conn)
			return nil
		}
		if attempt == redialLimit || w.over() || !wait(ctx, redialPause) {
			return fmt.Errorf("connecting for the %dth time in a row: %w", attempt, err)
		}
	}
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.unwatch()
		_ = w.conn.Close() // what it carried was read or is lost already
		w.conn = nil
	}
}

// roundTrip sends the request and reads its answer.
func (w *worker) roundTrip() (answer, error) {
	now := w.o.Now()
	if w.deadline.Sub(now) < w.o.Timeout {
		w.deadline = now.Add(2 * w.o.Timeout) // a request has between one and two timeouts; setting it each time costs more
		if err := w.conn.SetDeadline(w.deadline); err != nil {
			return answer{}, fmt.Errorf("setting the deadline: %w", err)
		}
	}
	if _, err := w.conn.Write(w.request); err != nil {
		return answer{}, fmt.Errorf("sending: %w", err)
	}
	return readAnswer(w.answers)
}

// note adds the events of the acknowledged request to the ranges.
func (w *worker) note() {
	w.acked++
	from, to := w.sequence, w.sequence+int64(w.o.Batch)
	if last := len(w.ranges) - 1; last >= 0 && w.ranges[last].To == from {
		w.ranges[last].To = to
		return
	}
	w.ranges = append(w.ranges, Range{From: from, To: to})
}

// answer is what is read of a response.
type answer struct {
	status     int
	retryAfter time.Duration
	close      bool
}

const maxHeaderLines = 64

// readAnswer reads one response whose length is announced.
func readAnswer(r *bufio.Reader) (answer, error) {
	var a answer
	length := -1
	for line := range maxHeaderLines {
		text, err := r.ReadSlice('\n')
		if err != nil {
			return a, fmt.Errorf("reading the answer: %w", err)
		}
		text = bytes.TrimRight(text, "\r\n")
		if line == 0 {
			if len(text) < 12 || !bytes.HasPrefix(text, []byte("HTTP/1.")) {
				return a, fmt.Errorf("the answer begins with %q", text)
			}
			if a.status, err = strconv.Atoi(string(text[9:12])); err != nil {
				return a, fmt.Errorf("reading the status: %w", err)
			}
			continue
		}
		if len(text) == 0 {
			if length < 0 {
				return a, fmt.Errorf("the answer %d announces no length", a.status)
			}
			if _, err := r.Discard(length); err != nil {
				return a, fmt.Errorf("reading the answer's body: %w", err)
			}
			return a, nil
		}
		name, value, _ := bytes.Cut(text, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return a, fmt.Errorf("the answer's length is %q", value)
			}
		case bytes.EqualFold(name, []byte("retry-after")):
			if seconds, err := strconv.Atoi(string(value)); err == nil {
				a.retryAfter = time.Duration(seconds) * time.Second
			}
		case bytes.EqualFold(name, []byte("connection")):
			a.close = bytes.EqualFold(value, []byte("close"))
		}
	}
	return a, fmt.Errorf("the answer has more than %d headers: %w", maxHeaderLines, io.ErrUnexpectedEOF)
}
