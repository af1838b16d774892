package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// noFingerprint is what no row of a model has: the next plan compares the
// payloads themselves.
const noFingerprint = -1

// PlanRevert stores the plan that takes back what the finished run req.Of
// delivered: changed records get the values that were confirmed before, added
// records are removed, removed ones added again. Keys for which something else
// was confirmed since, or of which it is in doubt what the destination holds,
// are left alone (Invariant 5): SkippedKeys lists them, Summary.Skipped counts
// them, and the change log holds them once the run has ended. The next plan of the model finds the reverted rows changed again,
// unless the model was put right.
func (l *Ledger) PlanRevert(ctx context.Context, req RevertRequest) (Summary, error) {
	w := planWriter{Ledger: l, runID: req.RunID, salt: req.IdempotencySalt, kind: kindRevert}
	return l.plan(ctx, w, req.Epoch, &reverter{req: req})
}

type reverter struct {
	req RevertRequest
	w   *planWriter
	in  tidegate.RowReader
}

func (r *reverter) produce(ctx context.Context, w *planWriter, reading, writing warehouse.Tx) error {
	f, err := w.verify(ctx, reading)
	if err != nil {
		return err
	}
	r.w, w.sum.Reverts, w.sum.LedgerRows, w.sum.LastRead = w, r.req.Of, f.confirmed, f.lastRead
	var logged, values int64
	sql := "SELECT count(*), count(*) FILTER (WHERE after IS NOT NULL OR before IS NOT NULL) FROM " + w.sql.of("log") + " WHERE run_id = $1 AND disposition = 'delivered'"
	if err := one(ctx, reading, string(sql), []any{r.req.Of}, &logged, &values); err != nil {
		return fmt.Errorf("looking for run %s in the change log: %w", r.req.Of, err)
	}
	switch {
	case logged == 0:
		return &tidegate.Fault{Action: tidegate.Halt, Code: "revert.nothing", Subject: "run " + r.req.Of, Message: "the change log holds no delivered change of this run", Hint: "tidegate sync log shows what is there; the log is kept for ledger.keep_log"}
	case values < logged:
		return w.noValues("run "+r.req.Of, "the change log kept fingerprints only: there are no before-images to restore")
	}
	if r.in, err = reading.Query(ctx, w.sql.reverts(), r.req.Of); err != nil {
		return fmt.Errorf("reading the change log: %w", err)
	}
	return errors.Join(w.load(ctx, writing, r.next), r.in.Close())
}

func (l *Ledger) noValues(subject, message string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "ledger.hashes", Subject: subject, Message: message, Hint: "set ledger.payloads: full on the sync; it counts from the next delivery on"}
}

// reverts reads a run's delivered changes beside what the ledger holds now.
func (s statements) reverts() string {
	by := func(alias sqltext.Text) sqltext.Text {
		return " AS " + alias + " ON " + alias + ".key_hash = g.key_hash AND " + alias + ".key_check = g.key_check"
	}
	return string("SELECT g.key_hash, g.key_check, g.key, g.op, g.before, g.after_hash, r.key IS NOT NULL, r.payload, r.payload_hash, r.identifier, r.destination_id, coalesce(a.doubted, false)" +
		", coalesce(a.attempts, 0), n.key_hash IS NOT NULL, g.destination_id FROM " + s.of("log") + " AS g LEFT JOIN " + s.of("records") + by("r") + " LEFT JOIN " + s.of("attempts") + by("a") + " LEFT JOIN " + s.of("ledger") + by("n") +
		" WHERE g.run_id = $1 AND g.disposition = 'delivered'")
}

// opposite is what takes a change back.
var opposite = map[tidegate.Op]tidegate.Op{tidegate.Added: tidegate.Removed, tidegate.Changed: tidegate.Changed, tidegate.Removed: tidegate.Added}

// next turns one change round. The state of the key decides:
//
//	added    confirmed as delivered   → removed
//	changed  confirmed as delivered   → changed, back to the before-image
//	removed  unknown since            → added, with the before-image
//	anything else, or in doubt        → skipped
func (r *reverter) next(ctx context.Context, into *planRow) error {
	row, err := r.in.Next(ctx)
	if err != nil {
		return err
	}
	var op, before, payload, identifier, destinationID, oldDestination string
	var afterHash, payloadHashNow int64
	var confirmed, doubted bool
	*into = planRow{fingerprint: noFingerprint}
	if err := scan(row, &into.hash, &into.check, &into.key, &op, &before, &afterHash, &confirmed, &payload, &payloadHashNow, &identifier, &destinationID, &doubted, &into.attempts, &into.known, &oldDestination); err != nil {
		return err
	}
	into.attempts = 0
	asDelivered := confirmed && payloadHashNow == afterHash && !doubted
	switch {
	case op == string(tidegate.Added) && asDelivered:
		into.op, into.before, into.identifier, into.destinationID = string(tidegate.Removed), payload, identifier, destinationID
		return nil
	case op == string(tidegate.Changed) && asDelivered && before != "":
		into.op, into.before, into.destinationID = string(tidegate.Changed), payload, destinationID
	case op == string(tidegate.Removed) && !confirmed && !doubted && before != "":
		into.op, into.destinationID = string(tidegate.Added), oldDestination
	default:
		into.op, into.house = string(opposite[tidegate.Op(op)]), true
		return nil
	}
	into.after, into.afterHash = before, payloadHash([]byte(before))
	record, err := model.ParseRecord([]byte(before))
	if err != nil {
		return fmt.Errorf("reading the before-image of key %s: %w", into.key, err)
	}
	into.identifier = string(model.AppendJSON(nil, record[r.req.IdentifierField]))
	return nil
}

