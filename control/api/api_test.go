package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
)

var update = flag.Bool("update", false, "write docs/reference/openapi.json")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wantCode(t *testing.T, err error, code string) *api.Problem {
	t.Helper()
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != code {
		t.Fatalf("got %v, want the problem %s", err, code)
	}
	return p
}

const smallest = `{"warehouse":{"kind":"duckdb"},"sources":[{"name":"web","write_key":"WK"}]}`

func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	resp, err := r.server.Client().Get(r.server.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const path = "../../docs/reference/openapi.json"
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("run `go test ./control/api -update` when this is meant:\n%s", d)
	}
}

// TestEveryPathParameterIsRead holds each path to its operation's parameters: one that the
// handler does not declare is always empty there.
func TestEveryPathParameterIsRead(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/reference/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	type operation struct {
		Parameters []struct{ Name, In string }
	}
	var doc struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for path, operations := range doc.Paths {
		for method, op := range operations {
			for _, found := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.In == "path" && p.Name == found[1] }) {
					t.Errorf("%s %s does not read {%s}", method, path, found[1])
				}
			}
		}
	}
}

// TestEveryRouteIsGuarded walks the mux itself, not the table: a route that
// was mounted past the table would answer a stranger.
func TestEveryRouteIsGuarded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	declared, mounted, err := api.Routes(r.options())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, d := range declared {
		names = append(names, d.Method+" "+d.Path)
		if !slices.Contains(auth.Permissions(), d.Permission) {
			t.Errorf("%s %s declares the permission %q", d.Method, d.Path, d.Permission)
		}
	}
	slices.Sort(names)
	// The Connect service is described by its .proto; what its tokens open has tests of its own.
	mounted = slices.DeleteFunc(mounted, func(route string) bool {
		return strings.HasSuffix(route, " /tidegate.streams.v1.StreamService/*") || strings.Contains(route, " /grpc.reflection.")
	})
	if d := cmp.Diff(names, mounted); d != "" {
		t.Errorf("declared and mounted routes differ: %s", d)
	}
	tokens := map[auth.Role]string{"": ""}
	for role := range auth.Roles() {
		if tokens[role], err = r.keeper.Issue(t.Context(), "test", string(role), role, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range declared {
		if d.ID == "lendWarehouse" || d.ID == "tailEvents" || d.ID == "syncHook" || d.ID == "dbtWebhook" { // they have tests of their own; two would wait here, one knows secrets of its own
			continue
		}
		for role, token := range tokens {
			status := status(t, r, d.Method, d.Path, token)
			may := auth.Identity{Role: role}.May(d.Permission) || d.Permission == auth.Observe // the rig's peer is loopback
			refused := status == http.StatusUnauthorized || status == http.StatusForbidden
			if may == refused {
				t.Errorf("%s %s as %q: %d", d.Method, d.Path, role, status)
			}
		}
	}
}

func TestAHookIsOpenedByItsSecretOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	admin, err := r.keeper.Issue(t.Context(), "test", "admin", auth.RoleAdmin, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"hush": http.StatusOK, "hus": http.StatusUnauthorized, "": http.StatusUnauthorized, admin: http.StatusUnauthorized} {
		if got := status(t, r, "POST", "/v1/hooks/syncs/crm", token); got != want {
			t.Errorf("token %q: %d, want %d", token, got, want)
		}
		if got := statusOf(t, r, "POST", "/v1/hooks/syncs/crm", token, ""); got != want { // as curl -X POST calls
			t.Errorf("token %q without a body: %d, want %d", token, got, want)
		}
	}
}

func status(t *testing.T, r *rig, method, path, token string) int {
	t.Helper()
	return statusOf(t, r, method, strings.NewReplacer("{kind}", "source", "{name}", "nobody", "{id}", "nothing").Replace(path), token, "{}")
}

func statusOf(t *testing.T, r *rig, method, path, token, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// TestForms: what curl sends by itself is refused with the header that is wanted.
func TestForms(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/v1/schema/widen", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p api.Problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != http.StatusUnsupportedMediaType || len(p.List) != 1 || !strings.Contains(p.List[0].Hint, "Content-Type: application/json") {
		t.Errorf("%v, %+v, %v", resp.StatusCode, p, err)
	}
}

func TestBadTokensAndOrigins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.client("tgt_WRONG").Syncs(t.Context())
	if p := wantCode(t, err, "auth.invalid_token"); p.Status != http.StatusUnauthorized || p.Hint == "" {
		t.Errorf("%+v", p)
	}
	_, err = r.client("").Syncs(t.Context())
	wantCode(t, err, "auth.required")

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/v1/syncs/crm/runs", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusForbidden || len(r.hub.Started) != 0 {
		t.Errorf("another website's page: %s, runs %v", resp.Status, r.hub.Started)
	}
}

