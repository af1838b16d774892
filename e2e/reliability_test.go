package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/vfs"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// This file kills and cuts the collection API, the journal and the loader within
// one process, a thousand times in the time in which the binary starts a hundred
// times: the journal's disk is one in memory that knows what a kill and what a
// power cut leave of it; the warehouse is DuckDB, which lives on as a server would.
// TestKill9 does the same to the binary and its DuckDB file, a few times.

var errDead = errors.New("the process is gone")

type keyed struct{}

func (keyed) ByWriteKey(key string) (tidegate.Source, bool) {
	return tidegate.Source{Name: "web", WriteKey: "WK"}, key == "WK"
}

// machine is what outlives a process: a disk, a warehouse, and clients who
// remember what they were told.
type machine struct {
	t  *testing.T
	wh *duckdb.Warehouse

	mu    sync.Mutex
	disk  *vfs.Mem
	dead  bool // the process of the current life
	gone  chan struct{}
	acked map[string]bool
	open  []string // bodies without an answer, which clients send again
	next  int
	last  *httptest.ResponseRecorder // the last answer that was no 200

	checkpoints bool // after every load, instead of never
}

func newMachine(t *testing.T) *machine {
	wh, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "512MB", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := wh.Close(); err != nil {
			t.Error(err)
		}
	})
	return &machine{t: t, wh: wh, disk: vfs.NewMem(1), acked: map[string]bool{}}
}

// die ends the process at this moment, if it lives, and leaves what after makes of the disk.
func (m *machine) die(after func(*vfs.Mem) *vfs.Mem) (lived bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return false
	}
	m.disk, m.dead = after(m.disk), true
	close(m.gone)
	return true
}

func (m *machine) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// deadEnd is the loader's reader: a process that is gone reads no more.
type deadEnd struct {
	loader.Reader
	gone func() bool
}

func (r deadEnd) Next(ctx context.Context) (journal.Entry, error) {
	e, err := r.Reader.Next(ctx)
	if r.gone() {
		return journal.Entry{}, errDead
	}
	return e, err
}

func (r deadEnd) TryNext() (journal.Entry, bool, error) {
	e, ok, err := r.Reader.TryNext()
	if r.gone() {
		return journal.Entry{}, false, errDead
	}
	return e, ok, err
}

// mortal is the warehouse as one process has it: of what the process had not
// committed when it died nothing is left, and it does nothing afterwards.
type mortal struct {
	*duckdb.Warehouse
	gone func() bool
}

func (w mortal) Begin(ctx context.Context) (warehouse.Tx, error) {
	if w.gone() {
		return nil, errDead
	}
	tx, err := w.Warehouse.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return mortalTx{tx, w.gone}, nil
}

func (w mortal) Checkpoint(ctx context.Context) error {
	if w.gone() {
		return errDead
	}
	return w.Warehouse.Checkpoint(ctx)
}

type mortalTx struct {
	warehouse.Tx
	gone func() bool
}

func (t mortalTx) Commit() error {
	if t.gone() {
		return errors.Join(errDead, t.Rollback())
	}
	return t.Tx.Commit()
}

// process is one life.
type process struct {
	journal *journal.Journal
	loader  *loader.Loader
	handler http.Handler
	end     func()
}

// start starts a process on what the last one left. Without a warehouse nothing is loaded.
func (m *machine) start(noSync, load bool) *process {
	m.t.Helper()
	log := slog.New(slog.DiscardHandler)
	m.mu.Lock()
	disk := m.disk
	m.dead, m.gone = false, make(chan struct{})
	m.mu.Unlock()
	p := &process{}
	var err error
	p.journal, err = journal.Open(m.t.Context(), journal.Options{Dir: "/journal", FS: disk, Log: log, Now: time.Now, SegmentBytes: 64 << 10, NoSync: noSync, Fatal: func(error) {}})
	if err != nil {
		m.t.Fatal(err)
	}
	if p.handler, err = ingest.New(ingest.Options{Journal: p.journal, Sources: keyed{}, Log: log, Now: time.Now, NewID: func() string { return "made" }}); err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	done <- nil
	if load {
		reader, err := p.journal.Reader("loader")
		if err != nil {
			m.t.Fatal(err)
		}
		gone := func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.dead || m.disk != disk }
		every := time.Hour
		if m.checkpoints {
			every = time.Nanosecond
		}
		p.loader, err = loader.New(loader.Options{
			Reader: deadEnd{reader, gone}, Warehouse: mortal{m.wh, gone}, Log: log, Now: time.Now,
			Linger: time.Millisecond, MaxBackoff: time.Millisecond, CheckpointEvery: every,
		})
		if err != nil {
			m.t.Fatal(err)
		}
		<-done
		go func() {
			err := p.loader.Run(ctx)
			if err != nil && !gone() {
				m.t.Errorf("the loader ended: %v", err)
				m.die((*vfs.Mem).KillClone)
			}
			done <- err
		}()
	}
	p.end = func() {
		cancel()
		<-done // an error is the end of a dead process
		_ = p.journal.Close(context.Background())
	}
	return p
}

