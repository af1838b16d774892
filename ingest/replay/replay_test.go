package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rules block events without a total while they are strict, and multiply it.
type rules struct {
	mu     sync.Mutex
	strict bool
	factor int
}

func (r *rules) set(strict bool, factor int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strict, r.factor = strict, factor
}

func (r *rules) Judge(_ context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, it := range items {
		if it.Event.Source != "web" {
			return fmt.Errorf("judged under the name %s", it.Event.Source)
		}
		var body struct {
			Properties map[string]any `json:"properties"`
		}
		if err := json.Unmarshal(it.Event.Body, &body); err != nil {
			return err
		}
		total, ok := body.Properties["total"].(float64)
		v := &verdicts[i]
		switch {
		case !ok && r.strict && it.Type == tidegate.Track:
			v.Fate, v.Code, v.Reason = judge.Dead, "plan.violation", "total is missing"
			v.Violations = []judge.Violation{{Plan: "shop", Event: "Sold", Kind: "required", Path: "properties.total", Action: "block"}}
		case r.factor > 1:
			b := strings.Replace(string(it.Event.Body), fmt.Sprintf(`"total":%v`, total), fmt.Sprintf(`"total":%v`, total*float64(r.factor)), 1)
			v.Event = &tidegate.Event{Body: []byte(b)}
		}
	}
	return nil
}

type rig struct {
	t       *testing.T
	journal *journal.Journal
	wh      *duckdb.Warehouse
	loader  *loader.Loader
	rules   *rules
	hidden  *privacy.Set
}

func start(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	r := &rig{t: t, rules: &rules{strict: true}, hidden: &privacy.Set{}}
	var err error
	if r.journal, err = journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Now: time.Now, SegmentBytes: 4 << 10, Fatal: func(err error) { t.Error(err) }}); err != nil {
		t.Fatal(err)
	}
	if r.wh, err = duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(dir, "w.duckdb"), MemoryLimit: "1GB", Log: log, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	reader, err := r.journal.Reader("loader")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.journal.Reader("keep"); err != nil { // nothing is trimmed
		t.Fatal(err)
	}
	if r.loader, err = loader.New(loader.Options{Reader: reader, Warehouse: r.wh, Log: log, Now: time.Now, Head: r.journal.Durable, Judge: r.rules, Linger: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.loader.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, r.wh.Close(), r.journal.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return r
}

func at() time.Time { return time.Date(2026, 11, 21, 12, 30, 0, 0, time.UTC) }

// send appends one frame and waits until it is loaded. "CODE!!BODY" is a refused event.
func (r *rig) send(bodies ...string) {
	r.t.Helper()
	e := envelope.Envelope{Source: "web", ReceivedAt: at(), RequestIP: "203.0.113.7", Context: []byte(`{"app":{"name":"shop"}}`)}
	for _, b := range bodies {
		ev := envelope.Event{Body: []byte(b)}
		if code, rest, ok := strings.Cut(b, "!!"); ok {
			ev.Refusal, ev.Body = code, []byte(rest)
		}
		e.Events = append(e.Events, ev)
	}
	first, err := r.journal.Append(r.t.Context(), envelope.Append(nil, &e), len(e.Events))
	if err != nil {
		r.t.Fatal(err)
	}
	r.wait(tidegate.Offset{Position: first.Position + int64(len(e.Events))})
}

func (r *rig) wait(below tidegate.Offset) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if err := r.loader.Wait(ctx, below); err != nil {
		r.t.Fatalf("%v (fault %+v)", err, r.loader.Stats().Fault)
	}
}

func sold(id, user string, properties string) string {
	return fmt.Sprintf(`{"type":"track","event":"Sold","messageId":%q,"userId":%q,"timestamp":"2026-11-21T12:29:00Z","properties":{%s}}`, id, user, properties)
}

func (r *rig) replayer() *Replayer {
	return New(Options{
		Journal: r.journal, Append: r.journal, Warehouse: r.wh, Hidden: r.hidden, Schema: func(s string) string { return s },
		Loaded: func(ctx context.Context, below tidegate.Offset) error { return r.loader.Wait(ctx, below) },
		Refusal: func(body []byte) string {
			switch {
			case strings.Contains(string(body), "userId"):
				return ""
			case strings.HasPrefix(string(body), "no json"):
				return "event.x"
			}
			return "event.no_identity"
		},
	})
}

func (r *rig) everything() What { return What{Range: Range{To: r.journal.Durable()}} }

func (r *rig) live(what What) Totals {
	r.t.Helper()
	var counts Totals
	if err := r.replayer().Live(r.t.Context(), what, tidegate.Offset{}, &counts, func(tidegate.Offset) error { return nil }); err != nil {
		r.t.Fatal(err)
	}
	return counts
}

