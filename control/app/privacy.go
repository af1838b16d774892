package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/ingest/replay"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/warehouse"
)

const deletionKind = "deletion"

// Suppressions lists who is suppressed. Erased people, of whom only what came before is
// gone, are not.
func (h *Hub) Suppressions(ctx context.Context) ([]privacy.Entry, error) {
	list, err := h.control().Suppressions(ctx)
	return slices.DeleteFunc(list, func(e privacy.Entry) bool { return e.Below > 0 }), err
}

func (h *Hub) entries(actor string, r api.SuppressRequest, below int64) []privacy.Entry {
	list := make([]privacy.Entry, len(r.People))
	for i, p := range r.People {
		list[i] = privacy.Entry{Source: r.Source, Person: p, Below: below, At: h.o.Now().UTC(), Actor: actor, Reason: r.Reason}
	}
	return list
}

// refreshPeople makes the stored list the one that is asked.
func (h *Hub) refreshPeople(ctx context.Context) error {
	list, err := h.control().Suppressions(ctx)
	if err != nil {
		return err
	}
	h.events.people.Replace(list)
	return nil
}

func (h *Hub) checkPeople(r api.SuppressRequest) error {
	p := h.active.Load().project
	if r.Source != "" && !slices.ContainsFunc(p.Sources, func(s tidegate.Source) bool { return s.Name == r.Source }) {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "privacy.invalid", Subject: "source", Message: fmt.Sprintf("there is no source %q", r.Source), Hint: "leave it out to mean all"}
	}
	for _, person := range r.People {
		if person.ID == "" || person.Kind != privacy.UserID && person.Kind != privacy.AnonymousID {
			return &tidegate.Fault{Action: tidegate.Halt, Code: "privacy.invalid", Subject: "people", Message: "a person needs a kind and an id", Hint: `write {"kind":"user_id","id":"…"}`}
		}
	}
	if h.events.people.Len()+len(r.People) > privacy.MaxEntries {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "privacy.invalid", Subject: "people", Message: fmt.Sprintf("at most %d people can be suppressed", privacy.MaxEntries)}
	}
	return nil
}

// Suppress keeps nothing of people from now on.
func (h *Hub) Suppress(ctx context.Context, actor string, r api.SuppressRequest) (int64, error) {
	if err := h.checkPeople(r); err != nil {
		return 0, err
	}
	n, err := h.control().AddSuppressions(ctx, h.entries(actor, r, 0))
	return n, errors.Join(err, h.refreshPeople(ctx))
}

// Unsuppress lets people's events in again.
func (h *Hub) Unsuppress(ctx context.Context, r api.SuppressRequest) (int64, error) {
	n, err := h.control().RemoveSuppressions(ctx, h.entries("", r, 0))
	return n, errors.Join(err, h.refreshPeople(ctx))
}

// deletionJob is what is stored of a deletion. When it is done the ids are forgotten:
// what is left is the receipt.
type deletionJob struct {
	Request api.DeleteRequest  `json:"request"`
	Below   int64              `json:"below"`
	Rows    bool               `json:"rows"` // the warehouse is done
	Values  []string           `json:"values,omitempty"`
	Letters int                `json:"letters,omitempty"` // of so many ids the forwards' letters are erased
	Receipt privacy.Receipt    `json:"receipt"`
	Fault   *tidegate.RunFault `json:"fault,omitempty"`
}

// Delete stores a deletion, which runDeletions carries out.
func (h *Hub) Delete(ctx context.Context, actor string, r api.DeleteRequest) (api.Deletion, error) {
	if err := h.checkPeople(r.SuppressRequest); err != nil {
		return api.Deletion{}, err
	}
	now := h.o.Now().UTC()
	job := store.Job{ID: "del_" + uuid.Must(uuid.NewV7()).String(), Kind: deletionKind, State: jobWaiting, Actor: actor, CreatedAt: now, UpdatedAt: now}
	doc := deletionJob{Request: r, Below: h.journal.Durable().Position, Receipt: privacy.Receipt{People: len(r.People), Places: []privacy.Place{}}}
	doc.Receipt.Below = tidegate.Offset{Position: doc.Below}.String()
	if err := h.saveDeletion(ctx, &job, doc); err != nil {
		return api.Deletion{}, err
	}
	h.events.erasing.nudge()
	return deletionOf(job)
}

func (h *Hub) saveDeletion(ctx context.Context, job *store.Job, doc deletionJob) (err error) {
	if job.Document, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("encoding deletion %s: %w", job.ID, err)
	}
	job.UpdatedAt = h.o.Now().UTC()
	return h.control().PutJob(ctx, *job)
}

