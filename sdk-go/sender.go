package analytics

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The sender's states; one goroutine goes through them (run):
//
//	          batch full, Interval over, Flush, Close
//	┌────────┐ ──────────────────────────────────► ┌─────────┐ 2xx, final refusal  ┌─────────┐
//	│ wait   │                                     │ attempt │ ──────────────────► │ settle  │
//	└────────┘ ◄──────────────────┐                └─────────┘                     └─────────┘
//	     ▲                        │ Close's time     │     ▲                            │
//	     │                        │ is over          ▼     │ the wait is over           │
//	     │                        │               ┌─────────┐                          │
//	     │                        └────────────── │ back off│                          │
//	     │                                        └─────────┘                          │
//	     └─────────────────────────────────────────────────────────────────────────────┘
//
// 413 goes from attempt to attempt with half the batch; the other half is still
// in the queue and comes next.

// sender is what the sending goroutine alone uses.
type sender struct {
	batch    batch
	payload  payload
	maxBytes int  // of a batch's events; shrinks when the server finds a body too large
	plain    bool // without compression
	failing  bool // an outage has been logged

	unreadable int // failures in a row to read the spool
}

// run delivers until the client is closed and the queue is empty, or ctx ends.
func (c *Client) run(ctx context.Context) {
	defer close(c.stopped)
	for c.await(ctx) {
		c.deliver(ctx)
	}
}

// await returns true when there is a batch to send, and false when there will be
// none any more.
func (c *Client) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		c.mu.Lock()
		held, oldest := c.queue.held()
		closed := c.closed
		wait, now := c.due(held, oldest)
		c.waiting = !now
		c.mu.Unlock()
		switch {
		case now:
			return true
		case closed:
			return false
		}
		if c.pause(ctx, wait) {
			return true // by the time that passed, whatever the clock says
		}
	}
	return false
}

// due says whether there is reason to send now, and if not how long until there
// may be; negative means only a new message is one.
func (c *Client) due(held size, oldest int64) (wait time.Duration, now bool) {
	switch {
	case held.events == 0:
		return -1, false
	case c.closed || c.settled < c.urgent || c.full(held):
		return 0, true
	}
	wait = min(c.cfg.Interval-c.age(oldest), c.cfg.Interval)
	return wait, wait <= 0
}

// pause waits for d, for the wake signal, or for the end of ctx, and says whether
// d is over.
func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	var over <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return true
	case <-c.wake:
	case <-ctx.Done():
	}
	return false
}

