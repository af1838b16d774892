package transform

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/edit"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/internal/config"
)

// The codes of dead letters.
const (
	CodeFailed  = "transform.failed"
	CodeTimeout = "transform.timeout"
	CodeMemory  = "transform.memory"
)

// Options are what transformations need of the outside.
type Options struct {
	// Secret resolves the reference of a salt.
	Secret func(reference string) (string, error)
	// Geo opens a database of places by the path in the definition.
	Geo func(path string) (*Geo, error)
	// Workers run scripts.
	Workers *Workers
	// Libraries are what scripts may import.
	Libraries Libraries
}

// Rules are compiled transformations.
type Rules struct {
	list []*transformation
}

var _ judge.Judge = (*Rules)(nil)

// transformation is one compiled definition.
type transformation struct {
	name    string
	sources map[string]bool // empty: all
	events  map[string]bool // names and types; empty: all
	where   *expression
	steps   []step
	script  *script
}

// Check says what is wrong with a definition, whose script may import libraries; the
// paths are those of its fields.
func Check(def tidegate.Transform, libraries Libraries) []config.Problem {
	_, problems := build(def, libraries)
	return problems
}

// New compiles definitions that Check finds nothing wrong with. An error is a Fault
// about what they need: a secret, a database.
func New(defs []tidegate.Transform, o Options) (*Rules, error) {
	r := &Rules{}
	defs = slices.Clone(defs)
	slices.SortStableFunc(defs, func(a, b tidegate.Transform) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name))
	})
	for _, def := range defs {
		if def.Disabled {
			continue
		}
		t, problems := build(def, o.Libraries)
		if len(problems) > 0 {
			return nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "transform.invalid", Subject: "transformation " + def.Name,
				Message: config.Problem{File: problems[0].File, Line: problems[0].Line, Column: problems[0].Column, Path: problems[0].Path, Message: problems[0].Message}.String(), Hint: problems[0].Hint,
			}
		}
		if err := t.equip(def, o); err != nil {
			return nil, err
		}
		r.list = append(r.list, t)
	}
	return r, nil
}

// Len is how many transformations there are.
func (r *Rules) Len() int { return len(r.list) }

func build(def tidegate.Transform, libraries Libraries) (*transformation, []config.Problem) {
	t := &transformation{name: def.Name, sources: set(def.Sources), events: set(def.Events)}
	var problems []config.Problem
	add := func(path, message, hint string) {
		problems = append(problems, config.Problem{Path: path, Message: message, Hint: hint})
	}
	switch {
	case len(def.Steps) == 0 && def.Script == "":
		add("", "the transformation has neither steps nor a script", "write `steps:`, or the function transform into transforms/"+def.Name+".js")
	case len(def.Steps) > 0 && def.Script != "":
		add("steps", "the transformation has both steps and a script", "make two of it, and order them by `order`")
	}
	if def.Where != "" {
		var err error
		if t.where, err = compileExpression(def.Where); err != nil {
			add("where", err.Error(), hintVariables)
		}
	}
	for i, s := range def.Steps {
		compiled, found := buildStep(def.Name, s)
		for _, p := range found {
			add(strings.TrimSuffix(fmt.Sprintf("steps[%d].%s", i, p.Path), "."), p.Message, p.Hint)
		}
		t.steps = append(t.steps, compiled)
	}
	if def.Script != "" {
		var found []config.Problem
		t.script, found = buildScript(def, libraries)
		problems = append(problems, found...)
	}
	if def.Script == "" && (def.Timeout != "" || def.MemoryMB != 0) {
		add("timeout", "only scripts have limits of time and memory", "remove timeout and memory_mb")
	}
	return t, problems
}

// equip gives the steps what they need of the outside.
func (t *transformation) equip(def tidegate.Transform, o Options) error {
	if t.script != nil && o.Workers == nil {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "transform.workers", Subject: "transformation " + t.name, Message: "scripts cannot be run here"}
	}
	if t.script != nil {
		t.script.workers = o.Workers
	}
	for i, s := range t.steps {
		e, needs := s.(equipped)
		if !needs {
			continue
		}
		if err := e.equip(o); err != nil {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "transform.needs", Subject: fmt.Sprintf("transformation %s: steps[%d]", def.Name, i),
				Message: err.Error(), Hint: "give the server what the step names, then apply the project again", Err: err,
			}
		}
	}
	return nil
}

func set(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}

// subject is one event on its way through the transformations.
type subject struct {
	item    judge.Item
	verdict *judge.Verdict
	body    *edit.Object // opened when first needed, with what its batch says
	dirty   bool
	vars    map[string]any // of expressions; nil: not decoded, or changed since
	logs    []string       // what scripts said
}

// open takes the event apart.
func (s *subject) open() *edit.Object {
	if s.body != nil {
		return s.body
	}
	ev := s.item.Event
	s.body, _ = edit.Open(scan.Value(ev.Body))
	s.under("context", ev.Context)
	s.under("integrations", ev.Integrations)
	return s.body
}

