package loader

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// diary remembers in which order things happened.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// Write notes a line of a log.
func (d *diary) Write(line []byte) (int, error) {
	d.note(string(line))
	return len(line), nil
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

type diaryReader struct {
	*tapeReader
	*diary
}

func (r diaryReader) Commit(_ context.Context, next tidegate.Offset) error {
	r.note("journal told " + next.String())
	return nil
}

type diaryDuck struct {
	duck
	*diary
	fail atomic.Bool
}

func (w *diaryDuck) Checkpoint(ctx context.Context) error {
	if w.fail.Swap(false) {
		w.note("checkpoint failed")
		return errPlanted
	}
	w.note("checkpoint")
	return w.duck.Checkpoint(ctx)
}

// TestTheJournalIsLetGoOnlyAfterACheckpoint moves the clock by hand.
func TestTheJournalIsLetGoOnlyAfterACheckpoint(t *testing.T) {
	t.Parallel()
	d := &diary{}
	wh, tp := &diaryDuck{duck: tempDuck(t), diary: d}, newTape()
	o := options(tp, wh)
	o.Reader = diaryReader{tp.reader(), d}
	var passed atomic.Int64
	o.Now = func() time.Time { return epoch().Add(time.Duration(passed.Load())) }
	o.CheckpointAfterDDL, o.CheckpointEvery = time.Hour, 3*time.Hour
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l)
	add := func(id string) {
		t.Helper()
		if err := l.Wait(t.Context(), tp.add("web", epoch(), track("e", id, "u", nil))); err != nil {
			t.Fatal(err)
		}
	}
	add("m1") // makes tables: due an hour later
	passed.Store(int64(30 * time.Minute))
	add("m2")
	wh.fail.Store(true)
	passed.Store(int64(90 * time.Minute))
	add("m3") // the checkpoint after it fails and is tried again
	add("m4")
	passed.Store(int64(2 * time.Hour))
	add("m5") // no new table, not three hours yet
	stop()    // the last one
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.lines[len(d.lines)-1]
	if last != "journal told 0:5" || d.lines[0] != "checkpoint failed" {
		t.Errorf("%q", d.lines)
	}
	for i, line := range d.lines {
		if strings.HasPrefix(line, "journal") && d.lines[i-1] != "checkpoint" {
			t.Errorf("%q: the journal was let go without a checkpoint", d.lines)
		}
	}
	if n := len(d.lines); n != 5 { // failed, again, told, last, told
		t.Errorf("%d entries: %q", n, d.lines)
	}
}

// TestLoadingGoesOnWhileOthersWrite: the engine checkpoints nothing while a sync stores its plan.
// Events are loaded meanwhile and nobody is told before it lasts; the journal keeps what is loaded.
func TestLoadingGoesOnWhileOthersWrite(t *testing.T) {
	t.Parallel()
	d := &diary{}
	wh, tp := &diaryDuck{duck: tempDuck(t), diary: d}, newTape()
	o := options(tp, wh)
	o.Reader = diaryReader{tp.reader(), d}
	var log diary
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	var passed atomic.Int64
	o.Now = func() time.Time { return epoch().Add(time.Duration(passed.Load())) }
	o.MaxBackoff = time.Hour // nothing here is worth waiting for
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l)
	add := func(id string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Wait(ctx, tp.add("web", epoch(), track("e", id, "u", nil))); err != nil {
			t.Fatalf("%s is not loaded while another transaction writes: %v", id, err)
		}
	}
	add("m1")
	other, err := wh.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "CREATE TABLE main.planned (x INTEGER)"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		passed.Add(int64(2 * time.Minute))
		add(fmt.Sprint("during", i))
	}
	if lines := log.all(); len(lines) > 0 {
		t.Errorf("after eight minutes somebody is told: %s", lines)
	}
	for i := range 5 {
		passed.Add(int64(2 * time.Minute))
		add(fmt.Sprint("later", i))
	}
	if lines := log.all(); len(lines) != 1 || !strings.Contains(lines[0], "cannot be checkpointed") {
		t.Errorf("after twenty minutes it is told once, not so: %q", lines)
	}
	for _, line := range d.all() {
		if line != "checkpoint" { // each was refused
			t.Errorf("%q while another transaction writes", line)
		}
	}
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	passed.Add(int64(time.Minute))
	add("after")
	stop()
	if lines := d.all(); !strings.HasPrefix(lines[len(lines)-1], "journal told") {
		t.Errorf("afterwards the journal is told nothing: %q", lines)
	}
}

