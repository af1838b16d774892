package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/vfs"
	"github.com/tidegate/tidegate/warehouse"
)

func TestEventsBecomeRows(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	end := tp.add("web", epoch(),
		track("Order Completed", "m1", "u1", map[string]any{"total": 19.5, "items": []any{1, "two"}, "due": "2026-01-02"}),
		identify("m2", "u1", map[string]any{"email": "a@b.c"}),
		track("Order Completed", "m1", "u1", map[string]any{"total": 20}),
		"event.no_identity!!"+`{"type":"track","event":"x","messageId":"m3"}`,
		`{"type":"track"`,
	)
	var loaded []warehouse.Table
	o := options(tp, wh)
	o.OnLoad = func(tables []warehouse.Table) { loaded = append(loaded, tables...) }
	l := loadAll(t, o, end)
	for sql, want := range map[string][]string{
		"SELECT id, total, items, due FROM web.order_completed":                                    {`id=m1 total=19.5 items=[1,"two"] due=2026-01-02T00:00:00Z`},
		"SELECT id, event FROM web.tracks":                                                         {"id=m1 event=order_completed"},
		"SELECT id, email FROM web.users":                                                          {"id=u1 email=a@b.c"},
		"SELECT user_id, email FROM web.identifies":                                                {"user_id=u1 email=a@b.c"},
		"SELECT message_id, code FROM web.tidegate_dead_letters WHERE message_id NOT LIKE 'auto%'": {"message_id=m3 code=event.no_identity"},
		"SELECT code, body FROM web.tidegate_dead_letters WHERE code = 'event.undecodable'":        {`code=event.undecodable body={"type":"track"`},
		"SELECT next_position FROM _tidegate.cursor":                                               {"next_position=5"},
		"SELECT source, accepted, loaded, duplicate, dead FROM _tidegate.counts":                   {"source=web accepted=5 loaded=2 duplicate=1 dead=2"},
	} {
		if diff := cmp.Diff(want, table(t, wh, sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sql, diff)
		}
	}
	s := l.Stats()
	if s.Loaded != 2 || s.Duplicate != 1 || s.Dead != 2 || s.Position.Position != 5 || s.LagEvents != 0 || s.Fault != nil {
		t.Errorf("stats %+v", s)
	}
	want := []warehouse.Table{
		{Schema: "web", Name: "identifies"},
		{Schema: "web", Name: "order_completed"},
		{Schema: "web", Name: "tidegate_dead_letters"},
		{Schema: "web", Name: "tracks"},
		{Schema: "web", Name: "users"},
	}
	if diff := cmp.Diff(want, loaded); diff != "" {
		t.Errorf("OnLoad (-want +got):\n%s", diff)
	}
	counts, err := ReadCounts(t.Context(), wh)
	if err != nil || len(counts) != 1 || counts[0] != (Counts{Source: "web", Accepted: 5, Loaded: 2, Duplicate: 1, Dead: 2}) {
		t.Errorf("ReadCounts = %+v, %v", counts, err)
	}
	// On the way out the loader checkpointed and let the journal go.
	if diff := cmp.Diff(fmt.Sprint([]string{"0:5"}), fmt.Sprint(tp.committed)); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
}

func TestRepeatsAreLeftOutAcrossBatchesAndRestarts(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	for range 3 {
		tp.add("web", epoch(), track("e", "m1", "u", nil), track("e", "m2", "u", nil))
	}
	end := tp.add("app", epoch(), track("e", "m1", "u", nil)) // another source, another event
	o := options(tp, wh)
	o.MaxEvents = 1
	loadAll(t, o, end)
	end = tp.add("web", epoch(), track("e", "m2", "u", nil), track("e", "m3", "u", nil))
	o = options(tp, wh) // a new loader: the filter comes from the warehouse
	loadAll(t, o, end)
	end = tp.add("web", epoch(), track("e", "m3", "u", nil), track("e", "m4", "u", nil))
	o = options(tp, wh)
	o.MaxFilter = 1 // no filter: every batch asks
	loadAll(t, o, end)
	if diff := cmp.Diff([]string{"id=m1", "id=m2", "id=m3", "id=m4"}, table(t, wh, "SELECT id FROM web.e ORDER BY id")); diff != "" {
		t.Errorf("web.e (-want +got):\n%s", diff)
	}
	want := []string{"source=app accepted=1 loaded=1 duplicate=0 dead=0", "source=web accepted=10 loaded=4 duplicate=6 dead=0"}
	if diff := cmp.Diff(want, table(t, wh, "SELECT source, accepted, loaded, duplicate, dead FROM _tidegate.counts ORDER BY source")); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestUsersHoldTheLatestOfEveryColumn(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return epoch().Add(time.Duration(seconds) * time.Second) }
	for _, together := range []bool{true, false} {
		wh := tempDuck(t)
		tp := newTape()
		tp.add("web", at(10), identify("m1", "u", map[string]any{"a": 1, "b": 1}))
		tp.add("web", at(30), identify("m2", "u", map[string]any{"b": 3}))
		tp.add("web", at(20), identify("m3", "u", map[string]any{"a": 2, "b": 2})) // came late: older than m2
		tp.add("web", at(40), identify("m4", "v", map[string]any{"a": 9}), identify("m5", "v", map[string]any{"a": 10}))
		end := tp.add("web", at(5), identify("m6", "u", map[string]any{"c": "old", "a": 0}))
		o := options(tp, wh)
		if !together {
			o.MaxEvents = 1
		}
		loadAll(t, o, end)
		want := []string{"id=u received_at=2026-11-21T12:00:30Z a=2 b=3 c=old", "id=v received_at=2026-11-21T12:00:40Z a=10"}
		got := table(t, wh, "SELECT id, received_at, a, b, c FROM web.users ORDER BY id")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("one batch: %v: users (-want +got):\n%s", together, diff)
		}
	}
}

