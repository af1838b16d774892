package app

import (
	"reflect"
	"sync/atomic"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
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
