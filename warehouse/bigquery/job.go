package bigquery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

// request is a job to be run.
type request struct {
	api    *bq.Service // nil: the account that writes
	op     string      // the label that tells what costs
	id     string      // "": made up
	sql    string
	params []*bq.QueryParameter
	// session is that in which the statement runs; newSession begins one.
	session    string
	newSession bool
	cap        int64
	// load, when it is set, is a load of what media holds, instead of a query.
	load  *bq.JobConfigurationLoad
	media io.Reader
}

const (
	// pageRows is how many rows a page has at most; BigQuery sends fewer where they are long.
	pageRows = 10_000
	// longPoll is how long the server may hold a question whether a job is done.
	longPoll = 10 * time.Second
	// cancelGrace is how long a cancellation or the end of a session may take.
	cancelGrace = 10 * time.Second
	// piece is how much of a load is sent at once, and so kept in memory.
	piece = 8 << 20
)

func (w *Warehouse) job(r request) *bq.Job {
	if r.id == "" {
		r.id = "tidegate_" + r.op + "_" + newID()
	}
	labels := maps.Clone(w.labels)
	labels["tidegate_op"] = r.op
	configuration := &bq.JobConfiguration{Labels: labels}
	if r.load != nil {
		configuration.Load = r.load
	} else {
		standard := false
		configuration.Query = &bq.JobConfigurationQuery{
			Query: r.sql, UseLegacySql: &standard, ForceSendFields: []string{"UseLegacySql"}, DefaultDataset: &bq.DatasetReference{ProjectId: w.project, DatasetId: w.dataset},
			MaximumBytesBilled: r.cap, CreateSession: r.newSession, QueryParameters: r.params,
		}
		if len(r.params) > 0 {
			configuration.Query.ParameterMode = "NAMED"
		}
		if r.session != "" {
			configuration.Query.ConnectionProperties = []*bq.ConnectionProperty{{Key: "session_id", Value: r.session}}
			configuration.Query.DefaultDataset = nil // a session keeps that of its first statement
		}
	}
	return &bq.Job{JobReference: &bq.JobReference{ProjectId: w.project, JobId: r.id, Location: w.location}, Configuration: configuration}
}

// newID is 128 random bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// start brings a job to the server. An answer that is lost is looked up by the
// job's id, so that a job runs once (Invariant 3). With an id of the caller's a
// job that is there already is returned, and was is true.
func (w *Warehouse) start(ctx context.Context, r request) (j *bq.Job, was bool, err error) {
	job := w.job(r)
	asked := false // the server may have it already
	err = w.try(ctx, r.sql, func(ctx context.Context) error {
		if asked && r.media != nil { // what was read of it cannot be sent again
			if j, err = w.find(ctx, r.api, job.JobReference.JobId); err == nil && j == nil {
				return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.lost_upload", Message: "the upload broke"}
			}
			return err
		}
		call := w.service(r.api).Jobs.Insert(w.project, job).Context(ctx)
		if r.media != nil {
			call = call.Media(r.media, googleapi.ContentType("application/octet-stream"), googleapi.ChunkSize(piece))
		}
		got, err := call.Do()
		if is(err, http.StatusConflict) {
			was = r.id != "" && !asked
			got, err = w.get(ctx, r.api, job.JobReference.JobId)
		}
		j, asked = got, true
		return err
	})
	var f *tidegate.Fault
	if errors.As(err, &f) && f.Code == "warehouse.lost_upload" {
		f.Action = tidegate.Retry
	}
	return j, was, err
}

func (w *Warehouse) service(api *bq.Service) *bq.Service {
	if api == nil {
		return w.api
	}
	return api
}

func (w *Warehouse) get(ctx context.Context, api *bq.Service, id string) (*bq.Job, error) {
	return w.service(api).Jobs.Get(w.project, id).Location(w.location).Context(ctx).Do()
}

// find returns a job, nil when there is none of that id.
func (w *Warehouse) find(ctx context.Context, api *bq.Service, id string) (*bq.Job, error) {
	var j *bq.Job
	err := w.try(ctx, "", func(ctx context.Context) (err error) {
		if j, err = w.get(ctx, api, id); is(err, http.StatusNotFound) {
			j, err = nil, nil
		}
		return err
	})
	return j, err
}

