package loader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// flaky is a warehouse whose n-th call (of those that change something) fails, before
// or after it did its work.
type flaky struct {
	duck
	mu        sync.Mutex
	calls     int
	failAt    int  // 0: never
	afterward bool // the call works and then reports an error
	err       error
	refuse    string // a row that holds this text is refused as data
	recovered chan struct{}
}

func (f *flaky) Recovered() <-chan struct{} { return f.recovered }

// pass counts a call and says whether it is the one to fail.
func (f *flaky) pass() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.calls == f.failAt
}

func (f *flaky) do(call func() error) error {
	fail := f.pass()
	if fail && !f.afterward {
		return f.err
	}
	if err := call(); err != nil {
		return err
	}
	if fail {
		return f.err
	}
	return nil
}

func (f *flaky) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (got tidegate.Schema, err error) {
	err = f.do(func() error { got, err = f.duck.Ensure(ctx, t, s); return err })
	return got, err
}

func (f *flaky) Checkpoint(ctx context.Context) error {
	return f.do(func() error { return f.duck.Checkpoint(ctx) })
}

func (f *flaky) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := f.duck.Begin(ctx)
	return &flakyTx{Tx: tx, f: f}, err
}

type flakyTx struct {
	warehouse.Tx
	f *flaky
}

func (tx *flakyTx) Exec(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = tx.f.do(func() error { n, err = tx.Tx.Exec(ctx, sql, args...); return err })
	return n, err
}

func (tx *flakyTx) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (n int64, err error) {
	err = tx.f.do(func() error {
		n, err = tx.Tx.Load(ctx, l, &refusing{rows, tx.f.refuse})
		return err
	})
	return n, err
}

func (tx *flakyTx) Commit() error { return tx.f.do(tx.Tx.Commit) }

// refusing is a reader whose rows with a certain text the warehouse would refuse.
type refusing struct {
	tidegate.RowReader
	text string
}

func (r *refusing) Next(ctx context.Context) (tidegate.Row, error) {
	row, err := r.RowReader.Next(ctx)
	for i, v := range row {
		if s, ok := v.(string); ok && r.text != "" && r.Schema()[i].Name == "bomb" && strings.Contains(s, r.text) {
			return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "load.value", Subject: "column bomb", Message: "does not fit"}
		}
	}
	return row, err
}

// mixed returns n events of all kinds, some of them repeats, refused or broken.
func mixed(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	var all []string
	for i := range n {
		id, user := fmt.Sprintf("m%d", i), fmt.Sprintf("u%d", r.IntN(5))
		switch r.IntN(8) {
		case 0:
			all = append(all, identify(id, user, map[string]any{"plan": fmt.Sprint("p", i), fmt.Sprintf("t%d", r.IntN(4)): i}))
		case 1:
			if i > 0 {
				all = append(all, all[r.IntN(len(all))]) // a repeat
				continue
			}
			fallthrough
		case 2:
			all = append(all, "event.no_identity!!"+track("x", id, "", nil))
		case 3:
			all = append(all, `{"type":"track","event":`)
		case 4:
			all = append(all, fmt.Sprintf(`{"type":"page","messageId":%q,"userId":%q,"name":"n%d","properties":{"x":%d.5}}`, id, user, i, i))
		default:
			var v any = i
			if r.IntN(3) == 0 {
				v = fmt.Sprint("text ", i) // another type than the column may have
			}
			all = append(all, track(fmt.Sprintf("Event %d", r.IntN(3)), id, user, map[string]any{fmt.Sprintf("p%d", r.IntN(6)): v, "f": float64(i) / 4}))
		}
	}
	return all
}

// reference loads events in one batch, undisturbed.
func reference(tb testing.TB, events []string) map[string][]string {
	tb.Helper()
	wh, tp := tempDuck(tb), newTape()
	end := tp.add("web", epoch(), events...)
	loadAll(tb, options(tp, wh), end)
	return everything(tb, wh, "web")
}

// TestFailureAnywhereLoadsOnce fails every call in turn, once before and once after
// it took effect, and wants the tables of an undisturbed load.
func TestFailureAnywhereLoadsOnce(t *testing.T) {
	t.Parallel()
	events := mixed(30)
	want := reference(t, events)
	for _, afterward := range []bool{false, true} {
		for failAt := 1; ; failAt++ {
			f := &flaky{duck: tempDuck(t), failAt: failAt, afterward: afterward, err: errPlanted}
			tp := newTape()
			var end tidegate.Offset
			for at := 0; at < len(events); at += 15 {
				end = tp.add("web", epoch(), events[at:at+15]...)
			}
			o := options(tp, f)
			o.MaxEvents, o.TransactionRows = 6, 10 // one to three parts a transaction
			loadAll(t, o, end)
			if diff := cmp.Diff(want, everything(t, f.duck, "web")); diff != "" {
				t.Fatalf("call %d failed (after its work: %v): tables differ (-want +got):\n%s", failAt, afterward, diff)
			}
			counts, err := ReadCounts(t.Context(), f.duck)
			if err != nil || len(counts) != 1 || counts[0].Accepted != int64(len(events)) || counts[0].Loaded+counts[0].Duplicate+counts[0].Dead != counts[0].Accepted {
				t.Fatalf("call %d failed (after its work: %v): counts %+v (error %v)", failAt, afterward, counts, err)
			}
			if err := f.duck.Warehouse.Close(); err != nil {
				t.Fatal(err)
			}
			if f.calls < failAt {
				if failAt < 15 {
					t.Fatalf("only %d calls were made", f.calls)
				}
				break
			}
			if failAt > 12 {
				failAt += 4 // the later batches repeat the pattern
			}
		}
	}
}

