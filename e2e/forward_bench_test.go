package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkForward measures, with the real binary, the time from the answer to an
// event to the request that carries it to the destination, at 1,000 events a
// second of 500 users, and how fast a backlog leaves.
func BenchmarkForward(b *testing.B) {
	var mu sync.Mutex
	came := map[string]time.Time{}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		var body struct {
			Records []struct {
				Record struct {
					ID string `json:"id"`
				} `json:"record"`
			} `json:"records"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		for _, e := range body.Records {
			came[e.Record.ID] = now
		}
		mu.Unlock()
		_, _ = w.Write([]byte(`{}`))
	}))
	defer hook.Close()
	n := newNode(b, map[string]string{
		"tidegate.yaml": smallProject + `destinations:
  - {name: hook, kind: webhook, config: {url: "` + hook.URL + `/records", batch: true, limits: {records: 100, concurrency: 4}}}
settings: {allow_private: [127.0.0.0/8]}
`,
		"forwards/all.yaml": "destination: hook\nobject: records\nmode: append\nmapping: {identifier: id, fields: [{field: id, column: messageId}, {field: user, column: userId}, {field: total, column: properties.total}]}\n",
	})
	n.start()
	waitCame := func(total int) {
		n.waitFor(60*time.Second, "every event", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(came) >= total
		})
	}
	for b.Loop() {
		answered := steady(b, n, 1_000, 8*time.Second)
		waitCame(len(answered))
		var waits []time.Duration
		for id, at := range answered {
			waits = append(waits, came[id].Sub(at))
		}
		slices.Sort(waits)
		b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-ms")

		n.mustCLI("forward", "pause", "all", "--data", n.data)
		const backlog = 40_000
		for i := range backlog / 100 {
			body := `{"batch":[`
			for j := range 100 {
				if j > 0 {
					body += ","
				}
				body += fmt.Sprintf(`{"type":"track","event":"E","userId":"u%d","messageId":"b%d","properties":{"total":1}}`, (i*100+j)%5000, i*100+j)
			}
			if status, _, err := n.post("/v1/batch", body+"]}"); err != nil || status != http.StatusOK {
				b.Fatal(status, err)
			}
		}
		start, before := time.Now(), len(answered)
		n.mustCLI("forward", "resume", "all", "--data", n.data)
		waitCame(before + backlog)
		b.ReportMetric(backlog/time.Since(start).Seconds(), "events/s")
	}
}

// steady sends rate events a second and returns when each was answered.
func steady(b *testing.B, n *node, rate int, d time.Duration) map[string]time.Time {
	var mu sync.Mutex
	answered := map[string]time.Time{}
	var clients sync.WaitGroup
	const workers = 16
	start := time.Now()
	for w := range workers {
		clients.Go(func() {
			for i := w; time.Since(start) < d; i += workers {
				time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
				id := fmt.Sprintf("s%d", i)
				status, _, err := n.post("/v1/track", fmt.Sprintf(`{"event":"E","userId":"u%d","messageId":%q,"properties":{"total":%d}}`, i%500, id, i))
				if err != nil || status != http.StatusOK {
					b.Error(status, err)
					return
				}
				mu.Lock()
				answered[id] = time.Now()
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return answered
}