func TestProjectLifecycle(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	p := r.project(t, smallest)
	plan, err := r.admin.PlanProject(ctx, p)
	if err != nil || plan.Base != 0 || len(plan.Changes) != 3 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if len(r.hub.Activated) != 0 {
		t.Fatal("a plan activated something")
	}
	applied, err := r.admin.ApplyProject(ctx, p, plan.Base)
	if err != nil || applied.Revision != 1 || len(r.hub.Activated) != 1 {
		t.Fatalf("%+v, %v, %d", applied, err, len(r.hub.Activated))
	}
	if _, err := r.admin.ApplyProject(ctx, p, 0); err == nil {
		t.Error("an old plan was applied")
	} else if p := wantCode(t, err, "project.conflict"); p.Status != http.StatusConflict {
		t.Errorf("%+v", p)
	}
	if again, err := r.admin.ApplyProject(ctx, p, catalog.AnyBase); err != nil || again.Revision != 0 || len(again.Changes) != 0 {
		t.Errorf("applying the same again: %+v, %v", again, err)
	}
	exported, err := r.admin.Project(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*p, exported); d != "" {
		t.Error(d)
	}
}

// TestRefusedActivationChangesNothing: the hub says no, so the store must not say yes.
func TestRefusedActivationChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if _, err := r.admin.ApplyProject(ctx, r.project(t, smallest), catalog.AnyBase); err != nil {
		t.Fatal(err)
	}
	r.hub.Refuse = &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.invalid", Message: "no", Hint: "mend it"}
	changed := r.project(t, `{"warehouse":{"kind":"duckdb"},"sources":[{"name":"app","write_key":"X"}]}`)
	_, err := r.admin.ApplyProject(ctx, changed, catalog.AnyBase)
	if p := wantCode(t, err, "warehouse.invalid"); p.Status != http.StatusUnprocessableEntity || p.Hint != "mend it" {
		t.Errorf("%+v", p)
	}
	plan, err := r.admin.PlanProject(ctx, changed)
	if err != nil || plan.Base != 1 || len(plan.Changes) != 2 {
		t.Errorf("after a refusal: %+v, %v", plan, err)
	}
}

func TestInvalidProjectListsProblems(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.project(t, smallest)
	p.Warehouse.Kind = "duckbd"
	p.Sources[0].WriteKey = ""
	_, err := r.admin.PlanProject(t.Context(), p)
	problem := wantCode(t, err, "project.invalid")
	got := []string{}
	for _, x := range problem.List {
		got = append(got, x.Path)
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"sources[0].write_key", "warehouse.kind"}, got); d != "" {
		t.Error(d)
	}
	list, err := r.admin.CheckProject(t.Context(), p)
	if err != nil || len(list) != 2 {
		t.Errorf("check: %v, %v", list, err)
	}
}

func TestDefinitionsByETag(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if _, err := r.admin.ApplyProject(ctx, r.project(t, smallest), catalog.AnyBase); err != nil {
		t.Fatal(err)
	}
	do := func(method, path, body string, header ...string) (int, string, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, r.server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := r.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("ETag"), string(b)
	}
	const web = "/v1/definitions/source/web"
	if code, tag, body := do("GET", web, ""); code != 200 || tag != `"1"` || !strings.Contains(body, `"write_key":"WK"`) {
		t.Errorf("GET: %d %s %s", code, tag, body)
	}
	if code, tag, body := do("PUT", web, `{"write_key":"NEW"}`, "If-Match", `"1"`); code != 200 || tag != `"2"` {
		t.Errorf("PUT: %d %s %s", code, tag, body)
	}
	if code, _, body := do("PUT", web, `{"write_key":"OLD"}`, "If-Match", `"1"`); code != 409 || !strings.Contains(body, "definition.conflict") {
		t.Errorf("PUT over an old version: %d %s", code, body)
	}
	if code, _, body := do("PUT", web, `{"write_key":"X"}`, "If-None-Match", "*"); code != 409 {
		t.Errorf("creating what exists: %d %s", code, body)
	}
	if code, _, body := do("PUT", web, `{"write_kee":"X"}`); code != 422 || !strings.Contains(body, "did you mean") {
		t.Errorf("PUT with an unknown key: %d %s", code, body)
	}
	if code, _, body := do("PUT", "/v1/definitions/sync/crm", `{"model":"m","destination":"d","object":"o","mapping":{"identifier":"e","fields":[{"field":"e","column":"e"}]}}`); code != 422 || !strings.Contains(body, "there is no model") {
		t.Errorf("PUT with a reference to nothing: %d %s", code, body)
	}
	if code, _, body := do("DELETE", web, ""); code != 200 {
		t.Errorf("DELETE: %d %s", code, body)
	}
	if code, _, body := do("GET", web, ""); code != 404 || !strings.Contains(body, "definition.not_found") {
		t.Errorf("GET after DELETE: %d %s", code, body)
	}
	if code, _, body := do("GET", web+"/history", ""); code != 200 || strings.Count(body, `"version"`) != 3 {
		t.Errorf("history: %d %s", code, body)
	}
	entries, err := r.store.AuditLog(ctx, 0, 100)
	if err != nil || entries[len(entries)-1].Actor != "admin-token file" {
		t.Errorf("audit: %+v, %v", entries, err)
	}
}

