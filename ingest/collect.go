package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/scan"
)

// journalRetry is how long a client is sent away when the journal does not say.
const journalRetry = 5 * time.Second

const codeBadJSON = "request.bad_json"

// request is what serving one request needs; it is reused for later ones.
type request struct {
	wire, plain []byte // the body as it came, and decompressed
	source      bytes.Reader
	gzip        *gzip.Reader
	doc         scan.Document
	env         envelope.Envelope
	packer      envelope.Packer
	answer      []byte
	reserved    int64 // of the budget

	ok       int // accepted
	withheld int // refused for reasons that are not the sender's business
	errors   []eventError
}

// collect serves one path that takes events. byPath is the type that the path
// names, empty for the paths that take batches.
func (s *surface) collect(byPath tidegate.EventType) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		received := s.now()
		req := s.requests.Get().(*request)
		defer s.release(req)
		p := s.take(req, r, byPath, received)
		status := http.StatusOK
		switch {
		case p == nil:
			req.answer = appendAccepted(req.answer[:0], len(req.env.Events), req.ok+req.withheld, req.errors)
			writeAccepted(w, req.answer)
		case s.mode == Segment && p.status == http.StatusUnauthorized:
			writeAccepted(w, []byte(`{"success":true}`))
		default:
			status = p.status
			s.writeProblem(w, p)
		}
		s.counts.answered(r.Context(), status, s.now().Sub(received))
	}
}

// take makes the events of r durable, or says why not. Then req holds their
// number and the refused ones.
func (s *surface) take(req *request, r *http.Request, byPath tidegate.EventType, received time.Time) *problem {
	var source tidegate.Source
	var p *problem
	key, early := headerKey(r)
	if early { // before the body: a flood with wrong keys costs headers only
		if source, p = s.source(r, key); p != nil {
			return p
		}
	}
	unwatch(r)
	body, p := s.body(req, r)
	if p != nil {
		return p
	}
	return s.takeBody(req, r, body, source, byPath, received)
}

// takeBody is take once the body is there. The source is empty when the body
// has to name its write key.
func (s *surface) takeBody(req *request, r *http.Request, body []byte, source tidegate.Source, byPath tidegate.EventType, received time.Time) (p *problem) {
	if err := req.doc.Scan(body, s.limits.Events); err != nil {
		return s.scanProblem(err)
	}
	if source.Name == "" {
		key := bodyKey(&req.doc)
		if key == "" {
			return noKey()
		}
		if source, p = s.source(r, key); p != nil {
			return p
		}
	}
	tally := s.counts.of(source)
	t := treatmentOf(req, r, source, byPath)
	if p = s.enclose(req, &t); p != nil {
		s.counts.refused(r.Context(), tally, req)
		return p
	}
	if p := tally.admit(received, len(req.env.Events)); p != nil {
		if s.throttled != nil {
			s.throttled(source.Name, len(req.env.Events))
		}
		return p
	}
	req.env.Source, req.env.ReceivedAt = source.Name, received
	if req.withheld < len(req.env.Events) {
		req.env.RequestIP = t.requestIP(s.clientIP(r))
	}
	if p := s.append(r.Context(), req); p != nil {
		return p
	}
	s.counts.taken(r.Context(), tally, req, len(body))
	return nil
}

