package forward

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/consent"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/retry"
)

const (
	sweepUnits = 1_000 // that are parked or buried in one write
	dueUnits   = 200   // letters that are loaded at once
	pruneTicks = 120   // ticks between two looks for letters to be forgotten
)

// keep moves the cursor, looks after letters and after what is too old.
func (f *Forward) keep(ctx context.Context) error {
	for tick := 0; ; tick++ {
		steps := []func(context.Context) error{f.expire, f.sweep, f.commit}
		if tick%pruneTicks == 0 {
			steps = append(steps, f.prune)
		}
		for _, step := range steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
		if err := retry.Wait(ctx, f.o.Limits.Tick); err != nil {
			return err
		}
	}
}

// revive brings letters back when they are due.
func (f *Forward) revive(ctx context.Context) error {
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		if err := f.loadDue(ctx); err != nil {
			return err
		}
		if err := await(ctx, changed, f.o.Limits.Tick); err != nil {
			return err
		}
	}
}

// commit removes the letters that were delivered and moves the cursor to the
// first event that is needed still.
func (f *Forward) commit(ctx context.Context) error {
	f.mu.Lock()
	settled := f.settled
	f.settled = nil
	cursor := f.lanes.cursor()
	f.mu.Unlock()
	if len(settled) > 0 {
		if err := f.persist(ctx, "removing letters", func(ctx context.Context) error { return f.o.Store.Remove(ctx, settled) }); err != nil {
			return err
		}
	}
	if cursor > f.o.Reader.Committed().Position {
		if err := f.o.Reader.Commit(ctx, tidegate.Offset{Position: cursor}); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			f.log.Warn("saving how far the forward came failed", "error", err) // it is tried again with the next tick
			return nil
		}
		crashpoint.Hit(crashpoint.ForwardAfterCursor)
	}
	return nil
}

// tooOld says whether an event of the journal has waited longer, or stands deeper
// in the journal, than the forward allows. It is called with mu held.
func (f *Forward) tooOld(position int64, received time.Time) bool {
	return position < f.overrun || f.outlasted(received)
}

// outlasted says whether an event and the time for which nothing could be sent
// are both older than the forward allows: a hub that was off for a week tries
// what it finds. It is called with mu held.
func (f *Forward) outlasted(received time.Time) bool {
	down := f.breaker.down
	if !f.paused.IsZero() && (down.IsZero() || f.paused.Before(down)) {
		down = f.paused
	}
	if down.IsZero() {
		return false
	}
	now := f.o.Now()
	return now.Sub(down) > f.o.Limits.Retry && now.Sub(received) > f.o.Limits.Retry
}

// why is the fault of an event that is too old. It is called with mu held.
func (f *Forward) why() *tidegate.Fault {
	switch {
	case f.breaker.fault != nil:
		return f.breaker.fault
	case !f.paused.IsZero():
		return &tidegate.Fault{Action: tidegate.Reject, Code: "forward.paused", Message: "the forward was paused for longer than it keeps events", Hint: "resume the forward, then retry its dead letters"}
	}
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: "forward.overrun", Message: "the destination takes events more slowly than they come, and more of the journal waited than the forward may hold",
		Hint: "raise delivery.hold_bytes or the destination's limits, then retry the dead letters",
	}
}

// expire makes dead letters of what is too old.
func (f *Forward) expire(ctx context.Context) error {
	backlog := f.o.Backlog()
	for {
		now := f.o.Now()
		f.mu.Lock()
		f.overrun = 0
		if excess := backlog.Bytes - f.o.Limits.Hold; excess > 0 {
			part := float64(excess) / float64(backlog.Bytes)
			f.overrun = f.o.Reader.Committed().Position + int64(part*float64(backlog.Events))
		}
		old := f.lanes.overdue(func(u *unit) bool {
			l := &u.letter
			return l.Attempts > 0 && now.Sub(l.FirstAt) > f.o.Limits.Retry || f.outlasted(l.ReceivedAt) || !u.stored && l.Position < f.overrun
		})
		old = old[:min(len(old), sweepUnits)]
		why := f.why()
		for _, u := range old {
			u.busy = true
		}
		f.mu.Unlock()
		if len(old) == 0 {
			return nil
		}
		if err := f.buryUnits(ctx, old, why); err != nil {
			return err
		}
	}
}

// buryUnits makes dead letters of units that are busy. Those that failed keep
// the reason for which they did.
func (f *Forward) buryUnits(ctx context.Context, units []*unit, why *tidegate.Fault) error {
	letters, err := f.whole(ctx, units)
	if err != nil {
		return err
	}
	for i := range letters {
		l := &letters[i]
		reason := why
		if l.Code != "" {
			reason = &tidegate.Fault{Code: l.Code, Message: l.Message, Hint: l.Hint}
		}
		*l = f.die(*l, reason)
	}
	if err := f.bury(ctx, letters); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range units {
		u.busy = false
		f.settle(u, false)
	}
	f.signal()
	return nil
}

