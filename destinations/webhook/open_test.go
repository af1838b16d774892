package webhook

import (
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/egress"
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// call is what an endpoint received.
type call struct {
	method, path, body string
	header             http.Header
}

// endpoint answers every call alike and remembers all.
type endpoint struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
}

func serve(t *testing.T, answer http.HandlerFunc) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading the call: %v", err)
		}
		e.mu.Lock()
		e.calls = append(e.calls, call{r.Method, r.URL.EscapedPath(), string(body), r.Header.Clone()})
		e.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) got() []call {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]call(nil), e.calls...)
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

var testNow = time.Unix(1_770_000_000, 0)

// connect opens the destination that text configures; BASE stands for base.
func connect(t *testing.T, base, text string) destinations.Destination {
	t.Helper()
	d, err := tryConnect(t, base, text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tryConnect(t *testing.T, base, text string) (destinations.Destination, error) {
	t.Helper()
	cfg := Kind().NewConfig()
	if err := config.DecodeYAML("destination.yaml", []byte(strings.ReplaceAll(text, "BASE", base)), cfg); err != nil {
		t.Fatal(err)
	}
	client := egress.New(egress.Options{Policy: egress.Policy{AllowPrivate: true}, Timeout: 5 * time.Second})
	t.Cleanup(client.CloseIdleConnections)
	return Kind().Open(t.Context(), cfg, destinations.Env{
		Log: slog.New(slog.DiscardHandler), HTTP: client, Now: func() time.Time { return testNow },
	})
}

// batch makes a batch of op with one item per identifier.
func batch(op tidegate.Op, identifiers ...any) destinations.Batch {
	b := destinations.Batch{Object: "records", Mode: tidegate.Mirror, IdentifierField: "id"}
	for _, id := range identifiers {
		text := scalar(id)
		b.Items = append(b.Items, destinations.Item{
			Op: op, Key: tidegate.Key(`["` + text + `"]`), Identifier: id, Record: tidegate.Record{"id": id, "name": "N" + text}, IdempotencyKey: "k-" + text,
		})
	}
	return b
}