// send is one request of a client; it reports whether the process still lives.
func (m *machine) send(p *process, n int) bool {
	m.mu.Lock()
	var body string
	if len(m.open) > 0 {
		body, m.open = m.open[0], m.open[1:]
	} else {
		events := make([]string, n)
		for i := range events {
			events[i] = fmt.Sprintf(`{"type":"track","event":"Order","userId":"u%d","messageId":"m-%d","properties":{"n":%d}}`, m.next%40, m.next, m.next)
			m.next++
		}
		body = `{"batch":[` + strings.Join(events, ",") + `]}`
	}
	m.mu.Unlock()
	req := httptest.NewRequest(http.MethodPost, "/v1/batch", strings.NewReader(body))
	req.SetBasicAuth("WK", "")
	answer := httptest.NewRecorder()
	p.handler.ServeHTTP(answer, req)
	m.mu.Lock()
	defer m.mu.Unlock()
	if answer.Code != http.StatusOK || m.dead { // an answer of a dead process never arrives
		m.open, m.last = append(m.open, body), answer
		return !m.dead
	}
	for _, part := range strings.Split(body, `"messageId":"`)[1:] {
		m.acked[part[:strings.IndexByte(part, '"')]] = true
	}
	return true
}

// live lets clients send to p until it is dead. When they have sent enough and all
// is loaded, it dies at rest.
func (m *machine) live(p *process, after func(*vfs.Mem) *vfs.Mem) {
	m.mu.Lock()
	gone := m.gone
	m.mu.Unlock()
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for range 12 {
				if !m.send(p, 4) {
					return
				}
			}
		})
	}
	clients.Wait()
	if p.loader != nil {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
		defer cancel()
		go func() { <-gone; cancel() }()
		if err := p.loader.Wait(ctx, p.journal.Durable()); err != nil && !m.isDead() {
			m.t.Errorf("what was accepted is not loaded: %v (last fault: %+v)", err, p.loader.Stats().Fault)
		}
	}
	m.die(after)
	p.end()
}

// settle starts a last process, lets it load everything, and compares.
func (m *machine) settle() (rows int64) {
	m.t.Helper()
	p := m.start(false, true)
	defer p.end()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if err := p.loader.Wait(ctx, p.journal.Durable()); err != nil {
		m.t.Fatalf("%v (last fault: %+v)", err, p.loader.Stats().Fault)
	}
	seen := map[string]int{}
	reader, err := m.wh.Query(m.t.Context(), "select id from web.tracks")
	if err != nil {
		m.t.Fatal(err)
	}
	for {
		row, err := reader.Next(m.t.Context())
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			m.t.Fatal(err)
		}
		seen[fmt.Sprint(row[0])]++
		rows++
	}
	if err := reader.Close(); err != nil {
		m.t.Fatal(err)
	}
	lost, twice := 0, 0
	for id := range m.acked {
		if seen[id] == 0 {
			lost++
		}
	}
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	if lost > 0 || twice > 0 {
		m.t.Errorf("of %d acknowledged events %d are lost and %d are in the warehouse twice", len(m.acked), lost, twice)
	}
	return rows
}

// diesAt makes the process die at its n-th pass through one of the named places
// whose names begin with part.
func (m *machine) diesAt(part string, n int64, points map[crashpoint.Point]int, after func(*vfs.Mem) *vfs.Mem) (restore func()) {
	var passes atomic.Int64
	return crashpoint.SetHook(func(p crashpoint.Point) {
		if strings.HasPrefix(string(p), part) && passes.Add(1) == n && m.die(after) {
			m.mu.Lock()
			points[p]++
			m.mu.Unlock()
		}
	})
}

