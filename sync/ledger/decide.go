package ledger

import (
	"time"

	"github.com/tidegate/tidegate"
)

// candidate is a key that may have changed: what the model says now beside
// what the ledger knows.
type candidate struct {
	hash, check, fingerprint int64
	present                  bool // the model has the key
	known                    bool // the ledger has the key
	confirmed                bool // the destination confirmed a payload once
	owned                    bool // another key was confirmed to own the record since
	claimed                  bool // a delivery for another key, which may have come to own the record, ended in doubt
	key                      string

	// What the model's row maps to; empty when not present or when fault is set.
	after      string
	afterHash  int64
	identifier string
	fault      *tidegate.Fault

	// What __records holds.
	payload          string // last confirmed; empty in a ledger of hashes
	payloadHash      int64
	storedIdentifier string
	destinationID    string

	// What __attempts holds; state is acked where it holds nothing.
	state                string
	doubted              bool // a delivery ended in doubt since the last confirmed one
	attempted            string
	attemptedHash        int64
	attemptedOp          string
	attemptedFingerprint int64
	idempotencyKey       string
	attempts             int64
	firstFailed          time.Time
	next                 time.Time // zero: not before the row changes
}

// verdict is what becomes of a candidate.
type verdict struct {
	op    tidegate.Op // empty: not planned
	retry bool        // planned although the model did not change since the attempt
	// keepKey: the idempotency key of the last attempt is used again.
	keepKey bool
	house   string // opSame or opForget: the ledger's own housekeeping
}

// rules are what decide depends on besides the candidate.
type rules struct {
	now     time.Time
	mode    tidegate.Mode
	partial bool
}

// decide is the table of doc.go as a pure function.
func decide(c *candidate, r rules) verdict {
	if !c.present {
		return decideAbsent(c, r)
	}
	if !c.known {
		return verdict{op: tidegate.Added}
	}
	op := tidegate.Changed
	if !c.confirmed || r.mode == tidegate.Audience && c.movedAway() {
		op = tidegate.Added
	}
	asConfirmed := c.fault == nil && c.confirmed && c.afterHash == c.payloadHash
	switch {
	case asConfirmed && !c.doubted && r.mode != tidegate.Full:
		return verdict{house: opSame}
	case c.state == stateAcked || c.attemptedOp == string(tidegate.Removed) || !c.asAttempted():
		return verdict{op: op}
	}
	return decideAgain(c, op, r)
}

func decideAbsent(c *candidate, r rules) verdict {
	switch {
	case r.partial:
		return verdict{} // it was not looked for
	case !c.confirmed && !c.doubted:
		return verdict{house: opForget}
	case c.owned:
		return verdict{house: opForget} // removing it would take another key's record away
	case c.claimed:
		return verdict{} // perhaps it would: that shows when the other key is confirmed
	case c.state == stateAcked || c.attemptedOp != string(tidegate.Removed):
		return verdict{op: tidegate.Removed}
	}
	return decideAgain(c, tidegate.Removed, r)
}

// movedAway says whether the row has another identifier than the confirmed one and
// that record is another key's by now: it must not leave an audience.
func (c *candidate) movedAway() bool {
	return (c.owned || c.claimed) && c.fault == nil && c.confirmed && c.identifier != c.storedIdentifier
}

// asAttempted says whether the row is still what the last attempt carried.
func (c *candidate) asAttempted() bool {
	return c.fingerprint == c.attemptedFingerprint || c.fault == nil && c.afterHash == c.attemptedHash
}

// decideAgain is about a change that was attempted before and is the same now.
func decideAgain(c *candidate, op tidegate.Op, r rules) verdict {
	if c.state == stateExcluded {
		if r.mode == "" || r.mode.Lets(op) {
			return verdict{op: op}
		}
		return verdict{}
	}
	if c.next.IsZero() || c.next.After(r.now) {
		return verdict{}
	}
	return verdict{op: op, retry: true, keepKey: c.attemptedOp == string(op)}
}
