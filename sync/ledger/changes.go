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

// pageRows is how many changes are read from a plan at once at the most. Pages are short
// transactions: a delivery of hours does not hold a snapshot open.
const pageRows = 20_000

const (
	plannedColumns  sqltext.Text = "ordinal, op, key, before, after, identifier, " + otherColumns
	identityColumns sqltext.Text = "ordinal, op, key, identifier, fault_code"
	otherColumns    sqltext.Text = "destination_id, attempts, first_failed_at, idempotency_key, fault_action, fault_code, fault_subject, fault_message, fault_hint"
)

// Changes streams a stored plan from ordinal from. It errs with ErrNoPlan when
// there is none and with the fault "plan.stale" when it must not be applied.
func (l *Ledger) Changes(ctx context.Context, runID string, from int64) (PlannedReader, error) {
	return l.pages(ctx, &pages{l: l, runID: runID, columns: plannedColumns, scan: plannedOf, next: max(from, 0)})
}

// Identities streams a stored plan as Changes does, and of each change no more than
// Ordinal, Op, Key, Identifier and the code of its Fault.
func (l *Ledger) Identities(ctx context.Context, runID string) (PlannedReader, error) {
	return l.pages(ctx, &pages{l: l, runID: runID, columns: identityColumns, scan: identityOf})
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

// pages is a PlannedReader that reads one page at a time.
type pages struct {
	l       *Ledger
	runID   string
	columns sqltext.Text
	scan    func(row tidegate.Row, into *Planned) error
	next    int64 // first ordinal that was not read
	end     int64 // number of changes of the plan
}

// Read implements PlannedReader.
func (r *pages) Read(ctx context.Context, into []Planned) (int, error) {
	if r.next >= r.end {
		return 0, io.EOF
	}
	n, err := r.turn(ctx, into[:min(int64(len(into)), pageRows, r.end-r.next)])
	if err != nil {
		return 0, fmt.Errorf("reading the plan of run %s at ordinal %d: %w", r.runID, r.next, err)
	}
	r.next += int64(n)
	return n, nil
}

// turn fills page.
func (r *pages) turn(ctx context.Context, page []Planned) (n int, err error) {
	err = r.l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if _, err := r.l.live(ctx, tx, r.runID); err != nil {
			return err
		}
		n = 0
		query := "SELECT " + r.columns + " FROM " + r.l.sql.ofRun(r.runID, "plan") + " WHERE ordinal >= $1 AND ordinal < $2 ORDER BY ordinal"
		return warehouse.Each(ctx, tx, string(query), []any{r.next, r.next + int64(len(page))}, func(row tidegate.Row) error {
			if n == len(page) {
				return fmt.Errorf("the plan holds more changes than the %d that were stored", len(page))
			}
			n++
			return r.scan(row, &page[n-1])
		})
	})
	if err == nil && n != len(page) {
		err = fmt.Errorf("the plan holds %d changes where %d were stored", n, len(page))
	}
	return n, err
}

// Close implements PlannedReader.
func (r *pages) Close() error { r.next = r.end; return nil }

func identityOf(row tidegate.Row, p *Planned) (err error) {
	*p = Planned{}
	var op, key, identifier, fault string
	if err := scan(row, &p.Ordinal, &op, &key, &identifier, &fault); err != nil {
		return err
	}
	p.Op, p.Key = tidegate.Op(op), tidegate.Key(key)
	if fault != "" {
		p.Fault = &tidegate.Fault{Action: tidegate.Reject, Code: fault}
	}
	p.Identifier, err = identifierOf(identifier, key)
	return err
}

func identifierOf(text, key string) (any, error) {
	if text == "" {
		return nil, nil
	}
	v, err := model.ParseJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("reading the identifier of key %s: %w", key, err)
	}
	return v, nil
}

func plannedOf(row tidegate.Row, p *Planned) error {
	*p = Planned{}
	var op, key, before, after, identifier string
	var fault tidegate.RunFault
	err := scan(row, &p.Ordinal, &op, &key, &before, &after, &identifier, &p.DestinationID, &p.Attempts, &p.FirstFailedAt, &p.IdempotencyKey,
		&fault.Action, &fault.Code, &fault.Subject, &fault.Message, &fault.Hint)
	if err != nil {
		return err
	}
	p.Op, p.Key = tidegate.Op(op), tidegate.Key(key)
	p.Bytes = 128 + len(key) + len(before) + len(after) + len(identifier)
	if p.Before, err = model.ParseRecord([]byte(before)); err != nil {
		return fmt.Errorf("reading the confirmed payload of key %s: %w", key, err)
	}
	if p.After, err = model.ParseRecord([]byte(after)); err != nil {
		return fmt.Errorf("reading the planned payload of key %s: %w", key, err)
	}
	if p.Identifier, err = identifierOf(identifier, key); err != nil {
		return err
	}
	if fault.Code != "" {
		p.Fault = &tidegate.Fault{Action: tidegate.Reject, Code: fault.Code, Subject: fault.Subject, Message: fault.Message, Hint: fault.Hint}
	}
	return nil
}
