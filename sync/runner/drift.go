package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/ledger"
)

// MaxDriftRecords is how many records a drift report lists; all are counted.
const MaxDriftRecords = 200

// DriftOptions say what Drift does.
type DriftOptions struct {
	// Sample is about how many records are looked at; all of them when 0.
	Sample int
	// Restore begins a run that writes the confirmed values again.
	Restore bool
}

// DriftReport compares what the model says, what the destination confirmed last
// and what it holds now.
type DriftReport struct {
	Sync    string    `json:"sync"`
	At      time.Time `json:"at"`
	Checked int64     `json:"checked"`
	// Drifted records hold other values than they confirmed, Missing ones are gone.
	Drifted int64            `json:"drifted"`
	Missing int64            `json:"missing"`
	Fields  map[string]int64 `json:"fields"` // drifted records, by field
	Records []DriftRecord    `json:"records"`
	// Run restores what drifted.
	Run *tidegate.Run `json:"run,omitempty"`
}

// DriftRecord is one record that drifted.
type DriftRecord struct {
	Key        tidegate.Key `json:"key"`
	Identifier any          `json:"identifier"`
	Missing    bool         `json:"missing,omitempty"`
	// Unwanted records have no row in the model any more.
	Unwanted bool         `json:"unwanted,omitempty"`
	Fields   []DriftField `json:"fields,omitempty"`
}

// DriftField is one field in three ways.
type DriftField struct {
	Field     string `json:"field"`
	Desired   any    `json:"desired"`
	Confirmed any    `json:"confirmed"`
	Actual    any    `json:"actual"`
}

// Drift reads confirmed records back and reports where the destination holds
// something else. It takes the sync's lease meanwhile, so that it fails with
// "run.conflict" while a run is going on or held.
func (r *Runner) Drift(ctx context.Context, sync string, opts DriftOptions) (DriftReport, error) {
	report := DriftReport{Sync: sync, At: r.now().UTC(), Fields: map[string]int64{}, Records: []DriftRecord{}}
	unfinished, err := r.unfinished(ctx, sync)
	if err != nil {
		return report, err
	}
	if unfinished != nil {
		return report, conflict(*unfinished, "is "+string(unfinished.State), "wait for it, approve or cancel it")
	}
	if opts.Restore {
		return r.restore(ctx, sync, opts, report)
	}
	a := newActive(tidegate.Run{ID: newRunID(r.now(), r.opts.Random), Sync: sync, State: tidegate.RunRunning}, func() {})
	if err := r.reserve(a); err != nil {
		return report, err
	}
	defer r.free(a)
	lease, err := r.lease(ctx, sync)
	if err != nil {
		return report, err
	}
	opened, err := r.open(ctx, sync)
	if err == nil {
		err = errors.Join(r.compare(ctx, opened, lease.Epoch, opts, &report), opened.Close())
	}
	return report, errors.Join(err, r.release(context.WithoutCancel(ctx), lease))
}

// compare fills the report without changing anything.
func (r *Runner) compare(ctx context.Context, o *Opened, epoch int64, opts DriftOptions, report *DriftReport) (err error) {
	d, err := r.openDrift(ctx, o, opts, report)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.confirmed.Close()) }()
	for {
		if _, err := d.next(ctx); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("reading records back: %w", err)
		}
	}
	if len(report.Records) == 0 {
		return nil
	}
	return r.desired(ctx, o, epoch, report)
}

// restore begins a run that writes what drifted again.
func (r *Runner) restore(ctx context.Context, sync string, opts DriftOptions, report DriftReport) (DriftReport, error) {
	run := r.newRun(sync, tidegate.TriggerRestore)
	run, err := r.takeOn(ctx, run, intake{create: true, plan: func(ctx context.Context, o *Opened, epoch int64) (err error) {
		d, err := r.openDrift(ctx, o, opts, &report)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.confirmed.Close()) }()
		_, err = o.Ledger.PlanDrift(ctx, ledger.DriftRequest{RunID: run.ID, Epoch: epoch, Next: d.restorable, IdempotencySalt: o.Request.IdempotencySalt})
		if err != nil {
			return fmt.Errorf("planning to restore what drifted: %w", err)
		}
		return nil
	}})
	if err != nil {
		return report, err
	}
	report.Run = &run
	return report, nil
}

// drift compares confirmed records with the destination's, a call's worth at a time.
type drift struct {
	r         *Runner
	o         *Opened
	reader    destinations.Reader
	confirmed ledger.ConfirmedReader
	policies  policies
	report    *DriftReport
	found     []ledger.Drifted
	end       bool
}

func (r *Runner) openDrift(ctx context.Context, o *Opened, opts DriftOptions, report *DriftReport) (*drift, error) {
	reader, ok := o.Destination.(destinations.Reader)
	if !ok || o.Sync.Mode == tidegate.Audience || o.Sync.Mode == tidegate.Append {
		return nil, unsuited(o.Sync, "drift", "what "+o.Sync.Destination+" holds cannot be read back", "drift is found where records can be read by their identifier")
	}
	confirmed, err := o.Ledger.Confirmed(ctx, opts.Sample, int64(r.opts.Random()>>1))
	if err != nil {
		return nil, fmt.Errorf("reading what was confirmed: %w", err)
	}
	return &drift{r: r, o: o, reader: reader, confirmed: confirmed, policies: policiesOf(o.Sync.Mapping), report: report}, nil
}