// TestThousandKills kills ingest and load 1,000 times (10,000 in a long campaign)
// at random passes through the crash points: nothing acknowledged is lost, and
// nothing is in the warehouse twice (Invariants 1, 2 and 3).
func TestThousandKills(t *testing.T) {
	kills := 1000
	if v, err := strconv.Atoi(os.Getenv("TIDEGATE_KILLS")); err == nil {
		kills = v
	}
	if long() {
		kills = 10_000
	}
	m := newMachine(t)
	rng := rand.New(rand.NewPCG(uint64(kills), 5))
	points := map[crashpoint.Point]int{}
	start := time.Now()
	turns := []struct {
		part        string
		most        int64 // passes through such a place until the kill
		checkpoints bool
	}{{"journal.", 40, false}, {"load.", 8, true}, {"journal.", 40, true}, {"load.", 3, false}, {"journal.afterCursor", 4, true}}
	for k := range kills {
		turn := turns[k%len(turns)]
		m.checkpoints = turn.checkpoints
		restore := m.diesAt(turn.part, 1+rng.Int64N(turn.most), points, (*vfs.Mem).KillClone)
		m.live(m.start(false, true), (*vfs.Mem).KillClone)
		restore()
	}
	rows := m.settle()
	t.Logf("%d kills in %v, %d events acknowledged, %d rows: 0 lost, 0 twice; killed at %v", kills, time.Since(start).Round(time.Second), len(m.acked), rows, points)
	for _, p := range []crashpoint.Point{
		crashpoint.JournalAfterWrite, crashpoint.JournalAfterSync, crashpoint.JournalAfterCursorWrite, crashpoint.JournalAfterCursorRename,
		crashpoint.LoadAfterRows, crashpoint.LoadAfterCommit, crashpoint.LoadAfterCheckpoint,
	} {
		if points[p] == 0 {
			t.Errorf("nothing was killed at %s", p)
		}
	}
}

// TestPowerCuts cuts the power 150 times (2,000 in a long campaign): what was not
// synced is gone, sector by sector, and everything acknowledged is there. A
// journal that does not sync must lose, or the test could not tell.
func TestPowerCuts(t *testing.T) {
	cuts := 150
	if long() {
		cuts = 2_000
	}
	rng := rand.New(rand.NewPCG(uint64(cuts), 6))
	cut := func(disk *vfs.Mem) *vfs.Mem { return disk.CrashClone(rng) }
	m := newMachine(t)
	points := map[crashpoint.Point]int{}
	for i := range cuts {
		m.checkpoints = i%2 == 1
		restore := m.diesAt("", 1+rng.Int64N(40), points, cut)
		m.live(m.start(false, true), cut)
		restore()
	}
	m.settle()

	const trials = 30
	losing := 0
	for range trials {
		without := &machine{t: t, disk: vfs.NewMem(rng.Uint64()), acked: map[string]bool{}}
		restore := without.diesAt("", 60+rng.Int64N(60), points, cut)
		without.live(without.start(true, false), cut)
		restore()
		if without.missing() > 0 {
			losing++
		}
	}
	t.Logf("%d power cuts, %d events acknowledged: 0 lost, 0 twice; without fsync %d of %d cuts lose events", cuts, len(m.acked), losing, trials)
	if losing < trials/6 { // half and more do; the disk keeps some unsynced sectors by chance
		t.Errorf("without fsync only %d of %d cuts lose events: the test would not notice a missing fsync", losing, trials)
	}
}

// missing counts the acknowledged events that the journal on the disk lacks. A
// journal that cannot be opened lacks them all.
func (m *machine) missing() int {
	j, err := journal.Open(m.t.Context(), journal.Options{Dir: "/journal", FS: m.disk, Log: slog.New(slog.DiscardHandler), Now: time.Now, Fatal: func(error) {}})
	if err != nil {
		return len(m.acked)
	}
	defer func() { _ = j.Close(context.Background()) }()
	found := map[string]bool{}
	r, err := j.OpenAt(j.Stats().Oldest)
	if err != nil {
		return len(m.acked)
	}
	defer func() { _ = r.Close() }()
	for {
		entry, ok, err := r.TryNext()
		if err != nil || !ok {
			break
		}
		events, err := envelope.Decode(nil, entry.Payload, entry.First)
		if err != nil {
			break
		}
		for _, ev := range events {
			_, rest, _ := strings.Cut(string(ev.Body), `"messageId":"`)
			found[rest[:max(0, strings.IndexByte(rest, '"'))]] = true
		}
	}
	lost := 0
	for id := range m.acked {
		if !found[id] {
			lost++
		}
	}
	return lost
}