// deliver takes one batch from the queue and tries until every message of it has
// an outcome or ctx ends.
func (c *Client) deliver(ctx context.Context) {
	s := &c.sender
	b := &s.batch
	lost, err := c.queue.next(b, c.cfg.BatchSize, s.maxBytes)
	if lost > 0 {
		c.cfg.Logger.Error("a spool file was changed by someone else", "messages", lost)
		c.tally(0, lost, errSpoolChanged)
	}
	if err != nil {
		c.cfg.Logger.Error("cannot read the spool, will try again", "error", err)
		c.backOff(ctx, s.unreadable, 0)
		s.unreadable++
		return
	}
	s.unreadable = 0
	failures := 0
	for attempt := 0; b.len() > 0; attempt++ {
		a := c.attempt(ctx, b, attempt)
		if ctx.Err() != nil && a.verdict == failed {
			return // what the server made of it is unknown; the messages stay queued
		}
		switch a.verdict {
		case accepted:
			c.recovered(failures)
			c.settle(b, b.len(), nil, a.refused)
			return
		case refused:
			c.settle(b, b.len(), a.err, a.refused)
			return
		case tooLarge:
			c.halve(b, a.err)
		case uncompressed:
			s.plain = true
		case failed:
			c.expire(b, a.err)
			c.failing(b, a.err)
			if b.len() == 0 {
				return
			}
			if c.backOff(ctx, failures, a.after) {
				failures = 0
			} else {
				failures++
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// halve keeps half of a batch that the server finds too large, and remembers the
// size; a single message that is too large is lost.
func (c *Client) halve(b *batch, err error) {
	if b.len() == 1 {
		c.settle(b, 1, err, nil)
		return
	}
	c.sender.maxBytes = max(len(b.events)/2, c.cfg.MaxMessageBytes)
	b.keep(b.len() / 2)
}

// expire gives up the messages that have grown too old; they are the first ones.
func (c *Client) expire(b *batch, err error) {
	n := 0
	for n < b.len() && c.age(b.times[n]) > c.cfg.GiveUpAfter {
		n++
	}
	if n > 0 {
		c.settle(b, n, fmt.Errorf("%w after %v: %w", ErrGivenUp, c.cfg.GiveUpAfter, err), nil)
	}
}

// failing logs the beginning of an outage, once.
func (c *Client) failing(b *batch, err error) {
	if c.sender.failing || b.len() == 0 {
		return
	}
	c.sender.failing = true
	c.cfg.Logger.Warn("delivery fails, will be tried again", "error", err, "messages", b.len())
}

func (c *Client) recovered(failures int) {
	if c.sender.failing {
		c.sender.failing = false
		c.cfg.Logger.Info("delivery works again", "failures", failures)
	}
}

// backOff waits before the next attempt. It returns true when Close began
// meanwhile: what waits then is tried at once, and from the shortest wait again.
func (c *Client) backOff(ctx context.Context, failures int, after time.Duration) (closing bool) {
	wait := c.backoff(failures)
	hurry := c.closing
	if after > 0 {
		// Not sooner than the server said, and not all clients in the same moment.
		wait = max(wait, after+time.Duration(c.entropy.fraction()*float64(min(after/10, time.Second))))
		hurry = nil
	}
	select {
	case <-c.closing:
		hurry = nil // it began before; the waits are already short
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-hurry:
		return true
	}
	return false
}

// The default backoff.
const (
	backoffBase = 100 * time.Millisecond
	backoffCap  = 30 * time.Second
)

func (c *Client) backoff(failures int) time.Duration {
	if c.cfg.Backoff != nil {
		return max(c.cfg.Backoff(failures), 0)
	}
	full := backoffCap
	if failures < 16 {
		full = min(backoffBase<<failures, backoffCap)
	}
	return full/2 + time.Duration(c.entropy.fraction()*float64(full/2))
}

// settle forgets the first n messages of the batch and tells what became of
// them: err for all, nil for success, and the refusals of single ones. The queue forgets
// first, so that no message is both acknowledged and kept.
func (c *Client) settle(b *batch, n int, err error, refusals map[int]error) {
	if queueErr := c.queue.done(n); queueErr != nil {
		c.cfg.Logger.Error("cannot note in the spool what was settled: it may be sent again after a restart", "error", queueErr)
	}
	lost := 0
	last := err
	for i := range n {
		outcome := err
		if own := refusals[i]; own != nil {
			outcome = own
		}
		if outcome != nil {
			lost++
			last = outcome
		}
		if c.cfg.Callback != nil {
			c.tell(b.event(i), outcome)
		}
	}
	if lost > 0 && !errors.Is(err, ErrClosed) {
		c.cfg.Logger.Error("messages were not delivered", "messages", lost, "error", last)
	}
	b.drop(n)
	c.tally(n-lost, lost, last)
}

// tally counts outcomes and wakes who waits for them.
func (c *Client) tally(delivered, lost int, last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Delivered += uint64(delivered)
	c.stats.Failed += uint64(lost)
	if lost > 0 {
		c.lastLoss = last
	}
	c.settled += uint64(delivered + lost)
	close(c.progress)
	c.progress = make(chan struct{})
}

func (c *Client) tell(text []byte, outcome error) {
	msg, err := decodeMessage(text)
	switch {
	case err != nil:
		c.cfg.Logger.Error("cannot tell the callback of a message", "error", err)
	case outcome == nil:
		c.cfg.Callback.Success(msg)
	default:
		c.cfg.Callback.Failure(msg, outcome)
	}
}
