package bigquery_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func kind(k tidegate.Kind) tidegate.Type { return tidegate.Type{Kind: k} }

// TestLayout: event tables lie in partitions of a day and are sorted by whom they
// are about; a rewrite keeps that.
func TestLayout(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	table := warehouse.Table{Schema: "web", Name: "order_completed"}
	columns := tidegate.Schema{
		{Name: "id", Type: kind(tidegate.String)},
		{Name: "anonymous_id", Type: kind(tidegate.String)},
		{Name: "user_id", Type: kind(tidegate.String)},
		{Name: "received_at", Type: kind(tidegate.Timestamp)},
		{Name: "total", Type: kind(tidegate.Int)},
	}
	if _, err := w.Ensure(t.Context(), table, columns); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(columns, tidegate.Row{"m1", "a", nil, at, int64(7)})); err != nil {
		t.Fatal(err)
	}
	columns[4].Type = kind(tidegate.String)
	if got, err := w.Ensure(t.Context(), table, columns); err != nil || cmp.Diff(columns, got) != "" {
		t.Fatal(got, err)
	}
	var made []string
	for _, j := range s.Jobs() {
		if q := j.Configuration.Query; q != nil && j.Configuration.Labels["tidegate_op"] == "schema" {
			made = append(made, q.Query)
		}
	}
	place := " PARTITION BY TIMESTAMP_TRUNC(`received_at`, DAY) CLUSTER BY `user_id`, `anonymous_id`, `id`"
	want := []string{
		"CREATE TABLE IF NOT EXISTS `web`.`order_completed` (`id` STRING, `anonymous_id` STRING, `user_id` STRING, `received_at` TIMESTAMP, `total` INT64)" + place,
		"CREATE OR REPLACE TABLE `web`.`order_completed` (`id` STRING, `anonymous_id` STRING, `user_id` STRING, `received_at` TIMESTAMP, `total` STRING)" + place +
			" AS SELECT `id`, `anonymous_id`, `user_id`, `received_at`, CAST(`total` AS STRING) FROM `web`.`order_completed`",
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]tidegate.Row{{"m1", nil, at, "7"}}, warehousetest.Rows(t, w, "SELECT id, user_id, received_at, total FROM web.order_completed")); d != "" {
		t.Error(d)
	}
}

