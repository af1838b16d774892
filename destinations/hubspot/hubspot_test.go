package hubspot

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/internal/secret"
)

// connect opens the connector on a handler.
func connect(t *testing.T, h http.Handler) *Destination {
	t.Helper()
	server := httptest.NewServer(h)
	client := egress.New(egress.Options{Policy: egress.Policy{AllowPrivate: true}})
	d, err := open(Config{Token: secret.New("pat-test-token"), BaseURL: server.URL}, destinations.Env{
		Log: slog.New(slog.DiscardHandler), HTTP: client, Now: func() time.Time { return time.Unix(1_700_000_000, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return d
}

func simulator(t *testing.T, options string) *Simulator {
	t.Helper()
	s, err := NewSimulator(json.RawMessage(options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func contacts(op tidegate.Op, mode tidegate.Mode, emails ...string) destinations.Batch {
	b := destinations.Batch{Object: "contacts", Mode: mode, IdentifierField: "email"}
	for _, e := range emails {
		b.Items = append(b.Items, destinations.Item{Op: op, Key: tidegate.Key(fmt.Sprintf("[%q]", e)), Identifier: e, Record: tidegate.Record{"email": e, "firstname": "F " + e}})
	}
	return b
}

func write(t *testing.T, d *Destination, b destinations.Batch) []destinations.Outcome {
	t.Helper()
	out, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUpdateByEmailFindsRecordsFirst(t *testing.T) {
	t.Parallel()
	sim := simulator(t, "")
	d := connect(t, sim)
	made := write(t, d, contacts(tidegate.Added, tidegate.Upsert, "a@x.io", "b@x.io"))
	b := contacts(tidegate.Changed, tidegate.Update, "A@x.io", "absent@x.io", "b@x.io")
	b.Items[2].Record["firstname"] = "new"
	out := write(t, d, b)
	if out[0].DestinationID != made[0].DestinationID || out[0].Disposition != destinations.Delivered || out[2].Disposition != destinations.Delivered {
		t.Errorf("%+v", out)
	}
	if out[1].Disposition != destinations.Rejected || out[1].Fault.Code != "hubspot.object_not_found" || out[1].Fault.Hint == "" {
		t.Errorf("the absent record: %+v %v", out[1], out[1].Fault)
	}
	if got := sim.Records("contacts")[made[1].DestinationID]["firstname"]; got != "new" {
		t.Errorf("firstname is %v", got)
	}
	if len(sim.Records("contacts")) != 2 {
		t.Error("an update created a record")
	}
}

func TestInsertRejectsWhatIsThere(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, ""))
	write(t, d, contacts(tidegate.Added, tidegate.Insert, "a@x.io"))
	out := write(t, d, contacts(tidegate.Added, tidegate.Insert, "b@x.io", "A@X.io"))
	if out[0].Disposition != destinations.Delivered || out[1].Disposition != destinations.Rejected || out[1].Fault.Code != "hubspot.conflict" {
		t.Errorf("%+v %v", out, out[1].Fault)
	}
	b := contacts(tidegate.Added, tidegate.Insert, "c@x.io")
	b.IdentifierField = "hs_object_id"
	if _, err := d.Write(t.Context(), b); tidegate.FaultOf(err).Action != tidegate.Halt {
		t.Errorf("insert by record id: %v", err)
	}
}

func TestDuplicatesAreSplitApart(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, ""))
	_, err := d.Write(t.Context(), contacts(tidegate.Added, tidegate.Upsert, "a@x.io", "A@x.io"))
	if f := tidegate.FaultOf(err); f.Action != tidegate.Reject {
		t.Errorf("%v", err)
	}
}

func TestUnknownPropertyHalts(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, ""))
	b := contacts(tidegate.Added, tidegate.Upsert, "a@x.io")
	b.Items[0].Record["shoe_size"] = int64(42)
	_, err := d.Write(t.Context(), b)
	if f := tidegate.FaultOf(err); f.Action != tidegate.Halt || f.Code != "hubspot.property_missing" || !strings.Contains(f.Message, "shoe_size") {
		t.Errorf("%v", err)
	}
	b = contacts(tidegate.Added, tidegate.Upsert, "a@x.io", "b@x.io") // one passes: the other's rejection is its own
	b.Items[0].Record["shoe_size"] = int64(42)
	out := write(t, d, b)
	if out[0].Disposition != destinations.Rejected || out[1].Disposition != destinations.Delivered {
		t.Errorf("%+v", out)
	}
}

// TestAlign gives the connector answers as the API may write them.
func TestAlign(t *testing.T) {
	t.Parallel()
	const delivered, rejected, deferred, doubt = destinations.Delivered, destinations.Rejected, destinations.Deferred, destinations.InDoubt
	for name, c := range map[string]struct {
		status int
		body   string
		want   []destinations.Disposition
	}{
		"by trace, out of order":    {200, `{"results":[{"id":"12","objectWriteTraceId":"2"},{"id":"10","objectWriteTraceId":"0"},{"id":"11","objectWriteTraceId":"1"}]}`, []destinations.Disposition{delivered, delivered, delivered}},
		"by identifier, no trace":   {200, `{"results":[{"id":"11","properties":{"email":"B@x.io"}},{"id":"10","properties":{"email":"a@x.io"}}]}`, []destinations.Disposition{delivered, delivered, doubt}},
		"one left out":              {200, `{"results":[{"id":"10","objectWriteTraceId":"0"},{"id":"12","objectWriteTraceId":"2"}]}`, []destinations.Disposition{delivered, doubt, delivered}},
		"error by trace":            {207, `{"results":[{"id":"10","objectWriteTraceId":"0"},{"id":"11","objectWriteTraceId":"1"}],"errors":[{"category":"VALIDATION_ERROR","message":"bad","context":{"objectWriteTraceId":["2"]}}]}`, []destinations.Disposition{delivered, delivered, rejected}},
		"error by one text":         {207, `{"results":[],"errors":[{"category":"VALIDATION_ERROR","message":"bad","context":{"objectWriteTraceId":"1"}}]}`, []destinations.Disposition{doubt, rejected, doubt}},
		"error by ids":              {207, `{"results":[{"id":"10","objectWriteTraceId":"0"}],"errors":[{"category":"OBJECT_NOT_FOUND","message":"gone","context":{"ids":["b@x.io","C@x.io"]}}]}`, []destinations.Disposition{delivered, rejected, rejected}},
		"error for later":           {207, `{"results":[],"errors":[{"category":"RATE_LIMITS","message":"slow","context":{"objectWriteTraceId":["0","1"]}},{"category":"INTERNAL_ERROR","message":"oops","context":{"objectWriteTraceId":["2"]}}]}`, []destinations.Disposition{deferred, deferred, deferred}},
		"error that names nobody":   {207, `{"results":[{"id":"10","objectWriteTraceId":"0"}],"errors":[{"category":"VALIDATION_ERROR","message":"bad"}]}`, []destinations.Disposition{delivered, doubt, doubt}},
		"result and error for one":  {207, `{"results":[{"id":"10","objectWriteTraceId":"0"}],"errors":[{"category":"VALIDATION_ERROR","message":"bad","context":{"objectWriteTraceId":["0"]}}]}`, []destinations.Disposition{rejected, doubt, doubt}},
		"a stranger's trace":        {200, `{"results":[{"id":"10","objectWriteTraceId":"7"}]}`, []destinations.Disposition{doubt, doubt, doubt}},
		"another API's good answer": {200, `{"ok":true}`, []destinations.Disposition{doubt, doubt, doubt}},
		"nothing":                   {200, ``, []destinations.Disposition{doubt, doubt, doubt}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			var got []destinations.Disposition
			for _, o := range write(t, d, contacts(tidegate.Added, tidegate.Upsert, "a@x.io", "b@x.io", "c@x.io")) {
				got = append(got, o.Disposition)
				if o.Disposition == delivered && o.DestinationID == "" || o.Disposition != delivered && o.Fault == nil {
					t.Errorf("%+v", o)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		header string
		body   string
		action tidegate.Action
		code   string
		after  time.Duration
	}{
		"daily limit":       {429, "", `{"message":"You have reached your daily limit.","errorType":"RATE_LIMIT","policyName":"DAILY"}`, tidegate.Throttle, "hubspot.rate_limit", time.Hour},
		"rolling limit":     {429, "", `{"message":"x","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}`, tidegate.Throttle, "hubspot.rate_limit", 10 * time.Second},
		"secondly":          {429, "", `{"message":"x","errorType":"RATE_LIMIT","policyName":"SECONDLY"}`, tidegate.Throttle, "hubspot.rate_limit", time.Second},
		"retry after":       {429, "3", `{"message":"x","policyName":"DAILY"}`, tidegate.Throttle, "hubspot.rate_limit", 3 * time.Second},
		"a proxy's 404":     {404, "", `<html>not here</html>`, tidegate.Retry, "hubspot.unavailable", 0},
		"no such object":    {404, "", `{"message":"Unable to infer object type","category":"OBJECT_NOT_FOUND"}`, tidegate.Halt, "hubspot.not_found", 0},
		"locked":            {423, "", `{"message":"locked"}`, tidegate.Throttle, "hubspot.locked", 2 * time.Second},
		"moved":             {301, "", ``, tidegate.Halt, "hubspot.moved", 0},
		"too large, a page": {413, "", `<html>`, tidegate.Reject, "hubspot.too_large", 0},
		"bad request":       {400, "", `{"message":"m","category":"VALIDATION_ERROR"}`, tidegate.Reject, "hubspot.validation_error", 0},
		"odd category":      {400, "", `{"message":"m","category":"pat-test-token"}`, tidegate.Reject, "hubspot.refused", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			_, err := d.Write(t.Context(), contacts(tidegate.Added, tidegate.Upsert, "a@x.io"))
			if f := tidegate.FaultOf(err); f.Action != c.action || f.Code != c.code || f.After != c.after {
				t.Errorf("%s %s %s (%v)", f.Action, f.Code, f.After, err)
			}
		})
	}
}

func TestTokenIsChecked(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "pat-1\n", "pat 1", "pät"} {
		_, err := open(Config{Token: secret.New(bad)}, destinations.Env{})
		if f := tidegate.FaultOf(err); err == nil || f.Action != tidegate.Halt || f.Subject != "token" || bad != "" && strings.Contains(f.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestObjectsAreLive(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, ""))
	if err := d.CreateField(t.Context(), "companies", destinations.Field{Name: "crm_key", Identifier: true, Type: tidegate.Type{Kind: tidegate.String}}); err != nil {
		t.Fatal(err)
	}
	objects, err := d.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	identifiers := map[string][]string{}
	for _, o := range objects {
		for _, f := range o.Fields {
			if f.Identifier {
				identifiers[o.Name] = append(identifiers[o.Name], f.Name)
			}
			if f.Name == "createdate" && !f.ReadOnly {
				t.Errorf("%s: createdate can be written", o.Name)
			}
		}
	}
	want := map[string][]string{"contacts": {"email", "hs_object_id"}, "companies": {"crm_key", "domain", "hs_object_id"}, "deals": {"hs_object_id"}}
	if diff := cmp.Diff(want, identifiers); diff != "" {
		t.Error(diff)
	}
	if err := d.CreateField(t.Context(), "companies", destinations.Field{Name: "crm_key"}); tidegate.FaultOf(err).Action != tidegate.Reject {
		t.Errorf("a property twice: %v", err)
	}
}

func TestSimulatorLimitsCalls(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, `{"calls_per_ten_seconds":2}`))
	for range 2 {
		write(t, d, contacts(tidegate.Added, tidegate.Upsert, "a@x.io"))
	}
	_, err := d.Write(t.Context(), contacts(tidegate.Added, tidegate.Upsert, "a@x.io"))
	if f := tidegate.FaultOf(err); f.Action != tidegate.Throttle || f.After != 10*time.Second {
		t.Errorf("%v", err)
	}
}

func TestSimulatorFailsEveryNth(t *testing.T) {
	t.Parallel()
	sim := simulator(t, `{"fail_every":3}`)
	d := connect(t, sim)
	failures := 0
	for i := range 9 {
		if _, err := d.Write(t.Context(), contacts(tidegate.Added, tidegate.Upsert, fmt.Sprintf("u%d@x.io", i))); err != nil {
			failures++
		}
	}
	if n := len(sim.Records("contacts")); failures != 3 || n != 6 {
		t.Errorf("%d failures, %d records", failures, n)
	}
}

// TestSimulatorRemembers stops the simulator without a word, with a torn last
// line, and starts it again.
func TestSimulatorRemembers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hubspot.jsonl")
	options := fmt.Sprintf(`{"path":%q}`, path)
	first := simulator(t, options)
	d := connect(t, first)
	if err := d.CreateField(t.Context(), "contacts", destinations.Field{Name: "tier", Type: tidegate.Type{Kind: tidegate.String}}); err != nil {
		t.Fatal(err)
	}
	b := contacts(tidegate.Added, tidegate.Upsert, "a@x.io", "b@x.io", "c@x.io")
	b.Items[0].Record["tier"] = "gold"
	made := write(t, d, b)
	write(t, d, contacts(tidegate.Removed, tidegate.Mirror, "b@x.io"))
	want := first.Records("contacts")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"object":"contacts","id":"77","se`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()

	second := simulator(t, options)
	if diff := cmp.Diff(want, second.Records("contacts")); diff != "" {
		t.Fatal(diff)
	}
	again := write(t, connect(t, second), contacts(tidegate.Changed, tidegate.Upsert, "a@x.io", "d@x.io"))
	if again[0].DestinationID != made[0].DestinationID {
		t.Errorf("the record has another id: %s, %s", again[0].DestinationID, made[0].DestinationID)
	}
	for _, o := range made {
		if o.DestinationID == again[1].DestinationID {
			t.Error("an id was given twice")
		}
	}
	third := simulator(t, options)
	if diff := cmp.Diff(second.Records("contacts"), third.Records("contacts")); diff != "" {
		t.Error(diff)
	}
	if _, err := NewSimulator(json.RawMessage(`{"pth":"x"}`)); err == nil {
		t.Error("an unknown option was taken")
	}
}

func TestSimulatorShowsRecords(t *testing.T) {
	t.Parallel()
	sim := simulator(t, "")
	d := connect(t, sim)
	var emails []string
	for i := range 25 {
		emails = append(emails, fmt.Sprintf("u%d@x.io", i))
	}
	write(t, d, contacts(tidegate.Added, tidegate.Upsert, emails...))
	seen, after := 0, ""
	for range 5 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/crm/v3/objects/contacts?properties=email&limit=10&after="+after, nil)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		sim.ServeHTTP(w, r)
		var page struct {
			Results []result
			Paging  struct{ Next struct{ After string } }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		seen += len(page.Results)
		if after = page.Paging.Next.After; after == "" {
			break
		}
	}
	if seen != 25 {
		t.Errorf("%d records were listed", seen)
	}
	b := contacts(tidegate.Added, tidegate.Upsert, "evil@x.io")
	b.Items[0].Record["firstname"] = "<script>alert(1)</script>"
	write(t, d, b)
	w := httptest.NewRecorder()
	sim.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if page := w.Body.String(); !strings.Contains(page, "u24@x.io") || strings.Contains(page, "<script>alert") {
		t.Errorf("the page: %.300s", page)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"results":[{"id":"12","objectWriteTraceId":"2"}]}`)
	f.Add(207, `{"results":[null],"errors":[{"context":{"ids":["b@x.io",null]}},{"context":{"id":{}}}]}`)
	f.Add(429, `{"policyName":"DAILY"}`)
	d, err := open(Config{Token: secret.New("pat-test-token")}, destinations.Env{Now: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	b := contacts(tidegate.Added, tidegate.Upsert, "a@x.io", "b@x.io", "c@x.io")
	inputs := []input{{ObjectWriteTraceID: "0"}, {ObjectWriteTraceID: "1"}, {ObjectWriteTraceID: "2"}}
	f.Fuzz(func(t *testing.T, status int, body string) {
		var answer batchAnswer
		if json.Unmarshal([]byte(body), &answer) == nil {
			for i, o := range d.align(b, inputs, answer) {
				if (o.Disposition == destinations.Delivered) != (o.Fault == nil) {
					t.Errorf("%d: %+v", i, o)
				}
			}
		}
		fault := d.classify(&http.Response{StatusCode: status, Header: http.Header{}}, []byte(body))
		if fault.Code == "" || strings.Contains(fault.Error(), "pat-test-token") {
			t.Errorf("%v", fault)
		}
	})
}
