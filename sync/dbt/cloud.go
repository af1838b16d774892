package dbt

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/tidegate/tidegate"
)

// cloud reads the artefacts of the last finished run of a dbt Cloud job, as the
// Administrative API v2 gives them: GET accounts/A/runs/ lists runs,
// GET accounts/A/runs/R/artifacts/PATH[?step=N] returns one file
// (docs.getdbt.com/dbt-cloud/api-v2, looked up 2026-11-21).
type cloud struct {
	def  tidegate.DbtCloud
	http *http.Client

	mu   sync.Mutex
	run  int64 // whose artefacts the last reading of the results asked for
	step int   // the last step of it that built or tested; 0: the last step
}

// The status codes of a finished run.
const (
	cloudSuccess = 10
	cloudError   = 20
)

const (
	maxRuns      = 20
	maxRunsBytes = 4 << 20
)

type cloudRun struct {
	ID     int64       `json:"id"`
	Status int         `json:"status"`
	Steps  []cloudStep `json:"run_steps"`
}

type cloudStep struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
}

func (c *cloud) base() string {
	return fmt.Sprintf("%s/api/v2/accounts/%d/runs/", strings.TrimSuffix(c.def.URL, "/"), c.def.AccountID)
}

func (c *cloud) sign(r *http.Request) { r.Header.Set("Authorization", "Token "+c.def.Token) }

// fetch takes the run as the stamp: the artefacts of a finished run do not
// change. Reading the results, which comes first, looks for a newer run.
func (c *cloud) fetch(ctx context.Context, name, known string) (io.ReadCloser, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == ResultsFile || c.run == 0 {
		if err := c.latest(ctx); err != nil {
			return nil, "", err
		}
	}
	stamp := strconv.FormatInt(c.run, 10)
	if stamp == known {
		return nil, stamp, errUnchanged
	}
	address := c.base() + stamp + "/artifacts/" + name
	if name == ResultsFile && c.step > 0 {
		address += "?step=" + strconv.Itoa(c.step)
	}
	body, _, err := get(ctx, c.http, address, "", c.sign)
	return body, stamp, err
}

// executes finds the steps that build or test: "Invoke dbt with `dbt build`".
var executes = regexp.MustCompile("`dbt[^`]* (build|run|test|seed|snapshot|retry)\\b[^`]*`")

// latest finds the newest run that ended by itself. A run that was cancelled
// says nothing.
func (c *cloud) latest(ctx context.Context) error {
	query := url.Values{
		"job_definition_id": {strconv.FormatInt(c.def.JobID, 10)}, "order_by": {"-id"}, "limit": {strconv.Itoa(maxRuns)}, "include_related": {`["run_steps"]`},
	}
	body, _, err := get(ctx, c.http, c.base()+"?"+query.Encode(), "", c.sign)
	if err != nil {
		return fmt.Errorf("listing the runs of dbt Cloud job %d: %w", c.def.JobID, err)
	}
	data, err := io.ReadAll(io.LimitReader(body, maxRunsBytes))
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("listing the runs of dbt Cloud job %d: %w", c.def.JobID, err)
	}
	var answer struct {
		Data []cloudRun `json:"data"`
	}
	if err := json.Unmarshal(data, &answer, tolerant); err != nil {
		return &tidegate.Fault{
			Action: tidegate.Retry, Code: "dbt.unreadable", Subject: fmt.Sprintf("dbt Cloud job %d", c.def.JobID), Message: "the list of runs cannot be read", Err: err,
		}
	}
	for _, run := range answer.Data {
		if run.Status != cloudSuccess && run.Status != cloudError {
			continue
		}
		c.run, c.step = run.ID, 0
		for _, s := range run.Steps {
			if executes.MatchString(s.Name) {
				c.step = max(c.step, s.Index)
			}
		}
		return nil
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "dbt.absent", Subject: fmt.Sprintf("dbt Cloud job %d", c.def.JobID), Message: "no run of it has finished",
		Hint: "look at account_id and job_id, or run the job once", Err: fs.ErrNotExist,
	}
}

// Event is what a webhook of dbt Cloud tells.
type Event struct {
	Type      string // job.run.completed
	AccountID int64
	JobID     int64
	RunID     int64
	Status    string // "Success"
}

// Finished says whether a run has ended.
func (e Event) Finished() bool { return e.Type == "job.run.completed" || e.Type == "job.run.errored" }

// ErrSignature says that a webhook is not signed by who knows the secret.
var ErrSignature = errors.New("the signature is wrong")

// ParseWebhook reads the body of a dbt Cloud webhook after it has checked that
// signature, the Authorization header, is the hex of its HMAC-SHA256 under
// secret (docs.getdbt.com/docs/deploy/webhooks, looked up 2026-11-21).
func ParseWebhook(secret, signature string, body []byte) (Event, error) {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	given, err := hex.DecodeString(strings.TrimSpace(strings.TrimPrefix(signature, "Bearer ")))
	if secret == "" || err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		return Event{}, ErrSignature
	}
	return PeekWebhook(body)
}

// PeekWebhook reads a body whose signature nobody has checked yet: only to
// learn which job's secret it must be checked with.
func PeekWebhook(body []byte) (Event, error) {
	var in struct {
		Type    text `json:"eventType"`
		Account text `json:"accountId"`
		Data    struct {
			Job    text `json:"jobId"`
			Run    text `json:"runId"`
			Status text `json:"runStatus"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &in, tolerant); err != nil {
		return Event{}, &tidegate.Fault{Action: tidegate.Reject, Code: "dbt.webhook.invalid", Message: "the body is no event of dbt Cloud", Err: err}
	}
	number := func(t text) int64 {
		n, err := strconv.ParseInt(string(t), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return Event{Type: string(in.Type), AccountID: number(in.Account), JobID: number(in.Data.Job), RunID: number(in.Data.Run), Status: string(in.Data.Status)}, nil
}
