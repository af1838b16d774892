package ingest

import (
	"net/http"
	"net/netip"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/scan"
)

// Suppression says whose events must not be kept. It is asked for every event,
// from many goroutines: implementations do not lock. Either id may be empty. The
// ids are not its own to keep.
type Suppression interface {
	Suppressed(source string, userID, anonymousID []byte) bool
}

// What a source's `ip` may say.
const (
	ipAnonymize = "anonymize" // the last byte of an IPv4 address becomes 0, of an IPv6 address the last ten
	ipDrop      = "drop"
)

// What a source's `bots` may say.
const (
	botsMark = "mark" // context.isBot and context.bot.name, as RudderStack names them
	botsDrop = "drop"
)

// treatment is what is done to the events of one request, besides judging them:
//
//	suppressed ─ yes ─▶ kept without what it says
//	    │ no
//	judged ─ refused ─▶ kept whole, with the code
//	    │ accepted
//	a bot's ─ drop ─▶ kept without what it says
//	    │ no, or keep, or mark (its context says so)
//	a merge ─ becomes a track event
//	addresses ─ anonymize, drop ─▶ rewritten
//
// With nothing set and nobody suppressed the client's bytes are kept as they are.
type treatment struct {
	source tidegate.Source
	byPath tidegate.EventType
	bot    string // the bot that sent the request, "" for none
	// noIP: an SDK was told not to tell where its user is (context.ip 0.0.0.0).
	noIP bool
}

// treatmentOf prepares the treatment of the scanned document's events.
func treatmentOf(req *request, r *http.Request, source tidegate.Source, byPath tidegate.EventType) treatment {
	t := treatment{source: source, byPath: byPath}
	if source.Bots != botsMark && source.Bots != botsDrop {
		return t
	}
	if source.Webhook == nil { // services that call webhooks are programs, and some say so
		t.bot = botName([]byte(r.UserAgent()))
	}
	if text, ok := req.doc.UserAgent.Text(); ok && byPath == "" {
		t.bot = botName(text)
	}
	return t
}

// botOf returns the name of the bot that an event comes from, "" for none.
func (t *treatment) botOf(ev *scan.Event) string {
	if text, ok := ev.UserAgent.Text(); ok {
		return botName(text)
	}
	return t.bot
}

// suppressed says whether an event is of somebody whose events must not be kept.
// An alias and a merge speak of two.
func (s *surface) suppressed(t *treatment, ev *scan.Event) bool {
	if s.suppression == nil {
		return false
	}
	if s.suppression.Suppressed(t.source.Name, idText(ev.UserID), idText(ev.AnonymousID)) {
		return true
	}
	others := [2][]byte{idText(ev.PreviousID)}
	if isMerge(ev, t.byPath) {
		two, _ := identifiersOf(ev)
		others = [2][]byte{idText(two[0].value), idText(two[1].value)}
	}
	for _, id := range others {
		if len(id) > 0 && s.suppression.Suppressed(t.source.Name, id, id) {
			return true
		}
	}
	return false
}

// idText returns an id as text: some senders use numbers.
func idText(v scan.Value) []byte {
	if text, ok := v.Text(); ok {
		return text
	}
	if v.IsNumber() {
		return v
	}
	return nil
}

// withhold puts an event into the envelope without what it says. Its id stays, by
// which the books can name it (Invariant 2).
func (s *surface) withhold(req *request, ev *scan.Event, code string) {
	body := []byte("{}")
	if s.limits.goodMessageID(ev.MessageID) {
		body = append(append([]byte(`{"messageId":`), ev.MessageID...), '}')
	}
	req.withheld++
	req.env.Events = append(req.env.Events, envelope.Event{Refusal: code, Body: body})
}

// treat returns the body of an event, rewritten as its source says.
func (t *treatment) treat(ev *scan.Event, accepted bool) []byte {
	body := ev.Raw
	if !body.IsObject() {
		return body
	}
	if accepted && isMerge(ev, t.byPath) {
		body = unmerged(ev)
	}
	if t.source.Bots == botsMark {
		if name := t.botOf(ev); name != "" {
			body = marked(body, name)
		}
	}
	if ev.IP == nil {
		return body
	}
	t.noIP = t.noIP || isNowhere(ev.IP)
	if t.rewritesIP() {
		body = body.AppendReplaced(nil, []string{"context", "ip"}, t.address)
	}
	return body
}

// share puts what a batch says for all its events into the envelope.
func (t *treatment) share(req *request) {
	d := &req.doc
	if sentAt, ok := d.SentAt.Text(); ok {
		req.env.SentAt = string(sentAt)
	}
	if d.Integrations.IsObject() {
		req.env.Integrations = d.Integrations
	}
	if !d.Context.IsObject() {
		return
	}
	req.env.Context = d.Context
	if d.IP == nil {
		return
	}
	t.noIP = t.noIP || isNowhere(d.IP)
	if t.rewritesIP() {
		req.env.Context = d.Context.AppendReplaced(nil, []string{"ip"}, t.address)
	}
}

func (t *treatment) rewritesIP() bool { return t.source.IP == ipAnonymize || t.source.IP == ipDrop }

// address rewrites an address that a client sent. What is no address tells
// nothing that may stay either.
func (t *treatment) address(v scan.Value) []byte {
	text, _ := v.Text()
	if kept := t.requestIP(string(text)); kept != "" {
		return append(append([]byte{'"'}, kept...), '"')
	}
	return []byte("null")
}

// requestIP returns what may be kept of the address that sent the request.
func (t *treatment) requestIP(ip string) string {
	switch {
	case t.noIP || t.source.IP == ipDrop:
		return ""
	case t.source.IP == ipAnonymize:
		return anonymized(ip)
	}
	return ip
}

// anonymized cuts an address down to its network: /24 of IPv4, /48 of IPv6.
func anonymized(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return network.Addr().String()
}

// isNowhere says whether an SDK was told to say nothing of its user's address.
func isNowhere(v scan.Value) bool { return string(v) == `"0.0.0.0"` || string(v) == `"::"` }