// next returns the next record that drifted; io.EOF ends it.
func (d *drift) next(ctx context.Context) (ledger.Drifted, error) {
	for len(d.found) == 0 {
		if d.end {
			return ledger.Drifted{}, io.EOF
		}
		if err := d.look(ctx); err != nil {
			return ledger.Drifted{}, err
		}
	}
	one := d.found[0]
	d.found = d.found[1:]
	return one, nil
}

// restorable is next without what a policy leaves to others.
func (d *drift) restorable(ctx context.Context) (ledger.Drifted, error) {
	for {
		one, err := d.next(ctx)
		if err != nil || one.Missing {
			return one, err
		}
		for field := range d.policies {
			delete(one.Actual, field)
		}
		if len(one.Actual) > 0 {
			return one, nil
		}
	}
}

// look compares one call's worth of records.
func (d *drift) look(ctx context.Context) error {
	var batch []ledger.Confirmed
	fields := map[string]bool{}
	for len(batch) < min(max(d.o.Object.Limit.Records, 1), 100) {
		c, err := d.confirmed.Next(ctx)
		if errors.Is(err, io.EOF) {
			d.end = true
			break
		}
		if err != nil {
			return fmt.Errorf("reading what was confirmed: %w", err)
		}
		batch = append(batch, c)
		for field := range c.Payload {
			if p := d.policies[field]; p == "" || p == tidegate.IfNewer {
				fields[field] = true
			}
		}
	}
	if len(batch) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(fields))
	records, err := d.read(ctx, batch, names)
	if err != nil {
		return err
	}
	for i, c := range batch {
		d.judge(c, records[i], names)
	}
	return nil
}

// read makes one call, as often as the destination asks for patience.
func (d *drift) read(ctx context.Context, batch []ledger.Confirmed, fields []string) (records []tidegate.Record, err error) {
	ids := make([]any, len(batch))
	for i := range batch {
		ids[i] = batch[i].Identifier
	}
	policy := retry.Policy{Attempts: 5, Random: func() float64 { return float64(d.r.opts.Random()>>11) / (1 << 53) }}
	err = retry.Do(ctx, policy, func(ctx context.Context) error {
		dr := driver{r: d.r, opened: d.o, claim: claimOf(d.o)}
		if err := dr.takeQuota(ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, d.r.opts.CallTimeout)
		defer cancel()
		records, err = d.reader.Read(ctx, d.o.Object.Name, d.o.IdentifierField, ids, fields)
		d.r.learn(d.o.Account, err)
		return err
	})
	if err == nil && len(records) != len(ids) {
		err = fmt.Errorf("%d records came back for %d identifiers", len(records), len(ids))
	}
	return records, err
}

// judge compares one record.
func (d *drift) judge(c ledger.Confirmed, actual tidegate.Record, fields []string) {
	rep := d.report
	rep.Checked++
	line := DriftRecord{Key: c.Key, Identifier: c.Identifier}
	one := ledger.Drifted{Key: c.Key}
	if actual == nil {
		rep.Missing++
		line.Missing, one.Missing = true, true
	} else {
		one.Actual = tidegate.Record{}
		for _, field := range fields {
			confirmed, there := c.Payload[field]
			if !there || Same(confirmed, actual[field]) || field == d.o.IdentifierField {
				continue
			}
			rep.Fields[field]++
			one.Actual[field] = actual[field]
			line.Fields = append(line.Fields, DriftField{Field: field, Desired: confirmed, Confirmed: confirmed, Actual: actual[field]})
		}
		if len(one.Actual) == 0 {
			return
		}
		rep.Drifted++
	}
	d.found = append(d.found, one)
	if len(rep.Records) < MaxDriftRecords {
		rep.Records = append(rep.Records, line)
	}
}

// desired looks up in a fresh plan what the model says now about the listed
// records: what the plan does not change is as it was confirmed.
func (r *Runner) desired(ctx context.Context, o *Opened, epoch int64, report *DriftReport) (err error) {
	req := o.Request
	req.RunID, req.Epoch, req.Mode = "plan_"+newRunID(r.now(), r.opts.Random)[len("run_"):], epoch, o.Sync.Mode
	if _, err := o.Ledger.Plan(ctx, req); err != nil {
		return fmt.Errorf("planning: %w", err)
	}
	defer func() { err = errors.Join(err, o.Ledger.Finish(context.WithoutCancel(ctx), req.RunID)) }()
	at := map[tidegate.Key]*DriftRecord{}
	for i := range report.Records {
		at[report.Records[i].Key] = &report.Records[i]
	}
	changes, err := o.Ledger.Changes(ctx, req.RunID, 0)
	if err != nil {
		return fmt.Errorf("opening the plan: %w", err)
	}
	defer func() { err = errors.Join(err, changes.Close()) }()
	return ledger.EachPlanned(ctx, changes, func(p *ledger.Planned) error {
		if line := at[p.Key]; line != nil && p.Fault == nil {
			line.Unwanted = p.Op == tidegate.Removed
			for i := range line.Fields {
				line.Fields[i].Desired = p.After[line.Fields[i].Field]
			}
		}
		return nil
	})
}
