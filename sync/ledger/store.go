package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// planRow is one row of __plan before it has an ordinal.
type planRow struct {
	op                       string
	house                    bool
	hash, check, fingerprint int64
	key, before, after       string
	afterHash                int64
	identifier               string
	destinationID            string
	known                    bool
	attempts                 int64
	firstFailed              time.Time
	idempotencyKey           string
	retry                    bool
	fault                    *tidegate.Fault
}

// load writes the rows that next returns until io.EOF as the plan, and counts them.
func (w *planWriter) load(ctx context.Context, tx warehouse.Tx, next func(ctx context.Context, into *planRow) error) error {
	table := w.names.ofRun(w.runID, "plan")
	if appender, ok := tx.(warehouse.ArrowTx); ok {
		rows := newPlanBatches(ctx, w, next)
		_, err := appender.AppendArrow(ctx, table, rows)
		return errors.Join(rows.close(), err)
	}
	counted := func(ctx context.Context, into *planRow) error {
		err := next(ctx, into)
		if err == nil {
			w.count(into)
		}
		return err
	}
	_, err := tx.Load(ctx, warehouse.Load{ID: loadID(w.runID), Table: table}, &planRows{w: w, next: counted})
	return err
}

// count counts a row of the plan and gives it an idempotency key if it has none.
func (w *planWriter) count(r *planRow) {
	if r.house {
		w.house++
		switch r.op {
		case opBaseline:
			w.sum.Baselined++
			w.refreshes = true
		case opSame, opForget:
			w.refreshes = true
		default: // a change that a revert leaves alone
			w.sum.Skipped++
		}
		return
	}
	s := &w.sum
	switch tidegate.Op(r.op) {
	case tidegate.Added:
		s.Added++
	case tidegate.Changed:
		s.Changed++
	case tidegate.Removed:
		s.Removed++
	}
	if r.retry {
		s.Retries++
	}
	if r.fault != nil {
		s.BadRows++
	}
	w.stats.add(r)
	if r.idempotencyKey == "" {
		r.idempotencyKey = w.idempotencyKey(r.key)
	}
}

// idempotencyKey names this version of this key: the run that planned it first
// is part of it, so that a value that comes back later is a new version.
func (w *planWriter) idempotencyKey(key string) string {
	if w.keyHead == 0 {
		w.keyText = fmt.Appendf(w.keyText[:0], "%q%q%q%q", w.salt, w.workspace, w.Ledger.sync, w.runID)
		w.keyHead = len(w.keyText)
	}
	w.keyText = strconv.AppendQuote(w.keyText[:w.keyHead], key)
	sum := sha256.Sum256(w.keyText)
	return hex.EncodeToString(sum[:16])
}

// planRows is a plan as the rows of a load.
type planRows struct {
	w    *planWriter
	next func(ctx context.Context, into *planRow) error
	r    planRow
	row  tidegate.Row
}

// Schema implements tidegate.RowReader.
func (p *planRows) Schema() tidegate.Schema { return planSchema() }

// Close implements tidegate.RowReader.
func (p *planRows) Close() error { return nil }

// Next implements tidegate.RowReader.
func (p *planRows) Next(ctx context.Context) (tidegate.Row, error) {
	if err := p.next(ctx, &p.r); err != nil {
		return nil, err
	}
	r := &p.r
	p.row = append(p.row[:0], p.w.ordinal(r), r.op, r.hash, r.check, r.fingerprint, r.key, orNull(r.before), orNull(r.after), hashCell(r), orNull(r.identifier), orNull(r.destinationID),
		r.known, r.attempts, timeCell(r.firstFailed), orNull(r.idempotencyKey), r.retry)
	if f := r.fault; f != nil {
		p.row = append(p.row, f.Action.String(), f.Code, f.Subject, f.Message, orNull(f.Hint), f.Cluster())
	} else {
		p.row = append(p.row, nil, nil, nil, nil, nil, nil)
	}
	return p.row, nil
}

// ordinal numbers the changes from 0; housekeeping has -1.
func (w *planWriter) ordinal(r *planRow) int64 {
	if r.house {
		return -1
	}
	w.next++
	return w.next - 1
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func hashCell(r *planRow) any {
	if r.afterHash == 0 {
		return nil
	}
	return r.afterHash
}

func timeCell(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
