package shape

import "bytes"

// Events of one request have their context in common, most of the time to the last byte.
// What it said is then known.

// maxAgain bounds the context that is remembered, in bytes.
const maxAgain = 16 << 10

// again remembers the last context that was read. The second time that it comes its
// values are noted, made of bytes of our own; from the third time on they are given to
// the tree as if it had been read.
type again struct {
	root  *node
	text  []byte
	arena []byte // of the decoded values
	steps []step // what reading it does; nil until it came twice
	used  uint64 // phase in which values of it were last given
}

// step is a call of enter, or of set.
type step struct {
	node  *node
	value Value
	enter bool
}

// walkContext is walk for an object that is the event's context, or its batch's.
func (s *Shaper) walkContext(a *again, root *node) error {
	p := &s.parser
	from := p.i
	if a.root != root || len(a.text) == 0 || !bytes.HasPrefix(p.b[from:], a.text) {
		err := s.walk(root, 1)
		// A second context of the same event must not overwrite values of the first.
		if err == nil && a.used < s.first {
			a.root, a.steps, a.text = root, nil, a.text[:0]
			if p.i-from <= maxAgain {
				a.text = append(a.text, p.b[from:p.i]...)
			}
		}
		return err
	}
	a.used = s.phase
	p.i += len(a.text)
	if a.steps != nil {
		for i := range a.steps {
			if st := &a.steps[i]; st.enter {
				s.enter(st.node)
			} else {
				s.set(st.node, st.value)
			}
		}
		return nil
	}
	event := *p
	p.b, p.i, p.arena = a.text, 0, a.arena[:0]
	s.noted = make([]step, 0, 32)
	err := s.walk(root, 1)
	if err == nil {
		a.steps, a.arena = s.noted, p.arena
	}
	s.noted, *p = nil, event
	return err
}
