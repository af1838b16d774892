package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const manyEvents = 2500

// found is what a scan found, as text; easier to compare than slices.
type found struct {
	Type, MessageID, UserID, AnonymousID, Name, WriteKey, SentAt, Context, Integrations, Batch string
	Items                                                                                      []item
	Depth                                                                                      int
}

type item struct {
	Raw, Type, MessageID, UserID, AnonymousID, Name string
	Depth                                           int
}

func describe(d *Document) found {
	f := found{
		Type: string(d.Type), MessageID: string(d.MessageID), UserID: string(d.UserID), AnonymousID: string(d.AnonymousID), Name: string(d.Name),
		WriteKey: string(d.WriteKey), SentAt: string(d.SentAt), Context: string(d.Context), Integrations: string(d.Integrations), Batch: string(d.Batch), Depth: d.Depth,
	}
	for _, e := range d.Events {
		f.Items = append(f.Items, item{string(e.Raw), string(e.Type), string(e.MessageID), string(e.UserID), string(e.AnonymousID), string(e.Name), e.Depth})
	}
	return f
}

func TestScanFinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       found
	}{
		{"an empty object", `{}`, found{Depth: 1}},
		{
			"a single event", ` {"type":"track","messageId":"m","userId":7,"anonymousId":null,"event":"E","context":{"a":[1]},"sentAt":"s","writeKey":"k"} `,
			found{Type: `"track"`, MessageID: `"m"`, UserID: `7`, AnonymousID: `null`, Name: `"E"`, Context: `{"a":[1]}`, SentAt: `"s"`, WriteKey: `"k"`, Depth: 3},
		},
		{
			"a batch", `{"batch":[{"type":"a"}, {"event":{"type":"no"}} ,3],"integrations":{},"writeKey":"k"}`,
			found{
				Batch: `[{"type":"a"}, {"event":{"type":"no"}} ,3]`, Integrations: `{}`, WriteKey: `"k"`, Depth: 4,
				Items: []item{{Raw: `{"type":"a"}`, Type: `"a"`, Depth: 1}, {Raw: `{"event":{"type":"no"}}`, Name: `{"type":"no"}`, Depth: 2}, {Raw: `3`}},
			},
		},
		{"fields of nested objects are not the event's", `{"properties":{"type":"x","userId":"y","batch":[{}]}}`, found{Depth: 4}},
		{"the last of a repeated name counts", `{"userId":"a","userId":"b"}`, found{UserID: `"b"`, Depth: 1}},
		{"the last batch counts", `{"batch":[{},{}],"batch":[1]}`, found{Batch: `[1]`, Items: []item{{Raw: `1`}}, Depth: 3}},
		{"a later batch that is no list", `{"batch":[{},{}],"batch":null}`, found{Batch: `null`, Depth: 3}},
		{"a list of no events lies in the request", `{"batch":[],"batch":null}`, found{Batch: `null`, Depth: 2}},
		{"names match exactly", `{"USERID":"evil","userid":"evil","userId ":"evil"}`, found{Depth: 1}},
		{"escaped names are the same names", `{"user\u0049d":"a","b\u0061tch":[{"t\u0079pe":"x"}]}`, found{UserID: `"a"`, Batch: `[{"t\u0079pe":"x"}]`, Items: []item{{Raw: `{"t\u0079pe":"x"}`, Type: `"x"`, Depth: 1}}, Depth: 3}},
		{"names are unescaped once", `{"\\type":1,"\\\\":2,"\\u0074ype":3}`, found{Depth: 1}},
		{"NUL and lone surrogates pass", `{"userId":"\u0000\ud800"}`, found{UserID: `"\u0000\ud800"`, Depth: 1}},
		{"a batch inside an event", `{"batch":[{"batch":[{"type":"x"}]}]}`, found{Batch: `[{"batch":[{"type":"x"}]}]`, Items: []item{{Raw: `{"batch":[{"type":"x"}]}`, Depth: 3}}, Depth: 5}},
		{
			"depth of a repeated context", `{"batch":[{"context":{"a":[[]]}},{"context":{"a":[[]]}},{}]}`,
			found{Batch: `[{"context":{"a":[[]]}},{"context":{"a":[[]]}},{}]`, Items: []item{{Raw: `{"context":{"a":[[]]}}`, Depth: 4}, {Raw: `{"context":{"a":[[]]}}`, Depth: 4}, {Raw: `{}`, Depth: 1}}, Depth: 6},
		},
		{"depth of one item does not leak into the next", `{"batch":[{"a":[[[]]]},{}]}`, found{Batch: `[{"a":[[[]]]},{}]`, Items: []item{{Raw: `{"a":[[[]]]}`, Depth: 4}, {Raw: `{}`, Depth: 1}}, Depth: 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var d Document
			if err := d.Scan([]byte(`{"type":"old","batch":[1,2,3]}`), manyEvents); err != nil { // nothing may be left of it
				t.Fatal(err)
			}
			if err := d.Scan([]byte(c.body), manyEvents); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, describe(&d)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body, want string
	}{
		{``, "the body is empty at byte 0"},
		{` `, "the body is empty at byte 1"},
		{`[{}]`, "the body is not a JSON object at byte 0"},
		{`"x"`, "the body is not a JSON object at byte 0"},
		{`{`, "the JSON ends early at byte 1"},
		{`{"a"`, "the JSON ends early at byte 4"},
		{`{"a":`, "the JSON ends early at byte 5"},
		{`{"a":1`, "the JSON ends early at byte 6"},
		{`{"a":1,`, "the JSON ends early at byte 7"},
		{`{"a":1,}`, "the name of a field is missing at byte 7"},
		{`{,}`, "the name of a field is missing at byte 1"},
		{`{a:1}`, "the name of a field is missing at byte 1"},
		{`{"a" 1}`, "a colon is missing at byte 5"},
		{`{"a":}`, "a value is missing at byte 5"},
		{`{"a":1 "b":2}`, "a comma or the end of the object is missing at byte 7"},
		{`{"a":{"b":1 2}}`, "a comma or the end of the object is missing at byte 12"},
		{`{"a":[1 2]}`, "a comma or the end of the array is missing at byte 8"},
		{`{"batch":[{} {}]}`, "a comma or the end of the array is missing at byte 13"},
		{`{"a":[1,]}`, "a value is missing at byte 8"},
		{`{"a":tru}`, "a value is missing at byte 5"},
		{`{"batch":[{"context":{"a":1}},{"context":{"a":1}1}]}`, "a comma or the end of the object is missing at byte 48"},
		{`{"batch":[{"context":{"a":1}},{"context":{"a":1`, "the JSON ends early at byte 47"},
		{`{"a":nul`, "the JSON ends early at byte 8"},
		{`{"a":True}`, "a value is missing at byte 5"},
		{`{"a":NaN}`, "a value is missing at byte 5"},
		{`{"a":01}`, "a comma or the end of the object is missing at byte 6"},
		{`{"a":+1}`, "a value is missing at byte 5"},
		{`{"a":-}`, "a digit is missing at byte 6"},
		{`{"a":1.}`, "a digit is missing after the decimal point at byte 7"},
		{`{"a":.5}`, "a value is missing at byte 5"},
		{`{"a":1e}`, "a digit is missing in the exponent at byte 7"},
		{`{"a":1e+}`, "a digit is missing in the exponent at byte 8"},
		{"{\"a\":\"\n\"}", "a control character is not escaped in a string at byte 6"},
		{"{\"a\":\"\x00\"}", "a control character is not escaped in a string at byte 6"},
		{"{\"a\":\"\xff\"}", "the text is not valid UTF-8 at byte 6"},
		{"{\"a\":\"\xed\xa0\x80\"}", "the text is not valid UTF-8 at byte 6"},
		{"{\"a\":\"Gr\xc3\xbc\xc3\"}", "the text is not valid UTF-8 at byte 10"},
		{"{\"a\":1}\xff", "something follows the end of the JSON object at byte 7"},
		{`{"a":"\x"}`, "an unknown escape in a string at byte 7"},
		{`{"a":"\u12G4"}`, "four hexadecimal digits are missing after \\u at byte 10"},
		{`{"a":"\u12`, "the JSON ends early at byte 10"},
		{`{"a":"\`, "the JSON ends early at byte 7"},
		{`{}{}`, "something follows the end of the JSON object at byte 2"},
		{`{"a":"no end`, "the JSON ends early at byte 12"},
		{"{\f}", "the name of a field is missing at byte 1"},
	} {
		var d Document
		err := d.Scan([]byte(c.body), manyEvents)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || err.Error() != c.want {
			t.Errorf("%q: got %v, want %s", c.body, err, c.want)
		}
	}
}

func TestScanLimits(t *testing.T) {
	t.Parallel()
	nested := func(levels int) []byte {
		return []byte(`{"a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`)
	}
	var d Document
	if err := d.Scan(nested(MaxDepth), manyEvents); err != nil || d.Depth != MaxDepth {
		t.Errorf("%d levels: %v, depth %d", MaxDepth, err, d.Depth)
	}
	if err := d.Scan(nested(MaxDepth+1), manyEvents); err == nil {
		t.Errorf("%d levels were accepted", MaxDepth+1)
	}
	batch := []byte(`{"batch":[{},{},{}]}`)
	if err := d.Scan(batch, 3); err != nil || len(d.Events) != 3 {
		t.Errorf("3 of 3 events: %v, %d events", err, len(d.Events))
	}
	if err := d.Scan(batch, 2); !errors.Is(err, ErrTooManyEvents) {
		t.Errorf("3 of 2 events: %v", err)
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`""`: "", `"plain"`: "plain", `"a\"b\\c\/d\b\f\n\r\t"`: "a\"b\\c/d\b\f\n\r\t", `"\u00e9\u20AC"`: "é€",
		`"\ud83d\ude00!"`: "😀!", `"\ud83d"`: "\ufffd", `"\ud83dx"`: "\ufffdx", `"\ude00\ud83d"`: "\ufffd\ufffd", `"\ud83d\u0041"`: "\ufffdA", `"\u0000"`: "\x00",
	} {
		if got, ok := Value(raw).Text(); !ok || string(got) != want {
			t.Errorf("text of %s is %q, %v; want %q", raw, got, ok, want)
		}
	}
	for _, raw := range []string{"", "1", "null", "{}", "[]", "true"} {
		if got, ok := Value(raw).Text(); ok {
			t.Errorf("text of %s is %q, want none", raw, got)
		}
	}
	for raw, empty := range map[string]bool{"": true, "null": true, `""`: true, `" "`: false, "0": false, "false": false, "{}": false} {
		if got := Value(raw).Empty(); got != empty {
			t.Errorf("Empty of %q is %v", raw, got)
		}
	}
}

// Every text between two valid ones: cut anywhere, any byte changed.
func TestScanAgreesWithTheStandardLibraryOnDamagedText(t *testing.T) {
	t.Parallel()
	whole := []byte(`{"batch":[{"type":"track","n":-1.5e+3,"s":"\u00e9\"ü","a":[true,false,null,{}],"o":{"k":0}} , 1],"sentAt":"x"}`)
	for n := range whole {
		agree(t, whole[:n])
	}
	var d Document
	for i := range whole {
		damaged := bytes.Clone(whole)
		for c := range 256 {
			damaged[i] = byte(c)
			agreeWith(t, &d, damaged)
		}
	}
}

// agree holds the scanner to encoding/json, whose reading is the definition.
func agree(t *testing.T, body []byte) {
	t.Helper()
	agreeWith(t, &Document{}, body)
}

func agreeWith(t *testing.T, d *Document, body []byte) {
	t.Helper()
	err := d.Scan(body, len(body)+1)
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	valid := json.Valid(body) && utf8.Valid(body) && len(trimmed) > 0 && trimmed[0] == '{'
	if (err == nil) != valid {
		var syntax *SyntaxError
		if valid && errors.As(err, &syntax) && syntax.Problem == "the JSON is nested too deep" {
			return
		}
		t.Fatalf("%q: scan says %v, encoding/json says valid=%v", body, err, valid)
	}
	if err != nil {
		return
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]Value{
		"type": d.Type, "messageId": d.MessageID, "userId": d.UserID, "anonymousId": d.AnonymousID, "event": d.Name,
		"previousId": d.PreviousID, "writeKey": d.WriteKey, "sentAt": d.SentAt, "context": d.Context, "integrations": d.Integrations, "batch": d.Batch,
	} {
		if want := top[name]; string(want) != string(got) {
			t.Fatalf("%q: %s is %q, want %q", body, name, got, want)
		}
	}
	agreeOnContext(t, &d.Event)
	if want := depthOf(body); !d.Batch.IsArray() && d.Depth != want { // of a batch each item counts
		t.Fatalf("%q: depth %d, want %d", body, d.Depth, want)
	}
	if text, ok := d.UserID.Text(); ok {
		var want string
		if err := json.Unmarshal(d.UserID, &want); err != nil || want != string(text) {
			t.Fatalf("%q: userId says %q, want %q (%v)", body, text, want, err)
		}
	}
	agreeOnItems(t, d, top["batch"])
}

func agreeOnItems(t *testing.T, d *Document, batch json.RawMessage) {
	t.Helper()
	var want []json.RawMessage
	if len(batch) > 0 && batch[0] == '[' {
		if err := json.Unmarshal(batch, &want); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) != len(d.Events) {
		t.Fatalf("%q: %d items, want %d", batch, len(d.Events), len(want))
	}
	for i, ev := range d.Events {
		if string(want[i]) != string(ev.Raw) {
			t.Fatalf("item %d is %q, want %q", i, ev.Raw, want[i])
		}
		var fields map[string]json.RawMessage
		if ev.Raw.IsObject() {
			if err := json.Unmarshal(ev.Raw, &fields); err != nil {
				t.Fatal(err)
			}
		}
		agreeOnContext(t, &ev)
		if want := depthOf(ev.Raw); ev.Raw.IsObject() && ev.Depth != want {
			t.Fatalf("%q: depth %d, want %d", ev.Raw, ev.Depth, want)
		}
		got := fmt.Sprintf("%s|%s|%s|%s|%s|%s", ev.Type, ev.MessageID, ev.UserID, ev.AnonymousID, ev.PreviousID, ev.Name)
		if want := fmt.Sprintf("%s|%s|%s|%s|%s|%s", fields["type"], fields["messageId"], fields["userId"], fields["anonymousId"], fields["previousId"], fields["event"]); got != want {
			t.Fatalf("item %d: fields %s, want %s", i, got, want)
		}
	}
}

// depthOf is how many objects and arrays lie inside each other in a valid text.
func depthOf(text []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '{' || c == '['):
			depth++
			deepest = max(deepest, depth)
		case !quoted && (c == '}' || c == ']'):
			depth--
		}
	}
	return deepest
}

