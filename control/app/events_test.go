package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/ingest/privacy"
)

// hubOf serves a project until the test ends.
func hubOf(t *testing.T, o app.Options) *app.App {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	a, err := app.Start(ctx, o)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := a.Wait(); err != nil {
			t.Errorf("the end: %v", err)
		}
	})
	return a
}

// sendAll sends events one by one and waits until all are loaded.
func sendAll(t *testing.T, a *app.App, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if status, err := send(t, a, body); err != nil || status != http.StatusOK {
			t.Fatalf("%s: status %d, %v", body, status, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := a.Hub.WaitLoaded(ctx); err != nil {
		t.Fatal(err)
	}
}

func one(t *testing.T, a *app.App, sql string) string {
	t.Helper()
	rows, err := a.Hub.Query(t.Context(), "", sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer func() { _ = rows.Close() }()
	row, err := rows.Next(t.Context())
	if errors.Is(err, io.EOF) {
		return "no row"
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint([]any(row)...)
}

// await asks until done says yes.
func await[T any](t *testing.T, ask func(ctx context.Context) (T, error), done func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := ask(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if done(v) {
			return v
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not done in time: %+v", v)
		case <-tick.C:
		}
	}
}

func sold(id, user string) string {
	return fmt.Sprintf(`{"event":"Sold","messageId":%q,"userId":%q,"properties":{"total":5}}`, id, user)
}

func TestTheBooksShowWhatIsMissing(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, oneSource))
	sendAll(t, a, sold("m1", "u1"), sold("m2", "u1"), sold("m1", "u1"))
	r, err := a.Hub.Reconcile(t.Context(), api.ReconcilePeriod{})
	if err != nil {
		t.Fatal(err)
	}
	var sum api.SourceCounts
	for _, h := range r.Hours {
		sum.Accepted, sum.Loaded, sum.Duplicates = sum.Accepted+h.Accepted, sum.Loaded+h.Loaded, sum.Duplicates+h.Duplicates
	}
	if !r.Balanced || sum.Accepted != 3 || sum.Loaded != 2 || sum.Duplicates != 1 || len(r.Tables) < 2 {
		t.Errorf("%+v", r)
	}
	for _, f := range a.Hub.Doctor(t.Context()) {
		if f.Check == "books.hourly" && f.Level != "ok" {
			t.Errorf("%+v", f)
		}
	}
	// Somebody deletes a row by hand.
	if _, err := a.Hub.Exec(t.Context(), "DELETE FROM web.sold WHERE id = 'm2'"); err != nil {
		t.Fatal(err)
	}
	if r, err = a.Hub.Reconcile(t.Context(), api.ReconcilePeriod{Source: "web"}); err != nil || r.Balanced {
		t.Errorf("a row that is gone is not missed: %+v, %v", r, err)
	}
	found := ""
	for _, f := range a.Hub.Doctor(t.Context()) {
		if f.Check == "books.hourly" {
			found = f.Level + " " + f.Detail
		}
	}
	if !strings.HasPrefix(found, "error") || !strings.Contains(found, "web.sold") {
		t.Errorf("doctor says %q", found)
	}
	// The loader loses an event.
	if _, err := a.Hub.Exec(t.Context(), "UPDATE _tidegate.hourly SET loaded = loaded - 1 WHERE source = 'web'"); err != nil {
		t.Fatal(err)
	}
	r, err = a.Hub.Reconcile(t.Context(), api.ReconcilePeriod{})
	gap := int64(0)
	for _, h := range r.Hours {
		gap += h.Gap
	}
	if err != nil || gap == 0 {
		t.Errorf("an event that is gone is not missed: %+v, %v", r.Hours, err)
	}
}

const planless = "warehouse: {kind: duckdb}\nsources: [{name: web, write_key: WK}]\nstreams: [{name: sales, events: [Sold], filter: 'event.properties.total > 3'}]\n"

func TestTailTellsWhatEventsBecame(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, planless))
	sendAll(t, a, sold("m1", "u1"), sold("m1", "u1"), `{"event":"Other","messageId":"m3","anonymousId":"a1"}`)
	if _, err := a.Hub.Suppress(t.Context(), "test", api.SuppressRequest{People: []privacy.Person{{Kind: privacy.UserID, ID: "u9"}}}); err != nil {
		t.Fatal(err)
	}
	sendAll(t, a, sold("m4", "u9"))
	var states []string
	start := tidegate.Offset{}
	err := a.Hub.Tail(t.Context(), api.TailRequest{From: &start}, opened, func(e api.TailedEvent) error {
		states = append(states, e.MessageID+" "+e.Became.State+" "+strings.Join(e.Became.Tables, ","))
		return nil
	})
	want := "m1 loaded web.tracks,web.sold|m1 duplicate |m3 loaded web.tracks,web.other|m4 suppressed "
	if got := strings.Join(states, "|"); err != nil || !sameTables(got, want) {
		t.Errorf("got %q, want %q, %v", got, want, err)
	}
	for _, c := range []struct {
		req  api.TailRequest
		want int
	}{
		{api.TailRequest{User: "a1"}, 1},
		{api.TailRequest{Event: "sold"}, 2},
		{api.TailRequest{Type: "identify"}, 0},
		{api.TailRequest{Filter: `event.properties.total == 5.0`}, 2},
		{api.TailRequest{Filter: `event.properties.total == 5.0`, Limit: 1}, 1},
	} {
		n := 0
		c.req.From = &start
		if err := a.Hub.Tail(t.Context(), c.req, opened, func(api.TailedEvent) error { n++; return nil }); err != nil || n != c.want {
			t.Errorf("%+v: %d events, want %d, %v", c.req, n, c.want, err)
		}
	}
	if err := a.Hub.Tail(t.Context(), api.TailRequest{Filter: "1 +"}, opened, nil); tidegate.FaultOf(err).Code != "filter.invalid" {
		t.Errorf("a filter that is none: %v", err)
	}
}

