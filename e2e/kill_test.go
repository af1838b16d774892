package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sender is a population of clients that remember which events were
// acknowledged and, like real SDKs, send again what was not.
type sender struct {
	node  *node
	mu    sync.Mutex
	acked map[string]bool
	next  int
	open  []string // bodies sent without an answer, sent again under the same messageIds
}

func (s *sender) body() (ids []string, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) > 0 {
		body = s.open[0]
		s.open = s.open[1:]
		for _, part := range strings.Split(body, `"messageId":"`)[1:] {
			ids = append(ids, part[:strings.IndexByte(part, '"')])
		}
		return ids, body
	}
	var b strings.Builder
	b.WriteString(`{"batch":[`)
	for i := range 5 {
		id := fmt.Sprintf("m-%08d", s.next)
		s.next++
		ids = append(ids, id)
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"type":"track","event":"Order Completed","userId":"u%d","messageId":"%s","timestamp":"2026-11-21T10:00:00.000Z","properties":{"n":%d,"total":%d.5}}`,
			s.next%50, id, s.next, s.next%90)
	}
	b.WriteString(`]}`)
	return ids, b.String()
}

// run sends from workers clients until stop is closed.
func (s *sender) run(workers int, stop <-chan struct{}) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ids, body := s.body()
				status, _, err := s.node.post("/v1/batch", body)
				s.mu.Lock()
				if err == nil && status == http.StatusOK {
					for _, id := range ids {
						s.acked[id] = true
					}
				} else {
					s.open = append(s.open, body)
				}
				s.mu.Unlock()
				if err != nil {
					time.Sleep(2 * time.Millisecond) // the server is down; what a client does between attempts
				}
			}
		})
	}
	wg.Wait()
}

func (s *sender) ackedCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// TestKill9 kills the real binary at random moments while clients send, and
// then looks for every acknowledged event in the warehouse, exactly once
// (Invariants 1, 2 and 3).
func TestKill9(t *testing.T) {
	kills := 12
	if long() {
		kills = 1000
	}
	if v, err := strconv.Atoi(os.Getenv("TIDEGATE_KILLS")); err == nil {
		kills = v
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))

	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	s := &sender{node: n, acked: map[string]bool{}}
	for k := range kills {
		n.start()
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() { s.run(8, stop); close(done) }()
		before := s.ackedCount()
		n.waitFor(10*time.Second, "an acknowledgement", func() bool { return s.ackedCount() > before })
		time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond) // the random moment
		n.kill()
		close(stop)
		<-done
		if s.ackedCount() == before {
			t.Fatalf("kill %d: nothing was acknowledged, so nothing was tested", k)
		}
	}
	n.start()
	s.checkWarehouse(t)
	if code := n.stop(); code != 0 {
		t.Errorf("SIGTERM: exit code %d, want 0", code)
	}
	t.Logf("%d kills, %d events acknowledged, all in the warehouse once", kills, s.ackedCount())
}

// awaitLoader waits until the loader has caught up.
func (s *sender) awaitLoader(t *testing.T) {
	t.Helper()
	n := s.node
	// A marker sent last is loaded last: when it is there, everything before is.
	marker := fmt.Sprintf("marker-%d", time.Now().UnixNano())
	status, answer, err := n.post("/v1/track", `{"event":"Marker","userId":"u","messageId":"`+marker+`"}`)
	if err != nil || status != http.StatusOK {
		t.Fatalf("sending the marker: status %d, %q, %v", status, answer, err)
	}
	n.waitFor(60*time.Second, "the loader to catch up", func() bool {
		got, err := n.queryInt("select count(*) from web.tracks where id = '" + marker + "'")
		return err == nil && got == 1
	})
}

// checkWarehouse waits until the loader has caught up and compares.
func (s *sender) checkWarehouse(t *testing.T) {
	t.Helper()
	n := s.node
	s.awaitLoader(t)
	list := make([]string, 0, len(s.acked))
	for id := range s.acked {
		list = append(list, "('"+id+"')")
	}
	for _, table := range []string{"tracks", "order_completed"} {
		total, err := n.queryInt("select count(*) from web." + table)
		if err != nil {
			t.Fatal(err)
		}
		distinct, err := n.queryInt("select count(distinct id) from web." + table)
		if err != nil {
			t.Fatal(err)
		}
		if total != distinct {
			t.Errorf("web.%s holds %d rows of %d events: some twice", table, total, distinct)
		}
		missing := int64(0)
		for start := 0; start < len(list); start += 2000 {
			chunk := list[start:min(start+2000, len(list))]
			got, err := n.queryInt("select count(*) from (values " + strings.Join(chunk, ",") + ") v(id) where id not in (select id from web." + table + ")")
			if err != nil {
				t.Fatal(err)
			}
			missing += got
		}
		if missing > 0 {
			t.Errorf("web.%s lacks %d of %d acknowledged events", table, missing, len(list))
		}
	}
}

// TestLoadCrashPoints kills the process at each named place of the loader and
// the journal, three times each, by the process's own hand.
func TestLoadCrashPoints(t *testing.T) {
	points := []string{
		"journal.afterWrite", "journal.afterSync", "load.afterRows", "load.afterCommit", "load.afterCheckpoint",
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			n := newNode(t, map[string]string{"tidegate.yaml": smallProject + "settings:\n  checkpoint_every: 200ms\n"})
			s := &sender{node: n, acked: map[string]bool{}}
			for pass := 1; pass <= 3; pass++ {
				n.env = []string{fmt.Sprintf("TIDEGATE_CRASHPOINT=%s:%d", point, pass)}
				n.launch()
				stop := make(chan struct{})
				done := make(chan struct{})
				go func() { s.run(4, stop); close(done) }()
				state := n.exited(30 * time.Second)
				close(stop)
				<-done
				if ws, ok := state.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
					t.Fatalf("pass %d: the process ended with %v, not at the crash point\n%s", pass, state, tail(n.log.String(), 3000))
				}
			}
			n.env = nil
			n.start()
			s.checkWarehouse(t)
		})
	}
}

// TestTerminateUnderLoad stops the server politely while clients send: every
// 200 is on disk and the exit code is 0.
func TestTerminateUnderLoad(t *testing.T) {
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	s := &sender{node: n, acked: map[string]bool{}}
	for range 3 {
		n.start()
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() { s.run(8, stop); close(done) }()
		before := s.ackedCount()
		n.waitFor(10*time.Second, "some acknowledgements", func() bool { return s.ackedCount() > before+200 })
		if code := n.stop(); code != 0 {
			t.Errorf("exit code %d, want 0\n%s", code, tail(n.log.String(), 3000))
		}
		close(stop)
		<-done
	}
	n.start()
	s.checkWarehouse(t)
}