// agreeOnContext holds what was found in contexts to encoding/json. A repeated
// context adds to the one before it, as it does for the loader.
func agreeOnContext(t *testing.T, ev *Event) {
	t.Helper()
	var ip, userAgent json.RawMessage
	var lastContext Value
	for name, value := range ev.Raw.Members {
		if string(name) != "context" || !value.IsObject() {
			continue
		}
		lastContext = value
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(value, &fields); err != nil {
			t.Fatal(err)
		}
		if v, ok := fields["ip"]; ok {
			ip = v
		}
		if v, ok := fields["userAgent"]; ok {
			userAgent = v
		}
	}
	if place := ev.Raw[ev.ContextFrom:ev.ContextTo]; string(place) != string(lastContext) {
		t.Fatalf("%q: its context is found at %d, as %q, want %q", ev.Raw, ev.ContextFrom, place, lastContext)
	}
	if string(ev.IP) != string(ip) || string(ev.UserAgent) != string(userAgent) {
		t.Fatalf("%q: context.ip is %q and userAgent %q, want %q and %q", ev.Raw, ev.IP, ev.UserAgent, ip, userAgent)
	}
}

func FuzzScan(f *testing.F) {
	files, err := filepath.Glob("../testdata/captures/*.http")
	if err != nil || len(files) == 0 {
		f.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n\n") {
			f.Add([]byte(part))
		}
	}
	f.Add([]byte(`{"context":{"ip":1,"user\u0041gent":"a","ip":{}},"batch":[{"previousId":"p","context":{"ip":"0.0.0.0"},"context":{ },"c\u006fntext":{"userAgent":[]}}]}`))
	f.Add([]byte(`{"batch":[{"context":{"ip":"1","a":[[]]}},{"context":{"ip":"1","a":[[]]}},{"context":{"ip":"1","a":[[]]},"context":{"userAgent":"b"}},{"context":{"userAgent":"b"}}]}`))
	f.Add([]byte(`{"user\u0049d":"\ud83d\u0041","batch":[{"type":1},[],null],"batch":[{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}
