package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/replay"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/internal/retry"
)

const (
	replayKind = "replay"

	jobWaiting  = "waiting"
	jobRunning  = "running"
	jobDone     = "done"
	jobFailed   = "failed"
	jobCanceled = "canceled"
)

// jobs are the replays, or the deletions, of this hub: one at a time, oldest first.
type jobs struct {
	wake chan struct{} // holds one

	mu      sync.Mutex
	running string             // id
	cancel  context.CancelFunc // of the running one
}

func (j *jobs) init() { j.wake = make(chan struct{}, 1) }

func (j *jobs) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// begin makes id the running job; its context ends when it is canceled.
func (j *jobs) begin(ctx context.Context, id string) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running, j.cancel = id, cancel
	return ctx, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.running, j.cancel = "", nil
		cancel()
	}
}

// stop ends the running job if it is id.
func (j *jobs) stop(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running == id && j.cancel != nil {
		j.cancel()
	}
}

// replayJob is what is stored of a replay.
type replayJob struct {
	Request  api.ReplayRequest  `json:"request"`
	From     tidegate.Offset    `json:"from"`
	To       tidegate.Offset    `json:"to"`
	Next     tidegate.Offset    `json:"next"`
	Counts   replay.Totals      `json:"counts"`
	Expected int64              `json:"expected"`
	Begun    bool               `json:"begun"` // its schema, if it has one, is its own
	Diff     []replay.TableDiff `json:"diff,omitempty"`
	Fault    *tidegate.RunFault `json:"fault,omitempty"`
}

func (h *Hub) control() *store.Workspace { return h.runs.In(tidegate.DefaultWorkspace) }

func (h *Hub) replayer() *replay.Replayer {
	return replay.New(replay.Options{
		Journal: h.journal, Append: h.books, Warehouse: h.warehouse, Hidden: &h.events.people, Loaded: h.loader.Wait,
		Refusal: refusalOf, Schema: func(source string) string { return source },
	})
}

// refusalOf judges the body of a refused event by the rules of now.
func refusalOf(body []byte) string {
	if _, fault := ingest.Judge(body, time.Time{}); fault != nil {
		return fault.Code
	}
	return ""
}

func invalidReplay(subject, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "replay.invalid", Subject: subject, Message: message, Hint: hint}
}

// checkReplay finds what a request asks for that cannot be.
func (h *Hub) checkReplay(r *api.ReplayRequest) error {
	if r.Into == "" {
		r.Into = replay.Live
	}
	p := h.active.Load().project
	known := make([]string, len(p.Sources))
	for i, s := range p.Sources {
		known[i] = s.Name
	}
	switch {
	case r.Source != "" && !slices.Contains(known, r.Source):
		return invalidReplay("source", fmt.Sprintf("there is no source %q", r.Source), "name one of "+strings.Join(known, ", "))
	case r.Code != "" && !r.Dead:
		return invalidReplay("code", "a code is for dead letters", "add dead (--dead)")
	case r.Compare && r.Into == replay.Live:
		return invalidReplay("compare", "a replay into live has nothing to compare with", "replay into a schema")
	case r.Into != replay.Live && (slices.Contains(known, r.Into) || strings.HasPrefix(r.Into, "_") || r.Into == "main" || r.Into == "information_schema" || r.Into == "pg_catalog"):
		return invalidReplay("into", fmt.Sprintf("%q is taken", r.Into), "name a schema that does not exist")
	case r.Into != replay.Live && r.Source == "" && len(known) != 1:
		return invalidReplay("source", "a schema takes the events of one source", "name it with source (--source)")
	}
	if r.Into != replay.Live && r.Source == "" {
		r.Source = known[0]
	}
	_, err := live.Compile(match(*r))
	return err
}

func match(r api.ReplayRequest) live.Match {
	return live.Match{Sources: some(r.Source), Types: r.Types, Expression: r.Filter}
}

