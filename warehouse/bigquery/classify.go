package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	bq "cloud.google.com/go/bigquery"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

const page = "; docs/warehouses/bigquery.md has all roles"

// rule says what a reason of the API means; text, when it is set, must be in the message.
type rule struct {
	reason string
	text   string
	action tidegate.Action
	after  time.Duration
	code   string
	hint   string
}

// rules are tried in order; what none names is a Retry.
var rules = []rule{
	{"authError", "", tidegate.Halt, 0, "auth.refused", "check the credentials: the key may be deleted or of another project"},
	{"accessNotConfigured", "", tidegate.Halt, 0, "warehouse.api_off", "run `gcloud services enable bigquery.googleapis.com` for the project"},
	{"billingNotEnabled", "", tidegate.Halt, 0, "warehouse.billing", "link the project to a billing account: without one there are no DML statements and no streaming"},
	{"accessDenied", "", tidegate.Halt, 0, "warehouse.permission", ""},
	{"bytesBilledLimitExceeded", "", tidegate.Halt, 0, "warehouse.cost", "make the query read less (a condition on the partition's column, fewer columns), or raise max_bytes_billed"},
	{"jobRateLimitExceeded", "", tidegate.Throttle, 10 * time.Second, "warehouse.rate_limited", "too many jobs or changes of a table at once: lower max_jobs"},
	{"rateLimitExceeded", "", tidegate.Throttle, 5 * time.Second, "warehouse.rate_limited", "too many calls or changes of a table at once: lower max_jobs"},
	{"userRateLimitExceeded", "", tidegate.Throttle, 5 * time.Second, "warehouse.rate_limited", "too many calls at once: lower max_jobs"},
	{"quotaExceeded", "", tidegate.Throttle, 10 * time.Minute, "warehouse.quota", "a quota of the project is used up: see IAM & Admin, Quotas, or wait for the next day"},
	{"resourcesExceeded", "", tidegate.Halt, 0, "warehouse.memory", "the query needs more than BigQuery gives it: drop its ORDER BY, or make it smaller"},
	{"responseTooLarge", "", tidegate.Halt, 0, "sql.limit", "the result is larger than BigQuery returns: read fewer columns"},
	{"tableUnavailable", "", tidegate.Retry, 0, "warehouse.busy", ""},
	{"blocked", "", tidegate.Halt, 0, "warehouse.permission", "BigQuery blocks this project or query: look at the message in the console"},
	{"stopped", "", tidegate.Retry, 0, "warehouse.interrupted", "the job was cancelled by somebody else"},
	{"timeout", "", tidegate.Halt, 0, "warehouse.timeout", "the query ran longer than BigQuery lets it"},
	{"", errPartly, tidegate.Retry, 0, "warehouse.staging", ""},
	{"", "aborted due to concurrent update", tidegate.Retry, 0, "warehouse.conflict", ""},
	{"", "due to concurrent update", tidegate.Retry, 0, "warehouse.conflict", ""},
	{"", "Transaction is aborted", tidegate.Retry, 0, "warehouse.conflict", ""},
	{"", "Too many DML statements outstanding", tidegate.Throttle, 10 * time.Second, "warehouse.rate_limited", "more than 20 changes wait for one table"},
	{"notFound", "", tidegate.Halt, 0, "sql.unknown", "correct the name of the table, the dataset or the project; a dataset in another location than this warehouse's is not found either"},
	{"duplicate", "", tidegate.Halt, 0, "warehouse.duplicate", ""},
	{"conditionNotMet", "", tidegate.Retry, 0, "warehouse.conflict", ""},
	{"backendError", "", tidegate.Retry, 0, "warehouse.engine", ""},
	{"internalError", "", tidegate.Retry, 0, "warehouse.engine", ""},
	{"invalidQuery", "Syntax error", tidegate.Halt, 0, "sql.syntax", "correct the statement at the marked position"},
	{"invalidQuery", "Unrecognized name", tidegate.Halt, 0, "sql.unknown", "correct the column's name"},
	{"invalidQuery", "Function not found", tidegate.Halt, 0, "sql.unknown", "correct the function's name"},
	{"invalidQuery", "was not found", tidegate.Halt, 0, "sql.unknown", "correct the name of the table or dataset"},
	{"invalidQuery", "must be qualified with a dataset", tidegate.Halt, 0, "sql.unknown", "write the table as dataset.table"},
	{"invalidQuery", "Bad ", tidegate.Halt, 0, "sql.value", "correct the value that cannot be converted, or use SAFE_CAST in the query"},
	{"invalidQuery", "division by zero", tidegate.Halt, 0, "sql.value", "use SAFE_DIVIDE"},
	{"invalidQuery", "", tidegate.Halt, 0, "sql.binding", "correct the statement as the message says"},
	{"invalid", "too large", tidegate.Halt, 0, "sql.limit", "make the statement smaller"},
	{"invalid", "", tidegate.Halt, 0, "warehouse.invalid", "correct what the message names"},
}

