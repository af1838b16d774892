package envelope

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
)

var sharedContext = `{"locale":"en-US","page":{"path":"/shop/checkout","title":"Checkout"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64)"}`

// eventWith is an event that says context, at a place that depends on n.
func eventWith(n int, context string) Event {
	head := fmt.Sprintf(`{"type":"track","n":%d,"context":`, n)
	return Event{
		Body:       []byte(head + context + fmt.Sprintf(`,"messageId":"m-%d"}`, n)),
		RepeatFrom: len(head), RepeatTo: len(head) + len(context),
	}
}

// repeating is an envelope whose events say the same context, but for one of another
// kind, a refused one, a withheld one, and a change of page in the middle.
func repeating(n int) *Envelope {
	e := sample()
	for i := range n {
		context := sharedContext
		if i > n/2 {
			context = strings.ReplaceAll(context, "checkout", "thanks")
		}
		ev := eventWith(i*i, context)
		switch i % 10 {
		case 5:
			ev.Refusal = "event.no_identity"
		case 6:
			ev = Event{Refusal: tidegate.RefusedSuppressed, Body: []byte(`{}`)}
		case 7:
			ev.Type, ev.MessageID = tidegate.Page, "made"
		}
		e.Events = append(e.Events, ev)
	}
	return e
}

func foldedOf(e *Envelope) []byte {
	folded, _, _ := appendFolded(nil, e)
	return folded
}

func TestWhatRepeatsIsWrittenOnce(t *testing.T) {
	t.Parallel()
	e := repeating(100)
	payload := Append(nil, e)
	folded, size, folds := appendFolded(nil, e)
	if n := bytes.Count(folded, []byte("en-US")); folds < 85 || n != 2 {
		t.Errorf("%d events were shortened, and the context is there %d times, want once a page", folds, n)
	}
	if size != len(payload) {
		t.Errorf("the payload has %d bytes, folding says %d", len(payload), size)
	}
	var p Packer
	var u Unpacker
	for range 2 { // the second time in used memory
		small := p.Pack(e)
		if small[0] != packedFolded {
			t.Fatalf("version %d", small[0])
		}
		whole, err := u.Append([]byte("before"), small)
		if err != nil || string(whole) != "before"+string(payload) {
			t.Fatalf("unpacked wrongly (%v)", err)
		}
		if n, err := PlainSize(small); n != len(payload) || err != nil {
			t.Errorf("PlainSize %d, %v, want %d", n, err, len(payload))
		}
		if head, err := ReadHead(small); err != nil || head.Source != e.Source || !head.ReceivedAt.Equal(e.ReceivedAt) {
			t.Errorf("head %+v, %v", head, err)
		}
	}
}

func TestPackingAndUnpackingAllocateNothing(t *testing.T) {
	e := repeating(100)
	var p Packer
	var u Unpacker
	room := make([]byte, 0, len(Append(nil, e)))
	if n := testing.AllocsPerRun(20, func() {
		if _, err := u.Append(room, p.Pack(e)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations in used memory", n)
	}
}

// Whatever the hints say, right or wrong, the payload comes back byte for byte.
func TestFoldingKeepsEveryByte(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		e := sample()
		e.Replayed = rapid.Bool().Draw(rt, "replayed")
		contexts := rapid.SampledFrom([]string{sharedContext, sharedContext, sharedContext + sharedContext, strings.Repeat("x", foldFrom), strings.Repeat("x", foldFrom-1), ""})
		for i := range rapid.IntRange(0, 60).Draw(rt, "events") {
			ev := eventWith(rapid.IntRange(0, 1_000_000).Draw(rt, "n"), contexts.Draw(rt, "context"))
			switch rapid.IntRange(0, 9).Draw(rt, "kind") {
			case 0:
				ev.RepeatFrom, ev.RepeatTo = 0, 0
			case 1:
				ev.RepeatFrom, ev.RepeatTo = rapid.IntRange(-5, 400).Draw(rt, "from"), rapid.IntRange(-5, 400).Draw(rt, "to")
			case 2:
				ev.MessageID, ev.Refusal = fmt.Sprint("m", i), "event.no_identity"
			case 3:
				ev = Event{Body: []byte(`{}`)}
			case 4:
				ev.RepeatFrom, ev.RepeatTo = 0, len(ev.Body)
			}
			e.Events = append(e.Events, ev)
		}
		payload := Append(nil, e)
		folded, size, _ := appendFolded(nil, e)
		if size != len(payload) {
			rt.Fatalf("the payload has %d bytes, folding says %d", len(payload), size)
		}
		if got, err := appendUnfolded(nil, folded, size); err != nil || string(got) != string(payload) {
			rt.Fatalf("unfolded to %q (%v), want %q", got, err, payload)
		}
		if got, err := AppendPlain(nil, new(Packer).Pack(e)); err != nil || string(got) != string(payload) {
			rt.Fatalf("unpacked to %q (%v), want %q", got, err, payload)
		}
	})
}

