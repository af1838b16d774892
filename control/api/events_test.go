package api_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/ingest/privacy"
)

func (r *rig) fill() {
	for i, id := range []string{"m0", "m1", "m2"} {
		at := tidegate.Offset{Position: int64(i)}
		r.hub.Events = append(r.hub.Events, api.TailedEvent{Offset: at.String(), Source: "web", Type: "track", MessageID: id, ReceivedAt: r.now(), Event: json.RawMessage(`{"event":"Sold"}`)})
	}
}

// fetch returns what a stream answers.
func (r *rig) fetch(t *testing.T, path, token string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestStreamsAsServerSentEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill()
	status, text := r.fetch(t, "/v1/streams/orders?from=0:0&follow=false", r.token, map[string]string{"Accept": "text/event-stream"})
	if status != http.StatusOK || strings.Count(text, "\ndata: {\"offset\"") != 3 || !strings.Contains(text, "id: 0:2\n") || !strings.HasSuffix(text, "event: end\ndata: {\"count\":3}\n\n") {
		t.Errorf("%d %s", status, text)
	}
	// A browser that comes back says what it has got last.
	_, text = r.fetch(t, "/v1/streams/orders?from=0:0&follow=false", r.token, map[string]string{"Accept": "text/event-stream", "Last-Event-ID": "0:1"})
	if strings.Contains(text, "m1") || !strings.Contains(text, "m2") {
		t.Errorf("after 0:1: %s", text)
	}
	_, text = r.fetch(t, "/v1/events?from=0:0", r.token, map[string]string{"Accept": "text/event-stream"})
	if !strings.Contains(text, "id: 0:0\ndata: {") {
		t.Errorf("the live view: %s", text)
	}
}

// TestStreamsThatCannotBegin: what is wrong with a request is said by its status, also to
// one who would wait: a browser would come back for ever after a 200.
func TestStreamsThatCannotBegin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, accept := range []string{"text/event-stream", "*/*"} {
		for path, want := range map[string]struct {
			status int
			text   string
		}{
			"/v1/streams/none":                                           {http.StatusNotFound, "stream.not_found"},
			"/v1/streams/none?follow=false":                              {http.StatusNotFound, "stream.not_found"},
			"/v1/streams/orders?from=0:0&since=2026-01-02T15:04:05Z":     {http.StatusBadRequest, "name one of them"},
			"/v1/streams/orders?from=0:0&after=0:0":                      {http.StatusBadRequest, "name one of them"},
			"/v1/streams/orders?folow=false":                             {http.StatusUnprocessableEntity, `did you mean \"follow\"?`},
			"/v1/streams/orders?since=1h":                                {http.StatusUnprocessableEntity, "write RFC 3339, as 2026-01-02T15:04:05Z"},
			"/v1/events?follow=true&source=none":                         {http.StatusNotFound, "source.not_found"},
			"/v1/events?follow=true&from=0:0&since=2026-01-02T15:04:05Z": {http.StatusBadRequest, "name one of them"},
		} {
			status, text := r.fetch(t, path, r.token, map[string]string{"Accept": accept})
			if status != want.status || !strings.Contains(text, want.text) {
				t.Errorf("%s as %s: %d %s, want %d with %s", path, accept, status, text, want.status, want.text)
			}
		}
	}
}

func TestStreamsAsLines(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill()
	var ids []string
	err := r.admin.Stream(t.Context(), "orders", api.StreamFrom{Next: &tidegate.Offset{Position: 1}}, func(e api.StreamEvent) error {
		ids = append(ids, e.MessageID)
		return nil
	})
	if err != nil || strings.Join(ids, " ") != "m1 m2" {
		t.Errorf("%v, %v", ids, err)
	}
	// One that follows ends with its reader, and the server with it.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL+"/v1/streams/orders?from=0:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, `{"event":{"offset":"0:0"`) {
		t.Errorf("%q, %v", line, err)
	}
	_ = resp.Body.Close()
}

func TestStreamTokensReadTheirStreamOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill()
	token, err := r.keeper.Issue(t.Context(), "test", "reader", auth.Role("stream:orders"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/v1/streams/orders?from=0:0&follow=false": http.StatusOK, "/v1/streams/other?follow=false": http.StatusForbidden, "/v1/status": http.StatusForbidden, "/v1/events": http.StatusForbidden,
	} {
		if status, text := r.fetch(t, path, token, nil); status != want {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if _, text := r.fetch(t, "/v1/streams", token, nil); !strings.Contains(text, "orders") || strings.Contains(text, "other") {
		t.Errorf("it lists %s", text)
	}
	if _, err := r.admin.CreateToken(t.Context(), api.NewToken{Name: "reader", Role: "stream:ordres"}); err == nil || !strings.Contains(tidegate.FaultOf(err).Hint, "orders") {
		t.Errorf("a token for a stream that there is not: %v", err)
	}
	if _, err := r.admin.CreateToken(t.Context(), api.NewToken{Name: "reader", Role: "stream:orders"}); err != nil {
		t.Error(err)
	}
	if _, err := r.keeper.Issue(t.Context(), "test", "x", auth.Role("streams:orders"), time.Time{}); err == nil {
		t.Error("a role that is none is taken")
	}
}

func TestEventsThroughTheClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	books, err := r.admin.Reconcile(t.Context(), api.ReconcilePeriod{})
	if err != nil || books.Balanced || books.Hours[0].Gap != 1 {
		t.Errorf("%+v, %v", books, err)
	}
	dead, err := r.admin.DeadLetters(t.Context(), api.DeadQuery{Limit: 5, Body: true})
	if err != nil || dead.Total != 1 || dead.Items[0].Body == "" {
		t.Errorf("%+v, %v", dead, err)
	}
	plan, err := r.admin.PlanReplay(t.Context(), api.ReplayRequest{})
	if err != nil || plan.Counts.Wanted != 4 {
		t.Errorf("%+v, %v", plan, err)
	}
	started, err := r.admin.StartReplay(t.Context(), api.ReplayRequest{Into: "try", Compare: true})
	if err != nil || started.ID != "rpl_1" || len(r.hub.Replayed) != 1 {
		t.Errorf("%+v, %v", started, err)
	}
	if list, err := r.admin.Replays(t.Context(), 5); err != nil || len(list) != 1 || *list[0].Diff[0].Missing != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if got, err := r.admin.CancelReplay(t.Context(), "rpl_1"); err != nil || got.State != "canceled" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.admin.Replay(t.Context(), "none"); tidegate.FaultOf(err).Code == "" {
		t.Error("a replay that there is not")
	}
}

func TestRegulationsInSegmentsWords(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	regulate := func(kind string) (int, api.Regulated) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/v1/privacy/regulations", strings.NewReader(`{"regulationType":"`+kind+`","subjectType":"USER_ID","subjectIds":["u1","u2"]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := r.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var out api.Regulated
		if resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
				t.Fatal(err)
			}
		}
		return resp.StatusCode, out
	}
	if _, out := regulate("SUPPRESS_ONLY"); out.Suppressed != 2 || len(r.hub.Suppressed) != 2 {
		t.Errorf("%+v", out)
	}
	if _, out := regulate("UNSUPPRESS"); out.Unsuppressed != 2 || len(r.hub.Suppressed) != 0 {
		t.Errorf("%+v", out)
	}
	for kind, want := range map[string]api.DeleteRequest{
		"DELETE_ONLY": {}, "DELETE_INTERNAL": {KeepDestinations: true}, "SUPPRESS_WITH_DELETE": {Suppress: true}, "SUPPRESS_WITH_DELETE_INTERNAL": {Suppress: true, KeepDestinations: true},
	} {
		_, out := regulate(kind)
		got := r.hub.Deleted[len(r.hub.Deleted)-1]
		if out.Deletion == nil || got.Suppress != want.Suppress || got.KeepDestinations != want.KeepDestinations || got.People[0] != (privacy.Person{Kind: privacy.UserID, ID: "u1"}) {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	if status, _ := regulate("FORGET"); status != http.StatusUnprocessableEntity {
		t.Errorf("an unknown regulation: %d", status)
	}
	// The audit log says that it was done and how many there were, never who.
	audit, err := r.store.AuditLog(t.Context(), 0, 100)
	text, _ := json.Marshal(audit)
	if err != nil || !strings.Contains(string(text), "privacy.regulation.DELETE_ONLY") || strings.Contains(string(text), `"u1"`) {
		t.Errorf("%s, %v", text, err)
	}
}