// statuses are the same for answers that give no reason, or one that is not known.
var statuses = map[int]rule{
	http.StatusUnauthorized:          {action: tidegate.Halt, code: "auth.refused", hint: "check the credentials"},
	http.StatusForbidden:             {action: tidegate.Halt, code: "warehouse.permission"},
	http.StatusNotFound:              {action: tidegate.Halt, code: "sql.unknown", hint: "correct the name, or create it"},
	http.StatusRequestEntityTooLarge: {action: tidegate.Halt, code: "sql.limit", hint: "make the statement or its values smaller"},
	http.StatusTooManyRequests:       {action: tidegate.Throttle, after: 5 * time.Second, code: "warehouse.rate_limited", hint: "too many calls at once: lower max_jobs"},
	http.StatusBadRequest:            {action: tidegate.Halt, code: "warehouse.invalid", hint: "correct what the message names"},
}

// classify says what a failed call means: the context's own error when that
// interrupted it, otherwise a fault. sql is what ran.
func classify(ctx context.Context, err error, sql string) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("calling BigQuery: %w", cause)
	}
	var own *tidegate.Fault
	if errors.As(err, &own) {
		return err
	}
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		reason, message := reasonOf(answer)
		f := faultOf(reason, message, answer.Code, sql)
		if wait, ok := egress.RetryAfter(answer.Header, time.Time{}); ok && f.Action == tidegate.Throttle && answer.Header.Get("Retry-After") != "" {
			f.After = wait
		}
		f.Err = err
		return f
	}
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500 {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "auth.refused", Subject: "credentials", Message: "Google refused the credentials: " + oneLine(refused.ErrorCode+" "+refused.ErrorDescription),
			Hint: "make a new key with `gcloud iam service-accounts keys create`, and look whether the account is disabled or the clock is wrong", Err: err,
		}
	}
	return connectionLost(ctx, err)
}

func connectionLost(ctx context.Context, err error) error {
	f := tidegate.FaultOf(egress.Fault(ctx, err))
	return &tidegate.Fault{Action: f.Action, Code: "warehouse.connection", Message: "BigQuery cannot be reached: " + oneLine(f.Message), Hint: "check the network, and endpoint if it is set", Err: err}
}

func reasonOf(answer *googleapi.Error) (reason, message string) {
	message = answer.Message
	if len(answer.Errors) > 0 {
		reason = answer.Errors[0].Reason
		if message == "" {
			message = answer.Errors[0].Message
		}
	}
	if message == "" {
		message = "HTTP " + strconv.Itoa(answer.Code)
	}
	return reason, message
}

// jobFault is the fault of a job that ran and failed; nil when it did not.
func jobFault(status *bq.JobStatus, sql string) error {
	var failure *bq.Error
	if status == nil || !errors.As(status.Err(), &failure) {
		return nil
	}
	message := failure.Message
	if len(status.Errors) > 1 && status.Errors[0].Message != message { // a load names its bad row there
		message += "; " + status.Errors[0].Message
	}
	return faultOf(failure.Reason, message, 0, sql)
}

