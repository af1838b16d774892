package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/internal/loadgen"
)

const project = "warehouse:\n  kind: duckdb\nsources:\n  - name: web\n    write_key: WK\n"

// server is one `tidegate serve` under measurement.
type server struct {
	bin, dir      string
	ingest, admin string
	cmd           *exec.Cmd
	log           bytes.Buffer
	env           []string
}

func (b *bench) newServer() (*server, error) { return b.newServerOf(project) }

func (b *bench) newServerOf(project string) (*server, error) {
	dir, err := os.MkdirTemp("", "tidegate-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "project"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "project", "tidegate.yaml"), []byte(project), 0o644); err != nil {
		return nil, err
	}
	return &server{bin: b.bin, dir: dir, ingest: freeAddr(), admin: freeAddr()}, nil
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) start() error {
	s.cmd = exec.Command(s.bin, "serve", "--project", filepath.Join(s.dir, "project"), "--data", s.data(), "--ingest-addr", s.ingest, "--admin-addr", s.admin)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.Env = append(os.Environ(), s.env...)
	return s.cmd.Start()
}

// ready waits until the whole hub answers.
func (s *server) ready() error {
	return poll(60*time.Second, func() bool { return get("http://"+s.admin+"/readyz") == http.StatusOK })
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *server) remove() {
	s.kill()
	_ = os.RemoveAll(s.dir)
}

// lend takes the warehouse's file away from the server, so that nothing is loaded,
// and returns once that is so. giveBack ends it.
func (s *server) lend(ctx context.Context) (giveBack func() error, err error) {
	const word = "lent"
	lent := exec.CommandContext(ctx, s.bin, "exec", "--data", s.data(), "--", "sh", "-c", "echo "+word+"; exec cat") // until its input ends
	var complaint bytes.Buffer
	lent.Stderr = &complaint
	hold, err := lent.StdinPipe()
	if err != nil {
		return nil, err
	}
	said, err := lent.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := lent.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		_ = lent.Process.Kill()
		_ = lent.Wait()
		return nil, fmt.Errorf("lending the warehouse: the command said %q: %w\n%s", line, err, complaint.String())
	}
	return func() error {
		_ = hold.Close()
		if err := lent.Wait(); err != nil {
			return fmt.Errorf("lending the warehouse: %w", err)
		}
		return nil
	}, nil
}

// query runs SQL through the CLI and calls each with every row.
func (s *server) query(ctx context.Context, sql string, each func(map[string]any)) error {
	cmd := exec.CommandContext(ctx, s.bin, "query", "--data", s.data(), "--json", sql)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	dec := json.NewDecoder(bufio.NewReaderSize(out, 1<<20))
	for {
		var row map[string]any
		if err := dec.Decode(&row); err != nil {
			break
		}
		each(row)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("tidegate query: %w\n%s", err, errOut.String())
	}
	return nil
}

func (s *server) count(ctx context.Context, sql string) (n int64, err error) {
	found := false
	err = s.query(ctx, sql, func(row map[string]any) {
		for _, v := range row {
			if f, ok := v.(float64); ok {
				n, found = int64(f), true
			}
		}
	})
	if err == nil && !found {
		err = errors.New("the query returned no number")
	}
	return n, err
}

// verify kills the server, starts it again and holds the warehouse against
// what was acknowledged.
func (s *server) verify(ctx context.Context, acked ...*loadgen.Acked) error {
	s.kill()
	if err := s.start(); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return fmt.Errorf("starting after the kill: %w\n%s", err, s.log.String())
	}
	if err := s.caughtUp(ctx, 5*time.Minute); err != nil {
		return err
	}
	for _, a := range acked {
		// Ids are unique, so equal numbers are equal sets; only where they differ
		// (an answer was cut off at the end) is each id looked at.
		total, err := s.count(ctx, "select count(*) from web.tracks where id like '"+a.Prefix()+"%'")
		if err != nil {
			return err
		}
		distinct, err := s.count(ctx, "select count(distinct id) from web.tracks where id like '"+a.Prefix()+"%'")
		if err != nil {
			return err
		}
		if total == distinct && total == a.Len() {
			continue
		}
		seen := make(map[string]bool, a.Len())
		twice := 0
		err = s.query(ctx, "select id from web.tracks where id like '"+a.Prefix()+"%'", func(row map[string]any) {
			id, _ := row["id"].(string)
			if seen[id] {
				twice++
			}
			seen[id] = true
		})
		if err != nil {
			return err
		}
		lost := 0
		for id := range a.IDs() {
			if !seen[id] {
				lost++
			}
		}
		if lost > 0 || twice > 0 {
			return fmt.Errorf("of %d acknowledged events %d are lost and %d are there twice: the throughput does not count", a.Len(), lost, twice)
		}
	}
	return nil
}

// caughtUp waits until the loader has nothing before it.
func (s *server) caughtUp(ctx context.Context, within time.Duration) error {
	for deadline := time.Now().Add(within); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if lag, ok := s.lag(); ok && lag == 0 {
			return nil
		}
	}
	return fmt.Errorf("the loader did not catch up within %v", within)
}

// readiness is what /readyz says of the stages.
type readiness struct {
	Stages []struct {
		Name       string  `json:"name"`
		LagEvents  int64   `json:"lag_events"`
		LagSeconds float64 `json:"lag_seconds"`
	} `json:"stages"`
}

func (s *server) readiness() (r readiness, err error) {
	resp, err := http.Get("http://" + s.admin + "/readyz")
	if err != nil {
		return r, err
	}
	defer func() { _ = resp.Body.Close() }()
	return r, json.NewDecoder(resp.Body).Decode(&r)
}

// lag returns how many events wait before the loader.
func (s *server) lag() (int64, bool) {
	r, err := s.readiness()
	if err != nil {
		return 0, false
	}
	for _, st := range r.Stages {
		if st.Name == "loader" {
			return st.LagEvents, true
		}
	}
	return 0, false
}

// usage is what a process has used.
type usage struct {
	cpu time.Duration
	rss float64 // MiB
}

func use(pid int) (u usage) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) > 12 {
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		u.cpu = time.Duration(user+system) * 10 * time.Millisecond // clock ticks of 1/100 s
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			u.rss = kb / 1024
		}
	}
	return u
}

func serveDiscard(addr string) error { return serveBaseline(addr, loadgen.Discard()) }

// startBaseline runs this program as one of the baselines and returns where it listens.
func startBaseline(name string, args ...string) (*exec.Cmd, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	addr := freeAddr()
	cmd := exec.Command(self, append([]string{name, addr}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	return cmd, addr, poll(20*time.Second, func() bool { return get("http://"+addr+"/") != 0 })
}

func get(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func poll(within time.Duration, ok func() bool) error {
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain", within)
		}
		time.Sleep(5 * time.Millisecond) // often enough for start-up times, rare enough to cost nothing
	}
	return nil
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// stageAge returns the age in seconds of the oldest event waiting before a stage.
func (s *server) stageAge(stage string) float64 {
	r, err := s.readiness()
	if err != nil {
		return 0
	}
	for _, st := range r.Stages {
		if st.Name == stage {
			return st.LagSeconds
		}
	}
	return 0
}

func percentile(v []float64, p float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[min(int(float64(len(v))*p), len(v)-1)]
}

func post(addr string) int {
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/v1/track", strings.NewReader(`{"event":"Started","userId":"u"}`))
	if err != nil {
		return 0
	}
	req.SetBasicAuth("WK", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