// TestGoldenEventsLoad loads the events of package shape's golden cases: what it
// makes of them is what the engine takes.
func TestGoldenEventsLoad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("shape/testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d cases (error %v)", len(files), err)
	}
	wh, tp := tempDuck(t), newTape()
	var end tidegate.Offset
	n := 0
	for i, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name != "events" {
				continue
			}
			for line := range strings.Lines(string(f.Data)) {
				if _, body, ok := strings.Cut(line, " <- "); ok {
					line = body
				}
				end = tp.add(fmt.Sprint("source_", i), epoch(), strings.TrimSpace(line))
				n++
			}
		}
	}
	l := loadAll(t, options(tp, wh), end)
	if s := l.Stats(); s.Loaded+s.Dead+s.Duplicate != int64(n) || s.Dead != 5 {
		t.Errorf("%d events, stats %+v", n, s)
	}
}

// TestHostileNamesLoad: names of strangers stay names.
func TestHostileNamesLoad(t *testing.T) {
	t.Parallel()
	wh, tp := tempDuck(t), newTape()
	names := []string{`a"; DROP TABLE web.tracks; --`, "'; DELETE FROM _tidegate.cursor; --", "x\" INTEGER, \"y", "select", "Ta\x00b", "\u202eevil", "%s%n", "`", "a.b.c", "🙂 ok"}
	properties := make(map[string]any)
	for i := range 500 {
		properties[names[i%len(names)]+fmt.Sprint("_", i)] = i
	}
	for i, name := range names {
		tp.add("web", epoch(), track(name, fmt.Sprint("m", i), "u", map[string]any{name: i}))
	}
	end := tp.add("web", epoch(), track("many", "m", "u", properties))
	l := loadAll(t, options(tp, wh), end)
	if s := l.Stats(); s.Loaded != end.Position || s.Dead != 0 {
		t.Errorf("stats %+v", s)
	}
	schema, err := wh.Describe(t.Context(), warehouse.Table{Schema: "web", Name: "many"})
	if err != nil || len(schema) != shape.DefaultMaxColumns {
		t.Errorf("%d columns (error %v)", len(schema), err)
	}
	if got := table(t, wh, "SELECT count(*) AS n FROM web.tracks"); got[0] != fmt.Sprint("n=", end.Position) {
		t.Errorf("web.tracks: %v", got)
	}
}

// TestFromTheJournal runs over the real journal, through a restart of everything.
func TestFromTheJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	for life := range 2 {
		j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), FS: vfs.OS(), Log: log, Now: time.Now, SegmentBytes: 1 << 20, Fatal: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		reader, err := j.Reader("loader")
		if err != nil {
			t.Fatal(err)
		}
		wh := openDuck(t, filepath.Join(dir, "w.duckdb"))
		l, err := New(Options{Reader: reader, Warehouse: wh, Log: log, Now: time.Now, Head: j.Durable})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, l)
		for i := range 50 {
			e := envelope.Envelope{Source: "web", ReceivedAt: epoch(), Events: []envelope.Event{{Body: []byte(track("e", fmt.Sprint(life, "-", i), "u", nil))}, {Body: []byte(track("e", "same", "u", nil))}}}
			if _, err := j.Append(t.Context(), envelope.Append(nil, &e), 2); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Wait(t.Context(), j.Durable()); err != nil {
			t.Fatal(err)
		}
		if got, want := table(t, wh, "SELECT count(*) AS n FROM web.e")[0], fmt.Sprint("n=", 50*(life+1)+1); got != want {
			t.Errorf("life %d: %s, want %s", life, got, want)
		}
		stop()
		if got := reader.Committed(); got != j.Durable() {
			t.Errorf("life %d: the journal was told %s of %s", life, got, j.Durable())
		}
		if err := errors.Join(reader.Close(), j.Close(t.Context()), wh.Warehouse.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