// rows returns the rows of a query as text.
func (r *rig) rows(sql string) []string {
	r.t.Helper()
	var all []string
	if err := warehouse.Each(r.t.Context(), r.wh, sql, nil, func(row tidegate.Row) error {
		all = append(all, fmt.Sprint([]any(row)...))
		return nil
	}); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return all
}

// tables returns every row of every table of the source, without the places of dead
// letters, which move on when they are replayed.
func (r *rig) tables() map[string][]string {
	r.t.Helper()
	all := map[string][]string{}
	tables, err := r.wh.Tables(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, tb := range tables {
		if tb.Schema != "web" {
			continue
		}
		what := "*"
		if tb.Name == "tidegate_dead_letters" || tb.Name == "tidegate_violations" {
			what = "* EXCLUDE (journal_offset, uuid_ts)"
		}
		all[tb.Name] = r.rows(fmt.Sprintf("SELECT %s FROM web.%q ORDER BY ALL", what, tb.Name))
	}
	return all
}

// balanced holds the hourly books of tables against the tables.
func (r *rig) balanced() {
	r.t.Helper()
	for name, rows := range r.tables() {
		if name == "users" {
			continue
		}
		if got := r.rows("SELECT coalesce(CAST(sum(rows) AS BIGINT), 0) FROM _tidegate.hourly_rows WHERE table_schema = 'web' AND table_name = '" + name + "'"); got[0] != fmt.Sprint(len(rows)) {
			r.t.Errorf("the books say that %s has %s rows, it has %d", name, got[0], len(rows))
		}
	}
}

func fill(r *rig) {
	for i := range 30 {
		r.send(sold(fmt.Sprint("m", i), fmt.Sprint("u", i%3), fmt.Sprintf(`"total":%d,"note":"n"`, i)), sold(fmt.Sprint("dead", i), "u9", `"note":"no total"`))
	}
	r.send(`{"type":"identify","messageId":"i1","userId":"u1","traits":{"plan":"pro"}}`, `event.no_identity!!{"type":"track","event":"Sold","messageId":"refused"}`)
	r.send(sold("m1", "u1", `"total":1`)) // a repeat
	r.send(`event.x!!no json`)
}

func TestReplayingEverythingChangesNothing(t *testing.T) {
	t.Parallel()
	r := start(t)
	fill(r)
	before := r.tables()
	for range 2 {
		counts := r.live(What{Range: Range{To: tidegate.Offset{Position: 64}}})
		if counts.Read != 64 || counts.Wanted != 64 || counts.Dead != 32 || counts.Resolved != 0 || counts.Sources["web"]["track"] != 62 {
			t.Errorf("counts %+v", counts)
		}
		if diff := cmp.Diff(before, r.tables()); diff != "" {
			t.Errorf("a replay of everything changed tables (-before +after):\n%s", diff)
		}
		r.balanced()
	}
	// Everything that the journal has now, copies included.
	r.live(r.everything())
	if diff := cmp.Diff(before, r.tables()); diff != "" {
		t.Errorf("a replay of replays changed tables (-before +after):\n%s", diff)
	}
}

func TestCountChangesNothing(t *testing.T) {
	t.Parallel()
	r := start(t)
	fill(r)
	end := r.journal.Durable()
	filter, err := live.Compile(live.Match{Expression: `event.properties.total >= 20.0`})
	if err != nil {
		t.Fatal(err)
	}
	counts, err := r.replayer().Count(t.Context(), What{Range: Range{To: end}, Filter: filter})
	if err != nil || counts.Wanted != 10 || counts.Dead != 0 {
		t.Errorf("counts %+v, %v", counts, err)
	}
	counts, err = r.replayer().Count(t.Context(), What{Range: Range{To: end}, Dead: true, Code: "plan.violation", Sources: []string{"web", "app"}})
	if err != nil || counts.Wanted != 30 || counts.Dead != 30 {
		t.Errorf("counts of dead letters %+v, %v", counts, err)
	}
	if r.journal.Durable() != end {
		t.Error("counting appended to the journal")
	}
}

func TestMendedDeadLettersAreLoaded(t *testing.T) {
	t.Parallel()
	r := start(t)
	fill(r)
	r.rules.set(false, 0)
	counts := r.live(What{Range: Range{To: r.journal.Durable()}, Dead: true, Sources: []string{"web"}})
	if counts.Wanted != 32 || counts.Resolved != 30 || counts.Rebuilt != 0 {
		t.Errorf("counts %+v", counts)
	}
	if got := r.rows("SELECT count(*), count(DISTINCT id), count(*) FILTER (context_app_name = 'shop' AND context_request_ip = '203.0.113.7') FROM web.sold"); got[0] != "60 60 60" {
		t.Errorf("web.sold has %v", got)
	}
	if got := r.rows("SELECT count(*), string_agg(code, ',' ORDER BY code) FROM web.tidegate_dead_letters"); got[0] != "2event.no_identity,event.x" {
		t.Errorf("dead letters: %v", got)
	}
	if got := r.rows("SELECT count(*) FROM web.tidegate_violations"); got[0] != "0" {
		t.Errorf("violations: %v", got)
	}
	r.balanced()
}

func TestAReplayGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	r := start(t)
	for part := range 5 {
		var bodies []string
		for i := range 900 {
			bodies = append(bodies, sold(fmt.Sprintf("m%d-%d", part, i), "u", map[bool]string{true: `"total":1`, false: `"x":1`}[i%9 != 0]))
		}
		r.send(bodies...)
	}
	r.rules.set(false, 0)
	what := r.everything()
	var place tidegate.Offset
	planted := errors.New("planted")
	var counts Totals
	err := r.replayer().Live(t.Context(), what, place, &counts, func(next tidegate.Offset) error { place = next; return planted })
	if !errors.Is(err, planted) || place.Position == 0 || place.Position >= what.Range.To.Position {
		t.Fatalf("%v at %s", err, place)
	}
	if err := r.replayer().Live(t.Context(), what, place, &counts, func(tidegate.Offset) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if counts.Read != 4500 || counts.Resolved != 500 {
		t.Errorf("counts %+v", counts)
	}
	if got := r.rows("SELECT count(*) = 4500 AND count(DISTINCT id) = 4500 FROM web.sold"); got[0] != "true" {
		t.Error("web.sold has not 4500 rows of its own each")
	}
	r.balanced()
}

// Events that the journal has given up come back from what their dead letters kept.
func TestDeadLettersOutliveTheJournal(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.send(sold("dead1", "u1", `"note":"a"`))
	for i := range 200 {
		r.send(sold(fmt.Sprint("m", i), "u1", `"total":1`))
	}
	if err := r.journal.DropReader(t.Context(), "keep"); err == nil {
		t.Fatal("the reader is open")
	}
	gone := trimmed{r.journal}
	r.rules.set(false, 0)
	o := r.replayer().o
	o.Journal = gone
	var counts Totals
	err := New(o).Live(t.Context(), What{Range: Range{To: r.journal.Durable()}, Dead: true, Sources: []string{"web"}}, tidegate.Offset{}, &counts, func(tidegate.Offset) error { return nil })
	if err != nil || counts.Rebuilt != 1 || counts.Resolved != 1 {
		t.Fatalf("counts %+v, %v", counts, err)
	}
	if got := r.rows("SELECT note, context_app_name FROM web.sold WHERE id = 'dead1'"); len(got) != 1 || got[0] != "ashop" && got[0] != "a shop" {
		t.Errorf("%q", got)
	}
}

// trimmed is a journal that holds nothing any more.
type trimmed struct{ *journal.Journal }

func (trimmed) OpenAt(tidegate.Offset) (*journal.Reader, error) { return nil, journal.ErrTrimmed }

// replaced is a journal that reads from another one.
type replaced struct {
	*journal.Journal
	by *journal.Journal
}

func (r replaced) OpenAt(at tidegate.Offset) (*journal.Reader, error) { return r.by.OpenAt(at) }

// Another journal has another event where the dead letter's was.
func TestDeadLettersAreNoEventsOfAnotherJournal(t *testing.T) {
	t.Parallel()
	r, other := start(t), start(t)
	r.send(sold("dead1", "u1", `"note":"a"`))
	other.send(sold("m1", "u2", `"total":1,"note":"b"`))
	r.rules.set(false, 0)
	o := r.replayer().o
	o.Journal = replaced{r.journal, other.journal}
	var counts Totals
	err := New(o).Live(t.Context(), What{Range: Range{To: r.journal.Durable()}, Dead: true, Sources: []string{"web"}}, tidegate.Offset{}, &counts, func(tidegate.Offset) error { return nil })
	if err != nil || counts.Rebuilt != 1 || counts.Resolved != 1 {
		t.Fatalf("counts %+v, %v", counts, err)
	}
	if got := r.rows("SELECT id, user_id, note FROM web.sold"); len(got) != 1 || strings.ReplaceAll(got[0], " ", "") != "dead1u1a" {
		t.Errorf("%q", got)
	}
}

func TestHiddenPeopleAreNotReplayed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.send(sold("a", "u1", `"x":1`), sold("b", "u2", `"x":1`))
	r.hidden.Replace([]privacy.Entry{{Person: privacy.Person{Kind: privacy.UserID, ID: "u1"}}})
	r.rules.set(false, 0)
	if counts := r.live(r.everything()); counts.Hidden != 1 || counts.Wanted != 1 {
		t.Errorf("counts %+v", counts)
	}
	if got := r.rows("SELECT id FROM web.sold"); len(got) != 1 || got[0] != "b" {
		t.Errorf("web.sold: %v", got)
	}
}

