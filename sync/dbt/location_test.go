package dbt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func artefact(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "v12", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// store is a place that serves artefacts and remembers what it was asked.
type store struct {
	mu    sync.Mutex
	files map[string]string // by path; the body is also what the ETag is made of
	asked []string          // "PATH status"
	check func(*http.Request) bool
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusOK
	body, ok := s.files[r.URL.Path]
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(body)))
	switch {
	case s.check != nil && !s.check(r):
		status = http.StatusForbidden
	case !ok:
		status = http.StatusNotFound
	case r.Header.Get("If-None-Match") == etag:
		status = http.StatusNotModified
	}
	s.asked = append(s.asked, fmt.Sprintf("%s %d", r.URL.Path, status))
	w.Header().Set("ETag", etag)
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = w.Write([]byte(body)) // the client may be gone
	}
}

func (s *store) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func serve(t *testing.T, h http.Handler) (url string, access Access) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL, Access{HTTP: server.Client(), Now: func() time.Time { return time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC) }}
}

func TestLoadFromTheWeb(t *testing.T) {
	t.Parallel()
	s := &store{files: map[string]string{"/t/manifest.json": string(artefact(t, ManifestFile)), "/t/run_results.json": string(artefact(t, ResultsFile))}}
	s.check = func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer hush" }
	url, access := serve(t, s)
	l, err := OpenLocation(tidegate.DbtProject{Target: url + "/t/", Token: "hush"}, "", access)
	if err != nil {
		t.Fatal(err)
	}
	first, err := Load(t.Context(), l, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if first.Manifest == nil || first.Results == nil || first.Catalog != nil {
		t.Errorf("read %+v", first)
	}
	if d := cmp.Diff([]string{"/t/run_results.json 200", "/t/manifest.json 200", "/t/catalog.json 404"}, s.take()); d != "" {
		t.Error(d)
	}
	again, err := Load(t.Context(), l, first, Options{})
	if err != nil || again != first {
		t.Errorf("nothing has changed, and it was read again: %v", err)
	}
	if d := cmp.Diff([]string{"/t/run_results.json 304", "/t/manifest.json 304", "/t/catalog.json 404"}, s.take()); d != "" {
		t.Error(d)
	}
	s.files["/t/catalog.json"] = string(artefact(t, CatalogFile))
	third, err := Load(t.Context(), l, first, Options{})
	if err != nil || third == first || third.Catalog == nil || third.Manifest != first.Manifest {
		t.Errorf("the catalogue is new, nothing else: %v", err)
	}
	s.files["/t/manifest.json"] = `{"nodes":{"model.p.m":{"resource_type":`
	if _, err := Load(t.Context(), l, third, Options{}); tidegate.FaultOf(err).Code != "dbt.unreadable" || tidegate.FaultOf(err).Action != tidegate.Retry {
		t.Errorf("half a manifest: %v", err)
	}
	delete(s.files, "/t/manifest.json")
	if _, err := Load(t.Context(), l, third, Options{}); tidegate.FaultOf(err).Code != "dbt.absent" {
		t.Errorf("no manifest: %v", err)
	}
	wrong, err := OpenLocation(tidegate.DbtProject{Target: url + "/t", Token: "CANARY"}, "", access)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(t.Context(), wrong, nil, Options{})
	if f := tidegate.FaultOf(err); f.Code != "dbt.denied" || strings.Contains(explained(err), "CANARY") {
		t.Errorf("a wrong token: %v", err)
	}
}

func TestLoadFromAFolder(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	l, err := OpenLocation(tidegate.DbtProject{Target: "shop/target"}, base, Access{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), l, nil, Options{}); tidegate.FaultOf(err).Code != "dbt.absent" {
		t.Errorf("no folder: %v", err)
	}
	write := func(name string, data []byte, at time.Time) {
		t.Helper()
		path := filepath.Join(base, "shop", "target", name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err = errors.Join(err, os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	write(ManifestFile, artefact(t, ManifestFile), then)
	first, err := Load(t.Context(), l, nil, Options{})
	if err != nil || first.Results != nil {
		t.Fatal(first, err)
	}
	if again, err := Load(t.Context(), l, first, Options{}); err != nil || again != first {
		t.Errorf("nothing has changed, and it was read again: %v", err)
	}
	write(ResultsFile, artefact(t, ResultsFile), then)
	second, err := Load(t.Context(), l, first, Options{})
	if err != nil || second.Results == nil || second.Manifest != first.Manifest {
		t.Errorf("the results are new, nothing else: %v", err)
	}
	write(ResultsFile, []byte(`{"results": [`), then.Add(time.Second))
	if _, err := Load(t.Context(), l, second, Options{}); tidegate.FaultOf(err).Code != "dbt.unreadable" {
		t.Errorf("dbt is writing: %v", err)
	}
}

// TestSignature holds the signer to the example "GET Bucket Lifecycle" of the
// Signature Version 4 documentation of Amazon S3.
func TestSignature(t *testing.T) {
	t.Parallel()
	access := tidegate.DbtS3{Region: "us-east-1", AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ url, ranged, want string }{
		{"https://examplebucket.s3.amazonaws.com/?lifecycle", "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"https://examplebucket.s3.amazonaws.com/test.txt", "bytes=0-9", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
	} {
		req := httptest.NewRequest(http.MethodGet, c.url, nil)
		if c.ranged != "" {
			req.Header.Set("Range", c.ranged)
		}
		signV4(req, access, "s3", at)
		if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+c.want) {
			t.Errorf("%s: %s", c.url, got)
		}
	}
}

func TestS3(t *testing.T) {
	t.Parallel()
	s := &store{files: map[string]string{"/bucket/dbt/my target/manifest.json": string(artefact(t, ManifestFile))}}
	var signed []string
	s.check = func(r *http.Request) bool {
		signed = append(signed, r.Header.Get("Authorization"))
		return r.Header.Get("X-Amz-Security-Token") == "session"
	}
	url, access := serve(t, s)
	l, err := OpenLocation(tidegate.DbtProject{Target: "s3://bucket/dbt/my target/", S3: &tidegate.DbtS3{
		Endpoint: url, Region: "eu-central-1", AccessKeyID: "AK", SecretAccessKey: "SK", SessionToken: "session",
	}}, "", access)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), l, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(signed[0], "AWS4-HMAC-SHA256 Credential=AK/20261121/eu-central-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,") {
		t.Errorf("signed as %s", signed[0])
	}
	for target, want := range map[string]string{
		"s3://b/p":     "https://b.s3.us-east-1.amazonaws.com/p",
		"s3://b.c/p/q": "https://s3.us-east-1.amazonaws.com/b.c/p/q",
		"s3://b":       "https://b.s3.us-east-1.amazonaws.com",
		"gs://b/p":     "https://storage.googleapis.com/b/p",
	} {
		l, err := OpenLocation(tidegate.DbtProject{Target: target}, "", access)
		if err != nil || l.(web).base != want { //nolint:forcetypeassert // what it must be
			t.Errorf("%s is %v, %v; want %s", target, l, err, want)
		}
	}
	if _, err := OpenLocation(tidegate.DbtProject{Name: "x", Target: "ftp://b"}, "", access); tidegate.FaultOf(err).Code != "dbt.target" {
		t.Errorf("ftp: %v", err)
	}
}

// simCloud is dbt Cloud: it remembers runs and who asked.
type simCloud struct {
	mu    sync.Mutex
	runs  []string // newest first, as JSON
	asked []string
}

func (c *simCloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r.URL.RequestURI())
	const base = "/api/v2/accounts/7/runs/"
	rest, ok := strings.CutPrefix(r.URL.Path, base)
	switch {
	case r.Header.Get("Authorization") != "Token hush":
		w.WriteHeader(http.StatusUnauthorized)
	case rest == "" && ok:
		if q := r.URL.Query(); q.Get("job_definition_id") != "42" || q.Get("order_by") != "-id" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":{"code":200},"data":[%s]}`, strings.Join(c.runs, ","))
	default:
		run, name, ok := strings.Cut(rest, "/artifacts/")
		data, err := os.ReadFile(filepath.Join("testdata", "v12", filepath.Base(name)))
		if !ok || err != nil || name == CatalogFile || run == "1003" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(data) // the client may be gone
	}
}

func TestCloud(t *testing.T) {
	t.Parallel()
	sim := &simCloud{}
	url, access := serve(t, sim)
	def := tidegate.DbtProject{Cloud: &tidegate.DbtCloud{URL: url + "/", AccountID: 7, JobID: 42, Token: "hush"}}
	l, err := OpenLocation(def, "", access)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), l, nil, Options{}); tidegate.FaultOf(err).Code != "dbt.absent" {
		t.Errorf("no run yet: %v", err)
	}
	sim.runs = []string{
		`{"id":1003,"status":3}`, `{"id":1002,"status":30}`, // running, cancelled
		"{\"id\":1001,\"status\":20,\"run_steps\":[{\"index\":1,\"name\":\"Clone git repository\"},{\"index\":4,\"name\":\"Invoke dbt with `dbt build --select tag:crm`\"},{\"index\":5,\"name\":\"Invoke dbt with `dbt docs generate`\"}]}",
	}
	sim.asked = nil
	first, err := Load(t.Context(), l, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if first.Manifest == nil || first.Results == nil || first.Catalog != nil {
		t.Errorf("read %+v", first)
	}
	if got := strings.Join(sim.asked, "\n"); !strings.Contains(got, "/runs/1001/artifacts/run_results.json?step=4") {
		t.Errorf("the results of a step that built nothing were read:\n%s", got)
	}
	asked := len(sim.asked)
	if again, err := Load(t.Context(), l, first, Options{}); err != nil || again != first {
		t.Errorf("no newer run, and it was read again: %v", err)
	}
	if len(sim.asked) != asked+2 { // the list of runs, and the catalogue that is not there
		t.Errorf("asked %v", sim.asked[asked:])
	}
	sim.runs = append([]string{`{"id":1004,"status":10}`}, sim.runs...)
	if again, err := Load(t.Context(), l, first, Options{}); err != nil || again == first {
		t.Errorf("a newer run is not seen: %v", err)
	}
	def.Cloud.Token = "CANARY"
	wrong, err := OpenLocation(def, "", access)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(t.Context(), wrong, nil, Options{})
	if tidegate.FaultOf(err).Code != "dbt.denied" || strings.Contains(explained(err), "CANARY") {
		t.Errorf("a wrong token: %v", err)
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	body := []byte(`{"accountId":7,"eventId":"wev_1","eventType":"job.run.completed","data":{"jobId":"42","runId":"1001","runStatus":"Errored","runStatusCode":20}}`)
	mac := hmac.New(sha256.New, []byte("hush"))
	mac.Write(body)
	good := hex.EncodeToString(mac.Sum(nil))
	e, err := ParseWebhook("hush", good, body)
	if d := cmp.Diff(Event{Type: "job.run.completed", AccountID: 7, JobID: 42, RunID: 1001, Status: "Errored"}, e); d != "" || err != nil || !e.Finished() {
		t.Error(d, err)
	}
	for name, c := range map[string][2]string{
		"no signature": {"hush", ""}, "another's": {"hush", strings.Repeat("ab", 32)}, "no hex": {"hush", "zz"}, "no secret": {"", good}, "half": {"hush", good[:32]},
	} {
		if _, err := ParseWebhook(c[0], c[1], body); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseWebhook("hush", good, append(body, ' ')); !errors.Is(err, ErrSignature) {
		t.Error("a body with one byte more passes")
	}
	started, err := PeekWebhook([]byte(`{"eventType":"job.run.started","accountId":"7"}`))
	if err != nil || started.Finished() || started.AccountID != 7 {
		t.Error(started, err)
	}
	if _, err := PeekWebhook([]byte(`[`)); err == nil {
		t.Error("broken JSON is an event")
	}
}
