package app

import (
	"sync/atomic"

	"github.com/tidegate/tidegate"
)

// sources finds sources by write key without a lock: the map is replaced as a
// whole and never changed. It satisfies ingest.Sources.
type sources struct {
	byKey atomic.Pointer[map[string]tidegate.Source]
}

func (s *sources) set(list []tidegate.Source) {
	m := make(map[string]tidegate.Source, len(list))
	for _, src := range list {
		m[src.WriteKey] = src
	}
	s.byKey.Store(&m)
}

func (s *sources) ByWriteKey(key string) (tidegate.Source, bool) {
	m := s.byKey.Load()
	if m == nil {
		return tidegate.Source{}, false
	}
	src, ok := (*m)[key]
	return src, ok
}
