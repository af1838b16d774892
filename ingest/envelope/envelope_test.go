package envelope

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func sample() *Envelope {
	return &Envelope{
		Source: "web", ReceivedAt: time.UnixMicro(1795229697309123).UTC(), SentAt: "2026-11-21T02:54:57.361Z",
		RequestIP: "203.0.113.7", Context: []byte(`{"library":{}}`),
		Events: []Event{
			{Body: []byte(`{"type":"track","event":"A"}`)},
			{Type: tidegate.Page, MessageID: "m-1", Body: []byte(`{}`)},
			{Refusal: "event.no_identity", Body: []byte(`{"type":"track"}`)},
		},
	}
}

func TestDecodeGivesBackWhatAppendWrote(t *testing.T) {
	t.Parallel()
	e := sample()
	got, err := Decode(nil, Append(nil, e), tidegate.Offset{Partition: 2, Position: 40})
	if err != nil {
		t.Fatal(err)
	}
	var want []tidegate.Event
	for i, ev := range e.Events {
		want = append(want, tidegate.Event{
			Offset: tidegate.Offset{Partition: 2, Position: 40 + int64(i)}, Source: e.Source, ReceivedAt: e.ReceivedAt,
			SentAt: e.SentAt, RequestIP: e.RequestIP, Context: e.Context, Integrations: e.Integrations,
			Type: ev.Type, MessageID: ev.MessageID, Refusal: ev.Refusal, Body: ev.Body,
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded events differ (-want +got):\n%s", diff)
	}
}

func TestSourceIsReadWithoutTheEvents(t *testing.T) {
	t.Parallel()
	whole := Append(nil, sample())
	if got, err := Source(whole); err != nil || got != "web" {
		t.Errorf("got %q, %v, want web", got, err)
	}
	for n := range 12 {
		if _, err := Source(whole[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("first %d bytes: got error %v, want ErrFormat", n, err)
		}
	}
}

func TestDecodeRefusesEveryTruncation(t *testing.T) {
	t.Parallel()
	whole := Append(nil, sample())
	for n := range whole {
		if _, err := Decode(nil, whole[:n], tidegate.Offset{}); !errors.Is(err, ErrFormat) {
			t.Errorf("first %d of %d bytes: got error %v, want ErrFormat", n, len(whole), err)
		}
	}
	if _, err := Decode(nil, append(whole, 0), tidegate.Offset{}); !errors.Is(err, ErrFormat) {
		t.Errorf("one byte too many: got error %v, want ErrFormat", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Append(nil, sample()))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		events, err := Decode(nil, payload, tidegate.Offset{})
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("error %v does not wrap ErrFormat", err)
		}
		total := 0
		for _, e := range events {
			total += len(e.Body)
		}
		if total > len(payload) {
			t.Fatalf("%d body bytes out of %d", total, len(payload))
		}
	})
}
