// Package judge is what the readers of the journal ask about each event before
// they use it: the loader before it makes rows, forwarding before it sends, the
// live view before it shows.
//
//	accepted event ─▶ suppression ─▶ tracking plan ─▶ transformations ─▶ reader
//	                      │ Suppress     │ Dead, notes      │ Drop, Dead, changed
//
// The judges run in the readers and not at the door, because a 200 says that an
// event is on disk and nothing else: rules may then change, be repaired and be
// applied again to what was kept, and no rule can slow the answer.
//
// Invariants: a judge of the same rules says the same of the same event, however
// often and by whichever reader it is asked; an event that is not kept is counted
// under its fate (Invariant 2) and, when it is Dead, stays readable with its reason;
// a judge never changes an event's source, offset or messageId.
//
// A judge does no I/O towards warehouse or destinations. Judges are safe for
// concurrent use.
package judge

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
)

// Fate is what is to become of an event.
type Fate int

// The fates.
const (
	Keep     Fate = iota // it goes on, as it is or as changed
	Drop                 // a rule leaves it out on purpose; only counted
	Suppress             // of its person nothing may be kept; only counted
	Dead                 // a dead letter, with Code and Reason
)

// String returns the word that the counts use.
func (f Fate) String() string {
	switch f {
	case Keep:
		return "kept"
	case Drop:
		return "dropped"
	case Suppress:
		return "suppressed"
	case Dead:
		return "dead"
	}
	return fmt.Sprintf("fate %d", int(f))
}

// CodeSuppressed is the refusal of an event whose person was suppressed when it
// came in: it is counted, and its body is not kept.
const CodeSuppressed = "privacy.suppressed"

// Item is one event to judge.
type Item struct {
	Event *tidegate.Event    // not to be changed; valid during the call
	ID    string             // its message id
	Type  tidegate.EventType // as the body or the path has it
}

// Verdict is what was decided about one event. The zero value keeps it as it is.
type Verdict struct {
	Fate Fate
	// Event replaces the event when it is kept; nil: as it is. Only Body, Context and
	// Integrations may differ. It and its memory belong to the verdict.
	Event *tidegate.Event
	// Route is the source under whose schema a kept event is loaded; empty: its own.
	Route string
	// Code is stable and dotted ("plan.violation"), Reason is for people.
	Code, Reason string
	// Violations are noted whatever the fate.
	Violations []Violation
}

// Violation is one way in which an event breaks its tracking plan.
type Violation struct {
	Plan    string // name of the plan
	Version int    // of the event in the plan; 0 when the plan does not know the event
	Event   string // "Order Completed", or the type of an event without a name
	Kind    string // "unplanned_event", "required", "type", …: stable words
	Path    string // "properties.total"; empty when it is about the event as a whole
	Message string // for people; holds no value of the event
	Action  string // "mark", "block" or "route"
}

// Judge decides about events.
type Judge interface {
	// Judge sets verdicts[i] for items[i]; both are equally long and the verdicts are
	// zero. An error means that nothing was decided and that asking again may help.
	Judge(ctx context.Context, items []Item, verdicts []Verdict) error
}

// Chain asks its judges in turn. A judge sees only what those before it keep, as
// they changed it; violations add up.
type Chain []Judge

// Judge asks the judges in turn.
func (c Chain) Judge(ctx context.Context, items []Item, verdicts []Verdict) error {
	if len(c) == 0 {
		return nil
	}
	if err := c[0].Judge(ctx, items, verdicts); err != nil {
		return err
	}
	for _, next := range c[1:] {
		if err := refine(ctx, next, items, verdicts); err != nil {
			return err
		}
	}
	return nil
}

// refine lets next judge what verdicts keep, and adds what it says to them.
func refine(ctx context.Context, next Judge, items []Item, verdicts []Verdict) error {
	kept := make([]Item, 0, len(items))
	at := make([]int, 0, len(items))
	for i := range verdicts {
		if verdicts[i].Fate != Keep {
			continue
		}
		item := items[i]
		if changed := verdicts[i].Event; changed != nil {
			item.Event = changed
		}
		kept = append(kept, item)
		at = append(at, i)
	}
	if len(kept) == 0 {
		return nil
	}
	said := make([]Verdict, len(kept))
	if err := next.Judge(ctx, kept, said); err != nil {
		return err
	}
	for k, i := range at {
		v := &verdicts[i]
		v.Fate, v.Code, v.Reason = said[k].Fate, said[k].Code, said[k].Reason
		v.Violations = append(v.Violations, said[k].Violations...)
		if said[k].Event != nil {
			v.Event = said[k].Event
		}
		if said[k].Route != "" {
			v.Route = said[k].Route
		}
	}
	return nil
}
