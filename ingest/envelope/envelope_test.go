package envelope

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"

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

func TestPackedIsTheSame(t *testing.T) {
	t.Parallel()
	e := sample()
	for range 200 {
		e.Events = append(e.Events, sample().Events...)
	}
	payload := Append(nil, e)
	small := new(Packer).Pack(e)
	if len(small) > len(payload)/4 {
		t.Errorf("%d bytes packed to %d", len(payload), len(small))
	}
	want, err := Decode(nil, payload, tidegate.Offset{Position: 7})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(nil, small, tidegate.Offset{Position: 7})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	size, err := PlainSize(small)
	if err != nil || size != len(payload) {
		t.Errorf("PlainSize: %d, %v, want %d", size, err, len(payload))
	}
	for _, room := range []int{0, 10 + len(payload)} {
		whole, err := AppendPlain(append(make([]byte, 0, room), "before"...), small)
		if err != nil || string(whole) != "before"+string(payload) {
			t.Errorf("with room for %d: unpacked wrongly (%v)", room, err)
		}
	}
	if source, err := Source(small); string(source) != "web" || err != nil {
		t.Errorf("source %q, %v", source, err)
	}
	if head, err := ReadHead(small[:20]); err != nil || head.Source != "web" || !head.ReceivedAt.Equal(e.ReceivedAt) {
		t.Errorf("the head of the first bytes: %+v, %v", head, err)
	}
	for n := range small {
		if _, err := Decode(nil, small[:n], tidegate.Offset{}); !errors.Is(err, ErrFormat) {
			t.Errorf("first %d of %d bytes: got error %v, want ErrFormat", n, len(small), err)
		}
	}
}

func TestPackLeavesWhatDoesNotShrink(t *testing.T) {
	t.Parallel()
	random := make([]byte, 100_000)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(source.Uint32())
	}
	other := append(bytes.Clone(random[:foldFrom]), random[50_000:]...)
	first, again := Event{Body: random[:50_000], RepeatTo: foldFrom}, Event{Body: other, RepeatTo: foldFrom} // they fold, and are as large still
	var p Packer
	for _, e := range []*Envelope{sample(), {Source: "web", Events: []Event{{Body: random}}}, {Source: "web", Events: []Event{first, again}}} {
		if got, want := p.Pack(e), Append(nil, e); string(got) != string(want) {
			t.Errorf("%d bytes became %d", len(want), len(got))
		}
	}
}

// A few bytes must not ask for gigabytes, nor unpack for ever.
func TestHostilePackedPayloads(t *testing.T) {
	t.Parallel()
	huge := s2.Encode(nil, make([]byte, maxPlain+1))
	again := s2.Encode(nil, new(Packer).Pack(&Envelope{Events: slices.Repeat(sample().Events, 300)}))
	for _, payload := range [][]byte{
		append([]byte{packed, 0, 0}, huge...),
		append([]byte{packed, 0, 0}, again...),
		append([]byte{packedBare}, huge...),
		append([]byte{packedBare}, again...),
		{packed},
		{packed, 0},
		{packed, 0, 0},
		{packed, 0, 9},
		{packed, 0xff, 0xff, 0xff, 0xff, 0x7f},
		{packedBare},
		{packedBare, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		if _, err := Decode(nil, payload, tidegate.Offset{}); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: got %v, want ErrFormat", len(payload), err)
		}
	}
}

// Journals that were written before the head stood in front are read for ever.
func TestPackedWithoutAHeadIsRead(t *testing.T) {
	t.Parallel()
	e := sample()
	e.Events = slices.Repeat(e.Events, 300)
	payload := Append(nil, e)
	old := append([]byte{packedBare}, s2.Encode(nil, payload)...)
	want, err := Decode(nil, payload, tidegate.Offset{Position: 7})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(nil, old, tidegate.Offset{Position: 7})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if size, err := PlainSize(old); err != nil || size != len(payload) {
		t.Errorf("PlainSize: %d, %v, want %d", size, err, len(payload))
	}
	if head, err := ReadHead(old); err != nil || head.Source != e.Source || !head.ReceivedAt.Equal(e.ReceivedAt) {
		t.Errorf("head %+v, %v", head, err)
	}
}

func TestReadingAPackedHeadUnpacksNothing(t *testing.T) {
	e := sample()
	e.Events = slices.Repeat(e.Events, 300)
	small := new(Packer).Pack(e)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := ReadHead(small); err != nil {
			t.Fatal(err)
		}
	}); n > 1 { // the source's name
		t.Errorf("%v allocations", n)
	}
}

func TestSourceIsReadWithoutTheEvents(t *testing.T) {
	t.Parallel()
	whole := Append(nil, sample())
	if got, err := Source(whole); err != nil || string(got) != "web" {
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
	f.Add(new(Packer).Pack(&Envelope{Events: slices.Repeat(sample().Events, 300)}))
	f.Add(new(Packer).Pack(repeating(40)))
	f.Add(append([]byte{packedFolded, 2, 3, 'w', 'e', 'b', 100}, s2.Encode(nil, foldedOf(repeating(3)))...))
	f.Add(append([]byte{packedBare}, s2.Encode(nil, Append(nil, sample()))...))
	f.Add(append([]byte{packed, 2, 3, 'w', 'e', 'b'}, s2.Encode(nil, Append(nil, sample()))...))
	f.Fuzz(func(t *testing.T, payload []byte) {
		events, err := Decode(nil, payload, tidegate.Offset{})
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("error %v does not wrap ErrFormat", err)
		}
		total := 0
		for _, e := range events {
			total += len(e.Body)
		}
		if size, _ := PlainSize(payload); total > size {
			t.Fatalf("%d body bytes out of %d", total, size)
		}
	})
}

// What an envelope's events share is not told with one that was withheld.
func TestWithheldEventsShareNothing(t *testing.T) {
	t.Parallel()
	e := Envelope{
		Source: "web", ReceivedAt: time.UnixMicro(1).UTC(), SentAt: "s", RequestIP: "203.0.113.7", Context: []byte(`{"traits":{}}`), Integrations: []byte(`{"All":true}`),
		Events: []Event{{Body: []byte(`{"n":1}`)}, {Body: []byte(`{}`), Refusal: tidegate.RefusedSuppressed}, {Body: []byte(`{}`), Refusal: tidegate.RefusedBot}, {Body: []byte(`{}`), Refusal: "event.no_name"}},
	}
	got, err := Decode(nil, Append(nil, &e), tidegate.Offset{})
	if err != nil {
		t.Fatal(err)
	}
	for i, shares := range []bool{true, false, false, true} {
		ev := got[i]
		if ev.Source != "web" || !ev.ReceivedAt.Equal(e.ReceivedAt) {
			t.Errorf("event %d lost its source or time: %+v", i, ev)
		}
		if told := ev.SentAt != "" || ev.RequestIP != "" || ev.Context != nil || ev.Integrations != nil; told != shares {
			t.Errorf("event %d tells what it shares: %v, want %v", i, told, shares)
		}
	}
}

func TestAReplaysCopySaysSo(t *testing.T) {
	t.Parallel()
	e := sample()
	e.Replayed = true
	payload := Append(nil, e)
	got, err := Decode(nil, payload, tidegate.Offset{})
	if err != nil || len(got) != len(e.Events) || !got[0].Replayed {
		t.Errorf("%d events, %v", len(got), err)
	}
	if head, err := ReadHead(payload); err != nil || head.Source != e.Source || !head.ReceivedAt.Equal(e.ReceivedAt) {
		t.Errorf("head %+v, %v", head, err)
	}
}
