package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	official "gopkg.in/segmentio/analytics-go.v3"
)

// witness notes which steps and other calls an SDK was told are delivered: those
// in a request that was answered 200.
type witness struct {
	next  http.Handler
	mu    sync.Mutex
	told  map[string]bool
	types map[string]bool
}

var (
	stepPattern = regexp.MustCompile(`"step":\s*"([^"]*)"`)
	typePattern = regexp.MustCompile(`"type":\s*"(identify|group|page|alias)"`)
)

func (w *witness) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(out, r.Body, 16<<20))
	if err != nil {
		return // the client broke off
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &statusWriter{ResponseWriter: out}
	w.next.ServeHTTP(answer, r)
	if r.Method != http.MethodPost || answer.status != http.StatusOK {
		return
	}
	if z, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
		if body, err = io.ReadAll(z); err != nil {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, found := range stepPattern.FindAllSubmatch(body, -1) {
		w.told[string(found[1])] = true
	}
	for _, found := range typePattern.FindAllSubmatch(body, -1) {
		w.types[string(found[1])] = true
	}
}

// allTypes says whether one of each of the other calls was delivered.
func (w *witness) allTypes() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.types) == 4
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.told)
}

func (w *witness) steps() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for step := range w.told {
		out = append(out, step)
	}
	return out
}

// statusWriter remembers the status of an answer; 0 when the connection was reset.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Hijack lets the fault proxy reset the connection.
func (s *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return s.ResponseWriter.(http.Hijacker).Hijack()
}

// officialSDKs are the rows that this machine can show; what it cannot is told,
// and an error where TIDEGATE_REQUIRE names it.
func officialSDKs(t *testing.T) []officialSDK {
	t.Helper()
	list := []officialSDK{{name: "analytics-go.v3 3.1.0", source: "segment_go", promise: "10 attempts", open: openOfficialGo}}
	cache, err := filepath.Abs("../.cache/official")
	if err != nil {
		t.Fatal(err)
	}
	need := func(what, file, program string) string {
		t.Helper()
		path, err := exec.LookPath(program)
		if err == nil {
			_, err = os.Stat(file)
		}
		if err == nil {
			return path
		}
		message := "the official SDKs for " + what + " are left out: " + err.Error() + " (make official-sdks installs them)"
		if required(what) {
			t.Fatal(message)
		}
		t.Log("NOT TESTED: " + message)
		return ""
	}
	child := func(name, source, promise, path string, args ...string) officialSDK {
		return officialSDK{name: name, source: source, promise: promise, open: func(host, writeKey string) (program, error) {
			return openChild(exec.Command(path, append(slices.Clone(args), host, writeKey)...))
		}}
	}
	if node := need("node", filepath.Join(cache, "node", "ready"), "node"); node != "" {
		list = append(list,
			child("@segment/analytics-node", "segment_node", "10 retries", node, "official/node.mjs", "segment"),
			child("@rudderstack/rudder-sdk-node", "rudder_node", "3 retries within a second", node, "official/node.mjs", "rudder"))
		if chromium := need("chromium", filepath.Join(cache, "node", "ready"), browserPath()); chromium != "" {
			list = append(list, browserSDKs(node, chromium)...)
		}
	}
	python := filepath.Join(cache, "python", "bin", "python")
	if need("python", filepath.Join(cache, "python", "ready"), python) != "" {
		list = append(list,
			child("segment-analytics-python", "segment_python", "10 retries", python, "official/python.py", "segment"),
			inContext(child("rudder-sdk-python", "rudder_python", "10 retries", python, "official/python.py", "rudder")))
	}
	jars := filepath.Join(cache, "java")
	if java := need("java", filepath.Join(jars, "ready"), "java"); java != "" {
		list = append(list, child("com.segment.analytics.java", "segment_java", "3 retries", java, "-cp", filepath.Join(jars, "jars", "*"), "official/java/Driver.java"))
	}
	return list
}

// inContext says of an SDK that it puts a person's traits into the context.
func inContext(s officialSDK) officialSDK {
	s.traits = "context_traits_"
	return s
}

func browserPath() string {
	for _, path := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return "chromium"
}