// rangeOf finds the range of a request; lacks says that the journal begins after it.
func (h *Hub) rangeOf(r api.ReplayRequest) (of replay.Range, lacks bool, err error) {
	stats := h.journal.Stats()
	of = replay.Range{From: stats.Oldest, To: stats.Durable}
	place := func(text string, at time.Time, otherwise tidegate.Offset) (tidegate.Offset, error) {
		switch {
		case text != "":
			return api.ParseOffset(text)
		case !at.IsZero():
			reader, err := h.journal.OpenAtTime(at)
			if err != nil {
				return otherwise, fmt.Errorf("finding %s in the journal: %w", at.UTC().Format(time.RFC3339), err)
			}
			return reader.Position(), reader.Close()
		}
		return otherwise, nil
	}
	if of.From, err = place(r.From, r.FromTime, of.From); err != nil {
		return of, false, err
	}
	if of.To, err = place(r.To, r.ToTime, of.To); err != nil {
		return of, false, err
	}
	if r.Dead && r.From == "" && r.FromTime.IsZero() {
		of.From = tidegate.Offset{} // dead letters outlive the journal
	}
	if of.To.Position > stats.Durable.Position {
		of.To = stats.Durable
	}
	if lacks = of.From.Position < stats.Oldest.Position && !r.Dead; lacks {
		of.From = stats.Oldest
	}
	if of.From.Position > of.To.Position {
		return of, lacks, invalidReplay("from, to", "the range ends before it begins", "")
	}
	if !r.FromTime.IsZero() && !lacks {
		if c, err := replay.Covers(h.journal); err == nil && !c.Since.IsZero() && r.FromTime.Before(c.Since) && c.Oldest.Position > 0 && !r.Dead {
			lacks = true
		}
	}
	return of, lacks, nil
}

func (h *Hub) whatOf(r api.ReplayRequest, of replay.Range) (replay.What, error) {
	filter, err := live.Compile(match(r))
	what := replay.What{Range: of, Filter: filter, Dead: r.Dead, Code: r.Code, Sources: some(r.Source)}
	if r.Source == "" {
		for _, s := range h.active.Load().project.Sources {
			what.Sources = append(what.Sources, s.Name)
		}
	}
	return what, err
}

// PlanReplay counts what a replay would do.
func (h *Hub) PlanReplay(ctx context.Context, r api.ReplayRequest) (api.ReplayPlan, error) {
	if err := h.checkReplay(&r); err != nil {
		return api.ReplayPlan{}, err
	}
	of, lacks, err := h.rangeOf(r)
	if err != nil {
		return api.ReplayPlan{}, err
	}
	return h.planReplay(ctx, r, of, lacks)
}

func (h *Hub) planReplay(ctx context.Context, r api.ReplayRequest, of replay.Range, lacks bool) (api.ReplayPlan, error) {
	what, err := h.whatOf(r, of)
	if err != nil {
		return api.ReplayPlan{}, err
	}
	counts, err := h.replayer().Count(ctx, what)
	if err != nil {
		return api.ReplayPlan{}, err
	}
	covers, err := replay.Covers(h.journal)
	return api.ReplayPlan{From: of.From.String(), To: of.To.String(), Counts: counts, Oldest: covers.Oldest.String(), Since: covers.Since, Lacks: lacks}, err
}

// StartReplay stores a replay, which runReplays carries out.
func (h *Hub) StartReplay(ctx context.Context, actor string, r api.ReplayRequest) (api.Replay, error) {
	if err := h.checkReplay(&r); err != nil {
		return api.Replay{}, err
	}
	of, lacks, err := h.rangeOf(r)
	if err != nil {
		return api.Replay{}, err
	}
	if r.Into != replay.Live {
		if err := replay.Free(ctx, h.warehouse, r.Into, false); err != nil {
			return api.Replay{}, err
		}
	}
	plan, err := h.planReplay(ctx, r, of, lacks)
	if err != nil {
		return api.Replay{}, err
	}
	now := h.o.Now().UTC()
	job := store.Job{ID: "rpl_" + uuid.Must(uuid.NewV7()).String(), Kind: replayKind, State: jobWaiting, Actor: actor, CreatedAt: now, UpdatedAt: now}
	doc := replayJob{Request: r, From: of.From, To: of.To, Expected: plan.Counts.Wanted}
	if err := h.saveReplay(ctx, &job, doc); err != nil {
		return api.Replay{}, err
	}
	h.events.replays.nudge()
	return replayOf(job)
}

