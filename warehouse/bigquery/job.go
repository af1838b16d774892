package bigquery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/googleapi"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

// request is a job to be run.
type request struct {
	api  *bq.Client // nil: the account that writes
	op   string     // the label that tells what costs
	id   string     // "": made up
	sql  string
	args []argument
	// session is that in which the statement runs; newSession begins one.
	session    string
	newSession bool
	cap        int64
	// reads says that the rows of the result are wanted and it changes none.
	reads bool
	// load, when it is set, is what runs instead of a query.
	load *bq.Loader
}

// size is about how many bytes it takes to keep the request.
func (r request) size() int {
	n := len(r.sql)
	for _, a := range r.args {
		n += len(a.text)
	}
	return n
}

const (
	// pageRows is how many rows a page has at most; BigQuery sends fewer where they are long.
	pageRows = 10_000
	// cancelGrace is how long a cancellation or the end of a session may take.
	cancelGrace = 10 * time.Second
	// piece is how much of a load is sent at once, and so kept in memory.
	piece = 8 << 20
)

// insert brings a job to the server.
func (w *Warehouse) insert(ctx context.Context, r request) (*bq.Job, error) {
	if r.load != nil {
		r.load.JobIDConfig, r.load.Labels = w.ref(r), w.labelled(r)
		r.load.MediaOptions = []googleapi.MediaOption{googleapi.ContentType("application/octet-stream"), googleapi.ChunkSize(piece)}
		return r.load.Run(ctx)
	}
	return w.statement(r).Run(ctx)
}

func (w *Warehouse) ref(r request) bq.JobIDConfig {
	return bq.JobIDConfig{JobID: r.id, ProjectID: w.project, Location: w.location}
}

func (w *Warehouse) labelled(r request) map[string]string {
	labels := maps.Clone(w.labels)
	labels["tidegate_op"] = r.op
	return labels
}

func (w *Warehouse) statement(r request) *bq.Query {
	q := w.client(r.api).Query(r.sql)
	q.JobIDConfig, q.Labels = w.ref(r), w.labelled(r)
	q.MaxBytesBilled, q.CreateSession = r.cap, r.newSession
	for _, a := range r.args {
		q.Parameters = append(q.Parameters, bq.QueryParameter{
			Name: a.name, Value: &bq.QueryParameterValue{Type: bq.StandardSQLDataType{TypeKind: a.engine}, Value: a.text},
		})
	}
	if r.session != "" { // which keeps the dataset of its first statement
		q.ConnectionProperties = []*bq.ConnectionProperty{{Key: "session_id", Value: r.session}}
	} else {
		q.DefaultProjectID, q.DefaultDatasetID = w.project, w.dataset
	}
	return q
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
	given := r.id != ""
	if !given {
		r.id = "tidegate_" + r.op + "_" + newID()
	}
	asked := false // the server may have it already
	err = w.try(ctx, r.sql, func(asking context.Context) error {
		if r.load != nil {
			if asked { // what was read of it cannot be sent again
				if j, err = w.find(ctx, r.api, r.id); err == nil && j == nil {
					return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.lost_upload", Message: "the upload broke"}
				}
				return err
			}
			asking = ctx // see onceTransport
		}
		got, err := w.insert(asking, r)
		if is(err, http.StatusConflict) {
			was = given && !asked
			got, err = w.get(asking, r.api, r.id)
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

func (w *Warehouse) client(api *bq.Client) *bq.Client {
	if api == nil {
		return w.api
	}
	return api
}

func (w *Warehouse) get(ctx context.Context, api *bq.Client, id string) (*bq.Job, error) {
	return w.client(api).JobFromProject(ctx, w.project, id, w.location)
}

// find returns a job, nil when there is none of that id.
func (w *Warehouse) find(ctx context.Context, api *bq.Client, id string) (*bq.Job, error) {
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

// run runs a job to its end. A job that was there already is waited for like one's own.
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
			w.cancel(ctx, j)
		}
		return nil, err
	}
	return res, nil
}

// result is a job that is done.
type result struct {
	job     *bq.Job
	was     bool   // it was there before
	pages   *pages // of a request that reads
	changed int64  // how many rows a statement changed, or a load wrote
	session string // in which it ran, if any
}

// await waits for the end of a job. That of one that reads is when its result can be.
func (w *Warehouse) await(ctx context.Context, r request, res *result) (err error) {
	if err := jobFault(res.job.LastStatus(), r.sql); err != nil {
		return err
	}
	if r.reads {
		res.pages, err = w.open(ctx, res.job, r.sql, "")
		return err
	}
	var status *bq.JobStatus
	if r.load != nil {
		status, err = w.awaitLoad(ctx, res.job)
	} else {
		err = w.try(ctx, r.sql, func(ctx context.Context) (err error) {
			status, err = res.job.Wait(ctx)
			return err
		})
	}
	if err != nil {
		return err
	}
	if err := jobFault(status, r.sql); err != nil {
		return err
	}
	res.learn(status)
	return nil
}

// awaitLoad asks for the state of a job that has no result. Job.Wait would begin
// with pauses of a second.
func (w *Warehouse) awaitLoad(ctx context.Context, j *bq.Job) (*bq.JobStatus, error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if status := j.LastStatus(); status != nil && status.Done() {
			return status, nil
		}
		if err := retry.Wait(ctx, wait); err != nil {
			return nil, fmt.Errorf("waiting for a load: %w", context.Cause(ctx))
		}
		if err := w.try(ctx, "", func(ctx context.Context) error {
			_, err := j.Status(ctx)
			return err
		}); err != nil {
			return nil, err
		}
	}
}

// learn keeps what the status of a job that is done says of it.
func (res *result) learn(status *bq.JobStatus) {
	if status == nil || status.Statistics == nil {
		return
	}
	if s := status.Statistics.SessionInfo; s != nil {
		res.session = s.SessionID
	}
	switch stats := status.Statistics.Details.(type) {
	case *bq.LoadStatistics:
		res.changed = stats.OutputRows
	case *bq.QueryStatistics:
		res.changed = stats.NumDMLAffectedRows
		if d := stats.DMLStats; d != nil && res.changed == 0 {
			res.changed = d.InsertedRowCount + d.UpdatedRowCount + d.DeletedRowCount
		}
	}
}

// cancel stops a job at the server after its context has ended, as well as can be.
func (w *Warehouse) cancel(ctx context.Context, j *bq.Job) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer done()
	asking, end := once(ctx)
	defer end(nil)
	if err := why(asking, j.Cancel(asking)); err != nil {
		w.log.DebugContext(ctx, "a job could not be cancelled", "job", j.ID(), "error", err)
	}
}

// all runs a query with a small result and returns its rows.
func (w *Warehouse) all(ctx context.Context, r request) ([]tidegate.Row, tidegate.Schema, error) {
	r.reads = true
	res, err := w.run(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	rd, err := w.reader(ctx, res, r.sql)
	if err != nil {
		return nil, nil, err
	}
	rows, err := tidegate.AllRows(ctx, rd)
	return rows, rd.schema, err
}
