package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKilledInABacklog lets 300,000 events wait for the warehouse, then kills the binary
// again and again while it loads them, most often while it commits: in the end each event
// is there once, in every table, and none was taken for a repeat (Invariants 2 and 3).
//
// Of a commit that is cut short DuckDB would keep whole groups of 122,880 rows and nothing
// else (docs/gotchas.md). So many events are needed to see it, of several names: a transaction
// fills a group of ids and one of tracks, and the tables of the events are written in between.
func TestKilledInABacklog(t *testing.T) {
	backlogs, kills := 1, 5
	if long() {
		backlogs, kills = 40, 14
	}
	if v, err := strconv.Atoi(os.Getenv("TIDEGATE_BACKLOGS")); err == nil {
		backlogs = v
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for backlog := range backlogs {
		t.Run(strconv.Itoa(backlog), func(t *testing.T) {
			n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
			n.start()
			n.fillWhileLent(backlogEvents)
			cut, anywhere := 0, 0
			for k := range kills {
				switch {
				case k%3 == 2:
					anywhere++
					n.launch()
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond) // the random moment
					n.kill()
				case n.killInCommit(rng.Int64N(14 << 20)):
					cut++
					n.checkWhole(k)
				case cut == 0:
					t.Fatal("no transaction was written")
				}
			}
			n.start()
			n.checkBacklog(t, backlogEvents)
			if code := n.stop(); code != 0 {
				t.Errorf("SIGTERM: exit code %d, want 0", code)
			}
			if !t.Failed() {
				t.Logf("%d events waited; %d kills while a transaction was written, %d at any moment; 0 lost, 0 twice, 0 taken for repeats", backlogEvents, cut, anywhere)
			}
		})
	}
}

// backlogEvents are more than two transactions of the loader.
const backlogEvents = 300_000

var backlogNames = []string{"Sold", "Returned", "Viewed"}

// fillWhileLent has the server accept events, in batches of 100, while its warehouse is
// lent, and kills it before it gets the warehouse back.
func (n *node) fillWhileLent(events int) {
	n.t.Helper()
	borrower := exec.Command(n.bin, "exec", "--project", n.project, "--data", n.data, "--", "sh", "-c", "echo lent; exec cat")
	var errOut bytes.Buffer
	borrower.Stderr = &errOut
	hold, err := borrower.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	said, err := borrower.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := borrower.Start(); err != nil {
		n.t.Fatal(err)
	}
	defer func() {
		_ = hold.Close()
		_ = borrower.Wait() // the server that lent is gone: an error is right
	}()
	if _, err := io.ReadFull(said, make([]byte, len("lent\n"))); err != nil {
		n.t.Fatalf("borrowing the warehouse: %v\n%s", err, errOut.String())
	}
	const clients, perBatch = 4, 100
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				last := int(sent.Add(perBatch))
				if last > events {
					return
				}
				if status, answer, err := n.post("/v1/batch", backlogBatch(last-perBatch, last)); err != nil || status != http.StatusOK {
					n.t.Errorf("status %d, %q, %v", status, answer, err)
					return
				}
			}
		})
	}
	wg.Wait()
	n.kill()
	if n.t.Failed() {
		n.t.FailNow()
	}
}

func backlogBatch(from, to int) string {
	var b strings.Builder
	b.WriteString(`{"batch":[`)
	for i := from; i < to; i++ {
		if i > from {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"type":"track","event":"%s","userId":"u%d","messageId":"b-%07d","properties":{"n":%d}}`,
			backlogNames[i%len(backlogNames)], i%5000, i, i)
	}
	b.WriteString(`]}`)
	return b.String()
}

// killInCommit starts the server and kills it when the warehouse's log has grown by more
// than the given bytes; a transaction writes some 15 MB. It is false when the log stayed as
// it was: everything is loaded.
func (n *node) killInCommit(after int64) bool {
	n.t.Helper()
	n.launch()
	log := filepath.Join(n.data, "warehouse.duckdb.wal")
	smallest, at := size(log), int64(0)
	for limit := time.Now().Add(30 * time.Second); at <= smallest+after && time.Now().Before(limit); {
		time.Sleep(100 * time.Microsecond)
		at = size(log)
		smallest = min(smallest, at)
	}
	n.kill()
	return at > smallest+after
}

// checkWhole opens what the kill left, on a copy, as a start would: of each transaction all is
// there or nothing. The next kill may hide what this one broke.
func (n *node) checkWhole(kill int) {
	n.t.Helper()
	left := n.t.TempDir()
	for _, name := range []string{"warehouse.duckdb", "warehouse.duckdb.wal"} {
		text, err := os.ReadFile(filepath.Join(n.data, name))
		if err != nil {
			n.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, name), text, 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
	out := n.mustCLI("query", "--project", n.project, "--data", left, "--json",
		"select (select count(*) from _tidegate.seen) ids, (select count(*) from web.tracks) tracks, (select count(*) from web.sold) + (select count(*) from web.returned) + (select count(*) from web.viewed) events")
	var row struct{ IDs, Tracks, Events int64 }
	if err := json.Unmarshal([]byte(out), &row); err != nil {
		n.t.Fatalf("reading %q: %v", out, err)
	}
	if row.IDs != row.Tracks || row.Tracks != row.Events {
		n.t.Errorf("kill %d left a part of a transaction: %d ids, %d rows of tracks, %d of the events' tables", kill, row.IDs, row.Tracks, row.Events)
	}
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// checkBacklog waits until all of the backlog is loaded, and counts.
func (n *node) checkBacklog(t *testing.T, events int64) {
	t.Helper()
	s := &sender{node: n, acked: map[string]bool{}}
	s.awaitLoader(t)
	type count struct {
		what, sql string
		want      int64
	}
	counts := []count{
		{"accepted, by the books", "select sum(accepted)::bigint from _tidegate.hourly", events + 1}, // and the marker
		{"loaded, by the books", "select sum(loaded)::bigint from _tidegate.hourly", events + 1},
		{"taken for repeats, by the books", "select sum(duplicate)::bigint from _tidegate.hourly", 0},
		{"rows of tracks", "select count(*) from web.tracks where id like 'b-%'", events},
		{"events in tracks", "select count(distinct id) from web.tracks where id like 'b-%'", events},
		{"rows of tracks that an event's table has not", "select count(*) from web.tracks where id like 'b-%' and id not in (select id from web.sold union all select id from web.returned union all select id from web.viewed)", 0},
	}
	for _, table := range []string{"sold", "returned", "viewed"} {
		counts = append(counts, count{"rows of " + table, "select count(*) from web." + table, events / 3}, count{"events in " + table, "select count(distinct n) from web." + table, events / 3})
	}
	for _, c := range counts {
		got, err := n.queryInt(c.sql)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}
