// Package e2e drives the built binary as a user and a failing machine would:
// it sends real requests, kills the process, starts it again and compares the
// warehouse and the destination with what was acknowledged.
//
// TIDEGATE_BIN names the binary; `make test` builds and sets it. TIDEGATE_LONG=1
// turns the campaigns from seconds into hours.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const smallProject = `warehouse:
  kind: duckdb
sources:
  - name: web
    write_key: WK
`

// required says whether TIDEGATE_REQUIRE names what a test cannot do without.
func required(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("TIDEGATE_REQUIRE"), ","), name)
}

// missing skips a test for the want of what it needs, unless that is required.
func missing(tb testing.TB, name, why string) {
	tb.Helper()
	if required(name) {
		tb.Fatalf("TIDEGATE_REQUIRE names %s: %s", name, why)
	}
	tb.Skipf("NOT TESTED AGAINST %s: %s", strings.ToUpper(name), why)
}

// binary returns the path of the binary under test.
func binary(t testing.TB) string {
	t.Helper()
	bin := os.Getenv("TIDEGATE_BIN")
	if bin == "" {
		bin = filepath.Join("..", "bin", "tidegate")
	}
	abs, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Fatalf("no binary at %s: run `make build`, or name one in TIDEGATE_BIN", abs)
	}
	return abs
}

// node is one `tidegate serve` with its folders; it can be killed and started again.
type node struct {
	t       testing.TB
	bin     string
	project string
	data    string
	ingest  string // host:port
	admin   string
	env     []string
	cmd     *exec.Cmd
	log     *bytes.Buffer
	done    chan error
}

func newNode(t testing.TB, files map[string]string) *node {
	t.Helper()
	root := t.TempDir()
	n := &node{t: t, bin: binary(t), project: filepath.Join(root, "project"), data: filepath.Join(root, "data"), ingest: freeAddr(t), admin: freeAddr(t)}
	for name, text := range files {
		path := filepath.Join(n.project, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if n.cmd != nil {
			n.kill()
		}
		if t.Failed() && n.log != nil {
			t.Logf("the last server's log:\n%s", tail(n.log.String(), 4000))
		}
	})
	return n
}

// start starts the server and waits until it answers on both listeners.
func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.waitUp()
}

func (n *node) launch() {
	n.t.Helper()
	n.log = &bytes.Buffer{}
	n.cmd = exec.Command(n.bin, "serve", "--project", n.project, "--data", n.data, "--ingest-addr", n.ingest, "--admin-addr", n.admin)
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(n.cmd, n.done)
}

func (n *node) waitUp() {
	n.t.Helper()
	n.waitFor(20*time.Second, "the server to be ready", func() bool {
		select {
		case err := <-n.done:
			n.cmd = nil // it is gone: kill must not wait for it
			n.t.Fatalf("the server ended while starting: %v\n%s", err, tail(n.log.String(), 4000))
		default:
		}
		for _, url := range []string{"http://" + n.admin + "/healthz", "http://" + n.ingest + "/v1/projects/WK/settings"} {
			resp, err := http.Get(url)
			if err != nil {
				return false
			}
			resp.Body.Close()
		}
		return true
	})
}

// kill sends SIGKILL and waits for the process to be gone.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.done
	n.cmd = nil
}

// stop sends SIGTERM and returns the exit code.
func (n *node) stop() int {
	n.t.Helper()
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.done:
	case <-time.After(30 * time.Second):
		n.kill()
		n.t.Fatal("the server did not stop within 30 s of SIGTERM")
	}
	code := n.cmd.ProcessState.ExitCode()
	n.cmd = nil
	return code
}

// exited waits for the process to end by itself and returns its state.
func (n *node) exited(within time.Duration) *os.ProcessState {
	n.t.Helper()
	select {
	case <-n.done:
		state := n.cmd.ProcessState
		n.cmd = nil
		return state
	case <-time.After(within):
		n.t.Fatalf("the server still runs after %v", within)
		return nil
	}
}

// cli runs the binary with --project and --data of the node and returns its standard output.
func (n *node) cli(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.bin, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = append(os.Environ(), n.env...)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("tidegate %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String(), nil
}

func (n *node) mustCLI(args ...string) string {
	n.t.Helper()
	out, err := n.cli(args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// queryInt runs a query that returns one number.
func (n *node) queryInt(sql string) (int64, error) {
	out, err := n.cli("query", "--data", n.data, "--project", n.project, "--json", sql)
	if err != nil {
		return 0, err
	}
	dec := json.NewDecoder(strings.NewReader(out))
	for {
		var row map[string]any
		if err := dec.Decode(&row); errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("no number in %q", out)
		} else if err != nil {
			return 0, fmt.Errorf("reading %q: %w", out, err)
		}
		if v, ok := findNumber(row); ok {
			return v, nil
		}
	}
}

func findNumber(v any) (int64, bool) {
	switch x := v.(type) {
	case float64:
		return int64(x), true
	case map[string]any:
		for _, inner := range x {
			if n, ok := findNumber(inner); ok {
				return n, true
			}
		}
	case []any:
		for _, inner := range x {
			if n, ok := findNumber(inner); ok {
				return n, true
			}
		}
	}
	return 0, false
}

// waitFor polls until ok returns true; the state of another process has no
// signal to wait for.
func (n *node) waitFor(within time.Duration, what string, ok func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			n.t.Fatalf("waited %v for %s\n%s", within, what, tail(n.log.String(), 4000))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// post sends one request to the collection API and returns status and body.
func (n *node) post(path, body string) (int, string, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+n.ingest+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.SetBasicAuth("WK", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func long() bool { return os.Getenv("TIDEGATE_LONG") != "" }

// vendorPace is the least time between two questions to a simulator: it counts them
// against the account's limits, as the vendor does, and would refuse the hub's calls.
const vendorPace = 300 * time.Millisecond

// contactTitles returns the job titles of the simulated contacts by their email; nil
// while the simulator does not answer.
func contactTitles(t testing.TB, crm string) map[string]string {
	t.Helper()
	time.Sleep(vendorPace)
	req, err := http.NewRequest(http.MethodGet, "http://"+crm+"/crm/v3/objects/contacts?limit=100&properties=email,jobtitle", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer x")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list struct {
		Results []struct{ Properties map[string]string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil
	}
	titles := map[string]string{}
	for _, c := range list.Results {
		titles[c.Properties["email"]] = c.Properties["jobtitle"]
	}
	return titles
}
