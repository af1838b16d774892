// Package catalog keeps the definitions that the hub runs: it compares,
// checks, activates and stores them, in this order.
//
// Invariants: what is stored was checked as a whole and was activated; a change
// is one revision with an author; a change over an old base is refused
// ("project.conflict"), nothing is merged; when activating or storing fails the
// hub runs what it ran before.
//
// It does not know what the hub does with a project (see Options.Activate).
// Changes are serialised; all methods are safe for concurrent use.
package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/internal/config"
)

// Options say where definitions are kept and who runs them.
type Options struct {
	Store *store.Workspace
	Kinds project.Kinds
	// Activate makes a project what the hub runs, all or nothing.
	Activate func(ctx context.Context, p *project.Project) error
	// Fits says what one definition asks for that is not there, as far as this is known at once: it
	// must not wait for what is away. May be nil.
	Fits func(ctx context.Context, p *project.Project, kind, name string) error
}

// Catalog is the definitions of one workspace.
type Catalog struct {
	o  Options
	mu sync.Mutex // one change at a time
}

// New makes a Catalog; it activates nothing (see Start).
func New(o Options) *Catalog { return &Catalog{o: o} }

// Plan is what applying a project does.
type Plan struct {
	// Base is the revision against which the plan was made; 0 is the empty one.
	Base int64 `json:"base"`
	// Revision is the one that applying made; 0 when nothing was applied.
	Revision int64            `json:"revision,omitempty"`
	Changes  []project.Change `json:"changes"`
}

// Start activates what is stored and returns it, or nil when nothing is.
func (c *Catalog) Start(ctx context.Context) (*project.Project, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, _, err := c.Current(ctx)
	if err != nil || p == nil {
		return nil, err
	}
	if err := c.o.Activate(ctx, p); err != nil {
		return nil, fmt.Errorf("activating the stored definitions: %w", err)
	}
	return p, nil
}

// Current returns the stored project and its revision, nil and 0 before the first.
func (c *Catalog) Current(ctx context.Context) (*project.Project, int64, error) {
	list, rev, err := c.o.Store.Definitions(ctx)
	if err != nil || rev == 0 {
		return nil, 0, err
	}
	parts := make([]project.Definition, len(list))
	for i, d := range list {
		parts[i] = project.Definition{Kind: d.Kind, Name: d.Name, Body: d.Body}
	}
	p, err := project.Assemble(parts)
	if err != nil {
		return nil, 0, fmt.Errorf("assembling revision %d: %w", rev, err)
	}
	return p, rev, nil
}

// Plan says what Apply would do. The project must be checked (project.Parse).
func (c *Catalog) Plan(ctx context.Context, p *project.Project) (Plan, error) {
	current, rev, err := c.Current(ctx)
	if err != nil {
		return Plan{}, err
	}
	changes, err := project.Diff(current, p)
	return Plan{Base: rev, Changes: changes}, err
}

// AnyBase lets Apply build on whatever revision is newest.
const AnyBase = int64(-1)

// Apply activates and stores p. base is the revision that the author looked
// at, or AnyBase. Applying what is there already makes no revision, but
// activates it: a hub that starts needs that.
func (c *Catalog) Apply(ctx context.Context, p *project.Project, author string, base int64) (Plan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.apply(ctx, p, author, base)
}

func (c *Catalog) apply(ctx context.Context, p *project.Project, author string, base int64) (Plan, error) {
	current, rev, err := c.Current(ctx)
	if err != nil {
		return Plan{}, err
	}
	if base != AnyBase && base != rev {
		return Plan{}, &tidegate.Fault{
			Action: tidegate.Halt, Code: "project.conflict", Subject: fmt.Sprintf("revision %d", base),
			Message: fmt.Sprintf("the definitions are at revision %d now", rev), Hint: "look at the plan again and apply that",
		}
	}
	plan := Plan{Base: rev}
	if plan.Changes, err = project.Diff(current, p); err != nil {
		return Plan{}, err
	}
	if err := c.o.Activate(ctx, p); err != nil {
		return Plan{}, fmt.Errorf("activating the definitions: %w", err)
	}
	if len(plan.Changes) == 0 {
		return plan, nil
	}
	edits, err := edits(p, plan.Changes)
	if err == nil {
		plan.Revision, err = c.o.Store.Commit(ctx, rev, author, edits)
	}
	if err != nil {
		return Plan{}, errors.Join(err, c.restore(ctx, current))
	}
	return plan, nil
}

// restore goes back to what ran before a change that could not be stored.
func (c *Catalog) restore(ctx context.Context, before *project.Project) error {
	if before == nil {
		before = &project.Project{}
	}
	if err := c.o.Activate(context.WithoutCancel(ctx), before); err != nil {
		return fmt.Errorf("going back to the stored definitions: %w", err)
	}
	return nil
}