// TestDiskFullAgainAndAgain fills the journal's disk 20 times under the loader:
// 503 with Retry-After while it is full, 200 when there is space, nothing lost.
func TestDiskFullAgainAndAgain(t *testing.T) {
	const fills = 20
	m := newMachine(t)
	p := m.start(false, true)
	ended := false
	defer func() {
		if !ended {
			p.end()
		}
	}()
	refused := 0
	for fill := range fills {
		m.disk.SetBudget(m.disk.Used() + 20_000)
		filled := false
		for range 2_000 {
			before := len(m.acked)
			m.send(p, 40)
			if len(m.acked) == before { // refused: the body waits to be sent again
				filled = true
				refused++
				break
			}
		}
		if !filled {
			t.Fatalf("fill %d: the disk was never full", fill)
		}
		if m.last.Code != http.StatusServiceUnavailable || m.last.Header().Get("Retry-After") == "" {
			t.Fatalf("fill %d: status %d, Retry-After %q, want 503 with a time", fill, m.last.Code, m.last.Header().Get("Retry-After"))
		}
		m.disk.SetBudget(0)
		for before := len(m.acked); len(m.acked) == before; {
			if !m.send(p, 4) {
				t.Fatal("the process died of a full disk")
			}
		}
	}
	p.end()
	ended = true
	m.settle()
	t.Logf("the disk was full %d times, %d requests were refused with 503, %d events acknowledged: 0 lost, 0 twice", fills, refused, len(m.acked))
}

// downDuck is a warehouse that can be away.
type downDuck struct {
	*duckdb.Warehouse
	down atomic.Bool
}

func (d *downDuck) Begin(ctx context.Context) (warehouse.Tx, error) {
	if d.down.Load() {
		return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.unavailable", Message: "it is away"}
	}
	return d.Warehouse.Begin(ctx)
}

// TestWarehouseAway keeps the warehouse away for a minute's worth of events at
// 2,000 a second, as an hour would: they wait on the disk and not in memory, and
// are all there once it is back.
func TestWarehouseAway(t *testing.T) {
	const events = 120_000
	log := slog.New(slog.DiscardHandler)
	wh := &downDuck{Warehouse: newMachine(t).wh}
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(t.TempDir(), "journal"), Log: log, Now: time.Now, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := j.Reader("loader")
	if err != nil {
		t.Fatal(err)
	}
	l, err := loader.New(loader.Options{Reader: reader, Warehouse: wh, Log: log, Now: time.Now, MaxBackoff: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	m := &machine{t: t, acked: map[string]bool{}}
	handler, err := ingest.New(ingest.Options{Journal: j, Sources: keyed{}, Log: log, Now: time.Now, NewID: func() string { return "made" }})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{journal: j, loader: l, handler: handler}
	m.send(p, 100) // tables and buffers are made
	if err := l.Wait(t.Context(), j.Durable()); err != nil {
		t.Fatal(err)
	}
	wh.down.Store(true)
	before := heap()
	accepted := 0
	for start := m.next; m.next < start+events; accepted++ {
		m.send(p, 100)
		m.acked = map[string]bool{} // the clients' memory is not ours
	}
	grown := heap() - before
	end := j.Durable()
	if got := end.Position; got != int64(m.next) {
		t.Errorf("%d of %d events are in the journal", got, m.next)
	}
	wh.down.Store(false)
	start := time.Now()
	patient, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	if err := l.Wait(patient, end); err != nil {
		t.Fatalf("%v (last fault: %+v)", err, l.Stats().Fault)
	}
	took := time.Since(start)
	cancel()
	if err := errors.Join(<-done, reader.Close(), j.Close(context.Background())); err != nil {
		t.Error(err)
	}
	rows, err := wh.Query(t.Context(), "select count(*), count(distinct id) from web.tracks")
	if err != nil {
		t.Fatal(err)
	}
	row, err := rows.Next(t.Context())
	if err := errors.Join(err, rows.Close()); err != nil {
		t.Fatal(err)
	}
	if row[0] != int64(m.next) || row[1] != int64(m.next) {
		t.Errorf("the warehouse holds %v rows of %v events, want %d of each", row[0], row[1], m.next)
	}
	if grown > 64<<20 {
		t.Errorf("memory grew by %d MiB while %d events waited", grown>>20, events)
	}
	t.Logf("%d events waited for the warehouse, memory grew by %.1f MiB; they were loaded in %v, %.0f a second, %.0f times the rate of 2,000 a second at which they are taken to come: 0 lost, 0 twice",
		events, float64(grown)/(1<<20), took.Round(time.Millisecond), events/took.Seconds(), events/took.Seconds()/2000)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