func deletionOf(job store.Job) (api.Deletion, error) {
	var doc deletionJob
	if err := json.Unmarshal(job.Document, &doc); err != nil {
		return api.Deletion{}, fmt.Errorf("reading deletion %s: %w", job.ID, err)
	}
	if doc.Request.People == nil {
		doc.Request.People = []privacy.Person{}
	}
	return api.Deletion{
		ID: job.ID, State: job.State, Request: doc.Request, Receipt: doc.Receipt, Fault: doc.Fault, Actor: job.Actor, CreatedAt: job.CreatedAt, UpdatedAt: job.UpdatedAt,
	}, nil
}

// Deletions lists deletions, newest first.
func (h *Hub) Deletions(ctx context.Context, limit int) ([]api.Deletion, error) {
	list, err := h.control().Jobs(ctx, deletionKind, limit)
	if err != nil {
		return nil, err
	}
	all := make([]api.Deletion, 0, len(list))
	for _, job := range list {
		d, err := deletionOf(job)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// DeletionOf returns one deletion with its receipt.
func (h *Hub) DeletionOf(ctx context.Context, id string) (api.Deletion, error) {
	job, err := h.control().Job(ctx, deletionKind, id)
	if err != nil {
		return api.Deletion{}, err
	}
	return deletionOf(job)
}

// deleteAgain is how long a deletion that failed is left alone.
const deleteAgain = time.Minute

// runDeletions carries deletions out until ctx ends. One that fails is tried again.
func (h *Hub) runDeletions(ctx context.Context) error {
	for ctx.Err() == nil {
		failed := h.runOpenDeletions(ctx)
		wait, cancel := ctx, context.CancelFunc(func() {})
		if failed {
			wait, cancel = context.WithTimeout(ctx, deleteAgain)
		}
		h.waitNudge(wait)
		cancel()
	}
	return nil
}

// runOpenDeletions carries out what is open, and says whether something failed.
func (h *Hub) runOpenDeletions(ctx context.Context) (failed bool) {
	open, err := h.control().OpenJobs(ctx, deletionKind)
	if err != nil {
		if ctx.Err() == nil {
			h.o.Log.Warn("looking for deletions failed and is tried again", "error", err)
		}
		return true
	}
	for _, job := range open {
		if ctx.Err() != nil {
			return true
		}
		failed = !h.runDeletion(ctx, job) || failed
	}
	return failed
}

func (h *Hub) waitNudge(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-h.events.erasing.wake:
	}
}

// runDeletion goes through the places once and says whether it is done.
func (h *Hub) runDeletion(ctx context.Context, job store.Job) (done bool) {
	var doc deletionJob
	if err := json.Unmarshal(job.Document, &doc); err != nil {
		h.o.Log.Error("a stored deletion cannot be read", "deletion", job.ID, "error", err)
		job.State = jobFailed
		_ = h.control().PutJob(ctx, job)
		return true
	}
	err := h.deletePeople(ctx, &job, &doc)
	if ctx.Err() != nil {
		return false
	}
	doc.Fault = nil
	if err != nil {
		doc.Fault = tidegate.StoredFault(err)
		if !errors.Is(err, warehouse.ErrYielded) {
			h.o.Log.Warn("a deletion failed and is tried again", "deletion", job.ID, "error", err)
		}
	} else {
		job.State = jobDone
		doc.Receipt.DoneAt = h.o.Now().UTC()
		doc.Request.People, doc.Values = nil, nil // the receipt names nobody
	}
	if err := h.saveDeletion(ctx, &job, doc); err != nil && ctx.Err() == nil {
		h.o.Log.Warn("storing a deletion's receipt failed and is tried again", "deletion", job.ID, "error", err)
		_ = retry.Wait(ctx, time.Second)
		return false
	}
	return err == nil
}

// deletePeople deletes from one place after the other. Each can be done again.
func (h *Hub) deletePeople(ctx context.Context, job *store.Job, doc *deletionJob) error {
	job.State = jobRunning
	doc.Receipt.Remains = nil
	// First no reader gives out what is to go, then what the loader has at hand is loaded.
	below := h.entries("deletion", doc.Request.SuppressRequest, doc.Below)
	if doc.Request.Suppress {
		below = append(below, h.entries("deletion", doc.Request.SuppressRequest, 0)...)
	}
	if err := h.hide(ctx, below); err != nil {
		return err
	}
	if err := h.loader.Wait(ctx, tidegate.Offset{Position: min(doc.Below, h.journal.Durable().Position)}); err != nil {
		return err
	}
	if err := h.eraseRows(ctx, doc); err != nil {
		return err
	}
	if err := h.saveDeletion(ctx, job, *doc); err != nil {
		return err
	}
	if err := h.eraseForwards(ctx, doc); err != nil {
		return err
	}
	if err := h.saveDeletion(ctx, job, *doc); err != nil {
		return err
	}
	if err := h.eraseDestinations(ctx, doc); err != nil {
		return err
	}
	if err := h.eraseJournal(ctx, doc); err != nil {
		return err
	}
	return h.settle(ctx, doc)
}

func (h *Hub) hide(ctx context.Context, entries []privacy.Entry) error {
	if _, err := h.control().AddSuppressions(ctx, entries); err != nil {
		return err
	}
	return h.refreshPeople(ctx)
}

// eraseRows deletes the people's rows from the tables of the sources.
func (h *Hub) eraseRows(ctx context.Context, doc *deletionJob) error {
	values := map[string]bool{}
	for _, v := range doc.Values {
		values[v] = true
	}
	for _, source := range h.schemasOf(doc.Request.Source) {
		e := privacy.Eraser{Warehouse: h.warehouse, Schema: source, People: doc.Request.People, Now: h.o.Now}
		err := e.Erase(ctx, &doc.Receipt)
		maps.Copy(values, e.Values()) // also of an attempt that failed: the rows that told them may be gone
		doc.Values = slices.Sorted(maps.Keys(values))
		if linked := e.Linked(); len(linked) > 0 {
			doc.Receipt.Linked += len(linked)
			r := doc.Request.SuppressRequest
			r.People = linked
			if err := h.hide(ctx, h.entries("deletion", r, doc.Below)); err != nil {
				return err
			}
			for _, p := range linked { // an interrupted deletion goes on with them
				if !slices.Contains(doc.Request.People, p) && doc.Request.Suppress {
					doc.Request.People = append(doc.Request.People, p)
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// schemasOf are the schemas of a source's events, or of those of all sources, and those of replays.
func (h *Hub) schemasOf(source string) []string {
	all, _ := schemasOfEvents(h.active.Load().project, h.warehouse.Dialect(), source)
	if list, err := h.control().Jobs(context.Background(), replayKind, 1000); err == nil {
		for _, job := range list {
			r, err := replayOf(job)
			if err != nil || r.Request.Into == replay.Live || source != "" && r.Request.Source != source {
				continue
			}
			if into := schemaName(h.warehouse.Dialect(), r.Request.Into); !slices.Contains(all, into) {
				all = append(all, into)
			}
		}
	}
	return all
}

// settle makes the deletion durable in the warehouse's own file and says what is left.
func (h *Hub) settle(ctx context.Context, doc *deletionJob) error {
	if r, ok := h.warehouse.(warehouse.Recoverer); ok {
		if err := r.Checkpoint(ctx); err != nil {
			return fmt.Errorf("making the deletion durable: %w", err)
		}
	}
	if left := doc.Receipt.Left(); left > 0 {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "privacy.left", Subject: "deletion", Message: fmt.Sprintf("%d rows or records were found again after they had been deleted", left), Hint: "it is tried again; the receipt says where"}
	}
	if _, shared := schemasOfEvents(h.active.Load().project, h.warehouse.Dialect(), doc.Request.Source); len(shared) > 0 {
		doc.Receipt.Remains = append(doc.Receipt.Remains, privacy.Remains{
			Place: "warehouse", What: "events of several sources are routed to the schemas " + strings.Join(shared, ", ") + ", which were left alone; a deletion that names no source looks into them",
		})
	}
	h.otherSchemas(ctx, doc)
	return nil
}

// otherSchemas names what nobody looked into: tables that others made.
func (h *Hub) otherSchemas(ctx context.Context, doc *deletionJob) {
	lister, ok := h.warehouse.(warehouse.Lister)
	if !ok {
		return
	}
	tables, err := lister.Tables(ctx)
	if err != nil {
		return
	}
	own := append(h.schemasOf(""), "_tidegate")
	var others []string
	for _, t := range tables {
		if !slices.Contains(own, t.Schema) && !slices.Contains(others, t.Schema) {
			others = append(others, t.Schema)
		}
	}
	if len(others) > 0 {
		doc.Receipt.Remains = append(doc.Receipt.Remains, privacy.Remains{
			Place: "warehouse", What: "tables that others made were not looked into: the schemas " + strings.Join(others, ", ") + "; build them again (dbt run --full-refresh), or delete there",
		})
	}
}

// eraseJournal takes the people's events out of the journal's files.
func (h *Hub) eraseJournal(ctx context.Context, doc *deletionJob) error {
	place := doc.Receipt.At("journal", "journal")
	result, err := h.rewriteJournal(ctx, doc.Below)
	place.Found += int64(result.Events)
	place.Deleted += int64(result.Events)
	if err != nil {
		return fmt.Errorf("taking people out of the journal: %w", err)
	}
	place.VerifiedAt = h.o.Now().UTC()
	place.Note = fmt.Sprintf("%d files were written again without them", result.Segments)
	if result.Growing {
		doc.Receipt.Remains = append(doc.Receipt.Remains, privacy.Remains{
			Place: "journal", What: "the file that is being written may hold such events; no reader gives them out, the next event that comes begins another file, and at most 15 minutes later this one is written again without them",
		})
	}
	for _, path := range result.Damaged {
		doc.Receipt.Remains = append(doc.Receipt.Remains, privacy.Remains{Place: "journal", What: "a damaged file was left as it is: " + path})
	}
	if n := len(h.journal.Stats().Damage); n > 0 {
		doc.Receipt.Remains = append(doc.Receipt.Remains, privacy.Remains{Place: "journal", What: fmt.Sprintf("%d damaged ranges are kept in the folder quarantine, and nobody can read whose events they are", n)})
	}
	return nil
}

// rewriteJournal writes sealed files again without the events below an offset of people
// who are out. What it could not write again yet is left to sweepJournal.
func (h *Hub) rewriteJournal(ctx context.Context, below int64) (journal.Rewritten, error) {
	result, err := h.journal.Rewrite(ctx, tidegate.Offset{Position: below}, func(payload []byte, first tidegate.Offset) ([]byte, int, error) {
		return redact(&h.events.people, payload, first)
	})
	if err != nil || result.Growing {
		h.events.unswept.Store(max(h.events.unswept.Load(), below))
	}
	return result, err
}

// sweepJournal writes again what an earlier deletion, also of an earlier process, had to
// leave.
func (h *Hub) sweepJournal(ctx context.Context) error {
	below := h.events.unswept.Swap(0)
	if below == 0 {
		return nil
	}
	_, err := h.rewriteJournal(ctx, below)
	return err
}

// redact leaves of the events of people who are out nothing but their ids.
func redact(people *privacy.Set, payload []byte, first tidegate.Offset) (changed []byte, events int, err error) {
	list, err := envelope.Decode(nil, payload, first)
	if err != nil {
		return nil, 0, fmt.Errorf("decoding frame %s: %w", first, err)
	}
	var out envelope.Envelope
	kept := 0
	for i := range list {
		ev := &list[i]
		e := envelope.Event{Type: ev.Type, MessageID: ev.MessageID, Refusal: ev.Refusal, Body: ev.Body}
		switch {
		case tidegate.Withheld(ev.Refusal):
		case people.Out(ev):
			e.Body, e.Refusal = privacy.Redact(ev), tidegate.RefusedSuppressed
			events++
		default:
			kept++
		}
		if i == 0 || kept == 1 && out.RequestIP == "" { // an event that is withheld shares nothing
			out = envelope.Envelope{
				Source: ev.Source, ReceivedAt: ev.ReceivedAt, SentAt: ev.SentAt, RequestIP: ev.RequestIP, Context: ev.Context, Integrations: ev.Integrations,
				Events: out.Events, Replayed: ev.Replayed,
			}
		}
		out.Events = append(out.Events, e)
	}
	if events == 0 {
		return nil, 0, nil
	}
	if kept == 0 { // what the events shared is about their people
		out.SentAt, out.RequestIP, out.Context, out.Integrations = "", "", nil, nil
	}
	return new(envelope.Packer).Pack(&out), events, nil
}

// ScanPrivacy looks for personal data in the events of the journal, spread evenly over
// the period when there are more than are looked at.
func (h *Hub) ScanPrivacy(ctx context.Context, r api.ScanRequest) (report privacy.Report, err error) {
	if err := h.askedSource(ctx, r.Source); err != nil {
		return report, err
	}
	filter, err := live.Compile(live.Match{Sources: some(r.Source)})
	if err != nil {
		return report, err
	}
	from := h.journal.Stats().Oldest
	reader, err := h.tailFrom(api.TailRequest{From: &from})
	if !r.Since.IsZero() && err == nil {
		err = errors.Join(reader.Close())
		if err == nil {
			reader, err = h.tailFrom(api.TailRequest{Since: r.Since})
		}
	}
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	end := h.journal.Durable()
	step := max(1, (end.Position-reader.Position().Position+int64(r.Limit)-1)/int64(max(r.Limit, 1)))
	var finder privacy.Finder
	seen := int64(0)
	reading := live.Reading{Frames: reader, Filter: filter, Hidden: &h.events.people, Until: end}
	err = reading.All(ctx, false, func(s live.Shown) error {
		if seen++; s.Event.Refusal != "" || s.Event.Replayed || (seen-1)%step != 0 {
			finder.Skip()
			return nil
		}
		finder.Look(s.Event.Source, s.Facts.Name, tidegate.EventType(s.Facts.Type), s.Event.Body)
		return nil
	}, nil)
	return finder.Report(), err
}
