package ingest

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

// fixture is one request of testdata/wire with what must come of it. SDKs hold
// the requests that they make to the same files. Texts that say "generated-n"
// stand for what the server makes up.
type fixture struct {
	About   string         `json:"about"`
	Request fixtureRequest `json:"request"`
	Expect  fixtureExpect  `json:"expect"`
}

type fixtureRequest struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

type fixtureExpect struct {
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer"`
	Events []fixtureEvent  `json:"events"`
}

// fixtureEvent is an event as readers of the journal see it.
type fixtureEvent struct {
	Source       string             `json:"source"`
	Type         tidegate.EventType `json:"type,omitempty"`
	MessageID    string             `json:"messageId,omitempty"`
	Refusal      string             `json:"refusal,omitempty"`
	SentAt       string             `json:"sentAt,omitempty"`
	Context      json.RawMessage    `json:"context,omitempty"`
	Integrations json.RawMessage    `json:"integrations,omitempty"`
	Body         json.RawMessage    `json:"body"`
}

func TestWireFixtures(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/wire/*.json")
	if err != nil || len(files) < 16 {
		t.Fatalf("%d fixtures: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var f fixture
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&f); err != nil {
				t.Fatal(err)
			}
			f.Expect = play(t, &f.Request)
			var got bytes.Buffer
			encoder := json.NewEncoder(&got)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(f); err != nil {
				t.Fatal(err)
			}
			golden(t, file, got.Bytes())
		})
	}
}

// play sends the request, its body compact as SDKs send it, and tells what came of it.
func play(t *testing.T, request *fixtureRequest) fixtureExpect {
	t.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, request.Body); err != nil {
		t.Fatal(err)
	}
	body := compact.String()
	if request.Headers["Content-Encoding"] == "gzip" {
		body = zip(body)
	}
	r := httptest.NewRequest(request.Method, request.Path, strings.NewReader(body))
	for name, value := range request.Headers {
		r.Header.Set(name, value)
	}
	h := newHub(t, nil)
	w := h.do(r)
	expect := fixtureExpect{Status: w.Code, Answer: w.Body.Bytes(), Events: []fixtureEvent{}}
	events, _ := h.journal.take()
	for _, ev := range events {
		if !strings.Contains(compact.String(), string(ev.Body)) {
			t.Errorf("event %s is not the client's own text", ev.Body)
		}
		expect.Events = append(expect.Events, fixtureEvent{
			Source: ev.Source, Type: ev.Type, MessageID: ev.MessageID, Refusal: ev.Refusal, SentAt: ev.SentAt,
			Context: ev.Context, Integrations: ev.Integrations, Body: ev.Body,
		})
	}
	return expect
}
