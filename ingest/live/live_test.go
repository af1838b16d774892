package live

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader"
)

func TestFilters(t *testing.T) {
	t.Parallel()
	ev := &tidegate.Event{Source: "web", ReceivedAt: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), Body: []byte(`{"type":"track","event":"Sold","messageId":"m1","userId":7,"anonymousId":"a1","properties":{"total":12.5,"tags":["x"]}}`)}
	facts := FactsOf(ev)
	if facts != (Facts{ID: "m1", Type: "track", Name: "Sold", UserID: "7", AnonymousID: "a1"}) {
		t.Errorf("facts %+v", facts)
	}
	for _, c := range []struct {
		m    Match
		want bool
	}{
		{Match{}, true},
		{Match{Sources: []string{"app", "web"}}, true},
		{Match{Sources: []string{"app"}}, false},
		{Match{Types: []string{"page"}}, false},
		{Match{Events: []string{"SOLD"}}, true},
		{Match{User: "a1"}, true},
		{Match{User: "7"}, true},
		{Match{User: "8"}, false},
		{Match{Refused: true}, false},
		{Match{Expression: `event.properties.total > 12`}, true},
		{Match{Expression: `event.properties.total > 13`}, false},
		{Match{Expression: `event.properties.none > 13`}, false}, // what lacks what is compared is not wanted
		{Match{Expression: `"x" in event.properties.tags && source == "web" && name == "Sold" && received_at > timestamp("2026-01-01T00:00:00Z")`}, true},
	} {
		f, err := Compile(c.m)
		if err != nil {
			t.Errorf("%+v: %v", c.m, err)
			continue
		}
		if got := f.Wants(ev, facts); got != c.want {
			t.Errorf("%+v: %v", c.m, got)
		}
	}
	for _, m := range []Match{{Expression: "1 +"}, {Expression: `"text"`}, {Expression: "nothing == 1"}, {Types: []string{"tracks"}}} {
		if _, err := Compile(m); tidegate.FaultOf(err).Code != "filter.invalid" {
			t.Errorf("%+v is taken: %v", m, err)
		}
	}
}

func TestTheRingRemembersTheLast(t *testing.T) {
	t.Parallel()
	var r Ring
	if r.Of(tidegate.Offset{}) != loader.Waiting {
		t.Error("the empty ring knows something")
	}
	r.Put([]loader.Fates{{First: tidegate.Offset{Position: 5}, Of: []loader.Fate{loader.Loaded, loader.Dead}}, {First: tidegate.Offset{Position: ringSize + 5}, Of: []loader.Fate{loader.Dropped}}})
	for position, want := range map[int64]loader.Fate{5: loader.Waiting, 6: loader.Dead, 7: loader.Waiting, ringSize + 5: loader.Dropped} {
		if got := r.Of(tidegate.Offset{Position: position}); got != want {
			t.Errorf("%d: %s, want %s", position, got, want)
		}
	}
}

// tape is frames in memory.
type tape struct {
	frames []journal.Entry
	at     int
}

func (tp *tape) add(bodies ...string) {
	e := envelope.Envelope{Source: "web"}
	for _, b := range bodies {
		e.Events = append(e.Events, envelope.Event{Body: []byte(b)})
	}
	first := tidegate.Offset{}
	if n := len(tp.frames); n > 0 {
		first.Position = tp.frames[n-1].First.Position + int64(tp.frames[n-1].Events)
	}
	tp.frames = append(tp.frames, journal.Entry{First: first, Events: len(bodies), Payload: envelope.Append(nil, &e)})
}

func (tp *tape) TryNext() (journal.Entry, bool, error) {
	if tp.at == len(tp.frames) {
		return journal.Entry{}, false, nil
	}
	tp.at++
	return tp.frames[tp.at-1], true, nil
}

func (tp *tape) Next(ctx context.Context) (journal.Entry, error) {
	if e, ok, err := tp.TryNext(); ok || err != nil {
		return e, err
	}
	<-ctx.Done()
	return journal.Entry{}, ctx.Err()
}

type nobodyOf string

func (n nobodyOf) Out(ev *tidegate.Event) bool { return strings.Contains(string(ev.Body), string(n)) }

// drops judges every event whose body says so.
type drops struct{}

func (drops) Judge(_ context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	for i, it := range items {
		if it.ID == "dropped" {
			verdicts[i].Fate = judge.Drop
		}
	}
	return nil
}

func TestReadingShowsARange(t *testing.T) {
	t.Parallel()
	tp := &tape{}
	tp.add(`{"type":"page","messageId":"a"}`, `{"type":"page","messageId":"b"}`)
	tp.add(`{"type":"page","messageId":"hidden"}`, `{"type":"page","messageId":"dropped"}`)
	tp.add(`{"type":"page","messageId":"c"}`, `{"type":"page","messageId":"d"}`)
	r := Reading{Frames: tp, From: tidegate.Offset{Position: 1}, Until: tidegate.Offset{Position: 5}, Hidden: nobodyOf("hidden"), Judge: drops{}}
	var seen []string
	var last tidegate.Offset
	err := r.All(t.Context(), false, func(s Shown) error {
		seen = append(seen, s.Facts.ID+":"+s.Verdict.Fate.String())
		return nil
	}, func(next tidegate.Offset) error { last = next; return nil })
	if got := strings.Join(seen, " "); err != nil || got != "b:kept dropped:dropped c:kept" || last.Position != 6 {
		t.Errorf("%q up to %s, %v", got, last, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.All(ctx, true, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a reading that was canceled: %v", err)
	}
	if _, err := r.Next(t.Context(), false, nil); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}
