package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/forward"
	"github.com/tidegate/tidegate/ingest/privacy"
)

const forwardingProject = `
warehouse: {kind: duckdb}
sources: [{name: web, write_key: WK}]
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: hook, kind: webhook, config: {url: "URL"}}
forwards:
  - name: crm
    destination: hook
    object: records
    mode: append
    mapping: {identifier: id, fields: [{field: id, column: messageId}, {field: event, column: event}]}
`

// hookOf takes records and remembers them; until it is well it refuses those of events
// called Refused.
type hookOf struct {
	mu      sync.Mutex
	well    bool
	arrived []string
}

func (m *hookOf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Record struct {
			ID    string `json:"id"`
			Event string `json:"event"`
		} `json:"record"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if body.Record.Event == "Refused" && !m.well {
		http.Error(w, "no", http.StatusUnprocessableEntity)
		return
	}
	m.arrived = append(m.arrived, body.Record.ID)
	_, _ = w.Write([]byte("{}"))
}

func (m *hookOf) got() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.arrived, " ")
}

// TestDeletionErasesLetters: events of the person and of the anonymous ids that belong
// to him that a forward keeps, waiting or dead, are erased; those of others are sent.
func TestDeletionErasesLetters(t *testing.T) {
	t.Parallel()
	hook := &hookOf{}
	srv := httptest.NewServer(hook)
	t.Cleanup(srv.Close)
	a := hubOf(t, options(t, strings.Replace(forwardingProject, "URL", srv.URL, 1)))
	named := func(id, event, who string) string {
		return fmt.Sprintf(`{"event":%q,"messageId":%q,%s}`, event, id, who)
	}
	const ada, device, bob = `"userId":"u1"`, `"anonymousId":"a1"`, `"userId":"u2"`
	sendAll(t, a,
		`{"type":"identify","messageId":"i1","userId":"u1","anonymousId":"a1","traits":{"email":"ada@example.com"}}`,
		named("d1", "Refused", ada), named("d2", "Refused", device), named("d3", "Refused", bob),
		named("w1", "Refused", ada), named("w2", "Refused", device), named("w3", "Refused", bob))
	status := func(ctx context.Context) (api.ForwardStatus, error) { return a.Hub.Forward(ctx, "crm") }
	await(t, status, func(s api.ForwardStatus) bool { return s.Dead == 6 })
	// Three of them wait for another try now, and further events wait in memory.
	if err := a.Hub.PauseForward(t.Context(), "crm", true); err != nil {
		t.Fatal(err)
	}
	dead, err := a.Hub.DeadEvents(t.Context(), "crm", api.DeadFilter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range dead {
		if l.MessageID[0] == 'w' {
			if n, err := a.Hub.RetryDead(t.Context(), "crm", api.DeadFilter{Position: &l.Position}); n != 1 || err != nil {
				t.Fatalf("retrying %s: %d, %v", l.MessageID, n, err)
			}
		}
	}
	sendAll(t, a, named("m1", "Sold", ada), named("m2", "Sold", device), named("m3", "Sold", bob), `{"type":"alias","messageId":"m4","userId":"u3","previousId":"u1"}`)
	if s := await(t, status, func(s api.ForwardStatus) bool { return s.Progress.Read >= 11 }); s.Waiting < 3 || s.Waiting > 7 || s.Dead != 3 { // those in memory may be put into the store at any time
		t.Fatalf("before the deletion: %+v", s)
	}

	d, err := a.Hub.Delete(t.Context(), "test", api.DeleteRequest{SuppressRequest: api.SuppressRequest{People: []privacy.Person{{Kind: privacy.UserID, ID: "u1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	d = await(t, func(ctx context.Context) (api.Deletion, error) { return a.Hub.DeletionOf(ctx, d.ID) }, func(d api.Deletion) bool { return d.State == "done" })

	place := privacy.Place{}
	for _, p := range d.Receipt.Places {
		if p.Kind == "forward" {
			place = p
		}
	}
	// Four are in the store for sure; the three in memory may have been put there meanwhile.
	if place.Name != "crm" || place.Found < 4 || place.Found > 7 || place.Deleted != place.Found || place.Left != 0 || place.VerifiedAt.IsZero() {
		t.Errorf("the receipt says of the forward: %+v", place)
	}
	remains := false
	for _, r := range d.Receipt.Remains {
		remains = remains || strings.Contains(r.Place, "forward crm")
	}
	if !remains {
		t.Errorf("the receipt does not say what the destination may have: %+v", d.Receipt.Remains)
	}
	dead, err = a.Hub.DeadEvents(t.Context(), "crm", api.DeadFilter{Limit: 100})
	if err != nil || len(dead) != 1 || dead[0].MessageID != "d3" {
		t.Errorf("dead letters afterwards: %+v, %v; want that of the other person only", dead, err)
	}

	// The destination is well again: others' events come, also the dead one that is retried.
	hook.mu.Lock()
	hook.well = true
	hook.mu.Unlock()
	if n, err := a.Hub.RetryDead(t.Context(), "crm", api.DeadFilter{}); n != 1 || err != nil {
		t.Errorf("%d dead letters were retried, %v", n, err)
	}
	if err := a.Hub.PauseForward(t.Context(), "crm", false); err != nil {
		t.Fatal(err)
	}
	sendAll(t, a, named("l1", "Sold", ada)) // later events of the person come in again
	await(t, status, func(s api.ForwardStatus) bool {
		return s.State == forward.Running && s.Waiting == 0 && s.Dead == 0 && s.LagEvents == 0
	})
	got := strings.Fields(hook.got())
	slices.Sort(got)
	if diff := cmp.Diff([]string{"d3", "i1", "l1", "m3", "w3"}, got); diff != "" {
		t.Errorf("what arrived, before and after the deletion, differs (-want +got):\n%s", diff)
	}
}
