package analytics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Client accepts messages and delivers them in the background. Make one with
// New and end it with Close.
type Client struct {
	cfg     Config
	queue   queue
	entropy *entropy
	scratch sync.Pool // *[]byte
	http    *http.Client
	owned   *http.Transport // what http sends through, when the client made it

	sender  sender
	wake    chan struct{} // holds one token when the sender should look again
	closing chan struct{} // closed when Close begins
	stopped chan struct{} // closed when the sender has ended
	cancel  context.CancelFunc

	mu       sync.Mutex
	closed   bool
	waiting  bool   // the sender waits for more to do
	urgent   uint64 // messages up to this number leave without waiting for others
	settled  uint64 // messages up to this number have an outcome
	progress chan struct{}
	stats    Stats
	lastLoss error
}

// Stats are counts since New. At any time
// Accepted + Recovered = Delivered + Failed + Queued.
type Stats struct {
	Accepted    uint64 // Enqueue returned nil
	Recovered   uint64 // found in the spool by New
	Delivered   uint64 // acknowledged by the server
	Failed      uint64 // lost; Callback.Failure heard of each
	Queued      uint64 // neither yet
	QueuedBytes int64
	QueueFull   uint64 // refused by Enqueue with ErrQueueFull
	Requests    uint64 // attempts, the failed ones too
	Retries     uint64 // attempts that repeat one before
}

// New returns a client that has started to work; what a spool kept from an
// earlier process leaves first.
func New(config Config) (*Client, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	cfg := config.withDefaults()
	shared, err := sharedContext(&cfg)
	if err != nil {
		return nil, err
	}
	random, err := newEntropy()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, entropy: random, http: &http.Client{Transport: cfg.Transport, CheckRedirect: redirect},
		wake: make(chan struct{}, 1), closing: make(chan struct{}), stopped: make(chan struct{}), progress: make(chan struct{}),
	}
	c.scratch.New = func() any { b := make([]byte, 0, 1024); return &b }
	if cfg.Transport == nil {
		c.http.Transport, c.owned = ownTransport()
	}
	if cfg.SpoolDir == "" {
		c.queue = newMemoryQueue(cfg.QueueBytes, shared)
	} else if c.queue, err = openSpool(&cfg, shared); err != nil {
		return nil, err
	}
	found, _ := c.queue.held()
	c.stats.Recovered, c.urgent = uint64(found.events), uint64(found.events)
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.sender = sender{maxBytes: cfg.BatchBytes - envelopeBytes - len(shared), plain: cfg.DisableCompression}
	go c.run(ctx)
	return c, nil
}

// sharedContext is the context that batches carry: the default one with the
// library in it.
func sharedContext(cfg *Config) ([]byte, error) {
	var shared Context
	if cfg.DefaultContext != nil {
		shared = *cfg.DefaultContext
	}
	shared.Library = LibraryInfo{Name: libraryName, Version: Version}
	text, err := appendContext(nil, &shared)
	if err != nil {
		return nil, ConfigError{err.Error(), "DefaultContext", "…"}
	}
	if len(text) > cfg.BatchBytes/2 {
		return nil, ConfigError{"takes more than half of BatchBytes", "DefaultContext", "…"}
	}
	return text, nil
}

func ownTransport() (http.RoundTripper, *http.Transport) {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport, nil // someone replaced it, and means it
	}
	own := standard.Clone()
	return own, own
}

// Enqueue accepts a message or says why not: a FieldError, ErrMessageTooBig,
// ErrQueueFull, ErrClosed, or an error of the spool's disk. It does not wait for
// the network. When it returns nil the message is in the queue, or with a spool
// on disk, and its outcome will be told to Callback.
func (c *Client) Enqueue(msg Message) error {
	var e event
	if !e.set(msg) {
		return FieldError{Type: "analytics.Message", Name: "nil", Reason: "there is no message"}
	}
	return c.enqueue(&e)
}

// EnqueueContext is Enqueue with what ctx knows (WithIdentity, Middleware) for
// the fields that the message leaves empty: UserId, AnonymousId and the parts of
// Context. ctx does not bound the delivery.
func (c *Client) EnqueueContext(ctx context.Context, msg Message) error {
	var e event
	if !e.set(msg) {
		return FieldError{Type: "analytics.Message", Name: "nil", Reason: "there is no message"}
	}
	id := IdentityFrom(ctx)
	fill(&e.userID, id.UserId)
	if e.kind.wire != "alias" {
		fill(&e.anonymousID, id.AnonymousId)
	} else {
		fill(&e.previousID, id.AnonymousId)
	}
	e.context = e.context.over(id.Context)
	return c.enqueue(&e)
}

// maxScratch is the longest buffer that is kept for the next message.
const maxScratch = 64 << 10