// TestAnyCutAndAnyRepetitionGivesTheSameTables cuts the stream into requests and
// batches at random, repeats requests and restarts the loader.
func TestAnyCutAndAnyRepetitionGivesTheSameTables(t *testing.T) {
	t.Parallel()
	var events []string
	for _, ev := range mixed(60) {
		if !strings.Contains(ev, "!!") && strings.HasSuffix(ev, "}") { // dead letters are kept each time
			events = append(events, ev)
		}
	}
	want := reference(t, events)
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		if checks++; checks > 12 { // each opens a database
			return
		}
		wh, tp := tempDuck(t), newTape()
		for at := 0; at < len(events); {
			n := min(rapid.IntRange(1, 20).Draw(rt, "request"), len(events)-at)
			end := tp.add("web", epoch(), events[at:at+n]...)
			at += n
			if rapid.IntRange(0, 3).Draw(rt, "again") == 0 {
				from := rapid.IntRange(0, at-1).Draw(rt, "from")
				end = tp.add("web", epoch().Add(time.Hour), events[from:at]...)
			}
			if rapid.IntRange(0, 4).Draw(rt, "load") == 0 || at == len(events) {
				o := options(tp, wh)
				o.MaxEvents = rapid.IntRange(1, 30).Draw(rt, "batch")
				o.TransactionRows = rapid.IntRange(1, 60).Draw(rt, "transaction")
				loadAll(t, o, end)
			}
		}
		if diff := cmp.Diff(want, everything(t, wh, "web")); diff != "" {
			rt.Fatalf("tables differ (-want +got):\n%s", diff)
		}
	})
}

func TestPoisonIsHalvedDownToTheEvent(t *testing.T) {
	t.Parallel()
	for _, perBatch := range []int{100, 3} { // alone in its transaction, and among others
		t.Run(fmt.Sprint(perBatch), func(t *testing.T) {
			t.Parallel()
			poisoned(t, perBatch)
		})
	}
}

func poisoned(t *testing.T, perBatch int) {
	t.Helper()
	f := &flaky{duck: tempDuck(t), refuse: "boom"}
	tp := newTape()
	var events []string
	for i := range 20 {
		p := map[string]any{"bomb": "fine"}
		if i == 7 || i == 13 {
			p["bomb"] = "boom"
		}
		events = append(events, track("e", fmt.Sprint("m", i), "u", p))
	}
	var end tidegate.Offset
	for at := 0; at < len(events); at += 2 {
		end = tp.add("web", epoch(), events[at:at+2]...)
	}
	o := options(tp, f)
	o.MaxEvents = perBatch
	l := loadAll(t, o, end)
	if got := table(t, f.duck, "SELECT count(*) AS n FROM web.e"); got[0] != "n=18" {
		t.Errorf("web.e: %v", got)
	}
	want := []string{
		"message_id=m13 code=event.unloadable reason=load.value: column bomb: does not fit",
		"message_id=m7 code=event.unloadable reason=load.value: column bomb: does not fit",
	}
	if diff := cmp.Diff(want, table(t, f.duck, "SELECT message_id, code, reason FROM web.tidegate_dead_letters ORDER BY 1")); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	if s := l.Stats(); s.Loaded != 18 || s.Dead != 2 {
		t.Errorf("stats %+v", s)
	}
}

// TestABacklogIsLoadedInWholeGroupsOfRows looks at what every transaction brings.
func TestABacklogIsLoadedInWholeGroupsOfRows(t *testing.T) {
	t.Parallel()
	const group, n = 16, 100
	d, tp := tempDuck(t), newTape()
	var end tidegate.Offset
	for at := range n / 5 {
		var events []string
		for i := range 5 {
			id := at*5 + i
			events = append(events, track(fmt.Sprint("e", id%2), fmt.Sprint("m", id), "u", map[string]any{"x": id}))
			if id%10 == 0 { // a repeat is an event but no row
				events = append(events, events[len(events)-1])
			}
		}
		end = tp.add("web", epoch(), events...)
	}
	o := options(tp, d)
	o.MaxEvents, o.TransactionRows = 7, group
	loaded, brought := 0, []int(nil)
	o.OnLoad = func([]warehouse.Table) {
		now := len(table(t, d, "SELECT id FROM web.tracks"))
		brought = append(brought, now-loaded)
		loaded = now
	}
	loadAll(t, o, end)
	if want := append(slices.Repeat([]int{group}, n/group), n%group); !slices.Equal(brought, want) {
		t.Errorf("transactions brought %v rows, want %v", brought, want)
	}
}

