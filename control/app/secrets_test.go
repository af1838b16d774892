package app_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/internal/secret"
)

const secretsProject = `
warehouse: {kind: duckdb}
sources:
  - {name: web, write_key: "${secret:WRITE_KEY}"}
  - name: billing
    write_key: BILLING
    webhook: {scheme: token, secret: "${secret:BILLING}", user_id: body.user}
transforms:
  - {name: hashed, steps: [{hash: {fields: [properties.email], salt: "${secret:SALT}"}}]}
models:
  - {name: people, file: people.csv, primary_key: [id]}
destinations:
  - {name: hook, kind: webhook, config: {url: "URL/x", auth: {kind: bearer, token: "${secret:HOOK_TOKEN}"}}}
syncs:
  - name: people_to_hook
    model: people
    destination: hook
    object: records
    mapping: {identifier: id, fields: [{field: id, column: id}, {field: name, column: name}]}
    schedule: {webhook_secret: "${secret:START}"}
alerts:
  - {name: chat, slack: {url: "${secret:ALERT_URL}"}}
  - {name: told, webhook: {url: "URL/alerts", secret: "${secret:ALERT}"}}
settings: {allow_private: [127.0.0.0/8]}
`

// TestSecretsOfTheStore: everything that takes a secret takes one of the store; a new value is taken up
// by what runs; and no file of the data folder holds one.
func TestSecretsOfTheStore(t *testing.T) {
	t.Setenv(vault.KeyVariable, "")
	var mu sync.Mutex
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("Authorization"))
	}))
	t.Cleanup(srv.Close)
	o := options(t, strings.ReplaceAll(secretsProject, "URL/", srv.URL+"/"))
	people := func(csv string) { write(t, filepath.Join(o.Project, "people.csv"), []byte("id,name\n"+csv)) }
	people("1,Ada\n")

	// The first ones are set before there is a hub.
	if _, err := app.Start(t.Context(), o); tidegate.FaultOf(err).Code != "secret.not_found" || !strings.Contains(tidegate.FaultOf(err).Hint, "tidegate secrets set WRITE_KEY") {
		t.Fatalf("a hub without its secrets: %v", err)
	}
	values := map[string]string{
		"WRITE_KEY": "plaintext-write-key", "BILLING": "plaintext-billing", "SALT": "plaintext-salt", "HOOK_TOKEN": "plaintext-hook",
		"START": "plaintext-start", "ALERT": "plaintext-alert", "ALERT_URL": srv.URL + "/plaintext-alert-url",
	}
	err := app.WithSecrets(t.Context(), o.Data, o.Now, func(v *vault.Vault) error {
		for name, value := range values {
			if _, err := v.Set(t.Context(), "test", name, secret.New(value)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a, stop := running(t, o)
	post := func(path string, header ...string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.Addresses.Ingest+path, strings.NewReader(`{"type":"track","event":"E","userId":"u1","user":"u1","properties":{"email":"a@x.io"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if len(header) == 2 {
			req.Header.Set(header[0], header[1])
		} else {
			req.SetBasicAuth(values["WRITE_KEY"], "")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for what, got := range map[string]int{
		"an event": post("/v1/track"), "a webhook": post("/v1/webhook/BILLING", "Authorization", "Bearer "+values["BILLING"]),
	} {
		if got != http.StatusOK {
			t.Errorf("%s is answered %d", what, got)
		}
	}
	if err := a.Hub.WaitLoaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chat", "told"} {
		if err := a.Hub.TestAlert(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if run := ran(t, a, "people_to_hook"); run.State != tidegate.RunSucceeded {
		t.Fatalf("%s %+v", run.State, run.Fault)
	}

	// A new value, by the API: the connection that is open is not used any more.
	token, err := auth.ReadTokenFile(o.Data)
	if err != nil {
		t.Fatal(err)
	}
	client := api.NewClient("http://"+a.Addresses.Admin, token, http.DefaultClient)
	stored, err := client.SetSecret(t.Context(), "HOOK_TOKEN", secret.New("plaintext-hook-2"))
	if err != nil || stored.Version != 2 || stored.Problem != "" || len(stored.UsedBy) != 1 || stored.UsedBy[0] != "destination hook" {
		t.Fatalf("%+v, %v", stored, err)
	}
	people("1,Ada Lovelace\n")
	if run := ran(t, a, "people_to_hook"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 1 {
		t.Fatalf("%s %+v", run.State, run.Fault)
	}
	mu.Lock()
	if want := ",,Bearer plaintext-hook,Bearer plaintext-hook-2"; strings.Join(seen, ",") != want { // two alerts before
		t.Errorf("the destination was sent %q", seen)
	}
	mu.Unlock()
	if err := client.RemoveSecret(t.Context(), "HOOK_TOKEN", false); tidegate.FaultOf(err).Code != "secret.conflict" || !strings.Contains(err.Error(), "destination hook") {
		t.Errorf("a secret in use: %v", err)
	}
	if done, err := client.RotateSecrets(t.Context()); err != nil || done.Rewrapped != len(values) {
		t.Errorf("%+v, %v", done, err)
	}
	list, err := client.Secrets(t.Context())
	if err != nil || len(list) != len(values) || list[0].Name != "ALERT" || len(list[0].UsedBy) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := client.RemoveSecret(t.Context(), "HOOK_TOKEN", true); err != nil {
		t.Error(err)
	}
	if run := ran(t, a, "people_to_hook"); run.State != tidegate.RunFailed || run.Fault == nil || run.Fault.Code != "secret.not_found" || run.Fault.Hint != "run: tidegate secrets set HOOK_TOKEN" {
		t.Errorf("without its secret: %s %+v", run.State, run.Fault)
	}
	found := false
	for _, f := range a.Hub.Doctor(t.Context()) {
		found = found || f.Check == "secret HOOK_TOKEN" && f.Level == "error" && strings.Contains(f.Detail, "destination hook")
	}
	if !found {
		t.Error("doctor does not miss the secret")
	}
	stop()
	holdsNone(t, o.Data, "plaintext-")
}

// holdsNone reads every file below dir.
func holdsNone(t *testing.T, dir, text string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if at := bytes.Index(content, []byte(text)); at >= 0 {
			t.Errorf("%s holds %q", path, content[at:min(len(content), at+40)])
		}
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
}