func TestFilterNeverForgets(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	f := &filter{max: 1_000_000}
	var all []fingerprint
	for range 300_000 {
		p := fingerprint{int64(r.Uint64()), int64(r.Uint64())}
		all = append(all, p)
		f = f.add(p)
	}
	for _, p := range all {
		if !f.perhaps(p) {
			t.Fatal("an id that was added is unknown")
		}
	}
	wrong := 0
	for range 100_000 {
		if f.perhaps(fingerprint{int64(r.Uint64()), int64(r.Uint64())}) {
			wrong++
		}
	}
	if wrong > 1500 {
		t.Errorf("%d of 100,000 new ids would be looked up", wrong)
	}
	small := &filter{max: 2}
	for _, p := range all[:3] {
		small = small.add(p)
	}
	if small != nil || !small.perhaps(fingerprint{}) {
		t.Error("a filter that is too large must answer perhaps")
	}
}

// TestCaptures loads what official SDKs sent.
func TestCaptures(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/captures/*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d captures (error %v)", len(files), err)
	}
	wh, tp := tempDuck(t), newTape()
	var end tidegate.Offset
	ids := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range strings.Split(string(text), "\n### ") {
			_, body, ok := strings.Cut(request, "wire, transfer-encoding []\n")
			if !ok || !strings.Contains(request, "POST ") {
				continue
			}
			var sent struct {
				Batch     []json.RawMessage
				MessageID string
			}
			if err := json.Unmarshal([]byte(body), &sent); err != nil {
				continue // no body, or not one of events
			}
			if sent.Batch == nil {
				sent.Batch = []json.RawMessage{json.RawMessage(strings.TrimSpace(body))}
			}
			var events []string
			for _, ev := range sent.Batch {
				var e struct{ Type, MessageID string }
				if json.Unmarshal(ev, &e) == nil && tidegate.EventType(e.Type).Valid() {
					events = append(events, string(ev))
					ids[e.MessageID] = true
				}
			}
			if len(events) > 0 {
				end = tp.add("web", epoch(), events...)
			}
		}
	}
	l := loadAll(t, options(tp, wh), end)
	if s := l.Stats(); s.Loaded != int64(len(ids)) || s.Dead != 0 || len(ids) < 30 {
		t.Errorf("%d message ids, stats %+v", len(ids), s)
	}
	rows := 0
	for _, name := range []string{"tracks", "identifies", "pages", "screens", "groups", "aliases"} {
		n, err := wh.Describe(t.Context(), warehouse.Table{Schema: "web", Name: name})
		if err != nil {
			continue // no SDK sent one
		}
		if n.Index("context_library_name") < 0 {
			t.Errorf("%s has no context_library_name", name)
		}
		var count int
		if _, err := fmt.Sscanf(table(t, wh, "SELECT count(*) AS n FROM web."+name)[0], "n=%d", &count); err != nil {
			t.Fatal(err)
		}
		rows += count
	}
	if rows != len(ids) {
		t.Errorf("%d rows for %d message ids", rows, len(ids))
	}
}

// TestAJournalThatBeginsLater: a warehouse that lost more than the journal has left
// is not passed over in silence.
func TestAJournalThatBeginsLater(t *testing.T) {
	t.Parallel()
	wh, tp := tempDuck(t), newTape()
	tp.next.Position = 5
	end := tp.add("web", epoch(), track("e", "m5", "u", nil))
	o := options(tp, wh)
	reader := trimmedReader{tp.reader(), 5, make(chan struct{}, 1)}
	o.Reader = reader
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l)
	for range 3 { // the second attempt comes after the first failed, the third after that
		<-reader.asked
	}
	if s := l.Stats(); s.Fault == nil || s.Fault.Code != "journal.trimmed" || s.Position.Position != 0 {
		t.Errorf("stats %+v", s)
	}
	stop()
	if err := SetCursor(t.Context(), wh, tidegate.Offset{Position: 5}, ""); err != nil {
		t.Fatal(err)
	}
	loadAll(t, o, end)
	if got := table(t, wh, "SELECT id FROM web.e"); len(got) != 1 || got[0] != "id=m5" {
		t.Errorf("web.e: %v", got)
	}
}

type trimmedReader struct {
	*tapeReader
	oldest int64
	asked  chan struct{}
}

func (r trimmedReader) Seek(offset tidegate.Offset) error {
	if offset.Position < r.oldest {
		select {
		case r.asked <- struct{}{}:
		default:
		}
		return &tidegate.Fault{Action: tidegate.Halt, Code: "journal.trimmed", Message: "gone"}
	}
	return r.tapeReader.Seek(offset)
}