// TestLostLoadsAreLoadedAgain takes the warehouse back to an earlier state, as
// setting an unreadable write-ahead log aside does.
func TestLostLoadsAreLoadedAgain(t *testing.T) {
	t.Parallel()
	f := &flaky{duck: tempDuck(t), recovered: make(chan struct{}, 1)}
	tp := newTape()
	end := tp.add("web", epoch(), track("e", "m1", "u", nil), track("e", "m2", "u", nil))
	o := options(tp, f)
	loads := make(chan struct{}, 10)
	o.OnLoad = func([]warehouse.Table) { loads <- struct{}{} }
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer run(t, l)()
	if err := l.Wait(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	<-loads
	for _, sql := range []string{
		"DELETE FROM web.e", "DELETE FROM web.tracks", "DELETE FROM _tidegate.seen", "DELETE FROM _tidegate.loads", "DELETE FROM _tidegate.counts",
		"UPDATE _tidegate.cursor SET next_position = 0",
	} {
		if _, err := f.duck.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	f.recovered <- struct{}{} // while the loader waits for events that do not come
	<-loads
	if got := table(t, f.duck, "SELECT id FROM web.e ORDER BY id"); !cmp.Equal(got, []string{"id=m1", "id=m2"}) {
		t.Errorf("web.e holds %v", got)
	}
}

func TestALentWarehouseIsWaitedForInSilence(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	var logged strings.Builder
	o := options(tp, wh)
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l)
	if err := l.Wait(t.Context(), tp.add("web", epoch(), track("e", "m1", "u", nil))); err != nil {
		t.Fatal(err)
	}
	var end tidegate.Offset
	err = wh.Yield(t.Context(), func(ctx context.Context, path string) error {
		end = tp.add("web", epoch(), track("e", "m2", "u", nil))
		short, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
		defer cancel()
		if err := l.Wait(short, end); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait during the loan: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	stop()
	if logged.Len() > 0 {
		t.Errorf("logged:\n%s", logged.String())
	}
	if got := table(t, wh, "SELECT count(*) AS n FROM web.e"); got[0] != "n=2" {
		t.Errorf("web.e: %v", got)
	}
}

func TestAFrameThatCannotBeReadStopsLoudly(t *testing.T) {
	t.Parallel()
	tp := newTape()
	tp.addRaw([]byte{99, 1, 2}, 1)
	l, err := New(options(tp, tempDuck(t)))
	if err != nil {
		t.Fatal(err)
	}
	err = l.Run(t.Context())
	if f := tidegate.FaultOf(err); f == nil || f.Code != "journal.unreadable_frame" || f.Action != tidegate.Halt || f.Hint == "" {
		t.Errorf("Run: %v", err)
	}
}

// TestTwoLoadersDoNotLoadTwice: the cursor in the transaction fences the slower one.
func TestTwoLoadersDoNotLoadTwice(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	var end tidegate.Offset
	for i := range 200 {
		end = tp.add("web", epoch(), track("e", fmt.Sprint("m", i), "u", nil))
	}
	var wg sync.WaitGroup
	for range 2 {
		o := options(tp, wh)
		o.MaxEvents = 7
		wg.Go(func() { loadAll(t, o, end) })
	}
	wg.Wait()
	if got := table(t, wh, "SELECT count(*) AS n, count(DISTINCT id) AS d FROM web.e"); got[0] != "n=200 d=200" {
		t.Errorf("web.e: %v", got)
	}
}

func TestTablesOfASourceAreBounded(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	var end tidegate.Offset
	for i := range 30 {
		end = tp.add("web", epoch(), track(fmt.Sprint("event ", i), fmt.Sprint("m", i), "u", map[string]any{"x": i}))
	}
	o := options(tp, wh)
	o.MaxTables = 10
	loadAll(t, o, end)
	tables, err := wh.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tables = slices.DeleteFunc(tables, func(t warehouse.Table) bool { return t.Schema != "web" })
	if len(tables) > 10 {
		t.Errorf("%d tables", len(tables))
	}
	if got := table(t, wh, "SELECT count(*) AS n, count(_unmapped) AS kept FROM web.tracks"); got[0] != "n=30 kept=21" {
		t.Errorf("web.tracks: %v", got)
	}
}
