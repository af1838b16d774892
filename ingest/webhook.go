package ingest

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/hook"
)

var errNoSecrets = errors.New("this server resolves no secrets")

// receiver is the compiled webhook of a source, and what it was compiled of.
type receiver struct {
	def    tidegate.WebhookSource
	secret string
	hook   *hook.Receiver
	err    error
}

// webhook serves another service's calls. Services repeat a call until they are
// answered 2xx, so 200 means as everywhere that the event is on disk (Invariant 1).
func (s *surface) webhook(w http.ResponseWriter, r *http.Request) {
	received := s.now()
	req := s.requests.Get().(*request)
	defer s.release(req)
	reply, p := func() ([]byte, *problem) {
		key := chi.URLParam(r, "writeKey")
		if key == "" {
			var ok bool
			if key, ok = headerKey(r); !ok {
				return nil, refuse(http.StatusUnauthorized, "auth.no_write_key", "the request names no write key", "give the service the address …/v1/webhook/WRITE_KEY")
			}
		}
		source, p := s.source(r, key)
		if p != nil {
			return nil, p
		}
		if source.Webhook == nil {
			return nil, refuse(http.StatusNotFound, "source.no_webhook", "the source of this write key takes no webhooks", "add `webhook:` to the source")
		}
		body, p := s.body(req, r)
		if p != nil {
			return nil, p
		}
		compiled, p := s.receiver(source)
		if p != nil {
			return nil, p
		}
		result, err := compiled.Receive(hook.Call{Header: r.Header, Query: r.URL.Query(), Body: body, At: received})
		if err != nil {
			return nil, hookProblem(err)
		}
		if result.Event == nil {
			return result.Answer, nil
		}
		return nil, s.takeBody(req, r, result.Event, source, tidegate.Track, received)
	}()
	status := http.StatusOK
	switch {
	case p != nil:
		status = p.status
		s.writeProblem(w, p)
	case reply != nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		w.WriteHeader(status)
		_, _ = w.Write(reply) // the service asks again when it does not hear it
	default:
		req.answer = appendAccepted(req.answer[:0], len(req.env.Events), req.ok, req.errors)
		writeAccepted(w, req.answer)
	}
	s.counts.answered(r.Context(), status, s.now().Sub(received))
}

// receiver returns the compiled webhook of a source, compiling it when the
// definition or the secret behind its reference has changed.
func (s *surface) receiver(source tidegate.Source) (*hook.Receiver, *problem) {
	fresh := &receiver{def: *source.Webhook}
	switch {
	case fresh.def.Secret == "":
	case s.secret == nil:
		fresh.err = errNoSecrets
	default:
		fresh.secret, fresh.err = s.secret(fresh.def.Secret)
	}
	if have, ok := s.receivers.Load(source.Name); ok {
		if have := have.(*receiver); have.def == fresh.def && have.secret == fresh.secret && (fresh.err == nil || have.err != nil) {
			return have.hook, have.problem()
		}
	}
	if fresh.err == nil {
		fresh.hook, fresh.err = hook.New(source.Name, fresh.def, fresh.secret)
	}
	if fresh.err != nil { // said once per definition and secret
		s.log.Error("the webhook of a source cannot be used", "source", source.Name, "error", fresh.err)
	}
	s.receivers.Store(source.Name, fresh)
	return fresh.hook, fresh.problem()
}

func (c *receiver) problem() *problem {
	if c.err != nil {
		return misconfigured()
	}
	return nil
}

// misconfigured sends the service away until someone has acted: it comes again,
// and nothing is lost.
func misconfigured() *problem {
	return later(http.StatusServiceUnavailable, "source.webhook", "the source's webhook is not set up correctly; the server's log says what is wrong", 5*journalRetry)
}

func hookProblem(err error) *problem {
	f := tidegate.FaultOf(err)
	status := http.StatusBadRequest
	switch f.Code {
	case "webhook.signature":
		status = http.StatusUnauthorized
	case "webhook.expression":
		status = http.StatusUnprocessableEntity
	}
	return refuse(status, f.Code, f.Message, f.Hint)
}
