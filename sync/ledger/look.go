package ledger

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

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

// Look is a plan to be looked at.
type Look struct {
	Summary Summary
	// Sample are changes of every operation in turn, so that a few removals are not hidden behind many additions.
	Sample []Preview
	// First are the first changes as they would be sent.
	First []Planned
}

// firstChanges is how many changes Look.First holds at most.
const firstChanges = 100

// Look shows what Plan would store for req, with a sample of up to n changes, and
// keeps nothing: what it writes on the way is rolled back, so that it can be called
// while another run of the sync is held or being delivered. What that run has sent
// counts as not sent until the run ends. A plan that is stored for req.RunID is
// shown as it stands, unless it must not be applied any more: then it is the fault "plan.stale".
func (l *Ledger) Look(ctx context.Context, req PlanRequest, n int) (Look, error) {
	look, err := l.look(ctx, req, n)
	if err != nil {
		return look, fmt.Errorf("looking at the plan of run %s: %w", req.RunID, err)
	}
	return look, nil
}

func (l *Ledger) look(ctx context.Context, req PlanRequest, n int) (look Look, err error) {
	if !runIDPattern.MatchString(req.RunID) {
		return look, fmt.Errorf("%q cannot be a run ID", req.RunID)
	}
	err = l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		if _, err := l.aimed(ctx, tx); err != nil {
			return err
		}
		s, err := l.live(ctx, tx, req.RunID)
		switch {
		case errors.Is(err, ErrNoPlan):
			w := planWriter{Ledger: l, runID: req.RunID, salt: req.IdempotencySalt, kind: kindPlan, looking: true, now: l.opts.Now()}
			w.sum = Summary{RunID: req.RunID, PlannedAt: w.now}
			err = w.find(ctx, tx, &planner{req: req})
			look.Summary = w.sum
		default:
			look.Summary = s.summary
		}
		if err != nil {
			return err
		}
		if look.Sample, err = l.sample(ctx, tx, req.RunID, n); err != nil {
			return err
		}
		look.First, err = l.planned(ctx, tx, req.RunID, nil, "ordinal >= 0 ORDER BY ordinal LIMIT "+number(firstChanges))
		return err
	})
	return look, err
}

// sample takes up to n changes of every operation in turn.
func (l *Ledger) sample(ctx context.Context, tx warehouse.Tx, runID string, n int) ([]Preview, error) {
	var lanes [][]Planned
	for _, op := range []tidegate.Op{tidegate.Removed, tidegate.Changed, tidegate.Added} {
		lane, err := l.planned(ctx, tx, runID, nil, "ordinal >= 0 AND op = $1 ORDER BY ordinal LIMIT "+number(int64(n)), string(op))
		if err != nil {
			return nil, err
		}
		lanes = append(lanes, lane)
	}
	var out []Preview
	for i := 0; len(out) < n; i++ {
		before := len(out)
		for _, lane := range lanes {
			if i < len(lane) && len(out) < n {
				out = append(out, previewOf(lane[i]))
			}
		}
		if len(out) == before {
			break
		}
	}
	return out, nil
}

// planned appends changes of a plan to list.
func (l *Ledger) planned(ctx context.Context, tx warehouse.Tx, runID string, list []Planned, where sqltext.Text, args ...any) ([]Planned, error) {
	err := warehouse.Each(ctx, tx, string("SELECT "+plannedColumns+" FROM "+l.sql.ofRun(runID, "plan")+" WHERE "+where), args, func(row tidegate.Row) error {
		var p Planned
		err := plannedOf(row, &p)
		list = append(list, p)
		return err
	})
	return list, err
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
