package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
)

// candidateCells is how many cells of a candidate stand before the model's own.
const candidateCells = 25

// mapper reads candidates, maps and decides them.
type mapper struct {
	*planner
	in       tidegate.RowReader
	baseline bool
	buf      []byte
}

// next returns the next plan row: one that is sent, or housekeeping. io.EOF ends it.
func (m *mapper) next(ctx context.Context, into *planRow) error {
	for {
		row, err := m.in.Next(ctx)
		if err != nil {
			return err
		}
		var c candidate
		if err := m.candidate(row, &c); err != nil {
			return err
		}
		v := decide(&c, rules{now: m.w.now, mode: m.req.Mode, partial: m.req.Partial})
		if m.baseline && v.op == tidegate.Added && c.fault == nil {
			v = verdict{house: opBaseline}
		}
		if v.op == "" && v.house == "" {
			if c.next.After(m.w.now) {
				m.w.sum.Waiting++
			}
			continue
		}
		m.plan(&c, v, into)
		return nil
	}
}

// candidate reads one row of statements.candidates and maps the model's part.
func (m *mapper) candidate(row tidegate.Row, c *candidate) error {
	var modelRows, ledgerRows int64
	var recordKey, attemptKey, attemptIdentifier, attemptDestination string
	err := scan(row, &c.hash, &c.check, &c.fingerprint, &modelRows, &ledgerRows, &c.owned, &c.claimed, &recordKey, &c.payload, &c.payloadHash, &c.storedIdentifier, &c.destinationID,
		&attemptKey, &c.state, &c.doubted, &c.attemptedOp, &c.attempted, &c.attemptedHash, &c.attemptedFingerprint, &attemptIdentifier, &attemptDestination,
		&c.idempotencyKey, &c.attempts, &c.firstFailed, &c.next)
	if err != nil {
		return err
	}
	c.present, c.confirmed = modelRows > 0, c.payloadHash != 0
	c.known = c.confirmed || attemptKey != ""
	if attemptKey == "" {
		c.state = stateAcked
	}
	c.key = first(recordKey, attemptKey)
	c.storedIdentifier, c.destinationID = first(c.storedIdentifier, attemptIdentifier), first(attemptDestination, c.destinationID)
	if ledgerRows > 0 && !c.known {
		return m.w.damaged("a key of __ledger is in neither __records nor __attempts")
	}
	if !c.present {
		return nil
	}
	if row[2] == nil {
		return m.w.damaged("a row of the model has no fingerprint")
	}
	cells := row[candidateCells:]
	key, err := model.KeyOf(cells[:m.src.keys])
	if err != nil {
		return fmt.Errorf("reading a key: %w", err)
	}
	if c.key != "" && c.key != string(key) {
		// Two keys with equal hashes of 126 bits: not an accident. The key's
		// text decides, and nothing is sent under the wrong key.
		return m.w.damaged(fmt.Sprintf("the keys %s and %s have the same hash", c.key, key))
	}
	c.key = string(key)
	m.apply(cells, c)
	return nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (m *mapper) apply(cells tidegate.Row, c *candidate) {
	record, identifier, fault := m.req.Mapping.ApplyTo(m.buf[:0], cells)
	m.buf = record
	if fault != nil {
		c.fault = fault
		return
	}
	if len(m.buf) > model.MaxRowBytes {
		c.fault = &tidegate.Fault{Action: tidegate.Reject, Code: "mapping.size", Subject: "record", Message: fmt.Sprintf("the mapped row has %d bytes, the limit is %d", len(m.buf), model.MaxRowBytes), Hint: "map fewer or shorter columns"}
		return
	}
	c.after, c.afterHash = string(m.buf), payloadHash(m.buf)
	c.identifier = c.after[identifier.Start:identifier.End]
}

// payloadHash names a payload by 63 bits of its SHA-256; zero is no payload.
func payloadHash(payload []byte) int64 {
	sum := sha256.Sum256(payload)
	return int64(binary.BigEndian.Uint64(sum[:8])>>1) | 1
}

// plan fills the row of __plan and counts it.
func (m *mapper) plan(c *candidate, v verdict, into *planRow) {
	*into = planRow{op: string(v.op), hash: c.hash, check: c.check, fingerprint: c.fingerprint, key: c.key, known: c.known, destinationID: c.destinationID}
	if v.house != "" {
		into.op, into.house = v.house, true
		if v.house == opBaseline {
			into.after, into.afterHash, into.identifier = c.after, c.afterHash, c.identifier
			if m.w.opts.HashOnly {
				into.after = ""
			}
		}
		return
	}
	into.before, into.after, into.afterHash, into.identifier, into.attempts, into.retry, into.fault = c.payload, c.after, c.afterHash, c.identifier, c.attempts, v.retry, c.fault
	if c.present && c.movedAway() {
		into.destinationID = "" // that record is not this key's any more
	}
	if v.op == tidegate.Removed || c.fault != nil {
		into.identifier = c.storedIdentifier
		if into.before == "" && v.op == tidegate.Removed {
			into.before = c.attempted // never confirmed, but it may be there
		}
	}
	if v.retry {
		into.firstFailed = c.firstFailed
		if v.keepKey {
			into.idempotencyKey = c.idempotencyKey
		}
	}
}
