package app

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/sync/ledger"
)

func TestRedactLeavesTheOthers(t *testing.T) {
	t.Parallel()
	var people privacy.Set
	people.Replace([]privacy.Entry{{Person: privacy.Person{Kind: privacy.UserID, ID: "u1"}, Below: 100}})
	frame := envelope.Envelope{
		Source: "web", ReceivedAt: time.UnixMicro(1_700_000_000_000_000).UTC(), RequestIP: "203.0.113.7", SentAt: "2026-01-02T03:04:05Z", Context: []byte(`{"ip":"203.0.113.7"}`),
		Events: []envelope.Event{{Body: []byte(`{"messageId":"a","userId":"u1"}`)}, {Body: []byte(`{"messageId":"b","userId":"u2"}`)}},
	}
	changed, n, err := redact(&people, envelope.Append(nil, &frame), tidegate.Offset{Position: 7})
	if err != nil || n != 1 {
		t.Fatalf("%d events, %v", n, err)
	}
	got, err := envelope.Decode(nil, changed, tidegate.Offset{Position: 7})
	if err != nil || len(got) != 2 || got[0].Refusal != tidegate.RefusedSuppressed || string(got[0].Body) != `{"messageId":"a"}` || string(got[1].Body) != `{"messageId":"b","userId":"u2"}` ||
		got[1].RequestIP != "203.0.113.7" || !got[1].ReceivedAt.Equal(frame.ReceivedAt) || string(got[1].Context) != `{"ip":"203.0.113.7"}` {
		t.Errorf("%+v, %v", got, err)
	}
	// Again there is nothing to do; nor beyond the offset.
	if _, n, err := redact(&people, changed, tidegate.Offset{Position: 7}); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	if _, n, err := redact(&people, envelope.Append(nil, &frame), tidegate.Offset{Position: 100}); n != 0 || err != nil {
		t.Errorf("a later event: %d, %v", n, err)
	}
	// When nobody else is in the frame, what the events shared goes too.
	frame.Events = frame.Events[:1]
	changed, _, err = redact(&people, envelope.Append(nil, &frame), tidegate.Offset{Position: 7})
	if err != nil || strings.Contains(string(changed), "203.0.113") {
		t.Errorf("%q, %v", changed, err)
	}
}

func TestRecordsThatSpeakOfSomebody(t *testing.T) {
	t.Parallel()
	values := map[string]bool{"u1": true, "ada@example.com": true, "7": true}
	for name, c := range map[string]ledger.Confirmed{
		"by its key":        {Key: `["u1"]`},
		"by a number":       {Key: `[7]`},
		"by its identifier": {Key: `["x"]`, Identifier: "ada@example.com"},
		"by a field":        {Key: `["x"]`, Payload: tidegate.Record{"mail": "ada@example.com"}},
	} {
		if !speaksOf(c, values) {
			t.Errorf("%s: not found", name)
		}
	}
	if speaksOf(ledger.Confirmed{Key: `["u11"]`, Identifier: "bob@example.com", Payload: tidegate.Record{"note": "u1 and others", "n": nil}}, values) {
		t.Error("somebody else was found")
	}
}