// under puts what the batch says of a field under the event's own.
func (s *subject) under(field string, shared scan.Value) {
	batch, ok := edit.Open(shared)
	if !ok {
		return
	}
	own, _ := edit.Open(s.body.Get(field))
	own.Under(batch)
	s.body.Set(own.Append(nil), field)
}

// replace makes text the event.
func (s *subject) replace(text []byte) {
	s.body, _ = edit.Open(scan.Value(text))
	s.touch()
}

func (s *subject) touch() { s.dirty, s.vars = true, nil }

func (s *subject) fail(code, format string, args ...any) {
	s.verdict.Fate, s.verdict.Code, s.verdict.Reason = judge.Dead, code, fmt.Sprintf(format, args...)
}

func (s *subject) kept() bool { return s.verdict.Fate == judge.Keep }

// name is what the definition's list of events calls the event.
func (s *subject) name() string {
	if s.item.Type != tidegate.Track {
		return ""
	}
	var raw scan.Value
	if s.body != nil {
		raw = s.body.Get("event")
	} else {
		raw = scan.Value(s.item.Event.Body).Member("event")
	}
	text, _ := raw.Text()
	return string(text)
}

// Judge implements judge.Judge. It fails only when no worker process can be had or ctx ends.
func (r *Rules) Judge(ctx context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	_, err := r.judge(ctx, items, verdicts)
	return err
}

func (r *Rules) judge(ctx context.Context, items []judge.Item, verdicts []judge.Verdict) ([]subject, error) {
	subjects := make([]subject, len(items))
	for i := range items {
		subjects[i] = subject{item: items[i], verdict: &verdicts[i]}
	}
	for _, t := range r.list {
		if err := t.apply(ctx, subjects); err != nil {
			clear(verdicts)
			return nil, err
		}
	}
	for i := range subjects {
		if s := &subjects[i]; s.dirty && s.kept() {
			s.finish()
		}
	}
	return subjects, nil
}

// apply does one transformation to all events that it is for.
func (t *transformation) apply(ctx context.Context, subjects []subject) error {
	var chosen []*subject
	for i := range subjects {
		s := &subjects[i]
		if !s.kept() || !t.wants(s) {
			continue
		}
		if t.script != nil {
			chosen = append(chosen, s)
			continue
		}
		for _, step := range t.steps {
			if err := step.apply(s); err != nil {
				s.fail(CodeFailed, "%s: %s", t.name, err)
			}
			if !s.kept() {
				break
			}
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	return t.script.apply(ctx, t.name, chosen)
}

func (t *transformation) wants(s *subject) bool {
	if len(t.sources) > 0 && !t.sources[s.item.Event.Source] {
		return false
	}
	if len(t.events) > 0 && !t.events[string(s.item.Type)] && !t.events[s.name()] {
		return false
	}
	if t.where == nil {
		return true
	}
	yes, err := t.where.holds(s)
	if err != nil {
		s.fail(CodeFailed, "%s: where: %s", t.name, err)
	}
	return yes && err == nil
}

// came says whether the event was like that when it came: a merge names nobody, and the
// door takes it all the same.
func (s *subject) came(code string) bool {
	_, fault := ingest.Judge(withType(s.item.Event.Body, s.item.Event.Type), time.Time{})
	return fault != nil && fault.Code == code
}

// withType is an event with the type that only its path named.
func withType(event []byte, typ tidegate.EventType) []byte {
	if typ == "" || !scan.Value(event).Member("type").Empty() {
		return event
	}
	body, ok := edit.Open(scan.Value(event))
	if !ok {
		return event // what is no object has no type either
	}
	body.Set(edit.AppendText(nil, string(typ)), "type")
	return body.Append(nil)
}

// finish makes the changed event, if it is one still.
func (s *subject) finish() {
	before := scan.Value(s.item.Event.Body).Member("messageId")
	if before == nil {
		s.body.Delete("messageId")
	} else {
		s.body.Set(before, "messageId")
	}
	ev := *s.item.Event
	ev.Body, ev.Context, ev.Integrations = s.body.Append(make([]byte, 0, len(ev.Body)+128)), nil, nil
	if _, fault := ingest.Judge(withType(ev.Body, ev.Type), time.Time{}); fault != nil && !s.came(fault.Code) {
		s.fail(CodeFailed, "what the transformations made is no event: %s (%s)", fault.Message, fault.Code)
		return
	}
	s.verdict.Event = &ev
}

// Trial is what became of one event, with what scripts said about it.
type Trial struct {
	Verdict judge.Verdict
	Logs    []string
}

// Try is Judge for people who look on.
func (r *Rules) Try(ctx context.Context, items []judge.Item) ([]Trial, error) {
	verdicts := make([]judge.Verdict, len(items))
	subjects, err := r.judge(ctx, items, verdicts)
	if err != nil {
		return nil, err
	}
	out := make([]Trial, len(items))
	for i := range out {
		out[i] = Trial{verdicts[i], subjects[i].logs}
	}
	return out, nil
}
