package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/ingest/teller"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// eventWork is what the hub does with events beside loading and forwarding them.
type eventWork struct {
	ring      live.Ring   // what became of the last events
	people    privacy.Set // of whom nothing is kept
	teller    *teller.Teller
	replays   jobs
	erasing   jobs
	gaps      bookGaps
	throttled throttled
	// watchers are the readers of live views and streams.
	watchers watchers
	unswept  atomic.Int64 // below this offset the journal may hold what was deleted; 0: nothing
}

// openEvents finds where counting goes on and who is suppressed. It comes before the
// loader reads its first event.
func (h *Hub) openEvents(ctx context.Context, j *journal.Journal, committed tidegate.Offset) error {
	reader, err := j.Reader("teller")
	if err != nil {
		return fmt.Errorf("opening the teller's cursor: %w", err)
	}
	_, begin, _, err := loaded(ctx, h.warehouse, committed)
	if err != nil {
		return fmt.Errorf("finding where to begin counting: %w", err)
	}
	w := h.runs.In(tidegate.DefaultWorkspace)
	h.events.teller = teller.New(teller.Options{Reader: reader, Books: w, Log: h.o.Log, Now: h.o.Now})
	if err := h.events.teller.Open(ctx, begin); err != nil {
		return err
	}
	h.events.replays.init()
	h.events.erasing.init()
	return h.openGaps()
}

// openPeople reads who is suppressed. It comes before the first event is accepted.
func (h *Hub) openPeople(ctx context.Context) error {
	list, err := h.runs.In(tidegate.DefaultWorkspace).Suppressions(ctx)
	if err != nil {
		return err
	}
	h.events.people.Replace(list)
	for _, e := range list { // whether an earlier process has written all files again is not known
		h.events.unswept.Store(max(h.events.unswept.Load(), e.Below))
	}
	h.judge.suppression = &h.events.people
	return nil
}

// runEvents starts what goes on for ever.
func (h *Hub) runEvents(ctx context.Context, parts *errgroup.Group) {
	parts.Go(func() error { return h.events.teller.Run(ctx) })
	parts.Go(func() error { return h.runReplays(ctx) })
	parts.Go(func() error { return h.runDeletions(ctx) })
	parts.Go(func() error { return h.watchBooks(ctx) })
}

// retention is for how long p makes the journal keep events.
func retention(p *project.Project) journal.Retention {
	d, err := time.ParseDuration(p.Settings.Journal.Retain)
	if err != nil { // a project that was not checked
		return journal.Retention{}
	}
	return journal.Retention{For: d, Bytes: p.Settings.Journal.RetainBytes}
}

