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
	key                      string

	// What the model's row maps to; empty when not present or when fault is set.
	after      string
	identifier string
	fault      *tidegate.Fault

	// What __records holds.
	payload              string // last confirmed
	storedIdentifier     string
	destinationID        string
	state                string
	doubted              bool // a delivery ended in doubt since the last confirmed one
	attempted            string
	attemptedOp          string
	attemptedFingerprint int64
	idempotencyKey       string
	attempts             int64
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

// decide is the table of doc.go as a pure function.
func decide(c *candidate, now time.Time, mode tidegate.Mode) verdict {
	if !c.present {
		return decideAbsent(c, now, mode)
	}
	if !c.known {
		return verdict{op: tidegate.Added}
	}
	op := tidegate.Changed
	if !c.confirmed {
		op = tidegate.Added
	}
	asConfirmed := c.fault == nil && c.confirmed && c.after == c.payload
	switch {
	case asConfirmed && !c.doubted:
		return verdict{house: opSame}
	case c.state == stateAcked || c.attemptedOp == string(tidegate.Removed) || !c.asAttempted():
		return verdict{op: op}
	}
	return decideAgain(c, op, now, mode)
}

func decideAbsent(c *candidate, now time.Time, mode tidegate.Mode) verdict {
	switch {
	case !c.confirmed && !c.doubted:
		return verdict{house: opForget}
	case c.state == stateAcked || c.attemptedOp != string(tidegate.Removed):
		return verdict{op: tidegate.Removed}
	}
	return decideAgain(c, tidegate.Removed, now, mode)
}

// asAttempted says whether the row is still what the last attempt carried.
func (c *candidate) asAttempted() bool {
	return c.fingerprint == c.attemptedFingerprint || c.fault == nil && c.after == c.attempted
}

// decideAgain is about a change that was attempted before and is the same now.
func decideAgain(c *candidate, op tidegate.Op, now time.Time, mode tidegate.Mode) verdict {
	if c.state == stateExcluded {
		if mode == "" || mode.Lets(op) {
			return verdict{op: op}
		}
		return verdict{}
	}
	if c.next.IsZero() || c.next.After(now) {
		return verdict{}
	}
	return verdict{op: op, retry: true, keepKey: c.attemptedOp == string(op)}
}
