package live

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"github.com/go-json-experiment/json"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/scan"
)

// Match says which events are wanted; what is empty wants all.
type Match struct {
	Sources []string
	Types   []string
	// Events are names of track events, without regard to letter case.
	Events []string
	// User is a userId or an anonymousId.
	User string
	// Refused wants refused events only.
	Refused bool
	// Expression is a condition in CEL over event (the body), source, type, name,
	// message_id, user_id, anonymous_id, received_at and refusal.
	Expression string
}

// Filter is a compiled Match.
type Filter struct {
	m       Match
	program cel.Program // nil: no expression
}

const maxCost = 100_000

// Compile checks m. The fault's code is "filter.invalid".
func Compile(m Match) (*Filter, error) {
	f := &Filter{m: m}
	for _, t := range m.Types {
		if !tidegate.EventType(t).Valid() {
			return nil, invalid("type "+t, fmt.Errorf("%q is no event type", t), "use one of track, identify, page, screen, group, alias")
		}
	}
	if m.Expression == "" {
		return f, nil
	}
	env, err := cel.NewEnv(
		cel.Variable("event", cel.DynType), cel.Variable("source", cel.StringType), cel.Variable("type", cel.StringType), cel.Variable("name", cel.StringType),
		cel.Variable("message_id", cel.StringType), cel.Variable("user_id", cel.StringType), cel.Variable("anonymous_id", cel.StringType),
		cel.Variable("received_at", cel.TimestampType), cel.Variable("refusal", cel.StringType),
		cel.ParserExpressionSizeLimit(8<<10), cel.ParserRecursionLimit(100), cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing filters: %w", err)
	}
	checked, issues := env.Compile(m.Expression)
	if issues.Err() != nil {
		return nil, invalid("filter", issues.Err(), `write a condition such as event.properties.total > 100 && source == "web"`)
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, invalid("filter", errors.New("the expression is no condition but a "+t.String()), "compare it with something")
	}
	if f.program, err = env.Program(checked, cel.CostLimit(maxCost)); err != nil {
		return nil, invalid("filter", err, "")
	}
	return f, nil
}

func invalid(subject string, err error, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "filter.invalid", Subject: subject, Message: err.Error(), Hint: hint, Err: err}
}

// Facts are what is read of an event to filter and to show it.
type Facts struct {
	ID, Type, Name, UserID, AnonymousID string
}

// FactsOf reads the facts of an event; what cannot be read is empty.
func FactsOf(ev *tidegate.Event) Facts {
	var facts Facts
	id, kind, err := shape.Peek(ev)
	facts.ID = id
	if err != nil {
		return facts
	}
	facts.Type = string(kind)
	var d scan.Document
	if d.Scan(ev.Body, 1<<20) != nil {
		return facts
	}
	facts.Name, facts.UserID, facts.AnonymousID = text(d.Name), text(d.UserID), text(d.AnonymousID)
	return facts
}

func text(v scan.Value) string {
	if t, ok := v.Text(); ok {
		return string(t)
	}
	if v.IsNumber() {
		return string(v)
	}
	return ""
}

// Wants says whether an event is wanted. An event about which the expression cannot
// be asked (it lacks what is compared) is not.
func (f *Filter) Wants(ev *tidegate.Event, facts Facts) bool {
	m := &f.m
	switch {
	case m.Refused && ev.Refusal == "",
		len(m.Sources) > 0 && !slices.Contains(m.Sources, ev.Source),
		len(m.Types) > 0 && !slices.Contains(m.Types, facts.Type),
		len(m.Events) > 0 && !slices.ContainsFunc(m.Events, func(name string) bool { return strings.EqualFold(name, facts.Name) }),
		m.User != "" && m.User != facts.UserID && m.User != facts.AnonymousID:
		return false
	}
	if f.program == nil {
		return true
	}
	var body any
	if json.Unmarshal(ev.Body, &body) != nil {
		body = nil
	}
	out, _, err := f.program.Eval(map[string]any{
		"event": body, "source": ev.Source, "type": facts.Type, "name": facts.Name, "message_id": facts.ID,
		"user_id": facts.UserID, "anonymous_id": facts.AnonymousID, "received_at": ev.ReceivedAt, "refusal": ev.Refusal,
	})
	if err != nil {
		return false
	}
	wanted, ok := out.Value().(bool)
	return ok && wanted
}
