package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAcceptsWhatSDKsSend posts the events that the SDKs must produce
// (testdata/wire/README.md): the handler accepts every one and keeps its text.
func TestAcceptsWhatSDKsSend(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/wire/sdk/*.json")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d fixtures: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var f struct {
				About  string            `json:"about"`
				Calls  []json.RawMessage `json:"calls"`
				Expect []json.RawMessage `json:"expect"`
			}
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&f); err != nil {
				t.Fatal(err)
			}
			if len(f.Calls) == 0 || len(f.Calls) != len(f.Expect) {
				t.Fatalf("%d calls make %d events", len(f.Calls), len(f.Expect))
			}
			events := make([]string, len(f.Expect))
			for i, raw := range f.Expect {
				var compact bytes.Buffer
				if err := json.Compact(&compact, raw); err != nil {
					t.Fatal(err)
				}
				events[i] = strings.NewReplacer(`"<id>"`, fmt.Sprintf(`"made-%d"`, i), `"<time>"`, `"2026-11-21T11:59:58.250Z"`).Replace(compact.String())
			}
			h := newHub(t, nil)
			body := `{"batch":[` + strings.Join(events, ",") + `],"sentAt":"2026-11-21T12:00:00.000Z"}`
			mustFind(t, h.send("/v1/batch", body), 200, fmt.Sprintf(`"okEvents":%d`, len(events)), `"errors":[]`)
			kept, _ := h.journal.take()
			if len(kept) != len(events) {
				t.Fatalf("%d events kept of %d", len(kept), len(events))
			}
			for i := range kept {
				if kept[i].Refusal != "" || string(kept[i].Body) != events[i] {
					t.Errorf("event %d: refusal %q, kept as\n%s\nwant\n%s", i, kept[i].Refusal, kept[i].Body, events[i])
				}
			}
		})
	}
}