func edits(p *project.Project, changes []project.Change) ([]store.Edit, error) {
	parts, err := p.Definitions()
	if err != nil {
		return nil, err
	}
	bodies := map[[2]string]json.RawMessage{}
	for _, d := range parts {
		bodies[[2]string{d.Kind, d.Name}] = d.Body
	}
	list := make([]store.Edit, len(changes))
	for i, ch := range changes {
		list[i] = store.Edit{Kind: ch.Kind, Name: ch.Name, Body: bodies[[2]string{ch.Kind, ch.Name}]} // none: deleted
	}
	return list, nil
}

// Definitions returns the current definitions of one kind, or of all when kind is empty.
func (c *Catalog) Definitions(ctx context.Context, kind string) ([]store.Definition, error) {
	list, _, err := c.o.Store.Definitions(ctx)
	if err != nil || kind == "" {
		return list, err
	}
	var of []store.Definition
	for _, d := range list {
		if d.Kind == kind {
			of = append(of, d)
		}
	}
	return of, nil
}

// Definition returns one definition; fault "definition.not_found".
func (c *Catalog) Definition(ctx context.Context, kind, name string) (store.Definition, error) {
	list, err := c.Definitions(ctx, kind)
	if err != nil {
		return store.Definition{}, err
	}
	var known []string
	for _, d := range list {
		if d.Name == name {
			return d, nil
		}
		known = append(known, d.Name)
	}
	return store.Definition{}, &tidegate.Fault{
		Action: tidegate.Halt, Code: "definition.not_found", Subject: kind + " " + name,
		Message: fmt.Sprintf("there is no %s %q", kind, name), Hint: config.DidYouMean(name, known),
	}
}

// History returns the versions of one definition, newest first, at most limit.
func (c *Catalog) History(ctx context.Context, kind, name string, limit int) ([]store.Definition, error) {
	return c.o.Store.History(ctx, kind, name, limit)
}

// AnyVersion lets Put and Delete replace whatever version is there.
const AnyVersion = int64(-1)

// Put creates or replaces one definition. version is the one that the author
// looked at, 0 for one that must not exist yet, or AnyVersion.
func (c *Catalog) Put(ctx context.Context, kind, name string, body json.RawMessage, author string, version int64) (Plan, error) {
	definition, err := project.ParseDefinition(kind, name, body)
	if err != nil {
		return Plan{}, err
	}
	return c.edit(ctx, kind, name, author, version, c.o.Fits, func(parts []project.Definition) []project.Definition {
		for i, d := range parts {
			if d.Kind == kind && d.Name == name {
				parts[i] = definition
				return parts
			}
		}
		return append(parts, definition)
	})
}

// Delete removes one definition; others that refer to it are problems.
func (c *Catalog) Delete(ctx context.Context, kind, name, author string, version int64) (Plan, error) {
	if _, err := c.Definition(ctx, kind, name); err != nil {
		return Plan{}, err
	}
	return c.edit(ctx, kind, name, author, version, nil, func(parts []project.Definition) []project.Definition {
		var kept []project.Definition
		for _, d := range parts {
			if d.Kind != kind || d.Name != name {
				kept = append(kept, d)
			}
		}
		return kept
	})
}

func (c *Catalog) edit(ctx context.Context, kind, name, author string, version int64, fits func(ctx context.Context, p *project.Project, kind, name string) error, change func([]project.Definition) []project.Definition) (Plan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, rev, err := c.o.Store.Definitions(ctx)
	if err != nil {
		return Plan{}, err
	}
	parts, at := make([]project.Definition, 0, len(list)+1), int64(0)
	for _, d := range list {
		parts = append(parts, project.Definition{Kind: d.Kind, Name: d.Name, Body: d.Body})
		if d.Kind == kind && d.Name == name {
			at = d.Version
		}
	}
	if version != AnyVersion && version != at {
		return Plan{}, &tidegate.Fault{
			Action: tidegate.Halt, Code: "definition.conflict", Subject: kind + " " + name,
			Message: fmt.Sprintf("it is at version %d now, not %d", at, version), Hint: "read it again and make the change on that",
		}
	}
	p, err := c.whole(change(parts), kind, name)
	if err == nil && fits != nil {
		err = fits(ctx, p, kind, name)
	}
	if err != nil {
		return Plan{}, err
	}
	return c.apply(ctx, p, author, rev)
}

// whole assembles and checks the project that an edit leads to.
func (c *Catalog) whole(parts []project.Definition, kind, name string) (*project.Project, error) {
	p, err := project.Assemble(parts)
	if err != nil {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "definition.invalid", Subject: kind + " " + name, Message: err.Error(), Err: err}
	}
	return project.Check(p, c.o.Kinds)
}
