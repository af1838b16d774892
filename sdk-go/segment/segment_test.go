package analytics_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/sdk-go/segment"
)

// shop is a program as users of Segment's client write it. That it compiles is
// half of what is tested.
type shop struct {
	events analytics.Client
	heard  *ledger
}

// ledger is a Callback of that program.
type ledger struct {
	mu     sync.Mutex
	sent   []string
	failed []error
}

var _ analytics.Callback = (*ledger)(nil)

func (l *ledger) Success(msg analytics.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m := msg.(type) {
	case analytics.Track:
		l.sent = append(l.sent, "track "+m.Event)
	case analytics.Identify:
		l.sent = append(l.sent, "identify "+m.UserId)
	default:
		l.sent = append(l.sent, "other")
	}
}

func (l *ledger) Failure(_ analytics.Message, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, err)
}

func newShop(endpoint string, lines io.Writer) (*shop, error) {
	heard := &ledger{}
	client, err := analytics.NewWithConfig("WK", analytics.Config{
		Endpoint:  endpoint,
		Interval:  30 * time.Second,
		BatchSize: 100,
		Verbose:   true,
		Logger:    analytics.StdLogger(log.New(lines, "events ", 0)),
		Callback:  heard,
		DefaultContext: &analytics.Context{
			App:   analytics.AppInfo{Name: "shop", Version: "1.2.3"},
			Extra: map[string]interface{}{"region": "eu"},
		},
		RetryAfter: func(attempt int) time.Duration { return time.Duration(attempt) * time.Millisecond },
	})
	if err != nil {
		return nil, err
	}
	return &shop{client, heard}, nil
}

func (s *shop) sell(user string) error {
	for _, m := range []analytics.Message{
		analytics.Identify{
			UserId: user,
			Traits: analytics.NewTraits().SetEmail("ada@example.com").SetName("Ada").SetAge(36).Set("role", "engineer"),
		},
		analytics.Track{
			UserId: user,
			Event:  "Order Completed",
			Properties: analytics.NewProperties().SetRevenue(12.5).SetCurrency("EUR").
				SetProducts(analytics.Product{ID: "1", SKU: "a-1", Price: 10}).Set("gift", true),
			Integrations: analytics.NewIntegrations().EnableAll().Disable("HubSpot"),
			Context:      &analytics.Context{IP: net.ParseIP("203.0.113.7")},
			Timestamp:    time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
		},
		&analytics.Page{AnonymousId: "an-1", Name: "Thanks", Properties: analytics.Properties{"path": "/thanks"}},
		analytics.Screen{AnonymousId: "an-1", Name: "Thanks"},
		analytics.Group{UserId: user, GroupId: "g1", Traits: map[string]interface{}{"name": "Acme"}},
		analytics.Alias{PreviousId: "an-1", UserId: user},
	} {
		if err := s.events.Enqueue(m); err != nil {
			return err
		}
	}
	return nil
}

func TestProgramOfSegmentsShape(t *testing.T) {
	t.Parallel()
	var got struct {
		Batch []struct {
			Type         string         `json:"type"`
			Integrations map[string]any `json:"integrations"`
			Properties   map[string]any `json:"properties"`
		} `json:"batch"`
		Context map[string]any `json:"context"`
	}
	attempts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if attempts++; attempts < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		z, err := gzip.NewReader(r.Body)
		if err == nil {
			err = json.NewDecoder(z).Decode(&got)
		}
		if err != nil || r.URL.Path != "/v1/batch" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
	}))
	defer server.Close()
	var lines strings.Builder
	s, err := newShop(server.URL, &lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sell("u1"); err != nil {
		t.Fatal(err)
	}
	if err := s.events.Close(); err != nil {
		t.Fatal(err)
	}
	if len(got.Batch) != 6 || len(s.heard.sent) != 6 || len(s.heard.failed) != 0 {
		t.Fatalf("%d messages came, %v were told, %v failed", len(got.Batch), s.heard.sent, s.heard.failed)
	}
	for i, want := range []string{"identify", "track", "page", "screen", "group", "alias"} {
		if got.Batch[i].Type != want {
			t.Errorf("message %d is %s, want %s", i, got.Batch[i].Type, want)
		}
	}
	if all := got.Batch[1].Integrations["All"]; all != true {
		t.Errorf("integrations are %v", got.Batch[1].Integrations)
	}
	if app, _ := got.Context["app"].(map[string]any); app["name"] != "shop" || got.Context["region"] != "eu" {
		t.Errorf("the context is %v", got.Context)
	}
	if s.heard.sent[1] != "track Order Completed" {
		t.Errorf("told of %v", s.heard.sent)
	}
	for _, want := range []string{"events ERROR: delivery fails", "events INFO: delivery works again", "events INFO: request messages=6"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("%q is missing in the log\n%s", want, lines.String())
		}
	}
	if err := s.events.Close(); !errors.Is(err, analytics.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
	if err := s.events.Enqueue(analytics.Track{UserId: "u", Event: "E"}); !errors.Is(err, analytics.ErrClosed) {
		t.Errorf("Enqueue after Close: %v", err)
	}
}

func TestErrorsOfSegmentsShape(t *testing.T) {
	t.Parallel()
	_, err := analytics.NewWithConfig("WK", analytics.Config{Interval: -1})
	var config analytics.ConfigError
	if !errors.As(err, &config) || config.Field != "Interval" {
		t.Errorf("the error is %v", err)
	}
	client, err := analytics.NewWithConfig("WK", analytics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var field analytics.FieldError
	if err := client.Enqueue(analytics.Track{UserId: "u"}); !errors.As(err, &field) || field.Name != "Event" {
		t.Errorf("the error is %v", err)
	}
	pad := strings.Repeat("x", 40_000)
	if err := client.Enqueue(analytics.Track{UserId: "u", Event: "E", Properties: analytics.Properties{"pad": pad}}); !errors.Is(err, analytics.ErrMessageTooBig) {
		t.Errorf("the error is %v", err)
	}
}

func TestNewTakesTheEnvironment(t *testing.T) {
	came := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		came <- user
	}))
	defer server.Close()
	t.Setenv("TIDEGATE_ENDPOINT", server.URL)
	client := analytics.New("WK")
	if err := client.Enqueue(analytics.Track{UserId: "u", Event: "E"}); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-came; got != "WK" {
		t.Errorf("the write key is %q", got)
	}
	t.Setenv("TIDEGATE_ENDPOINT", "nonsense")
	defer func() {
		if recover() == nil {
			t.Error("New returned a client that can reach nobody")
		}
	}()
	analytics.New("WK")
}

// The client's structured log keeps its attributes and groups on the way to a Logger.
func TestLoggerBridge(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	logger := slog.New(analytics.Bridge(analytics.StdLogger(log.New(&lines, "", 0))))
	logger.With("a", 1).WithGroup("g").With("b", 2).Warn("careful", "c", 3)
	logger.Debug("not told")
	if got, want := lines.String(), "ERROR: careful a=1 g.b=2 g.c=3\n"; got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}