func TestHostileFolds(t *testing.T) {
	t.Parallel()
	shared := appendShared(nil, &Envelope{Source: "web", Events: make([]Event, 1)})
	event := func(form byte, numbers ...uint64) []byte {
		b := append(bytes.Clone(shared), form, 0, 0)
		for _, n := range numbers {
			b = binary.AppendUvarint(b, n)
		}
		return append(b, 2, '{', '}')
	}
	whole := foldedOf(repeating(20))
	size := len(Append(nil, repeating(20)))
	type hostile struct {
		folded []byte
		size   int
	}
	cases := map[string]hostile{
		"nothing":                 {nil, 0},
		"of another version":      {append([]byte{packed}, whole[1:]...), size},
		"again before a first":    {event(formAgain, 0), 100},
		"a first outside":         {event(formFirst, 3, 0), 100},
		"a first too long":        {event(formFirst, 1, 2), 100},
		"a first beyond all":      {event(formFirst, 1<<63, 1<<63), 100},
		"a form there is not":     {event(formMask, 0), 100},
		"something behind":        {append(bytes.Clone(whole), 0), size},
		"a size too small":        {whole, size - 1},
		"a size too large":        {whole, size + 1},
		"a size below the head's": {whole, 3},
	}
	for n := range whole {
		cases[fmt.Sprint("cut at ", n)] = hostile{whole[:n], size}
	}
	for name, c := range cases {
		if got, err := appendUnfolded([]byte("x"), bytes.Clone(c.folded), c.size); !errors.Is(err, ErrFormat) || string(got) != "x" {
			t.Errorf("%s: %d bytes, %v, want ErrFormat", name, len(got), err)
		}
	}
	for _, size := range []uint64{maxPlain + 1, 1 << 62} {
		payload := append(binary.AppendUvarint([]byte{packedFolded, 0, 0}, size), s2.Encode(nil, whole)...)
		if _, err := Decode(nil, payload, tidegate.Offset{}); !errors.Is(err, ErrFormat) {
			t.Errorf("a size of %d: %v, want ErrFormat", size, err)
		}
	}
}

// Journals are read for ever: these bytes were written by the versions that are named.
func TestRecordedPayloadsAreRead(t *testing.T) {
	t.Parallel()
	var want []tidegate.Event
	for _, name := range []string{"plain-1", "packed-2", "packed-4", "packed-6"} {
		text, err := os.ReadFile("testdata/" + name + ".hex")
		if err != nil {
			t.Fatal(err)
		}
		payload, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(nil, payload, tidegate.Offset{Position: 7})
		if err != nil || len(got) != 30 {
			t.Fatalf("%s: %d events, %v", name, len(got), err)
		}
		if want == nil {
			want = got
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s says other than plain-1 (-want +got):\n%s", name, diff)
		}
	}
	if got := string(want[29].Body); !strings.HasSuffix(got, `"messageId":"m-29","userId":"u78"}`) || want[5].Refusal != "event.no_identity" || want[3].Type != tidegate.Page {
		t.Errorf("the last event is %s", got)
	}
}

func FuzzUnfold(f *testing.F) {
	f.Add(foldedOf(repeating(20)), len(Append(nil, repeating(20))))
	f.Add(foldedOf(sample()), len(Append(nil, sample())))
	f.Fuzz(func(t *testing.T, folded []byte, size int) {
		if size < 0 || size > 1<<20 {
			return
		}
		got, err := appendUnfolded(nil, folded, size)
		if err != nil && !errors.Is(err, ErrFormat) || err == nil && len(got) != size {
			t.Fatalf("%d bytes of %d, %v", len(got), size, err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	e := &Envelope{Source: "web"}
	for i := range 100 {
		e.Events = append(e.Events, eventWith(i*7919, strings.Replace(sharedContext, `"page":{`, `"page":{"url":"https://shop.example.com/shop/checkout?utm_source=news","referrer":"https://www.example.com/","search":"?utm_source=news","more":"`+strings.Repeat("0123456789", 20)+`",`, 1)))
	}
	size := len(Append(nil, e))
	for _, hinted := range []bool{true, false} {
		b.Run(fmt.Sprint("hinted=", hinted), func(b *testing.B) {
			if !hinted {
				for i := range e.Events {
					e.Events[i].RepeatTo = 0
				}
			}
			var p Packer
			b.SetBytes(int64(size))
			for b.Loop() {
				p.Pack(e)
			}
		})
	}
}