func faultOf(reason, message string, status int, sql string) *tidegate.Fault {
	found := rule{action: tidegate.Retry, code: "warehouse.engine"}
	known := false
	for _, r := range rules {
		if (r.reason == "" || r.reason == reason) && strings.Contains(message, r.text) {
			found, known = r, true
			break
		}
	}
	if !known {
		if r, ok := statuses[status]; ok {
			found = r
		}
	}
	f := &tidegate.Fault{Action: found.action, Code: found.code, Message: oneLine(message) + excerpt(sql, message), Hint: found.hint, After: found.after}
	if f.Code == "warehouse.permission" && f.Hint == "" {
		f.Hint = role(message)
	}
	if strings.Contains(message, "Multiple statements") {
		f.Hint = "send one statement at a time"
	}
	return f
}

func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\ufffd")), " ")
	const most = 2000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

var permission = regexp.MustCompile(`\bbigquery\.[a-zA-Z]+\.[a-zA-Z]+\b`)

// roles are what gives a permission, the least of them.
var roles = []struct{ prefix, grant string }{
	{"bigquery.jobs.", "grant the account roles/bigquery.jobUser on the project"},
	{"bigquery.readsessions.", "grant the account roles/bigquery.readSessionUser on the project"},
	{"bigquery.datasets.create", "grant the account roles/bigquery.user on the project, which makes it the owner of the datasets that it creates; or create the datasets and grant it roles/bigquery.dataOwner on each"},
	{"bigquery.datasets.", "grant the account roles/bigquery.dataOwner on the dataset"},
	{"bigquery.tables.getData", "grant the account roles/bigquery.dataViewer on the dataset"},
	{"bigquery.tables.get", "grant the account roles/bigquery.dataViewer on the dataset"},
	{"bigquery.tables.list", "grant the account roles/bigquery.dataViewer on the dataset"},
	{"bigquery.tables.", "grant the account roles/bigquery.dataEditor on the dataset"},
	{"bigquery.routines.", "grant the account roles/bigquery.dataViewer on the dataset of the routine"},
	{"bigquery.rowAccessPolicies.", "grant the account roles/bigquery.filteredDataViewer on the table"},
	{"bigquery.connections.", "grant the account roles/bigquery.connectionUser on the connection"},
}

// queried and placed are Google's words for a table that may not be read, and for what a refusal is about.
var (
	queried = regexp.MustCompile(`permission to query (?:table|view)`)
	placed  = regexp.MustCompile(`\b(?:Table|Dataset|View|Routine) [^\s:]+:([A-Za-z0-9_]+)`)
)

// role says which role has the permission that a refusal names, and on which dataset.
func role(message string) string {
	name := permission.FindString(message)
	if queried.MatchString(message) {
		name = "bigquery.tables.getData"
	}
	grant, lacks := "grant the account roles/bigquery.jobUser on the project, and roles/bigquery.dataViewer or dataEditor on the dataset", ""
	for _, r := range roles {
		if strings.HasPrefix(name, r.prefix) {
			grant, lacks = r.grant, " ("+name+" is missing)"
			break
		}
	}
	if m := placed.FindStringSubmatch(message); m != nil {
		grant = strings.Replace(grant, "on the dataset", "on the dataset "+m[1], 1)
	}
	return grant + lacks + page
}

var position = regexp.MustCompile(`\[(\d+):(\d+)\]`)

// excerpt shows the place that a message names as [line:column].
func excerpt(sql, message string) string {
	m := position.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	return sqlcheck.ExcerptAt(sql, line, column-1)
}

// is says whether err is an answer of the API with the HTTP status.
func is(err error, status int) bool {
	var answer *googleapi.Error
	return errors.As(err, &answer) && answer.Code == status
}

func refused(why string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: why, Hint: "a query is one SELECT (or WITH … SELECT, or a pipe that begins with FROM) that only reads"}
}