// enclose judges the events of the scanned document and puts all of them into
// the envelope. It refuses the request when none of them is valid.
func (s *surface) enclose(req *request, t *treatment) *problem {
	d := &req.doc
	req.ok, req.withheld, req.errors = 0, 0, req.errors[:0]
	req.env = envelope.Envelope{Events: req.env.Events[:0]}
	if t.byPath != "" {
		s.add(req, &d.Event, t)
		if req.ok+req.withheld > 0 {
			return nil
		}
		status, code := http.StatusBadRequest, req.env.Events[0].Refusal
		if code == RefusedTooLarge {
			status = http.StatusRequestEntityTooLarge
		}
		return refuse(status, code, s.limits.message(code), "")
	}
	switch {
	case !d.Batch.IsArray():
		return refuse(http.StatusBadRequest, "request.no_batch", `the body has no list "batch"`, `send {"batch": [event, …]} here, or a single event to /v1/track and its like`)
	case len(d.Events) == 0:
		return refuse(http.StatusBadRequest, "request.empty_batch", `"batch" is empty`, "")
	}
	for i := range d.Events {
		s.add(req, &d.Events[i], t)
	}
	switch {
	case req.ok+req.withheld == 0:
		p := refuse(http.StatusBadRequest, "request.no_valid_event", "none of the events in the batch is valid: "+req.errors[0].Message, "")
		p.events, p.errors = len(d.Events), req.errors
		return p
	case req.withheld < len(d.Events):
		t.share(req)
	}
	return nil
}

// add puts one event into the envelope, judged and treated.
func (s *surface) add(req *request, ev *scan.Event, t *treatment) {
	if s.suppressed(t, ev) {
		s.withhold(req, ev, tidegate.RefusedSuppressed)
		return
	}
	refusal, typ := s.limits.judge(ev, t.byPath)
	if refusal == "" && t.source.Bots == botsDrop && t.botOf(ev) != "" {
		s.withhold(req, ev, tidegate.RefusedBot)
		return
	}
	kept := envelope.Event{Type: typ, Refusal: refusal, Body: t.treat(ev, refusal == "")}
	if len(kept.Body) == len(ev.Raw) { // most likely as it came, and no more than a hint
		kept.RepeatFrom, kept.RepeatTo = ev.ContextFrom, ev.ContextTo
	}
	if ev.MessageID.Empty() {
		kept.MessageID = s.newID()
	}
	if refusal == "" {
		req.ok++
	} else if len(req.errors) < s.limits.Errors {
		req.errors = append(req.errors, eventError{Index: len(req.env.Events), Code: refusal, Message: s.limits.message(refusal)})
	}
	req.env.Events = append(req.env.Events, kept)
}

// append makes the envelope durable. Invariant 1: nil is returned only after
// the journal has said that it is.
//
// What was read is kept whether the client waits for its answer or not.
func (s *surface) append(ctx context.Context, req *request) *problem {
	_, err := s.journal.Append(context.WithoutCancel(ctx), req.packer.Pack(&req.env), len(req.env.Events))
	if err == nil {
		return nil
	}
	req.packer = envelope.Packer{} // the journal may still be reading it
	f := tidegate.FaultOf(err)     // the journal has logged it
	if f.Action == tidegate.Reject {
		return refuse(http.StatusRequestEntityTooLarge, f.Code, "the request is larger than the journal takes", "send smaller batches")
	}
	after := f.After
	if after <= 0 {
		after = journalRetry
	}
	// What exactly is wrong with the server is not the sender's business.
	return later(http.StatusServiceUnavailable, f.Code, "the server cannot make events durable just now; nothing of this request was accepted", after)
}

func (s *surface) scanProblem(err error) *problem {
	if errors.Is(err, scan.ErrTooManyEvents) {
		return refuse(http.StatusRequestEntityTooLarge, "request.too_many_events", fmt.Sprintf("the batch holds more than %d events", s.limits.Events), "send smaller batches")
	}
	return refuse(http.StatusBadRequest, codeBadJSON, "the body is not valid JSON: "+err.Error(), "")
}

// release gives back what the request held.
func (s *surface) release(req *request) {
	s.inFlight.give(req.reserved)
	req.reserved = 0
	if cap(req.wire) > keptBuffer || cap(req.plain) > keptBuffer || req.packer.Held() > 2*keptBuffer {
		return // a rare giant: left to the collector, with all that points into it
	}
	s.requests.Put(req)
}

// swallow answers what SDKs report about themselves; nobody reads it.
func (s *surface) swallow(w http.ResponseWriter, _ *http.Request) {
	writeAccepted(w, []byte(`{"success":true}`))
}