// TestEveryKindOfDefinition holds the API to the kinds that a project has: each is
// listed, and each that has names is created, read and deleted by its address.
func TestEveryKindOfDefinition(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if _, err := r.admin.ApplyProject(ctx, r.project(t, `{"warehouse":{"kind":"duckdb"},"sources":[{"name":"web","write_key":"WK"}],
		"destinations":[{"name":"hook","kind":"webhook"}],
		"models":[{"name":"people","table":"web.users","primary_key":["id"]}]}`), catalog.AnyBase); err != nil {
		t.Fatal(err)
	}
	do := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, r.server.URL+"/v1/definitions/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		resp, err := r.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	const mapping = `"mapping":{"identifier":"email","fields":[{"field":"email","column":"userId"}]}`
	bodies := map[string]string{
		project.KindWarehouse:   `{"kind":"duckdb"}`,
		project.KindSource:      `{"write_key":"NEW"}`,
		project.KindDestination: `{"kind":"webhook"}`,
		project.KindModel:       `{"table":"web.tracks","primary_key":["id"]}`,
		project.KindSync:        `{"model":"people","destination":"hook","object":"records",` + mapping + `}`,
		project.KindForward:     `{"destination":"hook","object":"records",` + mapping + `}`,
		project.KindDbt:         `{"target":"shop/target"}`,
		project.KindPlan:        `{"events":{"Signed Up":{"properties":{"plan":"string"}}}}`,
		project.KindTransform:   `{"steps":[{"drop":["properties.x"]}]}`,
		project.KindLibrary:     `{"script":"export const one = 1"}`,
		project.KindAlert:       `{"webhook":{"url":"https://example.com/alerts"}}`,
		project.KindStream:      `{"types":["track"]}`,
	}
	for _, kind := range project.DefinitionKinds() {
		if code, body := do("GET", kind, ""); code != 200 {
			t.Errorf("listing %s: %d %s", kind, code, body)
			continue
		}
		if kind == project.KindSettings { // there is one
			continue
		}
		address := kind + "/another"
		for _, step := range []struct{ method, path, body string }{{"PUT", address, bodies[kind]}, {"GET", address, ""}, {"GET", address + "/history", ""}, {"DELETE", address, ""}} {
			if code, body := do(step.method, step.path, step.body); code != 200 {
				t.Errorf("%s %s: %d %s", step.method, step.path, code, body)
			}
		}
	}
}

func TestQueryStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	schema := tidegate.Schema{{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: "v", Type: tidegate.Type{Kind: tidegate.String}}}
	row := func(v any) tidegate.Row { return tidegate.Row{int64(1), v} }
	r.hub.Results = tidegate.Rows(schema, row(nil), row("<a>"), row(tidegate.DecimalText("1.10")), row(math.NaN()), row(tidegate.JSONText(`{"a":1}`)),
		row([]byte{1}), row(tidegate.CalendarDate(0)), row(time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)), row(true), row(int64(math.MaxInt64)))
	var columns []api.ColumnInfo
	var cells []string
	end, err := r.admin.Query(t.Context(), api.QueryRequest{SQL: "SELECT 1"},
		func(c []api.ColumnInfo) error { columns = c; return nil },
		func(row []json.RawMessage) error { cells = append(cells, string(row[1])); return nil })
	if err != nil || end.Count != 10 || end.Truncated {
		t.Fatalf("%+v, %v", end, err)
	}
	if d := cmp.Diff([]api.ColumnInfo{{Name: "n", Type: "int"}, {Name: "v", Type: "string"}}, columns); d != "" {
		t.Error(d)
	}
	want := []string{`null`, `"<a>"`, `"1.10"`, `"NaN"`, `{"a":1}`, `"AQ=="`, `"1970-01-01"`, `"2026-01-02T03:04:05.6Z"`, `true`, `9223372036854775807`}
	if d := cmp.Diff(want, cells); d != "" {
		t.Error(d)
	}
}