func opened() error { return nil }

// TestOfNoSource: a name that no source has is said to be wrong wherever it can be said,
// with the likely one.
func TestOfNoSource(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, planless))
	sendAll(t, a, sold("m1", "u1")) // the loader makes the books when it opens the warehouse
	ctx := t.Context()
	for what, ask := range map[string]func(source string) error{
		"tail": func(source string) error {
			return a.Hub.Tail(ctx, api.TailRequest{Source: source}, opened, func(api.TailedEvent) error { return nil })
		},
		"dead": func(source string) error {
			_, err := a.Hub.DeadLetters(ctx, api.DeadQuery{Source: source, Limit: 1})
			return err
		},
		"reconcile": func(source string) error {
			_, err := a.Hub.Reconcile(ctx, api.ReconcilePeriod{Source: source})
			return err
		},
		"scan": func(source string) error {
			_, err := a.Hub.ScanPrivacy(ctx, api.ScanRequest{Source: source, Limit: 1})
			return err
		},
		"explain": func(source string) error {
			_, err := a.Hub.Explain(ctx, source, []byte(`{"type":"track","event":"Sold","userId":"u"}`))
			return err
		},
	} {
		if err := ask("web"); err != nil {
			t.Errorf("%s of a source that there is: %v", what, err)
		}
		if f := tidegate.FaultOf(ask("wbe")); f == nil || f.Code != "source.not_found" || f.Hint != `did you mean "web"?` {
			t.Errorf("%s of none: %+v", what, f)
		}
	}
}

// TestASourceThatWas: the events of a source that the project no longer has can be looked at.
func TestASourceThatWas(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, planless))
	sendAll(t, a, sold("m1", "u1"))
	p, _, err := a.Catalog.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	changed := *p
	changed.Sources = slices.Clone(changed.Sources)
	changed.Sources[0].Name = "shop"
	if _, err := a.Catalog.Apply(t.Context(), &changed, "test", -1); err != nil {
		t.Fatal(err)
	}
	start, n := tidegate.Offset{}, 0
	if err := a.Hub.Tail(t.Context(), api.TailRequest{Source: "web", From: &start}, opened, func(api.TailedEvent) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d events of a source that was, %v", n, err)
	}
}

// TestStreamsEndWithTheHub: the end of the hub does not wait for those who watch, and they
// hear why; the next life goes on behind the last offset, of which the journal still knows.
func TestStreamsEndWithTheHub(t *testing.T) {
	t.Parallel()
	o := options(t, planless)
	a, err := app.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	sendAll(t, a, sold("m1", "u1"), sold("m2", "u1"))
	token, err := auth.ReadTokenFile(o.Data)
	if err != nil {
		t.Fatal(err)
	}
	client := api.NewClient("http://"+a.Addresses.Admin, token, http.DefaultClient)
	seen, ended := make(chan struct{}, 2), make(chan error, 2)
	go func() {
		ended <- client.Tail(t.Context(), api.TailRequest{From: &tidegate.Offset{Position: 1}, Follow: true}, func(api.TailedEvent) error {
			seen <- struct{}{}
			return nil
		})
	}()
	go func() {
		ended <- client.Stream(t.Context(), "sales", api.StreamFrom{Next: &tidegate.Offset{Position: 1}, Follow: true}, func(api.StreamEvent) error {
			seen <- struct{}{}
			return nil
		})
	}()
	for range 2 {
		select {
		case <-seen:
		case err := <-ended:
			t.Fatal(err)
		}
	}
	a.Stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if f := tidegate.FaultOf(<-ended); f == nil || f.Code != "server.stopping" {
			t.Errorf("the end of one who watches: %+v", f)
		}
	}
	a = hubOf(t, o)
	n := 0
	if err := a.Hub.Stream(t.Context(), "sales", api.StreamFrom{Next: &tidegate.Offset{Position: 1}}, func(i api.StreamItem) error {
		if i.Event != nil {
			n++
		}
		return nil
	}); err != nil || n != 1 {
		t.Errorf("after a restart a stream has %d events from 0:1 on, want 1: %v", n, err)
	}
}