// goProgram is analytics-go, in this process.
type goProgram struct {
	officialTracker
	mu   sync.Mutex
	sent []string
}

func openOfficialGo(host, writeKey string) (program, error) {
	p := &goProgram{}
	var err error
	p.client, err = official.NewWithConfig(writeKey, official.Config{Endpoint: host, Interval: 200 * time.Millisecond, BatchSize: 10, Logger: silent{}, Callback: p})
	return p, err
}

func (g *goProgram) track(user string, n int, id string) error {
	if n == -1 {
		return errors.Join(
			g.client.Enqueue(official.Identify{UserId: user, Traits: official.NewTraits().Set("planName", "pro")}),
			g.client.Enqueue(official.Group{UserId: user, GroupId: "g1", Traits: official.NewTraits().Set("seatCount", 5)}),
			g.client.Enqueue(official.Page{UserId: user, Name: "Home", Properties: official.NewProperties().Set("pageKind", "shop")}),
			g.client.Enqueue(official.Alias{UserId: user + "-new", PreviousId: user}))
	}
	return g.client.Enqueue(official.Track{UserId: user, MessageId: id, Event: "Step", Properties: official.Properties{"n": n, "step": id}})
}

// Success is how analytics-go reports.
func (g *goProgram) Success(m official.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if track, ok := m.(official.Track); ok {
		g.sent = append(g.sent, track.MessageId)
	}
}

// Failure is told when all attempts have failed.
func (*goProgram) Failure(official.Message, error) {}

func (g *goProgram) reported() ([]string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.sent), len(g.sent) > 0
}

// childProgram is an SDK in a program of its own, which names at its end what it
// delivered.
type childProgram struct {
	*nodeTracker
	sent []string
}

func openChild(cmd *exec.Cmd) (program, error) {
	n, err := startNode(cmd)
	return &childProgram{nodeTracker: n}, err
}

func (c *childProgram) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.in.Close(); err != nil {
		return err
	}
	for c.out.Scan() {
		if id, ok := strings.CutPrefix(c.out.Text(), "delivered "); ok {
			c.sent = append(c.sent, id)
		} else if c.out.Text() == "closed" {
			return c.cmd.Wait()
		}
	}
	return errors.Join(errors.New("the program ended before it was closed"), c.out.Err(), c.cmd.Wait())
}

func (c *childProgram) reported() ([]string, bool) { return c.sent, len(c.sent) > 0 }

// browserSDKs are the SDKs for browsers, each in a page of one Chromium.
func browserSDKs(node, chromium string) []officialSDK {
	shared := &browserProgram{start: func() (*nodeTracker, error) {
		return startNode(exec.Command(node, "official/browser.mjs", chromium))
	}}
	page := func(name, source, promise, kind string) officialSDK {
		return officialSDK{name: name, source: source, promise: promise, endless: true, open: func(host, writeKey string) (program, error) {
			return shared.openPage(kind, host, writeKey)
		}}
	}
	return []officialSDK{
		page("@segment/analytics-next", "segment_web", "10 attempts, a queue in the browser", "segment"),
		inContext(page("@rudderstack/analytics-js", "rudder_web", "10 retries, a queue in the browser", "rudder")),
		page("Segment's snippet, our SDK", "snippet_web", "no end", "snippet"),
	}
}

// browserProgram is the browser; it ends with its last page.
type browserProgram struct {
	start func() (*nodeTracker, error)

	mu      sync.Mutex
	process *nodeTracker
	pages   int
}

func (b *browserProgram) openPage(kind, host, writeKey string) (program, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		var err error
		if b.process, err = b.start(); err != nil {
			return nil, err
		}
	}
	b.pages++
	return &page{kind, b}, b.process.say("open "+kind+" "+host+" "+writeKey, "ok "+kind)
}

// page is an SDK in a page.
type page struct {
	kind    string
	browser *browserProgram
}

func (p *page) track(user string, n int, id string) error {
	return p.browser.process.track(p.kind+" "+user, n, id)
}

func (p *page) close() error {
	p.browser.mu.Lock()
	defer p.browser.mu.Unlock()
	if p.browser.pages--; p.browser.pages > 0 {
		return nil
	}
	return p.browser.process.close()
}

func (*page) reported() ([]string, bool) { return nil, false }