func TestShadowShowsWhatOtherRulesDo(t *testing.T) {
	t.Parallel()
	r := start(t)
	fill(r)
	before := r.tables()
	r.rules.set(false, 10)
	what := r.everything()
	o := ShadowOptions{
		Journal: r.journal, Warehouse: r.wh, Judge: r.rules, Refusal: func([]byte) string { return "event.no_identity" }, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Schema: "try", Source: "web", Range: what.Range,
	}
	if err := Free(t.Context(), r.wh, "try", false); err != nil {
		t.Fatal(err)
	}
	if err := Free(t.Context(), r.wh, "web", false); tidegate.FaultOf(err).Code != "replay.conflict" {
		t.Errorf("a live schema is free: %v", err)
	}
	var counts Totals
	for range 2 { // the second finds its place at the end
		if err := Shadow(t.Context(), o, &counts, func(tidegate.Offset) {}); err != nil {
			t.Fatal(err)
		}
	}
	diffs, err := Compare(t.Context(), r.wh, "web", "try", what.Range, true)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]TableDiff{}
	for _, d := range diffs {
		byName[d.Table] = d
	}
	// m0 has the total 0, which ten times is 0.
	if d := byName["sold"]; d.Shadow != 60 || d.Added != 30 || d.Changed != 29 || d.Same != 1 || *d.Missing != 0 || d.Columns["total"] != 29 || len(d.Columns) != 1 || len(d.Sample) != 10 {
		t.Errorf("sold: %+v", d)
	}
	if d := byName["identifies"]; d.Same != 1 || d.Changed+d.Added != 0 {
		t.Errorf("identifies: %+v", d)
	}
	if diff := cmp.Diff(before, r.tables()); diff != "" {
		t.Errorf("the shadow changed live tables (-before +after):\n%s", diff)
	}
	r.balanced()

	// Copies that replays made are left out of it, as they are of what is told beforehand.
	r.live(what)
	o.Schema, o.Range, counts = "later", r.everything().Range, Totals{}
	told, err := r.replayer().Count(t.Context(), What{Range: o.Range, Sources: []string{"web"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Shadow(t.Context(), o, &counts, func(tidegate.Offset) {}); err != nil {
		t.Fatal(err)
	}
	if counts.Wanted != told.Wanted || counts.Read != told.Read || told.Read == told.Wanted {
		t.Errorf("%+v were told, and %+v done", told, counts)
	}
	// A dead letter is taken, though it is the copy that died when it was replayed.
	o.Schema, o.Only, counts = "letters", map[int64]bool{}, Totals{}
	copies := 0
	for _, text := range r.rows("SELECT journal_offset FROM web.tidegate_dead_letters") {
		offset, err := parseOffset(text)
		if err != nil {
			t.Fatal(err)
		}
		if o.Only[offset.Position] = true; offset.Position >= what.Range.To.Position {
			copies++
		}
	}
	if err := Shadow(t.Context(), o, &counts, func(tidegate.Offset) {}); err != nil {
		t.Fatal(err)
	}
	if copies == 0 || counts.Wanted != int64(len(o.Only)) {
		t.Errorf("of %d dead letters, %d of them copies, %+v", len(o.Only), copies, counts)
	}
	o.Only, o.Range = nil, what.Range

	// With a filter it is not told what is missing.
	filter, err := live.Compile(live.Match{User: "u1"})
	if err != nil {
		t.Fatal(err)
	}
	o.Schema, o.Filter, counts = "few", filter, Totals{}
	if err := Shadow(t.Context(), o, &counts, func(tidegate.Offset) {}); err != nil {
		t.Fatal(err)
	}
	if got := r.rows("SELECT count(*) FROM few.sold"); got[0] != "10" || counts.Wanted != 12 {
		t.Errorf("few.sold has %v rows, %+v", got, counts)
	}
	diffs, err = Compare(t.Context(), r.wh, "web", "few", what.Range, false)
	if err != nil || len(diffs) == 0 || diffs[0].Missing != nil {
		t.Errorf("%+v, %v", diffs, err)
	}
}
