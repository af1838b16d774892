package bigquery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	bq "cloud.google.com/go/bigquery"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// stagingDataset is where the rows of keyed loads wait to be merged. It is
// hidden, as names that begin with an underscore are, and its tables go by themselves.
const (
	stagingDataset = "_tidegate_staging"
	stagingLife    = 24 * time.Hour
)

// maxTries bounds how often one load can fail and be tried again, over its whole life.
const maxTries = 1000

// Load implements warehouse.Warehouse. The load's ID makes the id of the job that
// writes, and BigQuery runs a job id once, for half a year (Invariant 3).
func (w *Warehouse) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := w.door.Enter(); err != nil {
		return 0, err
	}
	defer w.door.Leave()
	n, err := w.load(ctx, l, rows)
	if err != nil {
		return 0, fmt.Errorf("loading into %s: %w", l.Table, err)
	}
	return n, nil
}

func (w *Warehouse) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := l.CheckID(); err != nil {
		return 0, err
	}
	done, err := w.tables.Together(ctx, l.Table)
	if err != nil {
		return 0, fmt.Errorf("waiting for a change of the table: %w", err)
	}
	defer done()
	t, err := w.describe(ctx, l.Table)
	if err != nil {
		return 0, err
	}
	id, was, err := w.unused(ctx, l)
	if err != nil || was {
		return 0, err
	}
	if was, err = w.remembered(ctx, l); err != nil || was {
		return 0, err
	}
	p, err := w.planLoad(l, t, rows.Schema())
	if err != nil {
		return 0, err
	}
	return w.bring(ctx, p, id, rows)
}

// loadByJob brings the rows to BigQuery by a load job.
func (w *Warehouse) loadByJob(ctx context.Context, p *loadPlan, id string, rows tidegate.RowReader) (int64, error) {
	if len(p.Keys) == 0 && p.direct() {
		return w.appendRows(ctx, p, id, rows)
	}
	return w.mergeRows(ctx, p, id, rows)
}

// direct says whether a load job reads all columns without doubt. What it makes
// of a text in a JSON column, and of types that are not ours, is left to SQL.
func (p *loadPlan) direct() bool {
	for _, c := range p.columns {
		switch c.engine {
		case "BOOL", "INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "STRING", "BYTES", "DATE", "TIMESTAMP":
		default:
			return false
		}
	}
	return true
}