func TestQueryEndsLoudly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	schema := tidegate.Schema{{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}}}
	ignore := func([]api.ColumnInfo) error { return nil }
	ask := func(sql string, limit int64) (int, api.End, error) {
		n := 0
		end, err := r.admin.Query(t.Context(), api.QueryRequest{SQL: sql, Limit: limit}, ignore, func([]json.RawMessage) error { n++; return nil })
		return n, end, err
	}
	r.hub.Results = tidegate.Rows(schema, tidegate.Row{int64(1)}, tidegate.Row{int64(2)}, tidegate.Row{int64(3)})
	if n, end, err := ask("SELECT 1", 2); n != 2 || !end.Truncated || err != nil {
		t.Errorf("at the limit: %d %+v %v", n, end, err)
	}
	r.hub.Results = &brokenRows{RowReader: tidegate.Rows(schema, tidegate.Row{int64(1)}), left: 1, err: errBoom}
	if n, _, err := ask("SELECT 1", 0); n != 1 || err == nil || !strings.Contains(err.Error(), errBoom.Error()) {
		t.Errorf("an error half way: %d rows, %v", n, err)
	}
	_, _, err := ask("DROP TABLE t", 0)
	if p := wantCode(t, err, "query.not_read_only"); p.Hint == "" {
		t.Errorf("%+v", p)
	}
	_, _, err = ask("", 0)
	wantCode(t, err, "request.invalid")
}

