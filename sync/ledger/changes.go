package ledger

import (
	"context"
	"fmt"
	"io"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// pageRows is how many changes are read from a plan at once. Pages are short
// transactions: a delivery of hours does not hold a snapshot open.
const pageRows = 4096

const (
	plannedColumns sqltext.Text = "ordinal, op, key, before, after, identifier, " + otherColumns
	// identityColumns leave the payloads out, which are most of what there is to read.
	identityColumns sqltext.Text = "ordinal, op, key, CAST(NULL AS VARCHAR), CAST(NULL AS VARCHAR), identifier, " + otherColumns
	otherColumns    sqltext.Text = "destination_id, attempts, first_failed_at, idempotency_key, fault_action, fault_code, fault_subject, fault_message, fault_hint"
)

// Changes streams a stored plan from ordinal from. It errs with ErrNoPlan when
// there is none and with the fault "plan.stale" when it must not be applied.
func (l *Ledger) Changes(ctx context.Context, runID string, from int64) (PlannedReader, error) {
	return l.pages(ctx, &pages{l: l, runID: runID, columns: plannedColumns, next: max(from, 0)})
}

// Identities streams a stored plan as Changes does, without Before and After.
func (l *Ledger) Identities(ctx context.Context, runID string) (PlannedReader, error) {
	return l.pages(ctx, &pages{l: l, runID: runID, columns: identityColumns})
}

func (l *Ledger) pages(ctx context.Context, r *pages) (PlannedReader, error) {
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		s, err := l.live(ctx, tx, r.runID)
		r.end = s.changes
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the plan of run %s: %w", r.runID, err)
	}
	return r, nil
}

// pages is a PlannedReader that holds one page.
type pages struct {
	l       *Ledger
	runID   string
	columns sqltext.Text
	next    int64 // first ordinal that is not in page
	end     int64 // number of changes of the plan
	page    []Planned
}

// Next returns the next change, io.EOF after the last.
func (r *pages) Next(ctx context.Context) (Planned, error) {
	if len(r.page) == 0 {
		if r.next >= r.end {
			return Planned{}, io.EOF
		}
		if err := r.turn(ctx); err != nil {
			return Planned{}, fmt.Errorf("reading the plan of run %s at ordinal %d: %w", r.runID, r.next, err)
		}
	}
	p := r.page[0]
	r.page = r.page[1:]
	return p, nil
}

func (r *pages) turn(ctx context.Context) error {
	to := min(r.next+pageRows, r.end)
	page := make([]Planned, 0, to-r.next)
	err := r.l.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		if _, err = r.l.live(ctx, tx, r.runID); err == nil {
			page, err = r.l.planned(ctx, tx, r.columns, r.runID, page, "ordinal >= $1 AND ordinal < $2 ORDER BY ordinal", r.next, to)
		}
		return err
	})
	if err != nil {
		return err
	}
	if int64(len(page)) != to-r.next {
		return fmt.Errorf("the plan holds %d changes where %d were stored", len(page), to-r.next)
	}
	r.page, r.next = page, to
	return nil
}

// Close implements PlannedReader.
func (r *pages) Close() error { r.page, r.next = nil, r.end; return nil }

func plannedOf(row tidegate.Row) (Planned, error) {
	var p Planned
	var op, key, before, after, identifier string
	var fault tidegate.RunFault
	err := scan(row, &p.Ordinal, &op, &key, &before, &after, &identifier, &p.DestinationID, &p.Attempts, &p.FirstFailedAt, &p.IdempotencyKey,
		&fault.Action, &fault.Code, &fault.Subject, &fault.Message, &fault.Hint)
	if err != nil {
		return p, err
	}
	p.Op, p.Key = tidegate.Op(op), tidegate.Key(key)
	p.Bytes = 128 + len(key) + len(before) + len(after) + len(identifier)
	if p.Before, err = model.ParseRecord([]byte(before)); err != nil {
		return p, fmt.Errorf("reading the confirmed payload of key %s: %w", key, err)
	}
	if p.After, err = model.ParseRecord([]byte(after)); err != nil {
		return p, fmt.Errorf("reading the planned payload of key %s: %w", key, err)
	}
	if identifier != "" {
		if p.Identifier, err = model.ParseJSON([]byte(identifier)); err != nil {
			return p, fmt.Errorf("reading the identifier of key %s: %w", key, err)
		}
	}
	if fault.Code != "" {
		p.Fault = &tidegate.Fault{Action: tidegate.Reject, Code: fault.Code, Subject: fault.Subject, Message: fault.Message, Hint: fault.Hint}
	}
	return p, nil
}
