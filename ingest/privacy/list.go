package privacy

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
)

// Kind says what an id is.
type Kind string

// The kinds of ids.
const (
	UserID      Kind = "user_id"
	AnonymousID Kind = "anonymous_id"
)

// Person is one id of somebody.
type Person struct {
	Kind Kind   `json:"kind" enum:"user_id,anonymous_id"`
	ID   string `json:"id" minLength:"1" maxLength:"1024"`
}

// Entry is one line of the list.
type Entry struct {
	// Source is the source for which it holds; empty: all.
	Source string `json:"source,omitempty"`
	Person
	// Below bounds it to the events of the journal below this position: what was
	// erased. 0: all events, now and later.
	Below  int64     `json:"below,omitempty"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// List is where entries are kept; control/store's workspace is one.
type List interface {
	Suppressions(ctx context.Context) ([]Entry, error)
	// AddSuppressions adds entries; of those that are there nothing changes. It returns
	// how many were new.
	AddSuppressions(ctx context.Context, entries []Entry) (int64, error)
	// RemoveSuppressions removes entries of the same source, person and Below.
	RemoveSuppressions(ctx context.Context, entries []Entry) (int64, error)
}

// MaxEntries bounds the list, which is held in memory.
const MaxEntries = 2_000_000

// Set is the list as everybody asks it. The zero Set is empty.
type Set struct {
	now atomic.Pointer[map[string]int64] // by key: events below this are out
}

var _ judge.Judge = (*Set)(nil)

// maxBatch is how many items an event may have that calls one of its own members "batch".
const maxBatch = 1 << 20

const always = int64(1<<63 - 1)

func key(buf []byte, source string, kind Kind, id []byte) []byte {
	return append(append(append(append(append(buf[:0], source...), 0), kind[0]), 0), id...)
}

// Replace makes entries what is asked from now on.
func (s *Set) Replace(entries []Entry) {
	m := make(map[string]int64, len(entries))
	for _, e := range entries {
		below := e.Below
		if below == 0 {
			below = always
		}
		k := string(key(nil, e.Source, e.Kind, []byte(e.ID)))
		m[k] = max(m[k], below)
	}
	s.now.Store(&m)
}

// Len returns how many ids of people are in the set.
func (s *Set) Len() int {
	if m := s.now.Load(); m != nil {
		return len(*m)
	}
	return 0
}

// Suppressed says whether events of a person must not be kept that come in now. Ids
// that an event lacks are empty.
func (s *Set) Suppressed(source string, userID, anonymousID []byte) bool {
	m := s.now.Load()
	if m == nil || len(*m) == 0 {
		return false
	}
	return below(*m, source, UserID, userID) == always || below(*m, source, AnonymousID, anonymousID) == always
}

// below returns the position below which nothing of a person is to be read, 0 for none.
func below(m map[string]int64, source string, kind Kind, id []byte) int64 {
	if len(id) == 0 {
		return 0
	}
	var buf [128]byte
	own := m[string(key(buf[:], source, kind, id))]
	return max(own, m[string(key(buf[:], "", kind, id))])
}

// Out says whether an event is one of which nothing is to be read.
func (s *Set) Out(ev *tidegate.Event) bool {
	m := s.now.Load()
	if m == nil || len(*m) == 0 {
		return false
	}
	var d scan.Document
	return out(*m, &d, ev)
}

func out(m map[string]int64, d *scan.Document, ev *tidegate.Event) bool {
	if d.Scan(ev.Body, maxBatch) != nil && d.UserID == nil && d.AnonymousID == nil {
		return false // a dead letter of nobody whom we could name
	}
	user, previous := idText(d.UserID), idText(d.PreviousID)
	limit := max(below(m, ev.Source, UserID, user), below(m, ev.Source, AnonymousID, idText(d.AnonymousID)),
		below(m, ev.Source, UserID, previous), below(m, ev.Source, AnonymousID, previous))
	return ev.Offset.Position < limit
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

// Judge implements judge.Judge.
func (s *Set) Judge(_ context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	m := s.now.Load()
	if m == nil || len(*m) == 0 {
		return nil
	}
	var d scan.Document
	for i := range items {
		if out(*m, &d, items[i].Event) {
			verdicts[i].Fate = judge.Suppress
		}
	}
	return nil
}

// Redact returns the body of an event of which nothing may be kept but its id, by
// which the books can name it.
func Redact(ev *tidegate.Event) []byte {
	var d scan.Document
	if d.Scan(ev.Body, maxBatch) == nil && d.MessageID.IsString() && len(d.MessageID) <= 300 {
		return append(append([]byte(`{"messageId":`), d.MessageID...), '}')
	}
	return []byte("{}")
}

// ParsePeople reads lines of a file: `user_id,ID`, `anonymous_id,ID`, or an ID alone,
// which is a user id. Empty lines and those that begin with # are skipped. A line with
// a comma has to say its kind: one that was misspelt would be an id that nobody has.
func ParsePeople(text string) ([]Person, error) {
	var all []Person
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
		if line == "" || line[0] == '#' {
			continue
		}
		p := Person{Kind: UserID, ID: line}
		if kind, id, ok := strings.Cut(line, ","); ok {
			p = Person{Kind: Kind(strings.TrimSpace(kind)), ID: strings.TrimSpace(id)}
			if p.Kind != UserID && p.Kind != AnonymousID {
				return nil, fmt.Errorf("line %d: %.60q is neither %s nor %s; write %s,ID for an id with a comma in it", n+1, kind, UserID, AnonymousID, UserID)
			}
		}
		if p.ID == "" || len(p.ID) > 1024 {
			return nil, fmt.Errorf("line %d: an id has 1 to 1024 bytes", n+1)
		}
		if all = append(all, p); len(all) > MaxEntries {
			return nil, fmt.Errorf("line %d: at most %d people at once", n+1, MaxEntries)
		}
	}
	return all, nil
}
