package loadgen

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a server that remembers the messageIds it acknowledged and those
// it was only told.
type recorder struct {
	mu    sync.Mutex
	acked map[string]int
	seen  map[string]int
	bytes map[int]int // event sizes
	n     int
	// answer decides about the n-th request: a status, or 0 to break the connection off.
	answer func(n int) int
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var batch struct {
		Batch []json.RawMessage `json:"batch"`
	}
	events := []json.RawMessage{body}
	if r.URL.Path == "/v1/batch" {
		if err := json.Unmarshal(body, &batch); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		events = batch.Batch
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusOK
	if s.answer != nil {
		status = s.answer(s.n)
	}
	s.n++
	for _, raw := range events {
		var ev struct{ MessageID, UserID, Type, Event string }
		if err := json.Unmarshal(raw, &ev); err != nil || ev.Type != "track" || len(ev.UserID) != 1+userWidth {
			http.Error(w, "not an event", http.StatusTeapot)
			return
		}
		s.bytes[len(raw)]++
		s.seen[ev.MessageID]++
		if status == http.StatusOK {
			s.acked[ev.MessageID]++
		}
	}
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"success":true}`)
}

func serve(t *testing.T, answer func(int) int) (*recorder, string) {
	t.Helper()
	s := &recorder{acked: map[string]int{}, seen: map[string]int{}, bytes: map[int]int{}, answer: answer}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.Listener.Addr().String()
}

// check holds the report's set to what the server acknowledged.
func check(t *testing.T, s *recorder, r *Report) {
	t.Helper()
	ids := slices.Collect(r.Acked.IDs())
	if int64(len(ids)) != r.Events || r.Acked.Len() != r.Events {
		t.Errorf("%d ids, set of %d, %d events", len(ids), r.Acked.Len(), r.Events)
	}
	for _, id := range ids {
		if s.acked[id] == 0 || !r.Acked.Has(id) || !strings.HasPrefix(id, r.Acked.Prefix()) {
			t.Fatalf("%s: acknowledged %d times, Has %v", id, s.acked[id], r.Acked.Has(id))
		}
	}
	for id := range s.seen {
		if r.Acked.Has(id) != (s.acked[id] > 0) {
			t.Fatalf("%s: Has %v, acknowledged %d times", id, r.Acked.Has(id), s.acked[id])
		}
	}
	if r.Acked.Has("lg-other000-0000-000000000000") || r.Acked.Has(r.Acked.Prefix()) || r.Acked.Has(r.Acked.Prefix()+"0-0") {
		t.Error("the set has ids that were never made")
	}
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 20} {
		s, addr := serve(t, nil)
		r, err := Run(t.Context(), Options{Address: addr, WriteKey: "WK", Conns: 3, Batch: batch, Events: 400, Run: "closed", Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if r.Events != 400 || r.Requests != int64(400/batch) || r.Errors != 0 || r.Refused != 0 || len(s.seen) != 400 {
			t.Errorf("batch %d: %+v, %d seen", batch, r, len(s.seen))
		}
		if r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.EventsPerSecond() <= 0 {
			t.Errorf("batch %d: p50 %v p99 %v max %v", batch, r.P50, r.P99, r.Max)
		}
		for size := range s.bytes {
			if size < 700 || size > 860 {
				t.Errorf("an event of %d bytes", size)
			}
		}
		check(t, s, r)
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	t.Parallel()
	s, addr := serve(t, nil)
	r, err := Run(t.Context(), Options{Address: addr, WriteKey: "WK", Conns: 4, Batch: 2, Rate: 1000, Duration: 300 * time.Millisecond, Run: "open", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if r.Events == 0 || r.Events > 300 || r.Elapsed < 290*time.Millisecond { // a busy machine sends fewer, never more
		t.Errorf("%d events in %v, want up to 300 in 0.3 s", r.Events, r.Elapsed)
	}
	check(t, s, r)
}

func TestRefusalsAndBrokenConnections(t *testing.T) {
	t.Parallel()
	for _, resend := range []bool{false, true} {
		random := rand.New(rand.NewPCG(1, 2))
		s, addr := serve(t, func(int) int { return []int{200, 200, 200, 503, 0}[random.IntN(5)] })
		r, err := Run(t.Context(), Options{Address: addr, WriteKey: "WK", Conns: 2, Batch: 3, Events: 120, Run: "broken", Resend: resend, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, r)
		if r.Refused == 0 || r.Errors == 0 || r.LastError == nil {
			t.Errorf("resend %v: %d refused, %d errors, %v", resend, r.Refused, r.Errors, r.LastError)
		}
		if resend && r.Events != 120 {
			t.Errorf("resending: %d events acknowledged, want all 120", r.Events)
		}
		if !resend && (r.Events == 120 || len(s.seen) != 120) {
			t.Errorf("not resending: %d acknowledged, %d seen", r.Events, len(s.seen))
		}
	}
}

func TestCancelBreaksOff(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	r, err := Run(ctx, Options{Address: ln.Addr().String(), WriteKey: "WK", Conns: 2, Now: time.Now})
	if err != nil || r.Events != 0 || r.Errors != 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := Options{Address: "127.0.0.1:1", WriteKey: "WK", Events: 1, Now: time.Now}
	for name, spoil := range map[string]func(*Options){
		"no address":  func(o *Options) { o.Address = "" },
		"no end":      func(o *Options) { o.Events = 0 },
		"long run":    func(o *Options) { o.Run = "longer than eight" },
		"connections": func(o *Options) { o.Conns = 10_000 },
	} {
		o := good
		spoil(&o)
		if _, err := Run(context.Background(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var a, b histogram
	for us := range 10_000 {
		h := &a
		if us%2 == 0 {
			h = &b
		}
		h.add(time.Duration(us) * time.Microsecond)
	}
	a.merge(&b)
	for q, want := range map[float64]time.Duration{0.5: 5 * time.Millisecond, 0.99: 9900 * time.Microsecond, 0: 0} {
		if got := a.quantile(q); got < want || got > want+want/16 {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	for d := time.Microsecond; d < time.Hour; d = d*9/8 + time.Microsecond {
		if up := upper(bucketOf(d)); up < d.Truncate(time.Microsecond) || up > d+d/16+time.Microsecond {
			t.Errorf("%v lies in a bucket up to %v", d, up)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	f.Add("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := readAnswer(bufio.NewReader(strings.NewReader(text)))
		if err == nil && !strings.HasPrefix(text, "HTTP/1.") {
			t.Fatalf("%q was taken for an answer: %+v", text, a)
		}
	})
}