// sameTables compares without regard to the order of tables.
func sameTables(got, want string) bool {
	return got == want || got == strings.NewReplacer("web.tracks,web.sold", "web.sold,web.tracks", "web.tracks,web.other", "web.other,web.tracks").Replace(want)
}

func TestStreamsGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, planless))
	sendAll(t, a, sold("m1", "u1"), `{"event":"Other","messageId":"m2","userId":"u1"}`, sold("m3", "u1"))
	read := func(from *tidegate.Offset) (ids []string, next tidegate.Offset) {
		start := tidegate.Offset{}
		if from == nil {
			from = &start
		}
		err := a.Hub.Stream(t.Context(), "sales", api.StreamFrom{Next: from}, func(i api.StreamItem) error {
			if next = i.Next; i.Event != nil {
				ids = append(ids, i.Event.MessageID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids, next
	}
	ids, next := read(nil)
	if strings.Join(ids, " ") != "m1 m3" || next.Position != 3 {
		t.Errorf("%v up to %s", ids, next)
	}
	sendAll(t, a, sold("m4", "u1"))
	if ids, _ = read(&next); strings.Join(ids, " ") != "m4" {
		t.Errorf("then %v", ids)
	}
	// One that follows gets what comes, and ends with its reader.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from := tidegate.Offset{Position: 4}
	got := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- a.Hub.Stream(ctx, "sales", api.StreamFrom{Next: &from, Follow: true}, func(i api.StreamItem) error {
			if i.Event != nil {
				got <- i.Event.MessageID
			}
			return nil
		})
	}()
	sendAll(t, a, sold("m5", "u1"))
	select {
	case id := <-got:
		if id != "m5" {
			t.Errorf("got %s", id)
		}
	case err := <-ended:
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("its end: %v", err)
	}
	if f := tidegate.FaultOf(a.Hub.Stream(t.Context(), "slaes", api.StreamFrom{}, nil)); f.Code != "stream.not_found" || f.Hint != `did you mean "sales"?` {
		t.Errorf("no such stream: %+v", f)
	}
}

func TestReplaysRunInTheHub(t *testing.T) {
	t.Parallel()
	o := options(t, oneSource)
	a := hubOf(t, o)
	sendAll(t, a, sold("m1", "u1"), sold("m2", "u2"), `{"event":"Other","messageId":"m3","userId":"u1"}`)
	plan, err := a.Hub.PlanReplay(t.Context(), api.ReplayRequest{Filter: `user_id == "u1"`})
	if err != nil || plan.Counts.Wanted != 2 || plan.Counts.Read != 3 {
		t.Errorf("%+v, %v", plan, err)
	}
	before := one(t, a, "SELECT count(*), sum(total) FROM web.sold")
	started, err := a.Hub.StartReplay(t.Context(), "test", api.ReplayRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ended := func(r api.Replay) bool { return r.State != "waiting" && r.State != "running" }
	done := await(t, func(ctx context.Context) (api.Replay, error) { return a.Hub.ReplayOf(ctx, started.ID) }, ended)
	if done.State != "done" || done.Counts.Wanted != 3 || one(t, a, "SELECT count(*), sum(total) FROM web.sold") != before {
		t.Errorf("%+v", done)
	}
	shadow, err := a.Hub.StartReplay(t.Context(), "test", api.ReplayRequest{Into: "try", Compare: true})
	if err != nil {
		t.Fatal(err)
	}
	done = await(t, func(ctx context.Context) (api.Replay, error) { return a.Hub.ReplayOf(ctx, shadow.ID) }, ended)
	if done.State != "done" || one(t, a, "SELECT count(*) FROM try.sold") != "2" || len(done.Diff) != 3 {
		t.Errorf("%+v", done)
	}
	for _, d := range done.Diff {
		if d.Added+d.Changed != 0 || d.Missing == nil || *d.Missing != 0 {
			t.Errorf("%+v", d)
		}
	}
	for name, r := range map[string]api.ReplayRequest{
		"an unknown source": {Source: "nope"}, "a live schema": {Into: "web"}, "a code without dead": {Code: "x"}, "compare with live": {Compare: true}, "a schema in use": {Into: "try"},
		"our own": {Into: "_tidegate"}, "no filter": {Filter: "("},
	} {
		if _, err := a.Hub.StartReplay(t.Context(), "test", r); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	r, err := a.Hub.Reconcile(t.Context(), api.ReconcilePeriod{})
	if err != nil || !r.Balanced {
		t.Errorf("the books after replays: %+v, %v", r, err)
	}
}

func TestDeletionLeavesAReceipt(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, oneSource))
	sendAll(t, a,
		`{"type":"identify","messageId":"i1","userId":"u1","anonymousId":"a1","traits":{"email":"ada@example.com"}}`,
		sold("m1", "u1"), sold("m2", "u2"), `{"event":"Viewed","messageId":"m3","anonymousId":"a1"}`, `{"event":"Viewed","messageId":"m4","anonymousId":"a2"}`)
	if _, err := a.Hub.Exec(t.Context(), "CREATE TABLE main.made_by_dbt (x INT)"); err != nil {
		t.Fatal(err)
	}
	d, err := a.Hub.Delete(t.Context(), "test", api.DeleteRequest{SuppressRequest: api.SuppressRequest{People: []privacy.Person{{Kind: privacy.UserID, ID: "u1"}}}})
	if err != nil {
		t.Fatal(err)
	}

	d = await(t, func(ctx context.Context) (api.Deletion, error) { return a.Hub.DeletionOf(ctx, d.ID) }, func(d api.Deletion) bool { return d.State == "done" })

	if got := one(t, a, "SELECT string_agg(id, ' ' ORDER BY id) FROM web.tracks"); got != "m2 m4" {
		t.Errorf("web.tracks: %s", got)
	}
	if got := one(t, a, "SELECT (SELECT count(*) FROM web.users) + (SELECT count(*) FROM web.identifies)"); got != "0" {
		t.Errorf("users and identifies: %s", got)
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"u1", "a1", "ada@"} {
		if strings.Contains(string(text), `"`+secret) {
			t.Errorf("the receipt names %s: %s", secret, text)
		}
	}
	deleted := map[string]int64{}
	for _, p := range d.Receipt.Places {
		deleted[p.Name] = p.Deleted
		if p.Left != 0 || p.VerifiedAt.IsZero() {
			t.Errorf("%+v", p)
		}
	}
	if deleted["web.tracks"] != 2 || deleted["web.users"] != 1 || deleted["web.sold"] != 1 || d.Receipt.Linked != 1 {
		t.Errorf("%+v", d.Receipt)
	}
	if !strings.Contains(string(text), "made_by_dbt") && !strings.Contains(string(text), "schemas main") {
		t.Errorf("the receipt does not name what nobody looked into: %s", text)
	}
	// No reader gives them out, a replay brings nothing back, and the books agree.
	start := tidegate.Offset{}
	n := 0
	if err := a.Hub.Tail(t.Context(), api.TailRequest{From: &start}, opened, func(api.TailedEvent) error { n++; return nil }); err != nil || n != 2 {
		t.Errorf("%d events are shown, %v", n, err)
	}
	r, err := a.Hub.StartReplay(t.Context(), "test", api.ReplayRequest{})
	if err != nil {
		t.Fatal(err)
	}
	await(t, func(ctx context.Context) (api.Replay, error) { return a.Hub.ReplayOf(ctx, r.ID) }, func(r api.Replay) bool { return r.State == "done" })
	if got := one(t, a, "SELECT count(*) FROM web.tracks"); got != "2" {
		t.Errorf("after a replay web.tracks has %s rows", got)
	}
	books, err := a.Hub.Reconcile(t.Context(), api.ReconcilePeriod{})
	if err != nil || !books.Balanced {
		t.Errorf("the books after a deletion: %+v, %v", books, err)
	}
	// Deleting is not suppressing: what comes later comes in.
	sendAll(t, a, sold("m9", "u1"))
	if got := one(t, a, "SELECT count(*) FROM web.sold WHERE user_id = 'u1'"); got != "1" {
		t.Errorf("a later event of the person: %s", got)
	}
}

func TestScanShowsPlacesAndNoValues(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, oneSource))
	sendAll(t, a, `{"event":"Asked","messageId":"m1","userId":"u1","properties":{"note":"write to ada@example.com","n":1}}`, sold("m2", "u2"))
	report, err := a.Hub.ScanPrivacy(t.Context(), api.ScanRequest{Limit: 100})
	if err != nil || report.Looked != 2 || len(report.Findings) != 1 || report.Findings[0].Path != "properties.note" || report.Findings[0].Kind != "email" {
		t.Errorf("%+v, %v", report, err)
	}
}
