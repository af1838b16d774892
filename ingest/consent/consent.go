// Package consent decides whether an event may leave for a destination: by what
// the person agreed to (`context.consent.categoryPreferences` of Segment,
// `context.consentManagement` of RudderStack) and by the event's `integrations`
// object.
//
// Where both speak, both must agree: consent is looked at first, and what it
// forbids no `integrations` object can allow.
//
//	consent object         destination without category   destination with categories
//	none, or empty         by integrations                 by integrations (*)
//	no categories in it    by integrations                 no
//	categories             by integrations                 every category true, then by integrations
//
//	(*) an empty consent object beside an integrations object that is not empty
//	    counts as consent to nothing: Segment's rule.
//
// Invariants: a category that the person was not asked about, or whose answer is
// anything but true, is not consented to. Of an event and its batch the event's own
// word counts, category by category and destination by destination. Allows of arbitrary bytes
// gives an answer, never a panic (Invariant 7).
//
// It is pure: no I/O, no clock, no state. It does not enforce: whoever delivers an
// event asks, and counts what was held back. All of it may be called from many
// goroutines.
package consent

import (
	"bytes"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/scan"
)

// Reason is a stable code that says why an event may not leave; empty when it may.
type Reason string

// The reasons.
const (
	// NoConsent: a category of the destination is not consented to.
	NoConsent Reason = "consent.denied"
	// NotChosen: the event's `integrations` leaves the destination out.
	NotChosen Reason = "consent.integrations"
)

// Allows says whether ev may be delivered to the destination of that name, which
// serves the given consent categories (none: it needs no consent). Names of
// destinations are compared without regard to case, spaces and signs:
// `Google Ads` in an event means the destination `google_ads`.
func Allows(ev *tidegate.Event, destination string, categories []string) (bool, Reason) {
	if quiet(ev) {
		return true, ""
	}
	body := scan.Value(ev.Body)
	sharedContext, ownContext := scan.Value(ev.Context), body.Member("context")
	shared, own := scan.Value(ev.Integrations), body.Member("integrations")
	if len(categories) > 0 {
		p := preferencesOf(sharedContext, ownContext)
		p.chosen = !empty(shared) || !empty(own)
		if !p.allow(categories) {
			return false, NoConsent
		}
		if !managed(ownContext, sharedContext, categories) {
			return false, NoConsent
		}
	}
	if !chosen(shared, own, destination) {
		return false, NotChosen
	}
	return true, ""
}

// quiet says, without decoding, that nothing of ev speaks of consent or
// integrations: most events.
func quiet(ev *tidegate.Event) bool {
	if len(ev.Integrations) > 0 {
		return false
	}
	for _, text := range [][]byte{ev.Body, ev.Context} {
		if bytes.Contains(text, []byte(`"consent`)) || bytes.Contains(text, []byte(`"integrations"`)) || bytes.Contains(text, []byte(`\u`)) {
			return false
		}
	}
	return true
}

// preferences are what the person said of categories.
type preferences struct {
	object   bool // there is a consent object
	listed   bool // with a list of categories in it, be it empty
	chosen   bool // there is an integrations object with something in it
	accepted map[string]bool
}

// preferencesOf reads the consent objects of the contexts, later ones over earlier ones.
func preferencesOf(contexts ...scan.Value) preferences {
	p := preferences{}
	for _, context := range contexts {
		object := context.Member("consent")
		if !object.IsObject() {
			continue
		}
		p.object = true
		// Some of Segment's mobile SDKs write the name without its s.
		for _, name := range [...]string{"categoryPreference", "categoryPreferences"} {
			list := object.Member(name)
			if list == nil {
				continue
			}
			p.listed = true
			for category, answer := range list.Members {
				if p.accepted == nil {
					p.accepted = map[string]bool{}
				}
				p.accepted[string(category)] = string(answer) == "true"
			}
		}
	}
	return p
}

func (p *preferences) allow(categories []string) bool {
	if !p.object || !p.listed && !p.chosen {
		return true
	}
	for _, c := range categories {
		if !p.accepted[c] {
			return false
		}
	}
	return true
}

// managed applies what RudderStack's SDKs stamp: the ids that were denied, and
// whether one of a destination's denied ids is enough to hold an event back
// ("and", the usual) or all of them must be ("or").
func managed(own, shared scan.Value, categories []string) bool {
	object := own.Member("consentManagement")
	if !object.IsObject() {
		object = shared.Member("consentManagement")
	}
	denied := map[string]bool{}
	for id := range object.Member("deniedConsentIds").Items {
		if text, ok := id.Text(); ok {
			denied[string(text)] = true
		}
	}
	refused := 0
	for _, c := range categories {
		if denied[c] {
			refused++
		}
	}
	if strategy, _ := object.Member("resolutionStrategy").Text(); string(strategy) == "or" {
		return refused < len(categories)
	}
	return refused == 0
}

// chosen applies the integrations objects: what names the destination counts,
// `All` counts for those not named, and without either everything is chosen.
func chosen(shared, own scan.Value, destination string) bool {
	wanted := fold(destination)
	named, all, isNamed := true, true, false
	for _, object := range [...]scan.Value{shared, own} {
		exact := false
		for name, value := range object.Members {
			switch {
			case string(name) == destination:
				named, isNamed, exact = on(value), true, true
			case strings.EqualFold(string(name), "all"):
				all = on(value)
			case !exact && fold(string(name)) == wanted:
				named, isNamed = on(value), true
			}
		}
	}
	if isNamed {
		return named
	}
	return all
}

// on says whether an entry of integrations chooses: true, or options.
func on(v scan.Value) bool { return string(v) != "false" && string(v) != "null" }

func empty(object scan.Value) bool {
	for range object.Members {
		return false
	}
	return true
}

// fold brings the name of a destination into the form in which names are compared.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r > 127:
			return r
		}
		return -1
	}, name)
}
