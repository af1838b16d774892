package ledger

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// pageRows is how many changes are read from a plan at once. Pages are short
// transactions: a delivery of hours does not hold a snapshot open.
const pageRows = 4096

const plannedColumns sqltext.Text = "ordinal, op, key, before, after, identifier, destination_id, attempts, first_failed_at, idempotency_key, fault_action, fault_code, fault_subject, fault_message, fault_hint"

// Changes streams a stored plan from ordinal from. It errs with ErrNoPlan when
// there is none and with the fault "plan.stale" when it must not be applied.
func (l *Ledger) Changes(ctx context.Context, runID string, from int64) (PlannedReader, error) {
	r := &pages{l: l, runID: runID, next: max(from, 0)}
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		s, err := l.live(ctx, tx, runID)
		r.end = s.changes
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the plan of run %s: %w", runID, err)
	}
	return r, nil
}

// pages is a PlannedReader that holds one page.
type pages struct {
	l     *Ledger
	runID string
	next  int64 // first ordinal that is not in page
	end   int64 // number of changes of the plan
	page  []Planned
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
	err := r.l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if _, err := r.l.live(ctx, tx, r.runID); err != nil {
			return err
		}
		sql := "SELECT " + plannedColumns + " FROM " + r.l.sql.ofRun(r.runID, "plan") + " WHERE ordinal >= $1 AND ordinal < $2 ORDER BY ordinal"
		return each(ctx, tx, string(sql), []any{r.next, to}, func(row tidegate.Row) error {
			p, err := plannedOf(row)
			page = append(page, p)
			return err
		})
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

// Preview is one change of a plan with the fields that differ.
type Preview struct {
	Op  tidegate.Op  `json:"op"`
	Key tidegate.Key `json:"key"`
	// Fields are sorted by name. A field that one side lacks is null there.
	Fields []FieldChange      `json:"fields"`
	Fault  *tidegate.RunFault `json:"fault,omitempty"`
}

// FieldChange is one field's old and new value.
type FieldChange struct {
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Sample returns up to n changes of a stored plan, of every operation in turn,
// so that a few removals are not hidden behind many additions.
func (l *Ledger) Sample(ctx context.Context, runID string, n int) ([]Preview, error) {
	var lanes [][]Preview
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if _, err := l.live(ctx, tx, runID); err != nil {
			return err
		}
		sql := "SELECT " + plannedColumns + " FROM " + l.sql.ofRun(runID, "plan") + " WHERE ordinal >= 0 AND op = $1 ORDER BY ordinal LIMIT " + number(int64(n))
		for _, op := range []tidegate.Op{tidegate.Removed, tidegate.Changed, tidegate.Added} {
			var lane []Preview
			err := each(ctx, tx, string(sql), []any{string(op)}, func(row tidegate.Row) error {
				p, err := plannedOf(row)
				lane = append(lane, previewOf(p))
				return err
			})
			if err != nil {
				return err
			}
			lanes = append(lanes, lane)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sampling the plan of run %s: %w", runID, err)
	}
	var out []Preview
	for i := 0; len(out) < n; i++ {
		before := len(out)
		for _, lane := range lanes {
			if i < len(lane) && len(out) < n {
				out = append(out, lane[i])
			}
		}
		if len(out) == before {
			break
		}
	}
	return out, nil
}

func previewOf(p Planned) Preview {
	v := Preview{Op: p.Op, Key: p.Key}
	if p.Fault != nil {
		v.Fault = tidegate.StoredFault(p.Fault)
	}
	fields := make([]string, 0, len(p.Before)+len(p.After))
	for name := range p.Before {
		fields = append(fields, name)
	}
	for name := range p.After {
		if _, both := p.Before[name]; !both {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	for _, name := range fields {
		before, after := p.Before[name], p.After[name]
		if p.Op != tidegate.Changed || !reflect.DeepEqual(before, after) {
			v.Fields = append(v.Fields, FieldChange{Field: name, Before: before, After: after})
		}
	}
	return v
}