func (c *Client) enqueue(e *event) error {
	if err := e.validate(); err != nil {
		return err
	}
	now := c.cfg.Now()
	if e.timestamp.IsZero() {
		e.timestamp = now
	}
	var made [36]byte
	var id []byte
	if e.messageID == "" {
		var err error
		if id, err = c.entropy.appendUUID(made[:0]); err != nil {
			return err
		}
	}
	scratch := c.scratch.Get().(*[]byte)
	room := append((*scratch)[:0], make([]byte, frameHeader)...)
	room, err := appendEvent(room, e, id)
	if cap(room) <= maxScratch {
		*scratch = room
	}
	defer c.scratch.Put(scratch)
	if err != nil {
		return err
	}
	if len(room)-frameHeader > c.cfg.MaxMessageBytes {
		return ErrMessageTooBig
	}
	return c.push(room, now.UnixMilli())
}

// push puts an encoded event into the queue and wakes the sender when that gives
// it something to do.
func (c *Client) push(room []byte, at int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	held, err := c.queue.push(room, at)
	if err != nil {
		if errors.Is(err, ErrQueueFull) {
			c.stats.QueueFull++
		}
		return err
	}
	c.stats.Accepted++
	if c.waiting && (held.events == 1 || c.full(held)) {
		c.waiting = false
		c.signal()
	}
	return nil
}

// full says whether there is enough for a request that need not wait for more.
func (c *Client) full(held size) bool {
	return held.events >= c.cfg.BatchSize || held.bytes >= int64(c.cfg.BatchBytes)
}

func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// total is how many messages there have been, which is the number of the newest.
func (c *Client) total() uint64 { return c.stats.Accepted + c.stats.Recovered }

// Flush sends what was enqueued before the call without waiting for full batches,
// and returns when every such message has an outcome. The error says how many of
// them were lost meanwhile, or that ctx ended first; then they stay queued.
func (c *Client) Flush(ctx context.Context) error {
	c.mu.Lock()
	target, lost := c.total(), c.stats.Failed
	if c.urgent < target {
		c.urgent = target
		c.signal()
	}
	for c.settled < target {
		progress := c.progress
		c.mu.Unlock()
		select {
		case <-progress:
		case <-c.stopped:
			return c.flushedAtEnd(target, lost)
		case <-ctx.Done():
			return fmt.Errorf("flushing: %w", context.Cause(ctx))
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	return c.loss("flushing", lost)
}

// flushedAtEnd is what Flush returns when the client ended meanwhile.
func (c *Client) flushedAtEnd(target, lost uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled < target {
		return ErrClosed
	}
	return c.loss("flushing", lost)
}

// loss is the error for messages that failed since there were before of them.
func (c *Client) loss(during string, before uint64) error {
	if c.stats.Failed == before {
		return nil
	}
	return fmt.Errorf("%s: %s not delivered, the last because: %w", during, count(c.stats.Failed-before, "was", "were"), c.lastLoss)
}

// count says "1 message was" or "2 messages were".
func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 message " + one
	}
	return fmt.Sprintf("%d messages %s", n, many)
}

// Close accepts nothing more, delivers what is queued and ends the client. It
// stops waiting when ctx ends, and then returns an error that wraps ctx's: a
// spool keeps what is left for the next start, without one it is lost and
// Callback.Failure hears ErrClosed. Like Flush it tells of messages that were
// lost meanwhile. A second Close returns ErrClosed.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.closed = true // await takes it for urgent
	lost := c.stats.Failed
	close(c.closing)
	c.signal()
	c.mu.Unlock()

	var late error
	select {
	case <-c.stopped:
	case <-ctx.Done():
		late = context.Cause(ctx)
	}
	c.cancel()
	<-c.stopped
	err := c.leave(late)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = c.loss("closing", lost)
	}
	return err
}

// leave gives up the queue after the sender has ended, late or with an empty queue.
func (c *Client) leave(late error) error {
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
	left, _ := c.queue.held()
	if left.events > 0 && c.cfg.SpoolDir == "" {
		c.abandon()
	}
	err := c.queue.close()
	switch {
	case left.events > 0 && c.cfg.SpoolDir == "":
		return fmt.Errorf("closing: %s not delivered: %w", count(uint64(left.events), "was", "were"), late)
	case left.events > 0:
		return fmt.Errorf("closing: %s in the spool: %w", count(uint64(left.events), "stays", "stay"), late)
	}
	return err
}

// abandon tells the callback of everything that is still queued.
func (c *Client) abandon() {
	b := &c.sender.batch
	for {
		if _, err := c.queue.next(b, MaxBatchSize, MaxBatchBytes); err != nil || b.len() == 0 {
			return
		}
		c.settle(b, b.len(), ErrClosed, nil)
	}
}

// Stats returns the counts of this moment.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	held, _ := c.queue.held()
	s.Queued, s.QueuedBytes = c.total()-c.settled, held.bytes
	return s
}

// age is how long ago a time of the queue was.
func (c *Client) age(at int64) time.Duration {
	return c.cfg.Now().Sub(time.UnixMilli(at))
}
