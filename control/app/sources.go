package app

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// sources finds sources by write key without a lock: the map is replaced as a
// whole and never changed. It satisfies ingest.Sources.
type sources struct {
	byKey atomic.Pointer[map[string]tidegate.Source]
	rules atomic.Pointer[map[string]*shape.Rules] // by source
}

func (s *sources) set(list []tidegate.Source) {
	m := make(map[string]tidegate.Source, len(list))
	rules := make(map[string]*shape.Rules, len(list))
	for _, src := range list {
		m[src.WriteKey] = src
		rules[src.Name] = rulesOf(src)
		if old := s.rulesOf(src.Name); old != nil && reflect.DeepEqual(old, rules[src.Name]) {
			rules[src.Name] = old // the loader remembers names by it
		}
	}
	s.byKey.Store(&m)
	s.rules.Store(&rules)
}

// withKeys returns the sources with the write keys that references lead to.
func (h *Hub) withKeys(ctx context.Context, list []tidegate.Source) ([]tidegate.Source, error) {
	out := slices.Clone(list)
	owner := map[string]string{}
	for i := range out {
		src := &out[i]
		subject := "source " + src.Name + ": write_key"
		key := struct {
			Key string `json:"write_key" secret:"true"`
		}{src.WriteKey}
		if err := h.secrets.fill(ctx, &key); err != nil {
			return nil, halted("source.secret", subject, err)
		}
		src.WriteKey = key.Key
		if project.BadWriteKey(src.WriteKey) {
			return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "source.write_key", Subject: subject, Message: "the reference leads to a write key with spaces or one of : / ? #", Hint: "SDKs send it as a user name and in paths: choose another"}
		}
		if other, twice := owner[src.WriteKey]; twice {
			return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "source.write_key", Subject: subject, Message: "source " + other + " has the same write key", Hint: "give each source a key of its own"}
		}
		owner[src.WriteKey] = src.Name
	}
	return out, nil
}

// askedSource says whether there can be events of the source called name: it is one of the
// project, or was one and is in the books. Without a name all sources are meant.
func (h *Hub) askedSource(ctx context.Context, name string) error {
	var known []string
	for _, src := range h.active.Load().project.Sources {
		known = append(known, src.Name)
	}
	if name == "" || slices.Contains(known, name) {
		return nil
	}
	// Where the books cannot be read, those that were are not known.
	if counts, err := h.accounts(ctx); err == nil && slices.ContainsFunc(counts, func(c api.SourceCounts) bool { return c.Source == name }) {
		return nil
	}
	hint := config.DidYouMean(name, known)
	if hint == "" {
		hint = "`tidegate status` lists them"
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "source.not_found", Subject: "source " + name, Message: fmt.Sprintf("there is no source %q", name), Hint: hint}
}

// rulesOf says how the events of a source become rows; nil for one that is not there.
func (s *sources) rulesOf(name string) *shape.Rules {
	m := s.rules.Load()
	if m == nil {
		return nil
	}
	return (*m)[name]
}

func rulesOf(src tidegate.Source) *shape.Rules {
	t := src.Tables
	r := &shape.Rules{
		MaxColumns: t.MaxColumns, JSONPaths: t.JSONPaths, ContextTraits: t.ContextTraits, DivideNumbers: t.UnderscoreDivideNumbers,
		SkipTracks: t.SkipTracksTable, SkipUsers: t.SkipUsersTable, HotColumns: t.HotColumns,
	}
	if src.SchemaProfile != "rudderstack" {
		r.Profile = shape.Profile(src.SchemaProfile)
	}
	return r
}

func (s *sources) ByWriteKey(key string) (tidegate.Source, bool) {
	m := s.byKey.Load()
	if m == nil {
		return tidegate.Source{}, false
	}
	src, ok := (*m)[key]
	return src, ok
}

// schemasOfEvents are the schemas that a source's events go to, or those of all sources:
// its own, and those to which its tracking plan routes. shared are those that other
// sources' events are routed to as well; they are not among own.
func schemasOfEvents(p *project.Project, dialect, source string) (own, shared []string) {
	plans := map[string][]string{}
	for _, plan := range p.Plans {
		plans[plan.Name] = routesOf(plan)
	}
	mine, others := map[string]bool{}, map[string]bool{}
	for _, src := range p.Sources {
		if source == "" || src.Name == source {
			mine[schemaName(dialect, src.Name)] = true
		}
		for _, route := range plans[src.TrackingPlan] {
			if source == "" || src.Name == source {
				mine[schemaName(dialect, route)] = true
			} else {
				others[schemaName(dialect, route)] = true
			}
		}
	}
	for name := range mine {
		if others[name] && name != schemaName(dialect, source) {
			shared = append(shared, name)
			delete(mine, name)
		}
	}
	slices.Sort(shared)
	return slices.Sorted(maps.Keys(mine)), shared
}

// schemaName is what the schema of a source is called in a warehouse.
func schemaName(dialect, source string) string {
	d, ok := sqltext.Find(dialect)
	if !ok {
		return source
	}
	opts := shape.Options{Reserved: d.Reserved, MaxName: d.MaxName()}
	return opts.Schema(source)
}

// routesOf are the schemas to which a plan routes events.
func routesOf(plan tidegate.TrackingPlan) []string {
	all := []string{plan.Actions.Route}
	for _, e := range plan.Events {
		all = append(all, e.Actions.Route)
	}
	for _, e := range []*tidegate.PlannedEvent{plan.Identify, plan.Group, plan.Page, plan.Screen} {
		if e != nil {
			all = append(all, e.Actions.Route)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(r string) bool { return r == "" })
}