// jobs is the beginning of the ids of the jobs of a load. A dataset that was
// dropped and made again knows nothing of the loads of the one before.
func (w *Warehouse) jobs(ctx context.Context, l warehouse.Load) (string, error) {
	w.mu.Lock()
	born, known := w.born[l.Table.Schema]
	w.mu.Unlock()
	if !known {
		err := w.try(ctx, "", func(ctx context.Context) error {
			d, err := w.api.Dataset(l.Table.Schema).Metadata(ctx)
			if is(err, http.StatusNotFound) {
				return warehouse.NoTable(l.Table)
			}
			if err == nil {
				born = d.CreationTime.UnixMilli()
			}
			return err
		})
		if err != nil {
			return "", err
		}
		w.mu.Lock()
		w.born[l.Table.Schema] = born
		w.mu.Unlock()
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q %q %d", l.Table.Schema, l.Table.Name, l.ID, born)
	return "tidegate_load_" + hex.EncodeToString(h.Sum(nil))[:40] + "_", nil
}

// unused returns the job id under which the load is to be tried; was says that it has been done.
func (w *Warehouse) unused(ctx context.Context, l warehouse.Load) (id string, was bool, err error) {
	prefix, err := w.jobs(ctx, l)
	if err != nil {
		return "", false, err
	}
	for try := range maxTries {
		id = prefix + strconv.Itoa(try)
		j, err := w.find(ctx, nil, id)
		if err != nil {
			return "", false, fmt.Errorf("asking for the load: %w", err)
		}
		if j == nil {
			return id, false, nil
		}
		r := request{op: "load"}
		if config, err := j.Config(); err == nil {
			if c, ok := config.(*bq.LoadConfig); ok {
				r.load = &bq.Loader{LoadConfig: *c}
			}
		}
		if err = w.await(ctx, r, &result{job: j}); err == nil {
			return id, true, nil
		}
		if ctx.Err() != nil || !failed(err) {
			return "", false, err
		}
	}
	return "", false, fmt.Errorf("the load has failed %d times", maxTries)
}

// failed tells a job that failed from one of which nothing could be learned.
func failed(err error) bool {
	f := tidegate.FaultOf(err)
	return f.Code != "warehouse.connection" && f.Code != "unclassified" && (f.Action != tidegate.Throttle)
}

// appendRows loads the rows by one job, which writes all of them or none.
func (w *Warehouse) appendRows(ctx context.Context, p *loadPlan, id string, rows tidegate.RowReader) (int64, error) {
	names := make([]string, len(p.columns))
	for i, c := range p.columns {
		names[i] = c.name
	}
	src, err := newSource(ctx, p, names, rows, false)
	if err != nil {
		return 0, err
	}
	if src.empty {
		return 0, w.nothing(ctx, id)
	}
	l := w.api.Dataset(p.Table.Schema).Table(p.Table.Name).LoaderFrom(src.body(nil))
	l.CreateDisposition, l.WriteDisposition = bq.CreateNever, bq.WriteAppend
	res, err := w.upload(ctx, id, src, l)
	if err != nil || res.was {
		return 0, err
	}
	return res.changed, nil
}

// nothing remembers a load without rows: a statement under its job id.
func (w *Warehouse) nothing(ctx context.Context, id string) error {
	_, err := w.run(ctx, request{op: "load", id: id, sql: "SELECT 1"})
	return err
}

func (w *Warehouse) upload(ctx context.Context, id string, src *source, load *bq.Loader) (*result, error) {
	res, err := w.run(ctx, request{op: "load", id: id, load: load})
	if err != nil && src.err != nil && !errors.Is(src.err, io.EOF) {
		return nil, src.err // the rest is what came of it
	}
	return res, err
}

// mergeRows stages the rows by a load job and brings them into the table by one statement.
func (w *Warehouse) mergeRows(ctx context.Context, p *loadPlan, id string, rows tidegate.RowReader) (int64, error) {
	if err := w.makeStaging(ctx); err != nil {
		return 0, err
	}
	names, fields := make([]string, len(p.columns)), make(bq.Schema, len(p.columns), len(p.columns)+1)
	for i := range p.columns {
		names[i] = string(sqltext.Staged(i))
		fields[i] = &bq.FieldSchema{Name: names[i], Type: bq.StringFieldType}
	}
	fields = append(fields, &bq.FieldSchema{Name: "n", Type: bq.IntegerFieldType})
	src, err := newSource(ctx, p, names, rows, true)
	if err != nil {
		return 0, err
	}
	if src.empty {
		return 0, w.nothing(ctx, id)
	}
	name := "stage_" + newID()
	defer w.unstage(ctx, name)
	l := w.api.Dataset(stagingDataset).Table(name).LoaderFrom(src.body(fields))
	l.CreateDisposition, l.WriteDisposition = bq.CreateIfNeeded, bq.WriteEmpty
	if _, err := w.upload(ctx, "", src, l); err != nil {
		return 0, fmt.Errorf("staging: %w", err)
	}
	from, err := w.dialect.Table(stagingDataset, name)
	if err != nil {
		return 0, err
	}
	values := p.values(func(i int) sqltext.Text { return "r." + sqltext.Staged(i) })
	res, err := w.run(ctx, request{op: "load", id: id, sql: string(p.write(values, from+" AS r", "r.n"))})
	if err != nil || res.was {
		return 0, err
	}
	return res.changed, nil
}

// makeStaging makes the dataset of staged rows, once.
func (w *Warehouse) makeStaging(ctx context.Context) error {
	w.mu.Lock()
	there := w.stageable
	w.mu.Unlock()
	if there {
		return nil
	}
	err := w.createDataset(ctx, stagingDataset, &bq.DatasetMetadata{
		DefaultTableExpiration: stagingLife, Description: "Rows that wait to be merged. A table lives for a day at most.",
	})
	if err != nil {
		return fmt.Errorf("making the dataset of staged rows: %w", err)
	}
	w.mu.Lock()
	w.stageable = true
	w.mu.Unlock()
	return nil
}

// unstage drops staged rows. Where it cannot, they go by themselves within a day.
func (w *Warehouse) unstage(ctx context.Context, name string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer done()
	asking, end := once(ctx)
	defer end(nil)
	err := why(asking, w.api.Dataset(stagingDataset).Table(name).Delete(asking))
	if err != nil && !is(err, http.StatusNotFound) {
		w.log.DebugContext(ctx, "staged rows could not be dropped; they expire", "table", name, "error", err)
	}
}
