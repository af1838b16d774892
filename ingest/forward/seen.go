package forward

import (
	"crypto/sha256"
	"encoding/hex"
)

// fingerprint is the fingerprint of (source, message id).
type fingerprint [16]byte

func printOf(source, id string) fingerprint {
	sum := sha256.Sum256([]byte(source + "\x00" + id))
	return fingerprint(sum[:16])
}

// keyOf is the idempotency key of an event of a forward: the same however often
// it is sent, and another for another forward of the same event.
func keyOf(forward, source, id string) string {
	sum := sha256.Sum256([]byte(forward + "\x00" + source + "\x00" + id))
	return hex.EncodeToString(sum[:16])
}

// seen knows the last n ids. It is used by one goroutine.
type seen struct {
	ids  map[fingerprint]struct{}
	ring []fingerprint
	next int
	n    int
}

func newSeen(n int) *seen { return &seen{ids: map[fingerprint]struct{}{}, n: n} }

func (s *seen) has(p fingerprint) bool {
	_, ok := s.ids[p]
	return ok
}

func (s *seen) add(p fingerprint) {
	if s.has(p) {
		return
	}
	if len(s.ring) < s.n {
		s.ring = append(s.ring, p)
	} else {
		delete(s.ids, s.ring[s.next])
		s.ring[s.next] = p
		s.next = (s.next + 1) % s.n
	}
	s.ids[p] = struct{}{}
}
