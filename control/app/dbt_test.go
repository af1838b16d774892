package app_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
)

// dbtProject is a hub whose dbt project is what a real dbt wrote for
// examples/dbt, without its results.
const dbtProject = oneSource + `dbt: [{target: target, exposures: exposures.yml}]
destinations: [{name: crm, kind: hubspot, config: {token: "${env:HOME}", base_url: "http://127.0.0.1:9"}}]
`

func artefact(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "sync", "dbt", "testdata", "v12", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// running starts a hub and returns it with the function that ends it.
func running(t *testing.T, o app.Options) (*app.App, func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	a, err := app.Start(ctx, o)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	return a, func() {
		t.Helper()
		stop()
		if err := a.Wait(); err != nil {
			t.Errorf("a polite end: %v", err)
		}
	}
}

// stateOf is the state of the declared sync while no run of it goes on.
func stateOf(t *testing.T, a *app.App) (state, reason string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for { // a run that an invocation has fired is shown until it has failed: there is no such table
		st, err := a.Hub.Sync(t.Context(), "customers_to_crm")
		if err != nil {
			t.Fatal(err)
		}
		if st.Current == nil || time.Now().After(deadline) {
			return st.State, st.Reason
		}
	}
}

// TestDbtGate: a declared sync runs only while its model's last invocation
// passed, and a restart forgets nothing of that.
func TestDbtGate(t *testing.T) {
	o := options(t, dbtProject)
	target := filepath.Join(o.Project, "target")
	write(t, filepath.Join(target, "manifest.json"), artefact(t, "manifest.json"))
	a, end := running(t, o)
	if state, reason := stateOf(t, a); state != "blocked" || !strings.Contains(reason, "no dbt invocation") {
		t.Errorf("before the first invocation the sync is %s: %s", state, reason)
	}
	if _, err := a.Hub.SyncRun(t.Context(), "customers_to_crm"); err == nil {
		t.Error("a blocked sync runs by hand")
	}
	results, later := artefact(t, "run_results.json"), o.Now()
	invocation := func(id, from, to string) {
		t.Helper()
		at := bytes.Index(results, []byte(`"invocation_id": "`)) + len(`"invocation_id": "`)
		next := append(append(bytes.Clone(results[:at]), []byte(id)...), results[at+36:]...)
		path := filepath.Join(target, "run_results.json")
		write(t, path, bytes.ReplaceAll(next, []byte(from), []byte(to)))
		later = later.Add(time.Second) // invocations of dbt are never as close as those of a test
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
		if err := a.Hub.RefreshDbt(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	invocation("11111111-1111-1111-1111-111111111111", "", "")
	if state, reason := stateOf(t, a); state == "blocked" {
		t.Errorf("after a good invocation the sync is %s: %s", state, reason)
	}
	invocation("22222222-2222-2222-2222-222222222222", `"status": "pass"`, `"status": "fail"`)
	if state, reason := stateOf(t, a); state != "blocked" || !strings.Contains(reason, "did not pass") {
		t.Errorf("after a failed test the sync is %s: %s", state, reason)
	}
	if _, err := a.Hub.SyncRun(t.Context(), "customers_to_crm"); tidegate.FaultOf(err).Code != "dbt.blocked" {
		t.Errorf("a blocked sync is refused with %v", err)
	}
	list, err := a.Hub.Dbt(t.Context())
	if err != nil || len(list) != 1 || len(list[0].Models) != 2 {
		t.Fatal(list, err)
	}
	if m := list[0].Models[0]; m.Passed || m.Name != "customers" || len(m.Syncs) != 1 || m.PrimaryKey[0] != "user_id" {
		t.Errorf("listed as %+v", m)
	}
	if text, err := os.ReadFile(filepath.Join(o.Project, "exposures.yml")); err != nil || !bytes.Contains(text, []byte("ref('customers')")) {
		t.Errorf("the exposures are %s, %v", text, err)
	}
	end()

	if err := os.Remove(filepath.Join(target, "run_results.json")); err != nil {
		t.Fatal(err)
	}
	a, end = running(t, o)
	defer end()
	if state, reason := stateOf(t, a); state != "blocked" || !strings.Contains(reason, "did not pass") {
		t.Errorf("after a restart the sync is %s: %s", state, reason)
	}
	l, err := a.Hub.Lineage(t.Context(), "crm.contacts.jobtitle")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, e := range l.Edges {
		steps = append(steps, e.From+"→"+e.To)
	}
	for _, want := range []string{"web.users→shop.customers", "shop.orders→shop.customers", "shop.customers→customers", "customers→customers_to_crm", "customers_to_crm→crm.contacts.jobtitle"} {
		if !strings.Contains(strings.Join(steps, " "), want) {
			t.Errorf("the lineage %v has no %s", steps, want)
		}
	}
	if strings.Contains(strings.Join(steps, " "), "crm.contacts.email") {
		t.Errorf("the lineage of one field shows another: %v", steps)
	}
	if _, err := a.Hub.Lineage(t.Context(), "nobody"); tidegate.FaultOf(err).Code != "lineage.not_found" {
		t.Errorf("an unknown name: %v", err)
	}
}

// TestDbtDeclarationWithASlip: it is told with its place, and takes nothing
// else away.
func TestDbtDeclarationWithASlip(t *testing.T) {
	o := options(t, dbtProject)
	path := filepath.Join(o.Project, "target", "manifest.json")
	good := artefact(t, "manifest.json")
	write(t, path, good)
	a, end := running(t, o)
	defer end()
	problems := func() []string {
		t.Helper()
		if err := a.Hub.RefreshDbt(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := a.Hub.Dbt(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range list[0].Problems {
			out = append(out, p.String())
		}
		return out
	}
	if got := problems(); len(got) != 0 {
		t.Errorf("the example has problems: %v", got)
	}
	for slip, want := range map[[2]string]string{
		{`"destination": "crm"`, `"destination": "crmm"`}: `models/marts/customers.sql: model.shop.customers.meta.tidegate.destination: there is no destination "crmm" (did you mean "crm"?)`,
		{`"identifier": "email"`, `"identifier": "mail"`}: `model.shop.customers.meta.tidegate.mapping.identifier: the identifier "mail" is not mapped`,
		{`"identifier": "email"`, `"identifer": "email"`}: `model.shop.customers.meta.tidegate.mapping.identifer: unknown key (did you mean "identifier"?)`, //nolint:misspell // on purpose
	} {
		write(t, path, bytes.ReplaceAll(good, []byte(slip[0]), []byte(slip[1])))
		if got := strings.Join(problems(), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s\ndoes not say %q", got, want)
		}
	}
	if state, _ := stateOf(t, a); state != "blocked" { // it is there, and waits for dbt
		t.Errorf("after the slips the sync is %s", state)
	}
	found := false
	for _, f := range a.Hub.Doctor(t.Context()) {
		found = found || f.Check == "dbt dbt" && f.Level == "error"
	}
	if !found {
		t.Error("doctor does not tell of the slip")
	}
}

// TestDbtCloudWebhook: a signed call makes the hub look, any other does nothing.
func TestDbtCloudWebhook(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_DBT", "hush")
	manifest, results := artefact(t, "manifest.json"), artefact(t, "run_results.json")
	finished := make(chan struct{})
	sim := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ready := false
		select {
		case <-finished:
			ready = true
		default:
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/runs/") && ready:
			_, _ = fmt.Fprint(w, `{"data":[{"id":5,"status":10}]}`)
		case strings.HasSuffix(r.URL.Path, "/runs/"):
			_, _ = fmt.Fprint(w, `{"data":[]}`)
		case strings.HasSuffix(r.URL.Path, "/5/artifacts/manifest.json"):
			_, _ = w.Write(manifest)
		case strings.HasSuffix(r.URL.Path, "/5/artifacts/run_results.json"):
			_, _ = w.Write(results)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer sim.Close()
	o := options(t, oneSource+fmt.Sprintf(`settings: {allow_private: [127.0.0.0/8]}
dbt: [{cloud: {url: %q, account_id: 7, job_id: 42, token: "${env:TIDEGATE_TEST_DBT}", webhook_secret: "${env:TIDEGATE_TEST_DBT}"}}]
destinations: [{name: crm, kind: hubspot, config: {token: "${env:HOME}", base_url: "http://127.0.0.1:9"}}]
`, sim.URL))
	a, end := running(t, o)
	defer end()
	if err := a.Hub.RefreshDbt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := a.Hub.Dbt(t.Context()); err != nil || len(list[0].Models) != 0 || !strings.Contains(list[0].Fault, "no run of it has finished") {
		t.Fatalf("before the first run: %+v, %v", list, err)
	}
	close(finished)
	body := []byte(`{"accountId":7,"eventType":"job.run.completed","data":{"jobId":"42","runId":"5","runStatus":"Success"}}`)
	mac := hmac.New(sha256.New, []byte("hush"))
	mac.Write(body)
	for name, call := range map[string]struct {
		signature string
		body      []byte
	}{
		"another signature": {strings.Repeat("ab", 32), body},
		"another job":       {hex.EncodeToString(mac.Sum(nil)), bytes.Replace(body, []byte("42"), []byte("43"), 1)},
		"no JSON":           {hex.EncodeToString(mac.Sum(nil)), []byte("x")},
	} {
		if err := a.Hub.DbtWebhook(t.Context(), call.signature, call.body); tidegate.FaultOf(err).Code != "hook.unauthorized" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.Hub.DbtWebhook(t.Context(), hex.EncodeToString(mac.Sum(nil)), body); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for { // the webhook is answered before the artefacts are read
		list, err := a.Hub.Dbt(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list[0].Models) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the artefacts of the run were never read: %+v", list)
		}
	}
	if state, reason := stateOf(t, a); state == "blocked" {
		t.Errorf("after a good run the sync is %s: %s", state, reason)
	}
}

// TestDbtFiles: what needs no server.
func TestDbtFiles(t *testing.T) {
	t.Parallel()
	o := options(t, dbtProject)
	o.Data = filepath.Join(t.TempDir(), "none")
	for _, name := range []string{"manifest.json", "run_results.json", "catalog.json"} {
		write(t, filepath.Join(o.Project, "target", name), artefact(t, name))
	}
	p, err := project.LoadDir(o.Project, app.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	list, err := app.DbtFiles(t.Context(), p, o.Project, o.Data, o.Now)
	if err != nil || len(list) != 1 || !list[0].Models[0].Passed {
		t.Errorf("listed %+v, %v", list, err)
	}
	if _, err := os.Stat(o.Data); err == nil {
		t.Error("listing has made the data folder")
	}
	for _, want := range []bool{true, false} {
		written, err := app.DbtExposures(t.Context(), p, o.Project, o.Data, o.Now)
		if err != nil || len(written) != 1 || written[0].Changed != want {
			t.Errorf("exposures: %+v, %v; want changed %v", written, err, want)
		}
	}
	check := func(dir string) []string {
		t.Helper()
		findings, err := app.CheckDbt(t.Context(), p, o.Project, o.Now, app.DbtCheck{Target: dir, State: "target"})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range findings {
			out = append(out, f.Code+" "+f.Sync+" "+f.Column)
		}
		return out
	}
	if _, err := app.CheckDbt(t.Context(), &project.Project{}, o.Project, o.Now, app.DbtCheck{}); err == nil || !strings.HasPrefix(err.Error(), "project.dbt: the project names no dbt project") {
		t.Errorf("without a dbt project: %v", err)
	}
	if got := check(""); len(got) != 0 {
		t.Errorf("nothing has changed, and yet %v", got)
	}
	write(t, filepath.Join(o.Project, "new", "manifest.json"), artefact(t, "manifest.json"))
	write(t, filepath.Join(o.Project, "new", "catalog.json"), bytes.ReplaceAll(artefact(t, "catalog.json"), []byte(`"plan"`), []byte(`"tier"`)))
	if got := check("new"); len(got) != 1 || got[0] != "dbt.column_dropped customers_to_crm plan" {
		t.Errorf("a renamed column is seen as %v", got)
	}
	none := bytes.ReplaceAll(artefact(t, "manifest.json"), []byte(`"model.shop.customers"`), []byte(`"model.shop.clients"`))
	write(t, filepath.Join(o.Project, "new", "manifest.json"), bytes.ReplaceAll(none, []byte(`"tidegate"`), []byte(`"other"`)))
	if got := check("new"); len(got) != 1 || got[0] != "dbt.model_dropped customers_to_crm " {
		t.Errorf("a renamed model is seen as %v", got)
	}
}

// TestDbtCheckReadsSQL: a SQL model that reads a table which dbt builds is checked
// like a sync of the dbt model, whether it names the table or a model of the project.
func TestDbtCheckReadsSQL(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"a table": {
			map[string]string{"models/paying.sql": "-- primary_key: user_id\nSELECT user_id, plan || '!' AS shout FROM SCHEMA.customers\n"},
			[]string{"dbt.column_dropped paying_to_crm plan paying"},
		},
		"a table, through another model": {
			map[string]string{
				"models/base.sql":   "-- primary_key: user_id\nSELECT * FROM SCHEMA.customers\n",
				"models/paying.sql": "-- primary_key: user_id\nSELECT user_id, plan AS shout FROM base\n", "models/paying.yaml": "uses: [base]\n",
			},
			[]string{"dbt.column_dropped paying_to_crm plan base"},
		},
		"a dbt model by its name": {
			map[string]string{"models/paying.sql": "-- primary_key: user_id\nSELECT user_id, plan AS shout FROM clients\n", "models/paying.yaml": "uses: [clients]\n", "models/clients.yaml": "dbt: customers\nprimary_key: [user_id]\n"},
			[]string{"dbt.column_dropped paying_to_crm plan paying"},
		},
		"another column": {
			map[string]string{"models/paying.sql": "-- primary_key: user_id\nSELECT user_id, user_id AS shout FROM SCHEMA.customers\n"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifest := artefact(t, "manifest.json")
			o := options(t, strings.Replace(dbtProject, "exposures: exposures.yml", "ignore_meta: true", 1))
			write(t, filepath.Join(o.Project, "syncs", "paying.yaml"), []byte("name: paying_to_crm\nmodel: paying\ndestination: crm\nobject: contacts\nmode: upsert\nmapping: {identifier: email, fields: [{field: email, column: user_id}, {field: jobtitle, column: shout}]}\n"))
			for file, text := range c.files {
				write(t, filepath.Join(o.Project, file), []byte(strings.ReplaceAll(text, "SCHEMA", schemaOf(t, manifest, "customers"))))
			}
			for _, dir := range []string{"target", "new"} {
				write(t, filepath.Join(o.Project, dir, "manifest.json"), manifest)
				write(t, filepath.Join(o.Project, dir, "catalog.json"), artefact(t, "catalog.json"))
			}
			write(t, filepath.Join(o.Project, "new", "catalog.json"), bytes.ReplaceAll(artefact(t, "catalog.json"), []byte(`"plan"`), []byte(`"tier"`)))
			p, err := project.LoadDir(o.Project, app.Kinds())
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{"target", "new"} {
				findings, err := app.CheckDbt(t.Context(), p, o.Project, o.Now, app.DbtCheck{Target: dir, State: "target"})
				if err != nil {
					t.Fatal(err)
				}
				var got, want []string
				if dir == "new" {
					want = c.want
				}
				for _, f := range findings {
					if f.Breaks {
						model := strings.Fields(strings.TrimPrefix(f.Message, "model "))[0]
						got = append(got, f.Code+" "+f.Sync+" "+f.Column+" "+model)
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s: %s", dir, d)
				}
			}
		})
	}
}

// schemaOf is where dbt built a model.
func schemaOf(t *testing.T, manifest []byte, name string) string {
	t.Helper()
	var m struct {
		Nodes map[string]struct{ Name, Schema string } `json:"nodes"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Nodes {
		if n.Name == name {
			return n.Schema
		}
	}
	t.Fatal("no such model")
	return ""
}