// logSkipped notes in the change log what an ended revert left alone.
func (l *Ledger) logSkipped(ctx context.Context, tx warehouse.Tx, s storedPlan, now time.Time) error {
	if s.kind != kindRevert || s.summary.Skipped == 0 || !s.sent && s.changes > 0 {
		return nil
	}
	why := tidegate.Fault{Action: tidegate.Reject, Code: "revert.changed_since", Message: "something else was confirmed for it since run " + s.summary.Reverts + ", or it is in doubt what the destination holds: it is left alone"}
	if _, err := tx.Exec(ctx, l.sql.logSkipped(s.runID), s.runID, s.changes, why.Action.String(), why.Code, why.Message, now); err != nil {
		return fmt.Errorf("noting what was left alone: %w", err)
	}
	return nil
}

// PlanDrift stores the plan that writes the confirmed values again where the
// destination holds others. Keys that are not confirmed, or of which a delivery
// failed, are left alone: their own change is on its way.
func (l *Ledger) PlanDrift(ctx context.Context, req DriftRequest) (Summary, error) {
	w := planWriter{Ledger: l, runID: req.RunID, salt: req.IdempotencySalt, kind: kindDrift}
	return l.plan(ctx, w, req.Epoch, &restorer{req: req})
}

type restorer struct {
	req DriftRequest
	in  tidegate.RowReader
}

func (d *restorer) produce(ctx context.Context, w *planWriter, reading, writing warehouse.Tx) error {
	f, err := w.verify(ctx, reading)
	if err != nil {
		return err
	}
	w.sum.LedgerRows, w.sum.LastRead = f.confirmed, f.lastRead
	if w.opts.HashOnly {
		return w.noValues("sync "+w.Ledger.sync, "the ledger keeps fingerprints only: there are no values to restore")
	}
	table := w.names.of("drifted")
	if _, err := reading.Ensure(ctx, table, driftSchema()); err != nil {
		return fmt.Errorf("creating %s: %w", table, err)
	}
	if _, err := reading.Load(ctx, warehouse.Load{ID: "drifted", Table: table}, &driftRows{next: d.req.Next}); err != nil {
		return fmt.Errorf("reading what drifted: %w", err)
	}
	if d.in, err = reading.Query(ctx, w.sql.drifted()); err != nil {
		return fmt.Errorf("looking drifted records up: %w", err)
	}
	return errors.Join(w.load(ctx, writing, d.next), d.in.Close())
}

func driftSchema() tidegate.Schema { return joined(texts("key", "actual"), bools("missing")) }

func (s statements) drifted() string {
	return string("SELECT r.key_hash, r.key_check, n.fingerprint, r.key, r.payload, r.payload_hash, r.identifier, r.destination_id, d.missing, d.actual FROM " + s.of("drifted") + " AS d JOIN " + s.of("records") + " AS r ON r.key = d.key JOIN " +
		s.of("ledger") + " AS n ON n.key_hash = r.key_hash AND n.key_check = r.key_check WHERE n.acked AND r.payload IS NOT NULL")
}

func (d *restorer) next(ctx context.Context, into *planRow) error {
	row, err := d.in.Next(ctx)
	if err != nil {
		return err
	}
	var actual string
	var missing bool
	*into = planRow{op: string(tidegate.Changed), known: true}
	if err := scan(row, &into.hash, &into.check, &into.fingerprint, &into.key, &into.after, &into.afterHash, &into.identifier, &into.destinationID, &missing, &actual); err != nil {
		return err
	}
	if missing {
		into.op = string(tidegate.Added)
		return nil
	}
	before, err := model.ParseRecord([]byte(into.after))
	if err != nil {
		return fmt.Errorf("reading the confirmed payload of key %s: %w", into.key, err)
	}
	fields, err := model.ParseRecord([]byte(actual))
	if err != nil {
		return fmt.Errorf("reading what the destination holds for key %s: %w", into.key, err)
	}
	maps.Copy(before, fields)
	into.before = string(model.AppendJSON(nil, before))
	return nil
}

// driftRows is what drifted as the rows of a load; of a key that comes twice the
// first counts, so that no key is planned twice.
type driftRows struct {
	next func(ctx context.Context) (Drifted, error)
	seen map[tidegate.Key]struct{}
}