// take waits for a place among the jobs that run at once.
func (w *Warehouse) take(ctx context.Context) error {
	select {
	case w.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *Warehouse) giveBack() { <-w.slots }

// run runs a job to its end and returns it, with the first page of its result
// where it is a query. A job that was there already is waited for like one's own.
func (w *Warehouse) run(ctx context.Context, r request) (*result, error) {
	if err := w.take(ctx); err != nil {
		return nil, err
	}
	defer w.giveBack()
	j, was, err := w.start(ctx, r)
	if err != nil {
		return nil, err
	}
	res := &result{job: j, was: was}
	if err := w.await(ctx, r, res); err != nil {
		if ctx.Err() != nil {
			w.cancel(ctx, r.api, j.JobReference.JobId)
		}
		return nil, err
	}
	return res, nil
}

// result is a job that is done.
type result struct {
	job   *bq.Job
	was   bool // it was there before
	first *bq.GetQueryResultsResponse
	// changed is how many rows a statement changed.
	changed int64
}

// count finds out how many rows a statement changed. The answer with the result
// tells it for some statements, the job's statistics for all.
func (w *Warehouse) count(ctx context.Context, r request, res *result) error {
	res.changed = res.first.NumDmlAffectedRows
	if res.changed > 0 || !changes(r.sql) {
		return nil
	}
	j, err := w.find(ctx, r.api, res.job.JobReference.JobId)
	if err != nil || j == nil || j.Statistics == nil || j.Statistics.Query == nil {
		return err
	}
	stats := j.Statistics.Query
	res.changed = stats.NumDmlAffectedRows
	if d := stats.DmlStats; d != nil && res.changed == 0 {
		res.changed = d.InsertedRowCount + d.UpdatedRowCount + d.DeletedRowCount
	}
	return nil
}

func (w *Warehouse) await(ctx context.Context, r request, res *result) error {
	if err := jobFault(res.job.Status, r.sql); err != nil {
		return err
	}
	if r.load != nil {
		return w.awaitLoad(ctx, r, res)
	}
	for {
		err := w.try(ctx, r.sql, func(ctx context.Context) (err error) {
			res.first, err = w.service(r.api).Jobs.GetQueryResults(w.project, res.job.JobReference.JobId).Location(w.location).
				TimeoutMs(longPoll.Milliseconds()).MaxResults(pageRows).FormatOptionsUseInt64Timestamp(true).Context(ctx).Do()
			return err
		})
		if err != nil {
			return err
		}
		if res.first.JobComplete {
			return w.count(ctx, r, res)
		}
	}
}

// awaitLoad asks for the state of a job that has no result.
func (w *Warehouse) awaitLoad(ctx context.Context, r request, res *result) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if err := jobFault(res.job.Status, r.sql); err != nil {
			return err
		}
		if res.job.Status != nil && res.job.Status.State == "DONE" {
			return nil
		}
		if err := retry.Wait(ctx, wait); err != nil {
			return fmt.Errorf("waiting for a load: %w", context.Cause(ctx))
		}
		if err := w.try(ctx, "", func(ctx context.Context) error {
			j, err := w.get(ctx, r.api, res.job.JobReference.JobId)
			if err == nil {
				res.job = j
			}
			return err
		}); err != nil {
			return err
		}
	}
}

// cancel stops a job at the server after its context has ended, as well as can be.
func (w *Warehouse) cancel(ctx context.Context, api *bq.Service, id string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer done()
	if _, err := w.service(api).Jobs.Cancel(w.project, id).Location(w.location).Context(ctx).Do(); err != nil {
		w.log.DebugContext(ctx, "a job could not be cancelled", "job", id, "error", err)
	}
}

// all runs a query with a small result and returns its rows.
func (w *Warehouse) all(ctx context.Context, r request) ([]tidegate.Row, tidegate.Schema, error) {
	res, err := w.run(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	rd := w.reader(r, res)
	rows, err := drain(ctx, rd)
	return rows, rd.schema, err
}
