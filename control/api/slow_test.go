package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/api/apitest"
)

// endless has a stream of events without an end, and tells what ended a reading.
type endless struct {
	*apitest.Hub
	ended chan error
}

func (h *endless) Stream(ctx context.Context, _ string, from api.StreamFrom, emit func(api.StreamItem) error) error {
	text, _ := json.Marshal(strings.Repeat("x", 4<<10))
	for at := from.Next.Position; ; at++ {
		o := tidegate.Offset{Position: at}
		err := emit(api.StreamItem{Event: &api.StreamEvent{Offset: o.String(), MessageID: strconv.FormatInt(at, 10), Event: text}, Next: tidegate.Offset{Position: at + 1}})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			h.ended <- err
			return err
		}
	}
}

// narrowBytes is what the kernel holds for a connection in these tests: the megabytes that
// it would take by itself are long in filling.
const narrowBytes = 32 << 10

// narrow is a listener whose connections hold little of what nobody reads.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c, c.(*net.TCPConn).SetWriteBuffer(narrowBytes)
}

// dialNarrow is the same for the client's end.
func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return c, c.(*net.TCPConn).SetReadBuffer(narrowBytes)
}

// TestASlowReaderIsDisconnected: one that takes nothing is cut off and holds the server's
// goroutine no longer; from the last event that it got it goes on without a gap.
func TestASlowReaderIsDisconnected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hub := &endless{r.hub, make(chan error, 1)}
	o := r.options()
	o.Hub = hub
	read := func(patience time.Duration, next int64) (*http.Response, *bufio.Scanner) {
		t.Helper()
		o.Patience = patience
		handler, err := api.New(o)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(handler)
		srv.Listener = narrow{srv.Listener}
		srv.Start()
		t.Cleanup(srv.Close)
		client := &http.Client{Transport: &http.Transport{DialContext: dialNarrow}}
		t.Cleanup(client.CloseIdleConnections)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/v1/streams/orders?from="+url.QueryEscape(tidegate.Offset{Position: next}.String()), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		return resp, lines
	}
	// event reads one whole line.
	event := func(lines *bufio.Scanner) (int64, bool) {
		if !lines.Scan() {
			return 0, false
		}
		var l struct {
			Event *api.StreamEvent `json:"event"`
			End   *api.End         `json:"end"`
		}
		if json.Unmarshal(lines.Bytes(), &l) != nil { // cut off in the middle
			return 0, false
		}
		if l.Event == nil {
			t.Fatalf("%s", lines.Bytes())
		}
		at, err := api.ParseOffset(l.Event.Offset)
		if err != nil {
			t.Fatal(err)
		}
		return at.Position, true
	}
	resp, lines := read(time.Millisecond, 0)
	if err := <-hub.ended; err == nil { // nobody reads the body: the buffers fill
		t.Error("the reading ended without an error")
	}
	next := int64(0)
	for {
		at, ok := event(lines)
		if !ok {
			break
		}
		if at != next {
			t.Fatalf("event %d came, want %d", at, next)
		}
		next++
	}
	_ = resp.Body.Close()

	resp, lines = read(0, next)
	if at, ok := event(lines); !ok || at != next {
		t.Errorf("going on, event %d came (%v), want %d", at, ok, next)
	}
	_ = resp.Body.Close()
	<-hub.ended
}