// whole are the letters of units with their events: those of parked ones are read.
func (f *Forward) whole(ctx context.Context, units []*unit) ([]Letter, error) {
	var ask []int64
	letters := make([]Letter, len(units))
	f.mu.Lock()
	for i, u := range units {
		letters[i] = u.letter
		if u.parked {
			ask = append(ask, u.letter.Position)
		}
	}
	f.mu.Unlock()
	if len(ask) == 0 {
		return letters, nil
	}
	events, err := f.read(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i := range letters {
		if got, ok := events[letters[i].Position]; ok {
			letters[i].Event = got.Event
		}
	}
	return letters, nil
}

func (f *Forward) read(ctx context.Context, positions []int64) (map[int64]Letter, error) {
	byPosition := map[int64]Letter{}
	err := f.persist(ctx, "reading letters", func(ctx context.Context) error {
		got, err := f.o.Store.Get(ctx, positions)
		for _, l := range got {
			byPosition[l.Position] = l
		}
		return err
	})
	return byPosition, err
}

// sweep writes the events that stand behind parked ones to the store, so that
// they hold neither memory nor the cursor.
func (f *Forward) sweep(ctx context.Context) error {
	for {
		f.mu.Lock()
		units := f.lanes.blocked(max(0, min(sweepUnits, f.o.Limits.Waiting-f.lanes.parked)))
		letters := make([]Letter, len(units))
		for i, u := range units {
			u.busy = true
			letters[i] = u.letter
		}
		f.mu.Unlock()
		if len(units) == 0 {
			return nil
		}
		if err := f.persist(ctx, "writing letters", func(ctx context.Context) error { return f.o.Store.Put(ctx, letters) }); err != nil {
			return err
		}
		f.mu.Lock()
		for _, u := range units {
			f.kept[u.letter.Position] = true
			f.lanes.park(u)
			f.lanes.unlock(u)
		}
		f.signal()
		f.mu.Unlock()
	}
}

// loadDue brings the events of letters that are due back into memory, as judges
// and mapping see them today.
func (f *Forward) loadDue(ctx context.Context) error {
	for {
		f.mu.Lock()
		opened := f.opened
		var units []*unit
		if room := f.o.Limits.Units + dueUnits - f.lanes.loaded; opened != nil && f.paused.IsZero() && f.breaker.wait(f.o.Now()) == 0 && room > 0 {
			f.lanes.wake(f.o.Now())
			units = f.lanes.due(min(dueUnits, room))
		}
		positions := make([]int64, len(units))
		for i, u := range units {
			positions[i] = u.letter.Position
		}
		f.mu.Unlock()
		if len(units) == 0 {
			return nil
		}
		letters, err := f.read(ctx, positions)
		if err != nil {
			return err
		}
		for _, u := range units {
			if err := f.loadOne(ctx, u, letters, opened); err != nil {
				return err
			}
		}
	}
}

func (f *Forward) loadOne(ctx context.Context, u *unit, letters map[int64]Letter, opened *Opened) error {
	letter, ok := letters[u.letter.Position]
	if !ok || letter.Dead { // forgotten by somebody meanwhile
		f.mu.Lock()
		f.settle(u, false)
		f.mu.Unlock()
		return nil
	}
	fresh, keep, fault := f.again(ctx, &letter, opened)
	if err := ctx.Err(); err != nil {
		return err
	}
	if fault != nil {
		if err := f.bury(ctx, []Letter{f.die(letter, fault)}); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault != nil || !keep {
		f.settle(u, fault == nil)
	} else {
		u.letter.Event, u.item, u.size = letter.Event, fresh.item, fresh.size
		f.lanes.load(u, fresh.letter.Lanes)
	}
	f.signal()
	return nil
}

// again asks judges, consent and mapping about a letter's event.
func (f *Forward) again(ctx context.Context, letter *Letter, opened *Opened) (u *unit, keep bool, fault *tidegate.Fault) {
	undecodable := func(err error) *tidegate.Fault {
		return &tidegate.Fault{Action: tidegate.Reject, Code: "forward.letter", Message: err.Error(), Hint: "this is a bug of ours: please report it"}
	}
	ev, err := letter.Decode()
	if err != nil {
		return nil, false, undecodable(err)
	}
	id, kind, err := shape.Peek(ev)
	if err != nil {
		return nil, false, undecodable(err)
	}
	a := arrival{ev: ev, id: id, kind: kind}
	verdicts, err := f.judge(ctx, []arrival{a})
	if err != nil {
		return nil, false, nil //nolint:nilerr // the end: the caller looks at ctx
	}
	if v := verdicts[0]; v.Fate == judge.Dead { // the loader had it first; it is among its dead letters too
		return nil, false, &tidegate.Fault{Action: tidegate.Reject, Code: v.Code, Message: v.Reason}
	}
	judged, kind := f.verdict(&a, verdicts[0])
	if judged == nil {
		return nil, false, nil
	}
	view := newView(judged, id, kind)
	if ok, _ := consent.Allows(judged, opened.Integration, f.o.Def.ConsentCategories); !ok || !f.selected(view) {
		return nil, false, nil
	}
	wanted, fault := opened.Mapper.Wants(view)
	if fault != nil || !wanted {
		return nil, false, fault
	}
	u = &unit{letter: *letter}
	if fault := f.fill(u, opened, view); fault != nil {
		return nil, false, fault
	}
	return u, true, nil
}

// prune forgets dead letters that are too many or too old, and says so.
func (f *Forward) prune(ctx context.Context) error {
	n, err := f.o.Store.Prune(ctx, f.o.Limits.Dead, f.o.Now().Add(-f.o.Limits.DeadFor))
	if err == nil {
		var letters Counts
		if letters, err = f.o.Store.Count(ctx); err == nil {
			f.mu.Lock()
			f.letters = letters
			f.counts.Forgotten += n
			f.mu.Unlock()
		}
	}
	if err != nil && ctx.Err() == nil {
		f.log.Warn("looking after the dead letters failed", "error", fmt.Errorf("pruning: %w", err))
	}
	if n > 0 {
		f.log.Warn("dead letters were forgotten: they were too many or too old", "letters", n)
	}
	return ctx.Err()
}
