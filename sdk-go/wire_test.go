package analytics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// wireCase is one file of ingest/testdata/wire/sdk; README.md there says what
// the members mean.
type wireCase struct {
	About  string           `json:"about"`
	Calls  []wireCall       `json:"calls"`
	Expect []map[string]any `json:"expect"`
}

type wireCall struct {
	Method       string         `json:"method"`
	UserID       string         `json:"userId"`
	AnonymousID  string         `json:"anonymousId"`
	PreviousID   string         `json:"previousId"`
	GroupID      string         `json:"groupId"`
	MessageID    string         `json:"messageId"`
	Event        string         `json:"event"`
	Name         string         `json:"name"`
	Category     string         `json:"category"`
	Timestamp    time.Time      `json:"timestamp"`
	Properties   map[string]any `json:"properties"`
	Traits       map[string]any `json:"traits"`
	Integrations map[string]any `json:"integrations"`
	Context      *Context       `json:"context"`
}

func (c wireCall) message() (Message, error) {
	switch c.Method {
	case "track":
		return Track{
			UserId: c.UserID, AnonymousId: c.AnonymousID, MessageId: c.MessageID, Event: c.Event, Timestamp: c.Timestamp,
			Properties: c.Properties, Integrations: c.Integrations, Context: c.Context,
		}, nil
	case "identify":
		return Identify{
			UserId: c.UserID, AnonymousId: c.AnonymousID, MessageId: c.MessageID, Timestamp: c.Timestamp, Traits: c.Traits,
			Integrations: c.Integrations, Context: c.Context,
		}, nil
	case "page":
		return Page{
			UserId: c.UserID, AnonymousId: c.AnonymousID, MessageId: c.MessageID, Name: c.Name, Category: c.Category, Timestamp: c.Timestamp,
			Properties: c.Properties, Integrations: c.Integrations, Context: c.Context,
		}, nil
	case "screen":
		return Screen{
			UserId: c.UserID, AnonymousId: c.AnonymousID, MessageId: c.MessageID, Name: c.Name, Category: c.Category, Timestamp: c.Timestamp,
			Properties: c.Properties, Integrations: c.Integrations, Context: c.Context,
		}, nil
	case "group":
		return Group{
			UserId: c.UserID, AnonymousId: c.AnonymousID, MessageId: c.MessageID, GroupId: c.GroupID, Timestamp: c.Timestamp, Traits: c.Traits,
			Integrations: c.Integrations, Context: c.Context,
		}, nil
	case "alias":
		return Alias{UserId: c.UserID, PreviousId: c.PreviousID, MessageId: c.MessageID, Timestamp: c.Timestamp, Integrations: c.Integrations, Context: c.Context}, nil
	}
	return nil, fmt.Errorf("the method %q is unknown", c.Method)
}

// TestWire makes the calls of the fixtures that the server's tests and the
// browser SDK's tests read too, and compares what a server receives.
func TestWire(t *testing.T) {
	t.Parallel()
	const folder = "../ingest/testdata/wire/sdk"
	files, err := filepath.Glob(folder + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("../go.work"); err != nil && os.IsNotExist(err) && len(files) == 0 {
		t.Skip("the module stands alone: the fixtures are in the repository " + folder)
	}
	if len(files) < 15 {
		t.Fatalf("%d fixtures", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			var c wireCase
			readStrictly(t, file, &c)
			h := newHub(t)
			client := newClient(t, h.URL, nil)
			for _, call := range c.Calls {
				m, err := call.message()
				if err != nil {
					t.Fatal(err)
				}
				if err := client.Enqueue(m); err != nil {
					t.Fatal(err)
				}
			}
			if err := client.Close(soon(t)); err != nil {
				t.Fatal(err)
			}
			requests := h.seen()
			if len(requests) != 1 || requests[0].path != "/v1/batch" || len(requests[0].events) != len(c.Expect) {
				t.Fatalf("%d requests, the first to %s with %d events", len(requests), requests[0].path, len(requests[0].events))
			}
			holdRequest(t, requests[0])
			ids := map[any]bool{}
			for i, got := range requests[0].events {
				holdEvent(t, c.Expect[i], got)
				if ids[got["messageId"]] {
					t.Errorf("the messageId %v comes twice", got["messageId"])
				}
				ids[got["messageId"]] = true
			}
		})
	}
}

func readStrictly(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatal(err)
	}
}

// holdRequest holds what belongs to the request and not to an event.
func holdRequest(t *testing.T, r received) {
	t.Helper()
	if user, _, ok := (&http.Request{Header: r.header}).BasicAuth(); !ok || user != "WK" {
		t.Errorf("the write key is %q", user)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("the content type is %q", got)
	}
	library, _ := r.top["context"].(map[string]any)["library"].(map[string]any)
	if library["name"] != libraryName || library["version"] != Version {
		t.Errorf("the library is %v", library)
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(r.top["sentAt"])); err != nil {
		t.Errorf("sentAt: %v", err)
	}
}

// holdEvent compares an event with what the fixture expects.
func holdEvent(t *testing.T, want, got map[string]any) {
	t.Helper()
	may := map[string]bool{"anonymousId": true, "userId": true, "integrations": true, "context": true, "sentAt": true}
	may["category"] = want["type"] == "page" || want["type"] == "screen"
	for name, value := range got {
		if _, named := want[name]; !named && !may[name] {
			t.Errorf("the event has %s = %v, which nobody asked for", name, value)
		}
	}
	for name, value := range want {
		switch {
		case name == "messageId" && value == "<id>":
			if id, _ := got[name].(string); id == "" || len(id) > maxMessageID {
				t.Errorf("the messageId is %v", got[name])
			}
		case name == "timestamp":
			at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got[name]))
			if err != nil {
				t.Errorf("timestamp: %v", err)
			} else if value != "<time>" && !at.Equal(mustTime(t, value)) {
				t.Errorf("timestamp is %v, want %v", at, value)
			}
		case name == "context":
			for part, inner := range value.(map[string]any) {
				if context, _ := got[name].(map[string]any); !reflect.DeepEqual(context[part], inner) {
					t.Errorf("context.%s is %v, want %v", part, context[part], inner)
				}
			}
		case !reflect.DeepEqual(got[name], value):
			t.Errorf("%s is %#v, want %#v", name, got[name], value)
		}
	}
}
