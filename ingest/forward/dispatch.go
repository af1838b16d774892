package forward

import (
	"context"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/retry"
)

const (
	maxConcurrency = 32
	// grace is how long calls that are under way may go on after the end.
	grace = 5 * time.Second
)

// dispatch hands ready units to calls, as many at once as the object allows.
func (f *Forward) dispatch(ctx context.Context) error {
	opened, err := f.whenOpened(ctx)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, min(max(opened.Object.Limit.Concurrency, 1), maxConcurrency))
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		batch, err := f.next(ctx, opened)
		if err != nil {
			return err
		}
		calls.Go(func() {
			f.call(ctx, opened, batch)
			f.mu.Lock()
			f.calling--
			f.signal()
			f.mu.Unlock()
			<-slots
		})
	}
}

func (f *Forward) whenOpened(ctx context.Context) (*Opened, error) {
	for {
		f.mu.Lock()
		opened, changed := f.opened, f.changed
		f.mu.Unlock()
		if opened != nil {
			return opened, nil
		}
		if err := await(ctx, changed, 0); err != nil {
			return nil, err
		}
	}
}

// next waits until there is something to send and the right to send it.
func (f *Forward) next(ctx context.Context, opened *Opened) ([]*unit, error) {
	limit := opened.Object.Limit
	for {
		if err := f.something(ctx, max(limit.Records, 1)); err != nil {
			return nil, err
		}
		if err := f.permit(ctx, opened.Account); err != nil {
			return nil, err
		}
		f.mu.Lock()
		if f.paused.IsZero() && f.breaker.wait(f.o.Now()) == 0 {
			if batch := f.pick(max(limit.Records, 1), limit.Bytes); len(batch) > 0 {
				f.breaker.enter()
				f.calling++
				f.mu.Unlock()
				return batch, nil
			}
		}
		f.mu.Unlock()
	}
}

// pick is the next batch: a part of one that was split first. It is called with mu held.
func (f *Forward) pick(records, bytes int) []*unit {
	if n := len(f.splits); n > 0 {
		batch := f.splits[n-1]
		f.splits = f.splits[:n-1]
		return batch
	}
	if f.breaker.open() {
		f.lanes.freshFirst()
	}
	return f.lanes.take(records, bytes)
}

// something waits until a call could be made: units are ready, and enough of
// them for a batch or for as long as a batch may wait to fill.
func (f *Forward) something(ctx context.Context, records int) error {
	lingered := records == 1
	for {
		now := f.o.Now()
		f.mu.Lock()
		next := f.lanes.wake(now)
		n := f.lanes.available(records)
		changed := f.changed
		wait := f.breaker.wait(now)
		blocked := !f.paused.IsZero() || wait > 0
		if blocked || n == 0 && len(f.splits) == 0 {
			if wait == 0 && !next.IsZero() {
				wait = max(next.Sub(now), time.Millisecond)
			}
			f.mu.Unlock()
			if err := await(ctx, changed, wait); err != nil {
				return err
			}
			continue
		}
		full := n >= records || len(f.splits) > 0
		f.mu.Unlock()
		if full || lingered {
			return nil
		}
		lingered = true
		if err := retry.Wait(ctx, f.o.Limits.Linger); err != nil {
			return err
		}
	}
}

// permit waits for the account's quota.
func (f *Forward) permit(ctx context.Context, account string) error {
	for told := false; ; {
		wait, err := f.o.Quotas.Take(ctx, account)
		if err == nil && wait <= 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			wait = 5 * time.Second
			if !told {
				f.log.Warn("the store of the shared quotas does not answer", "error", err)
			}
			told = true
		}
		if err := retry.Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// call makes one call and settles what it says.
func (f *Forward) call(ctx context.Context, opened *Opened, units []*unit) {
	batch := destinations.Batch{Object: opened.Object.Name, Mode: f.o.Def.Mode, IdentifierField: opened.IdentifierField, Items: make([]destinations.Item, len(units))}
	for i, u := range units {
		batch.Items[i] = u.item
	}
	start := f.o.Now()
	f.meters.leaving(ctx, start, units)
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.o.Limits.Call)
	defer cancel()
	defer context.AfterFunc(ctx, func() { // what is under way may end
		_ = retry.Wait(within, grace)
		cancel()
	})()
	outcomes, err := opened.Destination.Write(within, batch)
	if err == nil && len(outcomes) > 0 && outcomes[0].Disposition == destinations.Pending {
		outcomes, err = f.poll(within, opened, batch, outcomes[0].Ticket)
	}
	crashpoint.Hit(crashpoint.ForwardAfterSend)
	f.meters.called(ctx, opened.Account, f.o.Now().Sub(start), err)
	f.learn(opened.Account, outcomes, err)
	f.answer(ctx, units, outcomes, err)
}

// poll asks for a ticket until it is decided or the call's time is up; then its
// records are in doubt, and sent again.
func (f *Forward) poll(ctx context.Context, opened *Opened, batch destinations.Batch, ticket destinations.Ticket) ([]destinations.Outcome, error) {
	poller, ok := opened.Destination.(destinations.Poller)
	if !ok {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "ticket.unknown", Subject: opened.Account, Message: "the destination gives out tickets and cannot be asked for them"}
	}
	backoff := retry.Backoff{Base: 200 * time.Millisecond, Cap: 5 * time.Second}
	for attempt := 0; ; attempt++ {
		if err := retry.Wait(ctx, backoff.Interval(attempt)); err != nil {
			return nil, nil //nolint:nilerr // no outcome: in doubt
		}
		outcomes, done, err := poller.Poll(ctx, ticket, batch)
		if done && err == nil {
			return outcomes, nil
		}
		if fault := tidegate.FaultOf(err); fault != nil && fault.Action == tidegate.Reject {
			return nil, nil // the ticket is not known: nothing is known of the records
		}
	}
}

// learn tells the account's quota what the call came to.
func (f *Forward) learn(account string, outcomes []destinations.Outcome, err error) {
	for i := range outcomes {
		if fault := outcomes[i].Fault; err == nil && fault != nil && fault.Action == tidegate.Throttle {
			err = fault
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := f.o.Quotas.Learn(ctx, account, err); err != nil {
		f.log.Warn("teaching the shared quota failed", "error", err)
	}
}
