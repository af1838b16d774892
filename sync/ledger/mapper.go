package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
)

// candidateCells is how many cells of a candidate stand before the model's own.
const candidateCells = 18

// mapper reads candidates, maps and decides them, and is read as the rows of
// __plan.
type mapper struct {
	*planner
	in   tidegate.RowReader
	next int64 // the next ordinal
	row  tidegate.Row
}

// Schema implements tidegate.RowReader.
func (m *mapper) Schema() tidegate.Schema { return planSchema() }

// Close implements tidegate.RowReader; the reader of the candidates is closed
// by who opened it.
func (m *mapper) Close() error { return nil }

// Next returns the next plan row: one that is sent, or housekeeping.
func (m *mapper) Next(ctx context.Context) (tidegate.Row, error) {
	for {
		row, err := m.in.Next(ctx)
		if err != nil {
			return nil, err
		}
		var c candidate
		if err := m.candidate(row, &c); err != nil {
			return nil, err
		}
		v := decide(&c, m.now, m.req.Mode)
		if v.op == "" && v.house == "" {
			continue
		}
		return m.plan(&c, v), nil
	}
}

// candidate reads one row of statements.candidates and maps the model's part.
func (m *mapper) candidate(row tidegate.Row, c *candidate) error {
	err := scan(row, &c.hash, &c.check, &c.fingerprint, &c.present, &c.known, &c.confirmed, &c.key, &c.payload, &c.storedIdentifier, &c.destinationID,
		&c.state, &c.doubted, &c.attempted, &c.attemptedOp, &c.attemptedFingerprint, &c.idempotencyKey, &c.attempts, &c.next)
	if err != nil {
		return err
	}
	if c.known && c.key == "" {
		return m.damaged("a key of __ledger is missing in __records")
	}
	if !c.present {
		return nil
	}
	if row[2] == nil {
		return m.damaged("a row of the model has no fingerprint")
	}
	cells := row[candidateCells:]
	key, err := model.KeyOf(cells[:m.src.keys])
	if err != nil {
		return fmt.Errorf("reading a key: %w", err)
	}
	if c.known && c.key != string(key) {
		// Two keys with equal hashes of 126 bits: not an accident. The key's
		// text decides, and nothing is sent under the wrong key.
		return m.damaged(fmt.Sprintf("the keys %s and %s have the same hash", c.key, key))
	}
	c.key = string(key)
	m.apply(cells, c)
	return nil
}

func (m *mapper) apply(cells tidegate.Row, c *candidate) {
	record, fault := m.req.Mapping.Apply(cells)
	if fault != nil {
		c.fault = fault
		return
	}
	buf := make([]byte, 0, 256)
	buf = model.AppendJSON(buf, record)
	if len(buf) > model.MaxRowBytes {
		c.fault = &tidegate.Fault{Action: tidegate.Reject, Code: "mapping.size", Subject: "record", Message: fmt.Sprintf("the mapped row has %d bytes, the limit is %d", len(buf), model.MaxRowBytes), Hint: "map fewer or shorter columns"}
		return
	}
	c.after = string(buf)
	c.identifier = string(model.AppendJSON(buf[:0], record[m.req.Mapping.IdentifierField()]))
}

func (m *mapper) damaged(message string) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "ledger.damaged", Subject: "sync " + m.sync, Message: message,
		Hint: fmt.Sprintf("drop the tables %s and %s; the next run sends every row again and removes none", m.names.of("ledger"), m.names.of("records")),
	}
}

// plan writes the row of __plan and counts it.
func (m *mapper) plan(c *candidate, v verdict) tidegate.Row {
	if v.house != "" {
		m.row = append(m.row[:0], int64(-1), v.house, c.hash, c.check, c.fingerprint, c.key, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)
		return m.row
	}
	s := &m.sum
	switch v.op {
	case tidegate.Added:
		s.Added++
	case tidegate.Changed:
		s.Changed++
	case tidegate.Removed:
		s.Removed++
	}
	if v.retry {
		s.Retries++
	}
	before, identifier := c.payload, c.identifier
	if v.op == tidegate.Removed {
		identifier = c.storedIdentifier
		if before == "" {
			before = c.attempted // never confirmed, but it may be there
		}
	}
	key := c.idempotencyKey
	if !v.keepKey || key == "" {
		key = m.idempotencyKey(c.key)
	}
	m.row = append(m.row[:0], m.next, string(v.op), c.hash, c.check, c.fingerprint, c.key, orNull(before), orNull(c.after), orNull(identifier),
		textOrNull(c.destinationID), c.attempts, key, v.retry)
	if c.fault != nil {
		s.BadRows++
		f := c.fault
		m.row = append(m.row, f.Action.String(), f.Code, f.Subject, f.Message, textOrNull(f.Hint), f.Cluster())
	} else {
		m.row = append(m.row, nil, nil, nil, nil, nil, nil)
	}
	m.next++
	return m.row
}

// idempotencyKey names this version of this key: the run that planned it first
// is part of it, so that a value that comes back later is a new version.
func (m *mapper) idempotencyKey(key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q%q%q%q%q", m.req.IdempotencySalt, m.workspace, m.Ledger.sync, m.req.RunID, key))
	return hex.EncodeToString(sum[:16])
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return tidegate.JSONText(text)
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
