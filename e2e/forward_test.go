package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/api"
)

// forwardProject forwards orders to a hook and people to a CRM; a third forward
// has a destination that nobody serves.
func forwardProject(hook, crm, nowhere string) map[string]string {
	return map[string]string{
		"tidegate.yaml": smallProject + `destinations:
  - {name: hook, kind: webhook, config: {url: "` + hook + `/records", limits: {concurrency: 8}}}
  - {name: crm, kind: hubspot, config: {token: "${env:HUBSPOT_TOKEN}", base_url: "http://` + crm + `", calls_per_ten_seconds: 1000}}
  - {name: nowhere, kind: webhook, config: {url: "http://` + nowhere + `/records"}}
settings: {allow_private: [127.0.0.0/8]}
`,
		"forwards/orders.yaml": `types: [track]
filter: properties.n >= 0
destination: hook
object: records
mode: append
mapping: {identifier: id, fields: [{field: id, column: messageId}, {field: user, column: userId}, {field: n, column: properties.n}]}
`,
		"forwards/people.yaml": `types: [identify]
destination: crm
object: contacts
mapping: {identifier: email, fields: [{field: email, column: traits.email}, {field: city, column: traits.city}]}
`,
		"forwards/lost.yaml": `destination: nowhere
object: records
mode: append
mapping: {identifier: id, fields: [{field: id, column: messageId}]}
`,
	}
}

// taker is an endpoint that remembers, per user, in which order events came first.
type taker struct {
	mu    sync.Mutex
	first map[string][]int
	times map[string]int
	keys  map[string]string
	wrong []string
	fail  int // of a hundred calls, after they took the record
	rng   *rand.Rand
}

func (k *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Record struct {
			ID   string `json:"id"`
			User string `json:"user"`
			N    int    `json:"n"`
		} `json:"record"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e := body.Record
	if key := r.Header.Get("Idempotency-Key"); k.keys[e.ID] != "" && k.keys[e.ID] != key {
		k.wrong = append(k.wrong, e.ID+" came with two idempotency keys")
	} else {
		k.keys[e.ID] = key
	}
	if k.times[e.ID]++; k.times[e.ID] == 1 {
		if list := k.first[e.User]; len(list) > 0 && list[len(list)-1] != e.N-1 || len(list) == 0 && e.N != 0 {
			k.wrong = append(k.wrong, fmt.Sprintf("%s: event %d came first after %d others", e.User, e.N, len(list)))
		}
		k.first[e.User] = append(k.first[e.User], e.N)
	}
	if k.rng.IntN(100) < k.fail || e.User < "u2" && (e.N == 7 || e.N == 47) && k.times[e.ID] < 4 {
		http.Error(w, "no", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte(`{}`))
}

func (k *taker) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.times)
}

// TestForwardKilled kills the server while it forwards: every acknowledged event
// arrives, each user's in their order and under one idempotency key, and a
// destination that nobody serves holds up nobody.
func TestForwardKilled(t *testing.T) {
	// Killed from outside at any moment, and by its own hand at the forwards' crash points.
	points := []string{"", "", "forward.afterCursor:3", "forward.afterSend:60", "forward.afterLetters:2"}
	if long() {
		for len(points) < 200 {
			points = append(points, "", fmt.Sprintf("forward.afterSend:%d", len(points)*3), "forward.afterLetters:3", "forward.afterCursor:5")
		}
	}
	k := &taker{first: map[string][]int{}, times: map[string]int{}, keys: map[string]string{}, fail: 1, rng: rand.New(rand.NewPCG(1, 2))}
	hook := httptest.NewServer(k)
	t.Cleanup(hook.Close)
	crm := freeAddr(t)
	n := newNode(t, forwardProject(hook.URL, crm, freeAddr(t)))
	n.env = append(n.env, "HUBSPOT_TOKEN=pat-simulated")
	sim := exec.Command(n.bin, "simulate", "hubspot", "--addr", crm, "--options", `{"calls_per_ten_seconds":1000}`)
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
	n.waitFor(20*time.Second, "the simulator", func() bool {
		resp, err := http.Get("http://" + crm + "/")
		return err == nil && resp.Body.Close() == nil
	})

	const users = 12
	var sent [users]int // acknowledged, per user
	env := n.env
	for life := range len(points) + 1 {
		n.env = env
		if life < len(points) && points[life] != "" {
			n.env = append(n.env[:len(n.env):len(n.env)], "TIDEGATE_CRASHPOINT="+points[life])
		}
		n.launch()
		var clients sync.WaitGroup
		stop := make(chan struct{})
		for u := range users {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					status, _, err := n.post("/v1/track", fmt.Sprintf(`{"event":"Order","userId":"u%d","messageId":"u%d-%d","properties":{"n":%d}}`, u, u, sent[u], sent[u]))
					if err == nil && status == http.StatusOK {
						sent[u]++
					}
					time.Sleep(2 * time.Millisecond) // what a client does between calls and attempts
				}
			})
		}
		if before := k.count(); life < len(points) && points[life] != "" {
			if state := n.exited(60 * time.Second); state.Exited() {
				t.Errorf("the server was not killed at %s: %v", points[life], state)
			}
		} else {
			n.waitFor(30*time.Second, "forwarded events", func() bool { return k.count() > before+50 })
			if life < len(points) {
				n.kill()
			}
		}
		close(stop)
		clients.Wait()
	}
	for i := range 30 {
		if status, answer, err := n.post("/v1/identify", fmt.Sprintf(`{"userId":"u%d","messageId":"who-%d","traits":{"email":"p%d@example.com","city":"C%d"}}`, i, i, i%20, i)); err != nil || status != http.StatusOK {
			t.Fatalf("status %d %s, %v", status, answer, err)
		}
	}
	total := 0
	for _, c := range sent {
		total += c
	}
	defer func() {
		if t.Failed() {
			t.Logf("%d of %d came\n%s", k.count(), total, n.mustCLI("forward", "status", "orders", "--data", n.data))
		}
	}()
	n.waitFor(60*time.Second, "every event at the hook", func() bool { return k.count() >= total })
	n.waitFor(30*time.Second, "the people in the CRM", func() bool {
		var st api.ForwardStatus
		out, err := n.cli("forward", "status", "people", "--data", n.data, "--json")
		return err == nil && json.Unmarshal([]byte(out), &st) == nil && st.Progress.Delivered >= 30 && st.InMemory == 0
	})
	again := 0
	k.mu.Lock()
	for u := range users {
		if got := len(k.first[fmt.Sprintf("u%d", u)]); got != sent[u] {
			t.Errorf("user %d: %d of %d acknowledged events came", u, got, sent[u])
		}
	}
	for _, times := range k.times {
		again += times - 1
	}
	for _, what := range k.wrong {
		t.Error(what)
	}
	k.mu.Unlock()
	if out := vendor(t, crm, "/crm/v3/objects/contacts/batch/read", `{"idProperty":"email","properties":["city"],"inputs":[{"id":"p0@example.com"},{"id":"p5@example.com"},{"id":"p19@example.com"}]}`); !strings.Contains(out, `"C20"`) || !strings.Contains(out, `"C25"`) || !strings.Contains(out, `"C19"`) {
		t.Errorf("the CRM holds %s", out)
	}
	if out := n.mustCLI("forward", "list", "--data", n.data); !strings.Contains(out, "lost") || !strings.Contains(out, "down") {
		t.Errorf("the forward whose destination nobody serves is not shown as down:\n%s", out)
	}
	t.Logf("%d kills, %d events forwarded in their users' order, %d calls repeated", len(points), total, again)
}
