package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/metric"

	"github.com/tidegate/tidegate"
)

// Appender makes events durable. Append returns after they are on disk, with
// the offset of the first; from then on they are never lost. It does not keep
// payload after it returned without an error; after an error it may still be
// reading it. A Throttle fault says how long to stay away.
type Appender interface {
	Append(ctx context.Context, payload []byte, events int) (tidegate.Offset, error)
}

// Sources finds sources by write key. It is called once or twice per request,
// from many goroutines: implementations do not lock.
type Sources interface {
	ByWriteKey(key string) (tidegate.Source, bool)
}

// Mode says how a request with an unknown write key is answered.
type Mode string

// The modes.
const (
	// Strict answers 401: clients drop the events and their owner sees why.
	Strict Mode = "strict"
	// Segment answers 200 and drops the events, as Segment does.
	Segment Mode = "segment"
)

// Options configure New. Journal, Sources, Now and NewID are required.
type Options struct {
	Journal Appender
	Sources Sources
	// Log hears of webhooks that cannot be used; nothing else, least of all of the journal,
	// which says itself when it refuses. Discarded when nil.
	Log *slog.Logger
	Now func() time.Time
	// NewID makes the messageId of an event that came without one: a UUID.
	NewID  func() string
	Limits Limits
	// Mode is Strict when empty.
	Mode Mode
	// TrustedProxies may speak for clients: X-Forwarded-For, -Host and -Proto are
	// believed from them only. Nil means loopback; empty and not nil means nobody.
	TrustedProxies []netip.Prefix
	// PublicURL is the address under which browsers reach this server, for the
	// settings that it serves ("https://events.example.com"). Empty: taken from each request.
	PublicURL string
	// Secret resolves the reference of a webhook's secret (`${env:NAME}`). Sources
	// with webhooks are refused when it is nil.
	Secret func(reference string) (string, error)
	// Script is our browser SDK, which snippets are served; they get 404 without it.
	Script []byte
	// Suppression says whose events must not be kept. Nobody's when nil.
	Suppression Suppression
	// Throttled is told how many events a source was sent back for its rate; nil: nobody is.
	Throttled func(source string, events int)
	// Meter counts accepted, refused, bytes and answers. Nothing is counted when nil.
	Meter metric.Meter
}

// Limits bound what a client can make the server do. A zero field takes the
// default that its comment names; the defaults are never below what the SDKs
// send.
type Limits struct {
	// EventBytes is the size of one event: 1 MiB.
	EventBytes int
	// BodyBytes is the size of one request, on the wire and decompressed: 5 MiB.
	BodyBytes int
	// Events is the number of events in one batch: 2,500.
	Events int
	// Depth is the number of objects and arrays inside each other in one event: 64.
	Depth int
	// MessageIDBytes is the length of a messageId: 256.
	MessageIDBytes int
	// Errors is how many refused events one answer names: 20.
	Errors int
	// InFlightBytes is what all requests together may hold in memory: 256 MiB.
	// Beyond it requests are answered 503.
	InFlightBytes int64
	// EventsPerSecond is the rate of one source; a request beyond it is answered
	// 429. Zero means no limit.
	EventsPerSecond float64
}

func (l Limits) withDefaults() (Limits, error) {
	for _, f := range []struct {
		name     string
		value    *int
		standard int
	}{
		{"EventBytes", &l.EventBytes, 1 << 20},
		{"BodyBytes", &l.BodyBytes, 5 << 20},
		{"Events", &l.Events, 2500},
		{"Depth", &l.Depth, 64},
		{"MessageIDBytes", &l.MessageIDBytes, 256},
		{"Errors", &l.Errors, 20},
	} {
		if *f.value < 0 {
			return l, fmt.Errorf("limit %s is %d: it must be positive, or zero for the default", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	if l.InFlightBytes == 0 {
		l.InFlightBytes = 256 << 20
	}
	switch {
	case l.InFlightBytes < 2*int64(l.BodyBytes):
		return l, fmt.Errorf("limit InFlightBytes is %d: it must hold one body as sent and decompressed, %d", l.InFlightBytes, 2*l.BodyBytes)
	case l.EventsPerSecond < 0:
		return l, fmt.Errorf("limit EventsPerSecond is %v: it must not be negative", l.EventsPerSecond)
	}
	return l, nil
}

// surface is the handler and what its requests share.
type surface struct {
	journal   Appender
	sources   Sources
	log       *slog.Logger
	now       func() time.Time
	newID     func() string
	limits    Limits
	mode      Mode
	proxies   []netip.Prefix
	publicURL *url.URL
	counts    *counts
	inFlight  budget
	requests  sync.Pool // of *request
	secret    func(reference string) (string, error)
	receivers sync.Map // name of a source → *receiver; bounded by the defined sources
	paths     *chi.Mux

	throttled   func(source string, events int)
	suppression Suppression
	script      *script // nil: absent
}

// New returns the handler of the whole ingest surface. It starts no goroutine
// and needs no closing.
func New(o Options) (http.Handler, error) {
	if o.Journal == nil || o.Sources == nil || o.Now == nil || o.NewID == nil {
		return nil, errors.New("ingest needs Journal, Sources, Now and NewID")
	}
	s := &surface{journal: o.Journal, sources: o.Sources, log: o.Log, now: o.Now, newID: o.NewID, mode: o.Mode, proxies: o.TrustedProxies, secret: o.Secret, suppression: o.Suppression, throttled: o.Throttled}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	switch s.mode {
	case "":
		s.mode = Strict
	case Strict, Segment:
	default:
		return nil, fmt.Errorf("mode %q of ingest is neither %q nor %q", s.mode, Strict, Segment)
	}
	if s.proxies == nil {
		s.proxies = loopback()
	}
	var err error
	if s.limits, err = o.Limits.withDefaults(); err != nil {
		return nil, err
	}
	if o.PublicURL != "" {
		s.publicURL, err = url.Parse(o.PublicURL)
		if err != nil || s.publicURL.Scheme != "http" && s.publicURL.Scheme != "https" || !validHost(s.publicURL.Host) || s.publicURL.User != nil {
			return nil, fmt.Errorf("public URL %q of ingest is no http or https address", o.PublicURL)
		}
	}
	if s.counts, err = newCounts(o.Meter, s.limits); err != nil {
		return nil, err
	}
	if s.script, err = newScript(o.Script); err != nil {
		return nil, fmt.Errorf("compressing the browser SDK: %w", err)
	}
	s.inFlight.left.Store(s.limits.InFlightBytes)
	s.requests.New = func() any { return new(request) }
	return s.routes(), nil
}