// TestWidensInPlace: what BigQuery widens in its catalogue is not rewritten.
func TestWidensInPlace(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	for _, typ := range []tidegate.Type{kind(tidegate.Int), kind(tidegate.Float)} {
		if _, err := w.Ensure(t.Context(), events, tidegate.Schema{{Name: "n", Type: typ}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range s.Jobs() {
		if q := j.Configuration.Query; q != nil && strings.Contains(q.Query, "REPLACE") {
			t.Errorf("rewritten: %s", q.Query)
		}
	}
}

// TestRewritesOnlyItsOwn: a table with what Tidegate does not make is not replaced.
func TestRewritesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ensure(t, w)
	s.Exec(t, "CREATE OR REPLACE TABLE web.t (id BIGINT, days DATE[])")
	_, err := w.Ensure(t.Context(), events, tidegate.Schema{{Name: "id", Type: kind(tidegate.String)}})
	if f := tidegate.FaultOf(err); f == nil || f.Code != "sql.unsupported" || f.Action != tidegate.Halt || !strings.Contains(f.Message, "days") {
		t.Errorf("got %v", err)
	}
	s.Exec(t, "INSERT INTO web.t VALUES (1, [DATE '2026-01-02', NULL])")
	if d := cmp.Diff([]tidegate.Row{{tidegate.JSONText(`["2026-01-02",null]`)}}, warehousetest.Rows(t, w, "SELECT days FROM web.t")); d != "" {
		t.Error(d)
	}
}

// TestBytesBilledAreCapped: a query over the cap fails before it costs anything;
// loads are not bound by it.
func TestBytesBilledAreCapped(t *testing.T) {
	t.Parallel()
	cfg, _ := config(t)
	cfg.MaxBytesBilled = 10<<20 - 1
	w := open(t, cfg)
	ensure(t, w)
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: events, Key: []string{"id"}}, tidegate.Rows(numbers, tidegate.Row{int64(1), "a"})); err != nil {
		t.Fatal(err)
	}
	_, err := w.Query(t.Context(), "SELECT * FROM web.t")
	if f := tidegate.FaultOf(err); f == nil || f.Code != "warehouse.cost" || f.Action != tidegate.Halt || !strings.Contains(f.Hint, "max_bytes_billed") {
		t.Errorf("got %v", err)
	}
	if got := warehousetest.Rows(t, w, "SELECT 1"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	estimate, err := w.Estimate(t.Context(), "SELECT * FROM web.t")
	if d := cmp.Diff(warehouse.Estimate{Rows: -1, Bytes: 16}, estimate); err != nil || d != "" {
		t.Error(err, d)
	}
}

// TestCancelReachesTheServer: the job is cancelled there, not only forgotten here.
func TestCancelReachesTheServer(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	sql := engine(nil).Endless
	s.Intercept(func(c bqtest.Call) *bqtest.Answer {
		if strings.Contains(c.Path, "/queries/") { // it is being waited for
			cancel()
		}
		return nil
	})
	if _, err := w.Query(ctx, sql); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.Intercept(nil)
	for _, j := range s.Jobs() {
		if q := j.Configuration.Query; q != nil && q.Query == sql && (j.Status.ErrorResult == nil || j.Status.ErrorResult.Reason != "stopped") {
			t.Errorf("the job is %+v", j.Status)
		}
	}
}

// TestAccounts: keys of service accounts log in; queries run as the one that reads.
func TestAccounts(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	writer, reader := s.ServiceAccount(t, "writer@test", ""), s.ServiceAccount(t, "reader@test", "bigquery.datasets.create")
	cfg.Credentials, cfg.ReadCredentials = secret.New(writer), secret.New(reader)
	w := open(t, cfg)
	ensure(t, w)
	if got := warehousetest.Rows(t, w, "SELECT 1 AS n"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	cases := []struct {
		name, key, code, hint string
	}{
		{"no account", strings.ReplaceAll(writer, "writer@test", "nobody@test"), "auth.refused", "gcloud iam service-accounts keys create"},
		{"no key", `{"type":"authorized_user"}`, "auth.refused", "gcloud"},
		{"no JSON", "secret-text", "auth.refused", "gcloud"},
		{"no jobs", s.ServiceAccount(t, "idle@test", "bigquery.jobs.create"), "warehouse.permission", "roles/bigquery.jobUser"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg.Credentials = secret.New(c.key)
			_, err := bigquery.Open(t.Context(), cfg, env())
			f := tidegate.FaultOf(err)
			if f == nil || f.Code != c.code || f.Action != tidegate.Halt || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("got %+v (%v)", f, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret-text") {
				t.Error("the message shows the key")
			}
		})
	}
	cfg.Credentials, cfg.ReadCredentials = secret.New(reader), secret.Secret{}
	w = open(t, cfg)
	_, err := w.Ensure(t.Context(), warehouse.Table{Schema: "other", Name: "t"}, numbers)
	if f := tidegate.FaultOf(err); f == nil || f.Code != "warehouse.permission" || !strings.Contains(f.Hint, "roles/bigquery.user") {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	cfg, _ := config(t)
	for name, change := range map[string]func(*bigquery.Config){
		"no project": func(c *bigquery.Config) { c.Project = "" },
		"a label":    func(c *bigquery.Config) { c.Labels = []string{"Team:x"} },
	} {
		bad := cfg
		change(&bad)
		_, err := bigquery.Open(t.Context(), bad, env())
		if f := tidegate.FaultOf(err); f == nil || f.Code != "warehouse.config" || f.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestFaults: what the API says, and what is to be done.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, message string
		status          int
		action          tidegate.Action
		code, hint      string
	}{
		{"accessDenied", "Access Denied: Table p:d.t: User does not have permission bigquery.tables.getData", 403, tidegate.Halt, "warehouse.permission", "roles/bigquery.dataViewer on the dataset d (bigquery.tables.getData is missing)"},
		{"accessDenied", "Access Denied: bigquery.datasets.create", 403, tidegate.Halt, "warehouse.permission", "roles/bigquery.user"},
		{"accessDenied", "Access Denied", 403, tidegate.Halt, "warehouse.permission", "roles/bigquery.jobUser"},
		{"accessNotConfigured", "BigQuery API has not been used", 403, tidegate.Halt, "warehouse.api_off", "gcloud services enable"},
		{"rateLimitExceeded", "Exceeded rate limits: too many table update operations for this table", 403, tidegate.Throttle, "warehouse.rate_limited", "max_jobs"},
		{"jobRateLimitExceeded", "Job exceeded rate limits", 403, tidegate.Throttle, "warehouse.rate_limited", "max_jobs"},
		{"quotaExceeded", "Quota exceeded: Your table exceeded quota for imports", 403, tidegate.Throttle, "warehouse.quota", "Quotas"},
		{"backendError", "Backend error", 503, tidegate.Retry, "warehouse.engine", ""},
		{"somethingNew", "?", 500, tidegate.Retry, "warehouse.engine", ""},
		{"somethingNew", "?", 429, tidegate.Throttle, "warehouse.rate_limited", ""},
		{"resourcesExceeded", "Resources exceeded during query execution", 400, tidegate.Halt, "warehouse.memory", "ORDER BY"},
		{"invalidQuery", "Transaction is aborted due to concurrent update against table p:d.t", 400, tidegate.Retry, "warehouse.conflict", ""},
		{"invalidQuery", "Could not serialize access to table p:d.t due to concurrent update", 400, tidegate.Retry, "warehouse.conflict", ""},
		{"invalidQuery", "Bad int64 value: x", 400, tidegate.Halt, "sql.value", "SAFE_CAST"},
		{"notFound", "Not found: Table p:d.t was not found in location EU", 404, tidegate.Halt, "sql.unknown", "location"},
		{"stopped", "Job execution was cancelled", 400, tidegate.Retry, "warehouse.interrupted", ""},
	} {
		f := bigquery.FaultOf(c.reason, c.message, c.status, "")
		if f.Action != c.action || f.Code != c.code || !strings.Contains(f.Hint, c.hint) {
			t.Errorf("%s %q: got %+v", c.reason, c.message, f)
		}
		if f.Action == tidegate.Throttle && f.After <= 0 {
			t.Errorf("%s: no time to wait", c.reason)
		}
	}
}