func (h *Hub) saveReplay(ctx context.Context, job *store.Job, doc replayJob) (err error) {
	if job.Document, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("encoding replay %s: %w", job.ID, err)
	}
	job.UpdatedAt = h.o.Now().UTC()
	return h.control().PutJob(ctx, *job)
}

func replayOf(job store.Job) (api.Replay, error) {
	var doc replayJob
	if err := json.Unmarshal(job.Document, &doc); err != nil {
		return api.Replay{}, fmt.Errorf("reading replay %s: %w", job.ID, err)
	}
	return api.Replay{
		ID: job.ID, State: job.State, Request: doc.Request, From: doc.From.String(), To: doc.To.String(), Next: doc.Next.String(), Counts: doc.Counts,
		Expected: doc.Expected, Diff: doc.Diff, Fault: doc.Fault, Actor: job.Actor, CreatedAt: job.CreatedAt, UpdatedAt: job.UpdatedAt,
	}, nil
}

// Replays lists replays, newest first.
func (h *Hub) Replays(ctx context.Context, limit int) ([]api.Replay, error) {
	list, err := h.control().Jobs(ctx, replayKind, limit)
	if err != nil {
		return nil, err
	}
	all := make([]api.Replay, 0, len(list))
	for _, job := range list {
		r, err := replayOf(job)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// ReplayOf returns one replay.
func (h *Hub) ReplayOf(ctx context.Context, id string) (api.Replay, error) {
	job, err := h.control().Job(ctx, replayKind, id)
	if err != nil {
		return api.Replay{}, err
	}
	return replayOf(job)
}

// CancelReplay stops a replay.
func (h *Hub) CancelReplay(ctx context.Context, id string) (api.Replay, error) {
	job, err := h.control().Job(ctx, replayKind, id)
	if err != nil {
		return api.Replay{}, err
	}
	if job.State == jobWaiting || job.State == jobRunning {
		job.State, job.UpdatedAt = jobCanceled, h.o.Now().UTC()
		if err := h.control().PutJob(ctx, job); err != nil {
			return api.Replay{}, err
		}
		h.events.replays.stop(id)
	}
	return replayOf(job)
}

// runReplays carries replays out, one at a time, until ctx ends.
func (h *Hub) runReplays(ctx context.Context) error {
	told := grumble.Log{}
	for {
		open, err := h.control().OpenJobs(ctx, replayKind)
		if err != nil && ctx.Err() == nil {
			told.About(ctx, h.o.Log, h.o.Now(), "looking for replays failed and is tried again", err)
			_ = retry.Wait(ctx, 10*time.Second) // ctx is looked at below
			continue
		}
		told.Over(ctx, h.o.Log, h.o.Now(), "replays are looked for again")
		if len(open) > 0 && ctx.Err() == nil {
			h.runReplay(ctx, open[0])
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.events.replays.wake:
		}
	}
}

// runReplay carries one out. When ctx ends it stays as it is, and the next process goes
// on with it.
func (h *Hub) runReplay(ctx context.Context, job store.Job) {
	var doc replayJob
	if err := json.Unmarshal(job.Document, &doc); err != nil {
		h.o.Log.Error("a stored replay cannot be read", "replay", job.ID, "error", err)
		job.State = jobFailed
		_ = h.control().PutJob(ctx, job)
		return
	}
	working, done := h.events.replays.begin(ctx, job.ID)
	defer done()
	err := h.replay(working, &job, &doc)
	if ctx.Err() != nil {
		return
	}
	if working.Err() != nil {
		job.State = jobCanceled
	} else if job.State = jobDone; err != nil {
		job.State, doc.Fault = jobFailed, tidegate.StoredFault(err)
	}
	if err := h.saveReplay(ctx, &job, doc); err != nil && ctx.Err() == nil {
		h.o.Log.Warn("storing how a replay ended failed; it is done once more, which changes nothing", "replay", job.ID, "error", err)
		_ = retry.Wait(ctx, time.Second)
	}
}

func (h *Hub) replay(ctx context.Context, job *store.Job, doc *replayJob) error {
	if again := doc.Begun; doc.Request.Into != replay.Live {
		if err := replay.Free(ctx, h.warehouse, doc.Request.Into, again); err != nil {
			return err
		}
	}
	job.State, doc.Begun = jobRunning, true
	if err := h.saveReplay(ctx, job, *doc); err != nil {
		return err
	}
	what, err := h.whatOf(doc.Request, replay.Range{From: doc.From, To: doc.To})
	if err != nil {
		return err
	}
	if doc.Request.Into != replay.Live {
		return h.replayShadow(ctx, job, doc, what)
	}
	return h.replayer().Live(ctx, what, doc.Next, &doc.Counts, func(next tidegate.Offset) error {
		doc.Next = next
		if err := ctx.Err(); err != nil {
			return err
		}
		return h.saveReplay(ctx, job, *doc)
	})
}

// maxDeadOnly bounds the dead letters that a replay into a schema takes: their places are
// held in memory.
const maxDeadOnly = 1_000_000

func (h *Hub) replayShadow(ctx context.Context, job *store.Job, doc *replayJob, what replay.What) error {
	r := doc.Request
	o := replay.ShadowOptions{
		Journal: h.journal, Warehouse: h.warehouse, Hidden: &h.events.people, Judge: &h.judge, Refusal: refusalOf, Log: h.o.Log, Now: h.o.Now,
		Schema: r.Into, Source: r.Source, Range: what.Range, Filter: what.Filter,
		Shape: shape.Options{RulesOf: func(string) *shape.Rules { return h.sources.rulesOf(r.Source) }}, // there they are of a source called as the schema
	}
	if r.Dead {
		var err error
		if o.Only, err = replay.DeadPlaces(ctx, h.warehouse, r.Source, r.Code, maxDeadOnly); err != nil {
			return err
		}
		if oldest := h.journal.Stats().Oldest; o.Range.From.Position < oldest.Position {
			o.Range.From = oldest // a schema beside takes what the journal still has
		}
	}
	doc.Counts = replay.Totals{} // of this process; the rows are all there
	var failed error
	err := replay.Shadow(ctx, o, &doc.Counts, func(next tidegate.Offset) {
		doc.Next = next
		if err := h.saveNext(ctx, job, next); err != nil {
			failed = err
		}
	})
	if err = errors.Join(err, failed); err != nil || !r.Compare {
		return err
	}
	doc.Diff, err = replay.Compare(ctx, h.warehouse, r.Source, r.Into, o.Range, r.Filter == "" && len(r.Types) == 0 && !r.Dead)
	return err
}

// saveNext stores how far a shadow has come; its counts are being counted meanwhile.
func (h *Hub) saveNext(ctx context.Context, job *store.Job, next tidegate.Offset) error {
	var doc replayJob
	if err := json.Unmarshal(job.Document, &doc); err != nil {
		return fmt.Errorf("reading replay %s: %w", job.ID, err)
	}
	doc.Next = next
	return h.saveReplay(ctx, job, doc)
}

// DeadLetters lists dead letters and their causes.
func (h *Hub) DeadLetters(ctx context.Context, q api.DeadQuery) (api.DeadLetters, error) {
	if err := h.askedSource(ctx, q.Source); err != nil {
		return api.DeadLetters{}, err
	}
	out := api.DeadLetters{Causes: []api.DeadCause{}, Items: []replay.DeadLetter{}}
	for _, s := range h.active.Load().project.Sources {
		if q.Source != "" && s.Name != q.Source {
			continue
		}
		found, err := replay.List(ctx, h.warehouse, s.Name, q.Code, q.Limit)
		if err != nil {
			return out, err
		}
		out.Total += found.Total
		out.Items = append(out.Items, found.Newest...)
		for _, c := range found.Causes {
			out.Causes = append(out.Causes, api.DeadCause{Source: s.Name, Code: c.Code, Reason: c.Reason, Count: c.Count, First: c.First, Last: c.Last, Example: c.Example})
		}
	}
	slices.SortStableFunc(out.Items, func(a, b replay.DeadLetter) int { return b.ReceivedAt.Compare(a.ReceivedAt) })
	slices.SortStableFunc(out.Causes, func(a, b api.DeadCause) int { return int(min(max(b.Count-a.Count, -1), 1)) })
	out.Items = out.Items[:min(len(out.Items), q.Limit)]
	if !q.Body {
		for i := range out.Items {
			out.Items[i].Body = ""
		}
	}
	return out, nil
}
