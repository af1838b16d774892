package dbt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
)

// Verdict is what the invocations say about a model.
//
//	unknown ──built or tested──▶ passed ◀──▶ blocked
//	            every invocation that touches the model decides anew
type Verdict struct {
	Passed bool `json:"passed"`
	// Reason says in words why the model is blocked.
	Reason     string    `json:"reason,omitempty"`
	Invocation string    `json:"invocation"`
	At         time.Time `json:"at,omitzero"`
}

// State is what is remembered of invocations: dbt keeps the results of the last
// one only, and that may not have touched every model. The zero value knows
// nothing. A State is not changed; Update returns the next.
type State struct {
	// Invocation is the last one that was taken in.
	Invocation string `json:"invocation"`
	// Models are the verdicts by unique_id.
	Models map[string]Verdict `json:"models"`
}

// executing are the commands that build or test. Others, `compile` and `docs
// generate` among them, write results too, which say nothing about the data.
var executing = []string{"build", "run", "test", "seed", "snapshot", "retry"}

// Executed says whether the invocation built or tested anything.
func (r *Results) Executed() bool {
	return r.Command == "" || slices.Contains(executing, r.Command)
}

func (r *Results) id() string { return cmp.Or(r.Meta.InvocationID, r.Meta.GeneratedAt) }

// Update takes an invocation in. touched are the models, by unique_id and
// sorted, about which it decided; none when it was taken in before or executed
// nothing.
func (s State) Update(m *Manifest, r *Results) (next State, touched []string) {
	if r == nil || !r.Executed() || r.id() == s.Invocation {
		return s, nil
	}
	next = State{Invocation: r.id(), Models: map[string]Verdict{}}
	for id, model := range m.Models {
		was, known := s.Models[id]
		now, decided := judge(m, model, r, was)
		switch {
		case decided:
			now.Invocation, now.At = r.id(), r.At()
			next.Models[id] = now
			touched = append(touched, id)
		case known:
			next.Models[id] = was
		}
	}
	slices.Sort(touched)
	return next, touched
}

// judge decides about one model; decided is false when the invocation does not
// concern it, or ran some of its tests only and those passed.
func judge(m *Manifest, model *Model, r *Results, was Verdict) (v Verdict, decided bool) {
	built, isBuilt := r.ByID[model.ID]
	if isBuilt && !good(built.Status) {
		return Verdict{Reason: fmt.Sprintf("dbt did not build it: %s", outcome(built))}, true
	}
	ran, missing := 0, ""
	for _, id := range model.Tests {
		test := m.Tests[id]
		result, ok := r.ByID[id]
		switch {
		case ok && !passed(result.Status):
			return Verdict{Reason: fmt.Sprintf("its test %s did not pass: %s", test.Name, outcome(result))}, true
		case ok:
			ran++
		case !test.Unit && missing == "": // production runs leave unit tests out
			missing = test.Name
		}
	}
	switch {
	case !isBuilt && ran == 0:
		return was, false
	case missing == "":
		return Verdict{Passed: true}, true
	case isBuilt:
		return Verdict{Reason: fmt.Sprintf("dbt built it but did not run its test %s in that invocation", missing)}, true
	}
	return was, false
}

func good(status string) bool {
	return slices.Contains([]string{"success", "reused", "no-op", "pass"}, status)
}

// passed lets warnings through, as dbt does with what follows.
func passed(status string) bool { return good(status) || status == "warn" }

func outcome(r Result) string {
	if message := strings.Join(strings.Fields(r.Message), " "); message != "" {
		return r.Status + ", " + message
	}
	return r.Status
}

// Blocked returns why no sync may read the model now: a Halt fault with the
// code "dbt.blocked". It returns nil when its last invocation passed.
func (s State) Blocked(model *Model) error {
	v, known := s.Models[model.ID]
	f := &tidegate.Fault{Action: tidegate.Halt, Code: "dbt.blocked", Subject: "dbt model " + model.String()}
	switch {
	case known && v.Passed:
		return nil
	case !known:
		f.Message, f.Hint = "no dbt invocation that built and tested it has been seen", "run `dbt build --select "+model.Name+"`"
	default:
		f.Message, f.Hint = v.Reason, "mend it and run `dbt build --select "+model.Name+"`"
		if !v.At.IsZero() {
			f.Message = fmt.Sprintf("%s (invocation of %s)", v.Reason, v.At.UTC().Format(time.RFC3339))
		}
	}
	return f
}

// Equal says whether both remember the same.
func (s State) Equal(other State) bool {
	return s.Invocation == other.Invocation && maps.EqualFunc(s.Models, other.Models, func(a, b Verdict) bool {
		return a.Passed == b.Passed && a.Reason == b.Reason && a.Invocation == b.Invocation && a.At.Equal(b.At)
	})
}