// Schema implements tidegate.RowReader.
func (d *driftRows) Schema() tidegate.Schema { return driftSchema() }

// Close implements tidegate.RowReader.
func (d *driftRows) Close() error { return nil }

// Next implements tidegate.RowReader.
func (d *driftRows) Next(ctx context.Context) (tidegate.Row, error) {
	for {
		r, err := d.next(ctx)
		if err != nil {
			return nil, err
		}
		if d.seen == nil {
			d.seen = map[tidegate.Key]struct{}{}
		}
		if _, twice := d.seen[r.Key]; twice {
			continue
		}
		d.seen[r.Key] = struct{}{}
		return tidegate.Row{string(r.Key), string(model.AppendJSON(nil, map[string]any(r.Actual))), r.Missing}, nil
	}
}

// SkippedKeys lists up to limit keys that a revert plan leaves alone.
func (l *Ledger) SkippedKeys(ctx context.Context, runID string, limit int) ([]tidegate.Key, error) {
	var keys []tidegate.Key
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if _, err := l.live(ctx, tx, runID); err != nil {
			return err
		}
		sql := "SELECT key FROM " + l.sql.ofRun(runID, "plan") + " WHERE ordinal < 0 ORDER BY key LIMIT " + number(int64(limit))
		return warehouse.Each(ctx, tx, string(sql), nil, func(row tidegate.Row) error {
			var key string
			err := scan(row, &key)
			keys = append(keys, tidegate.Key(key))
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing the keys that run %s leaves alone: %w", runID, err)
	}
	return keys, nil
}

// Confirmed streams what the destination confirmed and nothing is in doubt of,
// in pages that are short transactions: all of it in the order of its keys'
// hashes, or sample records (all when there are fewer) from a place that seed
// chooses, on from the first key after the last.
func (l *Ledger) Confirmed(_ context.Context, sample int, seed int64) (ConfirmedReader, error) {
	c := &confirmedPages{l: l, left: -1, hash: -1, until: math.MaxInt64}
	if sample > 0 {
		c.left = int64(sample)
		c.hash = seed & (1<<63 - 1)
		c.start = c.hash
	}
	return c, nil
}

type confirmedPages struct {
	l           *Ledger
	left        int64 // records still to be read, -1 for all
	hash, check int64 // after these
	until       int64 // and up to this hash
	start       int64 // where a sample began; 0 when it need not go on from the first key
	page        []Confirmed
	ended       bool
}

// confirmedRows is how many confirmed records are read at once.
const confirmedRows = 20_000

func (c *confirmedPages) Next(ctx context.Context) (Confirmed, error) {
	for len(c.page) == 0 && !c.ended && c.left != 0 {
		if err := c.turn(ctx); err != nil {
			return Confirmed{}, fmt.Errorf("reading confirmed records of sync %q: %w", c.l.sync, err)
		}
	}
	if len(c.page) == 0 {
		return Confirmed{}, io.EOF
	}
	r := c.page[0]
	c.page = c.page[1:]
	return r, nil
}

func (c *confirmedPages) turn(ctx context.Context) error {
	n := int64(confirmedRows)
	if c.left > 0 {
		n = min(n, c.left)
	}
	s := c.l.sql
	sql := "SELECT r.key_hash, r.key_check, r.key, r.identifier, r.destination_id, r.payload FROM " + s.of("records") + " AS r WHERE (r.key_hash > $1 OR (r.key_hash = $1 AND r.key_check > $2)) AND r.key_hash <= $3" +
		" AND NOT EXISTS (SELECT 1 FROM " + s.of("attempts") + " AS a WHERE a.key_hash = r.key_hash AND a.key_check = r.key_check) ORDER BY r.key_hash, r.key_check LIMIT " + number(n)
	err := c.l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return warehouse.Each(ctx, tx, string(sql), []any{c.hash, c.check, c.until}, func(row tidegate.Row) error {
			var r Confirmed
			var key, identifier, payload string
			if err := scan(row, &c.hash, &c.check, &key, &identifier, &r.DestinationID, &payload); err != nil {
				return err
			}
			r.Key = tidegate.Key(key)
			var err error
			if identifier != "" {
				if r.Identifier, err = model.ParseJSON([]byte(identifier)); err != nil {
					return fmt.Errorf("reading the identifier of key %s: %w", key, err)
				}
			}
			r.Payload, err = model.ParseRecord([]byte(payload))
			c.page = append(c.page, r)
			return err
		})
	})
	if err != nil {
		return err
	}
	if c.left > 0 {
		c.left -= int64(len(c.page))
	}
	if int64(len(c.page)) < n {
		c.ended = c.start == 0
		c.hash, c.check, c.until, c.start = -1, 0, c.start, 0
	}
	return nil
}

// Close implements ConfirmedReader.
func (c *confirmedPages) Close() error { c.page, c.ended = nil, true; return nil }