// Tail shows events as the journal holds them, and what each became.
func (h *Hub) Tail(ctx context.Context, req api.TailRequest, opened func() error, emit func(api.TailedEvent) error) (err error) {
	if err := h.askedSource(ctx, req.Source); err != nil {
		return err
	}
	filter, err := live.Compile(live.Match{
		Sources: some(req.Source), Types: some(req.Type), Events: some(req.Event), User: req.User, Refused: req.Refused, Expression: req.Filter,
	})
	if err != nil {
		return err
	}
	reader, err := h.tailFrom(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	ctx, done := h.events.watchers.add(ctx)
	defer done(&err)
	r := live.Reading{Frames: reader, Filter: filter, Hidden: &h.events.people, Judge: &h.judge}
	if req.From != nil {
		r.From = *req.From // the frame may begin before it
	}
	if err := opened(); err != nil {
		return err
	}
	shown := 0
	err = r.All(ctx, req.Follow, func(s live.Shown) error {
		if req.Limit > 0 && shown >= req.Limit {
			return io.EOF
		}
		shown++
		return emit(h.tailed(ctx, s))
	}, func(tidegate.Offset) error {
		if req.Limit > 0 && shown >= req.Limit {
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (h *Hub) tailFrom(req api.TailRequest) (*journal.Reader, error) {
	switch {
	case req.From != nil:
		return h.journal.OpenAt(*req.From)
	case !req.Since.IsZero():
		return h.journal.OpenAtTime(req.Since)
	default:
		return h.journal.OpenAt(h.journal.Durable())
	}
}

func (h *Hub) tailed(ctx context.Context, s live.Shown) api.TailedEvent {
	e := s.Event
	out := api.TailedEvent{Offset: e.Offset.String(), Source: e.Source, ReceivedAt: e.ReceivedAt, Refusal: e.Refusal, MessageID: s.Facts.ID, Type: s.Facts.Type}
	out.Event = rawJSON(e.Body)
	out.Became = h.became(ctx, s)
	return out
}

// rawJSON is a copy of b; a refused event may be anything.
func rawJSON(b []byte) json.RawMessage {
	if !json.Valid(b) {
		text, _ := json.Marshal(string(b)) // a text always encodes
		return text
	}
	return json.RawMessage(append([]byte(nil), b...))
}

// became tells what an event became: what the loader said of it, and until it has, what
// the rules of now say.
func (h *Hub) became(ctx context.Context, s live.Shown) *api.Became {
	e, v := s.Event, s.Verdict
	out := &api.Became{Code: v.Code, Reason: v.Reason, Changed: v.Event != nil, Violations: v.Violations}
	fate := h.events.ring.Of(e.Offset)
	out.State = fate.String()
	if fate == loader.Waiting && e.Offset.Position < h.loader.Stats().Position.Position {
		out.State = "unknown"
		switch {
		case e.Refusal == tidegate.RefusedSuppressed, v.Fate == judge.Suppress:
			out.State = "suppressed"
		case e.Refusal == tidegate.RefusedBot, v.Fate == judge.Drop:
			out.State = "dropped"
		case e.Refusal != "" || v.Fate == judge.Dead:
			out.State = "dead"
		}
	}
	switch {
	case e.Refusal == tidegate.RefusedBot:
		out.Code, out.Reason = e.Refusal, "the source drops what bots send"
	case e.Refusal != "" && !tidegate.Withheld(e.Refusal):
		out.Code, out.Reason = e.Refusal, "refused on arrival"
	}
	source := e.Source
	if v.Route != "" {
		source = v.Route
	}
	switch {
	case out.State == "dead":
		out.Tables = []string{source + "." + shape.DeadLettersTable}
	case (out.State == "waiting" || out.State == "loaded" || out.State == "unknown") && e.Refusal == "" && v.Fate == judge.Keep:
		out.Tables = h.eventTables(ctx, e, v, source)
	}
	return out
}

// eventTables names the tables that have a row of an event, by the loader's own shaping.
func (h *Hub) eventTables(ctx context.Context, e *tidegate.Event, v judge.Verdict, source string) []string {
	d, ok := sqltext.Find(h.warehouse.Dialect())
	if !ok {
		return nil
	}
	shaped := *e
	shaped.Source = source
	if v.Event != nil {
		shaped.Body, shaped.Context = v.Event.Body, v.Event.Context
	}
	rows, err := shape.Explain(shaped, shape.Options{Reserved: d.Reserved, MaxName: d.MaxName(), RulesOf: h.sources.rulesOf}, h.o.Now(), func(t warehouse.Table) (tidegate.Schema, error) {
		schema, err := h.warehouse.Describe(ctx, t)
		if errors.Is(err, warehouse.ErrNoTable) || errors.Is(err, warehouse.ErrYielded) {
			return nil, nil
		}
		return schema, err
	})
	if err != nil {
		return nil // it will be a dead letter; the state says so
	}
	var names []string
	for _, row := range rows {
		name := row.Table
		if !strings.Contains(name, ".") {
			name = source + "." + name
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Streams lists the project's streams.
func (h *Hub) Streams(context.Context) ([]tidegate.Stream, error) {
	return h.active.Load().project.Streams, nil
}

// aliveEvery is how often a stream without events says where it is.
const aliveEvery = 15 * time.Second

// Stream shows the events of a stream as the rules leave them: what is dropped,
// suppressed or a dead letter is not in it.
func (h *Hub) Stream(ctx context.Context, name string, from api.StreamFrom, emit func(api.StreamItem) error) (err error) {
	p := h.active.Load().project
	at := slices.IndexFunc(p.Streams, func(s tidegate.Stream) bool { return s.Name == name })
	if at < 0 {
		return noStream(name, p.Streams)
	}
	st := p.Streams[at]
	filter, err := live.Compile(live.Match{Sources: st.Sources, Types: st.Types, Events: st.Events, Expression: st.Filter})
	if err != nil {
		return err
	}
	reader, err := h.tailFrom(api.TailRequest{From: from.Next, Since: from.Since})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	ctx, done := h.events.watchers.add(ctx)
	defer done(&err)
	r := live.Reading{Frames: reader, Filter: filter, Hidden: &h.events.people, Judge: &h.judge}
	if from.Next != nil {
		r.From = *from.Next
	}
	if err := emit(api.StreamItem{}); err != nil { // it is open
		return err
	}
	return h.stream(ctx, &r, from.Follow, reader.Position, emit)
}

func noStream(name string, list []tidegate.Stream) error {
	known := make([]string, len(list))
	for i, s := range list {
		known[i] = s.Name
	}
	hint := config.DidYouMean(name, known)
	if hint == "" {
		hint = "declare it under `streams:` in the project"
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "stream.not_found", Subject: "stream " + name, Message: fmt.Sprintf("there is no stream %q", name), Hint: hint}
}

func (h *Hub) stream(ctx context.Context, r *live.Reading, follow bool, place func() tidegate.Offset, emit func(api.StreamItem) error) error {
	show := func(s live.Shown) error {
		if s.Event.Refusal != "" || s.Event.Replayed || s.Verdict.Fate != judge.Keep || s.Facts.Type == "" {
			return nil
		}
		return emit(api.StreamItem{Event: streamed(s), Next: after(s.Event.Offset)})
	}
	for {
		wait, cancel := context.WithTimeout(ctx, aliveEvery)
		next, err := r.Next(wait, follow, show)
		idle := wait.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
		cancel()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case idle:
			next = place()
		case err != nil:
			return err
		}
		if err := emit(api.StreamItem{Next: next}); err != nil {
			return err
		}
	}
}

func after(o tidegate.Offset) tidegate.Offset {
	return tidegate.Offset{Partition: o.Partition, Position: o.Position + 1}
}

func streamed(s live.Shown) *api.StreamEvent {
	e := *s.Event
	if v := s.Verdict.Event; v != nil {
		e.Body, e.Context = v.Body, v.Context
	}
	out := &api.StreamEvent{
		Offset: e.Offset.String(), Source: e.Source, Type: s.Facts.Type, MessageID: s.Facts.ID,
		UserID: s.Facts.UserID, AnonymousID: s.Facts.AnonymousID, ReceivedAt: e.ReceivedAt, Event: rawJSON(e.Body),
	}
	if len(e.Context) > 0 {
		out.Context = rawJSON(e.Context)
	}
	return out
}

// meterGaps is a helper of openGaps: a gauge that may be absent.
func (h *Hub) meterGaps(observe func(metric.Int64Observer)) error {
	meter := h.o.Telemetry.Meter("control")
	gauge, err := meter.Int64ObservableGauge("tidegate.books.gap", metric.WithUnit("{event}"),
		metric.WithDescription("Events or rows for which nobody accounts, by source or table, as of the last look; 0 is how it should be."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { observe(o); return nil }))
	_ = gauge
	if err != nil {
		return fmt.Errorf("creating the metric of the books: %w", err)
	}
	return nil
}
