package forward

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/consent"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/retry"
)

// intake reads the journal into the lanes.
func (f *Forward) intake(ctx context.Context) error {
	backoff := retry.Backoff{Base: time.Second, Cap: 30 * time.Second}
	from := f.o.Reader.Committed().Position
	var pending journal.Entry // read, and not taken in: a frame is never skipped
	for failed := 0; ; {
		if err := f.room(ctx); err != nil {
			return err
		}
		entry, err := pending, error(nil)
		if entry.Events == 0 {
			entry, err = f.o.Reader.Next(ctx)
		}
		if err == nil {
			pending = entry
			err = f.take(ctx, entry, from)
		}
		if err == nil {
			failed, pending = 0, journal.Entry{}
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed == 0 {
			f.log.Error("reading the journal failed", "error", err)
		}
		if err := retry.Wait(ctx, backoff.Delay(failed, f.o.Random)); err != nil {
			return err
		}
		failed++
	}
}

// room waits until there is room for another frame in memory. Without a
// destination only events that are too old for the forward are read on.
func (f *Forward) room(ctx context.Context) error {
	for {
		f.mu.Lock()
		full := f.lanes.loaded >= f.o.Limits.Units || f.lanes.bytes >= f.o.Limits.Bytes || f.lanes.units >= f.o.Limits.Units+f.o.Limits.Waiting
		ok := !full && (f.opened != nil || f.tooOld(f.lanes.read, f.oldest()))
		changed := f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		if err := await(ctx, changed, f.o.Limits.Tick); err != nil {
			return err
		}
	}
}

// oldest is when the first event came that is still to be read, as far as it matters.
func (f *Forward) oldest() time.Time {
	if oldest := f.o.Backlog().Oldest; !oldest.IsZero() {
		return oldest
	}
	return f.o.Now()
}

// arrival is one event of a frame on its way in.
type arrival struct {
	ev          *tidegate.Event
	id          string
	kind        tidegate.EventType
	fingerprint fingerprint
}

// take brings the events of a frame into the lanes.
func (f *Forward) take(ctx context.Context, entry journal.Entry, from int64) error {
	if source, err := envelope.Source(entry.Payload); err == nil && !f.wantsSource(string(source)) {
		f.enter(entry, nil)
		return nil
	}
	events, err := envelope.Decode(nil, entry.Payload, entry.First)
	if err != nil { // the frame's checksum is right: a newer version wrote it, or a bug of ours
		return fmt.Errorf("decoding the frame at %s: %w", entry.First, err)
	}
	arrivals := f.arrivals(events, from)
	verdicts, err := f.judge(ctx, arrivals)
	if err != nil {
		return err
	}
	var units []*unit
	var dead []Letter
	for i := range arrivals {
		f.seen.add(arrivals[i].fingerprint)
		u, letter, err := f.admit(ctx, &arrivals[i], verdicts[i])
		if err != nil {
			return err
		}
		if u != nil {
			units = append(units, u)
		}
		if letter != nil {
			dead = append(dead, *letter)
		}
	}
	if err := f.bury(ctx, dead); err != nil {
		return err
	}
	f.enter(entry, units)
	return nil
}

// enter puts the units of a frame into the lanes; with them the frame has been read.
func (f *Forward) enter(entry journal.Entry, units []*unit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range units {
		f.lanes.add(u)
	}
	f.lanes.read = max(f.lanes.read, entry.First.Position+int64(entry.Events))
	if len(units) > 0 {
		f.signal()
	}
}

func (f *Forward) wantsSource(name string) bool {
	return len(f.o.Def.Sources) == 0 || slices.Contains(f.o.Def.Sources, name)
}

// arrivals are the events that are to be looked at: not refused, of the forward's
// sources, not in the store already and not repeats.
func (f *Forward) arrivals(events []tidegate.Event, from int64) []arrival {
	list := make([]arrival, 0, len(events))
	here := make(map[fingerprint]bool, len(events))
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range events {
		ev := &events[i]
		if ev.Offset.Position < from || ev.Refusal != "" || ev.Replayed || !f.wantsSource(ev.Source) {
			continue
		}
		id, kind, err := shape.Peek(ev)
		if f.kept[ev.Offset.Position] { // it is a letter, and goes its own way
			f.seen.add(printOf(ev.Source, id))
			continue
		}
		f.counts.Read++
		if err != nil { // the loader makes a dead letter of it
			f.counts.Unreadable++
			continue
		}
		p := printOf(ev.Source, id)
		if here[p] || f.seen.has(p) {
			f.counts.Repeats++
			continue
		}
		here[p] = true
		list = append(list, arrival{ev, id, kind, p})
	}
	return list
}

// judge asks the judges about arrivals, as often as it takes.
func (f *Forward) judge(ctx context.Context, arrivals []arrival) ([]judge.Verdict, error) {
	items := make([]judge.Item, len(arrivals))
	for i, a := range arrivals {
		items[i] = judge.Item{Event: a.ev, ID: a.id, Type: a.kind}
	}
	backoff := retry.Backoff{Base: 100 * time.Millisecond, Cap: 10 * time.Second}
	for attempt := 0; ; attempt++ {
		verdicts := make([]judge.Verdict, len(items))
		err := f.o.Judge.Judge(ctx, items, verdicts)
		if err == nil || ctx.Err() != nil {
			return verdicts, ctx.Err()
		}
		if attempt == 0 {
			f.log.Warn("judging events failed; they are judged again", "error", err)
		}
		if err := retry.Wait(ctx, backoff.Delay(attempt, f.o.Random)); err != nil {
			return nil, err
		}
	}
}

// admit makes a unit or a dead letter of an event, or leaves it out and counts it.
func (f *Forward) admit(ctx context.Context, a *arrival, v judge.Verdict) (*unit, *Letter, error) {
	original := a.ev
	judged, kind := f.verdict(a, v)
	if judged == nil {
		return nil, nil, nil
	}
	view := newView(judged, a.id, kind)
	if !f.selected(view) {
		f.count(func(c *Tally) { c.Filtered++ })
		return nil, nil, nil
	}
	opened, fault, err := f.ready(ctx, original.Offset.Position, original.ReceivedAt)
	if err != nil {
		return nil, nil, err
	}
	if fault == nil {
		if ok, _ := consent.Allows(judged, opened.Integration, f.o.Def.ConsentCategories); !ok {
			f.count(func(c *Tally) { c.Withheld++ })
			return nil, nil, nil
		}
		var wanted bool
		if wanted, fault = opened.Mapper.Wants(view); fault == nil && !wanted {
			f.count(func(c *Tally) { c.Filtered++ })
			return nil, nil, nil
		}
	}
	u := &unit{letter: f.letterOf(original, view)}
	if fault == nil {
		fault = f.fill(u, opened, view)
	}
	if fault != nil {
		letter := f.die(u.letter, fault)
		return nil, &letter, nil
	}
	return u, nil, nil
}

// verdict applies what the judges said: the event as it is to be sent and its
// type, nil when it is not sent.
func (f *Forward) verdict(a *arrival, v judge.Verdict) (*tidegate.Event, tidegate.EventType) {
	if v.Fate != judge.Keep {
		f.count(func(c *Tally) { c.judged(v.Fate) })
		return nil, ""
	}
	if v.Event == nil {
		return a.ev, a.kind
	}
	_, kind, err := shape.Peek(v.Event)
	if err != nil { // the judges' own work: the loader shows it as a dead letter
		f.count(func(c *Tally) { c.Unreadable++ })
		return nil, ""
	}
	return v.Event, kind
}

// selected applies the definition's types and names.
func (f *Forward) selected(v *View) bool {
	d := f.o.Def
	if len(d.Types) > 0 && !slices.Contains(d.Types, v.kind) {
		return false
	}
	return len(d.Events) == 0 || v.kind == tidegate.Track && slices.Contains(d.Events, v.text("event"))
}

// ready waits for the destination. A fault says that the event is too old for the
// forward, which cannot send now.
func (f *Forward) ready(ctx context.Context, position int64, received time.Time) (*Opened, *tidegate.Fault, error) {
	for {
		f.mu.Lock()
		opened, old, why, changed := f.opened, f.tooOld(position, received), f.why(), f.changed
		f.mu.Unlock()
		if old {
			return opened, why, nil
		}
		if opened != nil {
			return opened, nil, nil
		}
		if err := await(ctx, changed, f.o.Limits.Tick); err != nil {
			return nil, nil, err
		}
	}
}

// fill maps the event into the unit's item and names its lanes.
func (f *Forward) fill(u *unit, opened *Opened, v *View) *tidegate.Fault {
	m, fault := opened.Mapper.Map(v)
	if fault != nil {
		return fault
	}
	u.item = destinations.Item{
		Op: tidegate.Added, Key: m.Key, Identifier: m.Identifier, Record: m.Record,
		IdempotencyKey: keyOf(f.o.Def.Name, v.ev.Source, v.id),
	}
	u.size = sizeOf(&u.item) + len(u.letter.Event)
	u.letter.Lanes = lanesOf(v, m.Key)
	return nil
}

// lanesOf names what an event must not overtake: its user's events, those of the
// user that an alias leaves behind, and those of the record that it writes.
func lanesOf(v *View, key tidegate.Key) []string {
	return append(usersOf(v), "record "+string(key))
}

func usersOf(v *View) (lanes []string) {
	if user := v.user(); user != "" {
		lanes = append(lanes, "user "+user)
	}
	if previous := v.text("previousId"); previous != "" && previous != v.user() {
		lanes = append(lanes, "user "+previous)
	}
	return lanes
}

// letterOf is the event as it is kept beside the journal: as the journal has it,
// so that judges and mapping of a later day can be asked again.
func (f *Forward) letterOf(ev *tidegate.Event, v *View) Letter {
	return Letter{
		Position: ev.Offset.Position, Lanes: usersOf(v), Event: encode(ev),
		Source: ev.Source, MessageID: v.id, Type: v.kind, Name: v.name(), User: v.user(), ReceivedAt: ev.ReceivedAt,
	}
}

func encode(ev *tidegate.Event) []byte {
	return envelope.Append(nil, &envelope.Envelope{
		Source: ev.Source, ReceivedAt: ev.ReceivedAt, SentAt: ev.SentAt, RequestIP: ev.RequestIP, Context: ev.Context, Integrations: ev.Integrations,
		Events: []envelope.Event{{Type: ev.Type, MessageID: ev.MessageID, Body: ev.Body}},
	})
}

// Decode gives a letter's event back.
func (l *Letter) Decode() (*tidegate.Event, error) {
	events, err := envelope.Decode(nil, l.Event, tidegate.Offset{Position: l.Position})
	if err == nil && len(events) != 1 {
		err = errors.New("it holds no event")
	}
	if err != nil {
		return nil, fmt.Errorf("decoding the letter at %d: %w", l.Position, err)
	}
	return &events[0], nil
}

// recall reads the ids of the events before the cursor.
func (f *Forward) recall(ctx context.Context, past Past, cursor int64) error {
	for ctx.Err() == nil {
		entry, ok, err := past.TryNext()
		if err != nil || !ok || entry.First.Position >= cursor {
			if err != nil { // then repeats of those events are sent again
				f.log.Warn("reading what came before the cursor failed", "error", err)
			}
			return nil
		}
		events, err := envelope.Decode(nil, entry.Payload, entry.First)
		if err != nil {
			continue
		}
		for i := range events {
			ev := &events[i]
			if ev.Offset.Position >= cursor || ev.Refusal != "" || ev.Replayed || !f.wantsSource(ev.Source) {
				continue
			}
			if id, _, err := shape.Peek(ev); err == nil {
				f.seen.add(printOf(ev.Source, id))
			}
		}
	}
	return ctx.Err()
}