func TestCutOffStreamIsAnError(t *testing.T) {
	t.Parallel()
	server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, `{"columns":[{"name":"n","type":"int"}]}`)
		_, _ = fmt.Fprintln(w, `{"row":[1]}`)
	})
	end, err := clientOf(t, server).Query(t.Context(), api.QueryRequest{SQL: "SELECT 1"}, func([]api.ColumnInfo) error { return nil }, func([]json.RawMessage) error { return nil })
	if f := tidegate.FaultOf(err); f == nil || f.Code != "server.cut_off" {
		t.Errorf("%+v, %v", end, err)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 3 {
		r.hub.Events = append(r.hub.Events, api.TailedEvent{Offset: fmt.Sprint("0:", i), Source: "web", Event: json.RawMessage(`{"type":"track"}`)})
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var got []string
	err := r.admin.Tail(t.Context(), api.TailRequest{Source: "web", From: &tidegate.Offset{Position: 7}, Refused: true, Limit: 2}, func(e api.TailedEvent) error {
		got = append(got, e.Offset)
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"0:0", "0:1"}) {
		t.Errorf("%v, %v", got, err)
	}
	want := api.TailRequest{Source: "web", From: &tidegate.Offset{Position: 7}, Refused: true, Limit: 2}
	if d := cmp.Diff(want, r.hub.Tailed); d != "" {
		t.Error(d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = r.admin.Tail(ctx, api.TailRequest{Since: since, Follow: true}, func(e api.TailedEvent) error {
		if e.Offset == "0:2" {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled tail: %v", err)
	}
	if !r.hub.Tailed.Since.Equal(since) {
		t.Errorf("since %s", r.hub.Tailed.Since)
	}
}

func TestLend(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	errChild := errors.New("exit status 3")
	err := r.admin.Lend(t.Context(), "dbt (process 7)", func(_ context.Context, path string) error {
		r.hub.Lock()
		defer r.hub.Unlock()
		if path != "/data/warehouse.duckdb" || !r.hub.Lent || r.hub.LentBy != "dbt (process 7)" {
			t.Errorf("path %q, lent %v to %q", path, r.hub.Lent, r.hub.LentBy)
		}
		return errChild
	})
	if !errors.Is(err, errChild) {
		t.Errorf("got %v", err)
	}
	if r.hub.Lent {
		t.Error("Lend returned before the file was back")
	}
}

// TestLendEndsWithItsClient: a client that is killed gives the file back.
func TestLendEndsWithItsClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, kill := context.WithCancel(t.Context())
	err := r.admin.Lend(ctx, "", func(ctx context.Context, _ string) error {
		kill()
		return ctx.Err()
	})
	if err == nil {
		t.Error("a killed client heard no error")
	}
	select {
	case <-r.hub.Returned:
	case <-t.Context().Done():
		t.Error("the file was not given back")
	}
}

func TestRunsAreAudited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	run, err := r.admin.SyncRun(ctx, "crm")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.admin.SyncRun(ctx, "crm")
	if p := wantCode(t, err, "run.conflict"); p.Status != http.StatusConflict {
		t.Errorf("%+v", p)
	}
	if got, err := r.admin.Approve(ctx, run.ID); err != nil || got.State != tidegate.RunRunning {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := r.admin.Cancel(ctx, run.ID); err != nil || got.State != tidegate.RunCanceled {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = r.admin.Approve(ctx, "run_none")
	wantCode(t, err, "run.not_found")
	if st, err := r.admin.PauseSync(ctx, "crm"); err != nil || !st.Paused || st.State != "paused" {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := r.admin.ResumeSync(ctx, "crm"); err != nil || st.Paused {
		t.Errorf("%+v, %v", st, err)
	}
	_, err = r.admin.PauseSync(ctx, "unknown")
	wantCode(t, err, "sync.not_found")
	if _, err := r.admin.RetryRejections(ctx, "crm", "abc", ""); err != nil {
		t.Error(err)
	}
	if err := r.admin.Resync(ctx, "crm"); err != nil {
		t.Error(err)
	}
	log, err := r.store.AuditLog(ctx, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, e := range log {
		did = append(did, e.Action)
	}
	if d := cmp.Diff([]string{"token.add", "run.start", "run.approve", "run.cancel", "sync.pause", "sync.resume", "sync.retry", "sync.resync"}, did); d != "" {
		t.Error(d)
	}
}

func TestSyncVerbs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if plan, err := r.admin.SyncPlan(ctx, "crm", 5, false); err != nil || plan.Sync != "crm" || plan.Summary.Added != 5 || len(plan.Sample) != 2 || plan.Excluded != 1 || !plan.Sample[0].Excluded {
		t.Errorf("%+v, %v", plan, err)
	}
	if runs, err := r.admin.Runs(ctx, "crm", 10); err != nil || len(runs) != 1 || runs[0].Sync != "crm" {
		t.Errorf("%+v, %v", runs, err)
	}
	if list, err := r.admin.Rejections(ctx, "crm", 10); err != nil || list == nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if n, err := r.admin.RetryRejections(ctx, "crm", "abc", ""); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if st, err := r.admin.Sync(ctx, "crm"); err != nil || st.Reason == "" {
		t.Errorf("%+v, %v", st, err)
	}
	_, err := r.admin.Sync(ctx, "a/b")
	if p := wantCode(t, err, "sync.not_found"); p.Status != http.StatusNotFound || p.Subject != "sync a/b" {
		t.Errorf("%+v", p)
	}
	if e, err := r.admin.Explain(ctx, "web", []byte(`{"type":"track"}`)); err != nil || e.Tables[0].Schema != "web" {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = r.admin.Explain(ctx, "web", []byte(`{"type"`))
	wantCode(t, err, "event.invalid")
	if found, err := r.admin.Doctor(ctx); err != nil || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	if tables, err := r.admin.Tables(ctx); err != nil || tables[0].Columns[0].Type != "string" {
		t.Errorf("%+v, %v", tables, err)
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for ready, want := range map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable} {
		r.hub.IsReady = ready
		resp, err := r.server.Client().Get(r.server.URL + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want || !strings.Contains(string(b), `"lag_events":7`) || strings.Contains(string(b), "web") {
			t.Errorf("ready %v: %s %s", ready, resp.Status, b)
		}
	}
}

func TestUnreachableServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client(r.token)
	r.server.Close()
	_, err := client.Syncs(t.Context())
	if f := tidegate.FaultOf(err); f.Code != "server.unreachable" || f.Hint == "" {
		t.Errorf("%v", err)
	}
}

// TestFailedCommitGoesBack: when storing fails the hub runs what it ran before.
func TestFailedCommitGoesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.project(t, smallest)
	c := r.options().Catalog
	if _, err := c.Apply(t.Context(), p, "ann", catalog.AnyBase); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c = catalog.New(catalog.Options{Store: r.store, Kinds: kinds(), Activate: func(ctx context.Context, p *project.Project) error {
		cancel() // the client goes between activating and storing
		return r.hub.Activate(ctx, p)
	}})
	changed := r.project(t, `{"warehouse":{"kind":"duckdb"},"sources":[{"name":"app","write_key":"X"}]}`)
	if _, err := c.Apply(ctx, changed, "ann", catalog.AnyBase); err == nil {
		t.Fatal("a commit that was cancelled succeeded")
	}
	last := r.hub.Activated[len(r.hub.Activated)-1]
	if d := cmp.Diff(p, last); d != "" {
		t.Errorf("the hub runs something else than the store holds: %s", d)
	}
}
