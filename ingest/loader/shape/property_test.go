package shape

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
)

// drawValue draws JSON whose scalars are mostly different from each other, so that
// finding one means finding that one.
func drawValue(t *rapid.T, n *int, depth int) any {
	*n++
	kinds := []string{"int", "fraction", "bool", "text", "date", "big", "long", "null", "list", "empty"}
	if depth < 4 {
		kinds = append(kinds, "object", "object")
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "int":
		return json.Number(fmt.Sprint(*n*1000 + rapid.IntRange(-900, 900).Draw(t, "int")))
	case "fraction":
		return json.Number(fmt.Sprintf("%d.%d", *n, rapid.IntRange(0, 99).Draw(t, "fraction")))
	case "bool":
		return rapid.Bool().Draw(t, "bool")
	case "text":
		return fmt.Sprint(rapid.SampledFrom([]string{"text", "ü\"\\", "line\nbreak", "12"}).Draw(t, "text"), *n)
	case "date":
		return time.Date(2000, 1, *n, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
	case "big":
		return json.Number(fmt.Sprintf("9%030d", *n))
	case "long":
		return json.Number(fmt.Sprintf("0.%d12345678901234567890123", *n))
	case "list":
		return []any{json.Number(fmt.Sprint(*n)), "x"}
	case "empty":
		return rapid.SampledFrom([]any{"", []any{}, []any{""}, map[string]any{}}).Draw(t, "empty")
	case "object":
		return drawObject(t, n, depth+1)
	}
	return nil
}

// names that fall onto each other, onto reserved columns, or onto nothing
func drawObject(t *rapid.T, n *int, depth int) map[string]any {
	names := []string{
		"a", "b", "a_b", "aB", "id", "user_id", "userId", "name", "Name", "цена", "!", "select", "_x",
		"received_at", "price", "context", "context_ip", "ip", "_unmapped", "event", "timestamp", strings.Repeat("long", 40),
	}
	o := make(map[string]any)
	for range rapid.IntRange(0, 6).Draw(t, "members") {
		o[rapid.SampledFrom(names).Draw(t, "name")] = drawValue(t, n, depth)
	}
	return o
}

// scalars lists what must not get lost: every value that says something, arrays as one.
func scalars(v any) []string {
	switch v := v.(type) {
	case map[string]any:
		var all []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, scalars(v[key])...)
		}
		return all
	case []any:
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		if emptyJSON(b) {
			return nil
		}
		return []string{string(b)}
	case nil:
		return nil
	case string:
		if v == "" {
			return nil
		}
		return []string{canonical(v)}
	}
	return []string{canonical(fmt.Sprint(v))}
}

// canonical writes equal numbers and equal moments equally.
func canonical(text string) string {
	if r, ok := new(big.Rat).SetString(text); ok && !strings.Contains(text, "/") {
		return r.RatString()
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Format(time.RFC3339Nano)
		}
	}
	return text
}

// found lists every value of an event's rows.
func found(t *rapid.T, rows []Explained) map[string]bool {
	all := make(map[string]bool)
	for _, row := range rows {
		for _, c := range row.Columns {
			switch v := c.Value.(type) {
			case tidegate.JSONText:
				dec := json.NewDecoder(strings.NewReader(string(v)))
				dec.UseNumber()
				var o any
				if err := dec.Decode(&o); err != nil {
					t.Fatalf("column %s of %s holds %q: %v", c.Name, row.Table, v, err)
				}
				for _, s := range scalars(o) {
					all[s] = true
				}
				all[string(v)] = true
			case time.Time:
				all[canonical(v.Format(time.RFC3339Nano))] = true
			case float64:
				all[canonical(json.Number(fmt.Sprintf("%.17g", v)).String())] = true
				all[canonical(fmt.Sprint(v))] = true
			case string:
				all[canonical(v)] = true
				var o any // a value of a JSON path in a column of texts
				if dec := json.NewDecoder(strings.NewReader(v)); strings.ContainsAny(v, "{[") {
					dec.UseNumber()
					if dec.Decode(&o) == nil {
						for _, s := range scalars(o) {
							all[s] = true
						}
					}
				}
			default:
				all[canonical(fmt.Sprint(v))] = true
			}
		}
	}
	return all
}

// drawOptions draws the rules of a source.
func drawOptions(t *rapid.T) Options {
	return Options{Rules: Rules{
		Profile:       rapid.SampledFrom([]Profile{RudderStack, RudderStack, Segment, Native}).Draw(t, "profile"),
		MaxColumns:    rapid.SampledFrom([]int{20, 24, 500}).Draw(t, "cap"),
		JSONPaths:     rapid.SampledFrom([][]string{nil, {"track.properties.a", "b.a"}}).Draw(t, "json paths"),
		HotColumns:    rapid.SampledFrom([][]string{nil, {"properties.a", "traits.a", "context.price", "properties.b.a"}}).Draw(t, "hot"),
		ContextTraits: rapid.Bool().Draw(t, "context traits"),
		DivideNumbers: rapid.Bool().Draw(t, "divide"),
		SkipTracks:    rapid.Bool().Draw(t, "skip tracks"),
		SkipUsers:     rapid.Bool().Draw(t, "skip users"),
	}}
}

// TestNothingIsLost feeds random events with colliding, reserved and unnameable
// properties to tables whose columns were fixed by earlier ones, and looks every
// value up.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(drawOptions(t))
		n := 0
		for position := range rapid.IntRange(1, 8).Draw(t, "events") {
			kind := rapid.SampledFrom(tidegate.EventTypes()).Draw(t, "type")
			ev := map[string]any{"type": kind, "messageId": fmt.Sprint("m", position), "userId": "u", "context": drawObject(t, &n, 1)}
			properties := "properties"
			if kind == tidegate.Identify || kind == tidegate.Group || kind == tidegate.Alias {
				properties = "traits"
			}
			ev[properties] = drawObject(t, &n, 1)
			ev["extra"] = drawValue(t, &n, 1)
			if kind == tidegate.Track {
				ev["event"] = rapid.SampledFrom([]string{"e", "Other Thing", "!"}).Draw(t, "event")
			}
			body, err := json.Marshal(ev)
			if err != nil {
				t.Fatal(err)
			}
			r.rows = nil
			if err := r.event(tidegate.Event{Source: "web", ReceivedAt: received(), RequestIP: "203.0.113.7", Body: body, Offset: tidegate.Offset{Position: int64(position)}}); err != nil {
				t.Fatal(err)
			}
			have := found(t, r.rows)
			delete(ev, "type")
			for _, want := range scalars(ev) {
				if !have[want] {
					t.Fatalf("%s is nowhere in the rows of %s:\n%s", want, body, render(r.rows))
				}
			}
		}
	})
}

// TestThousandNewColumns: the cap holds, and what is beyond it overflows.
func TestThousandNewColumns(t *testing.T) {
	t.Parallel()
	properties := make(map[string]any)
	for i := range 1000 {
		properties[fmt.Sprintf("p%c%c%c", 'a'+i/100, 'a'+i/10%10, 'a'+i%10)] = i
	}
	body, err := json.Marshal(map[string]any{"type": "track", "event": "e", "messageId": "m", "userId": "u", "properties": properties})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(Options{})
	if err := r.event(tidegate.Event{Source: "web", ReceivedAt: received(), Body: body}); err != nil {
		t.Fatal(err)
	}
	for name, table := range r.tables {
		if len(table.Columns) > DefaultMaxColumns {
			t.Errorf("table %s has %d columns", name, len(table.Columns))
		}
	}
	own := r.rows[len(r.rows)-1]
	columns, overflow := 0, map[string]int{}
	for _, c := range own.Columns {
		if strings.HasPrefix(c.Name, "p") {
			columns++
		}
		if c.Name == UnmappedColumn {
			if err := json.Unmarshal([]byte(c.Value.(tidegate.JSONText)), &overflow); err != nil {
				t.Fatal(err)
			}
		}
	}
	if columns+len(overflow) != 1000 || columns < 400 {
		t.Errorf("%d values in columns and %d in %s, want 1000 in all", columns, len(overflow), UnmappedColumn)
	}
}

// TestHostileNames: whatever properties are called, column names are plain.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	r := newRig(Options{Rules: Rules{MaxColumns: 10_000}})
	pieces := []string{`"`, `""`, ";", "--", "/*", "'", "\\", "drop table", "\n", "\t", "\u202e", "é", "\U0001F600", "%", "$1", "?", "(", ")", " ", ".", "x", "SELECT"}
	for i := range 500 {
		name := pieces[i%len(pieces)] + pieces[i*7%len(pieces)] + fmt.Sprint(i) + pieces[i*13%len(pieces)]
		body, err := json.Marshal(map[string]any{"type": "track", "event": name, "messageId": fmt.Sprint(i), "userId": "u", "properties": map[string]any{name: i}})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.event(tidegate.Event{Source: "web", ReceivedAt: received(), Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	plain := func(name string) bool {
		return name != "" && len(name) <= maxName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && !digit(name[0])
	}
	if len(r.tables) < 500 {
		t.Errorf("%d tables for 500 events", len(r.tables))
	}
	for name, table := range r.tables {
		if !plain(name.Name) {
			t.Errorf("table %q", name.Name)
		}
		for _, c := range table.Columns {
			if !plain(c.Name) {
				t.Errorf("column %q of %s", c.Name, name)
			}
		}
	}
}

func FuzzShape(f *testing.F) {
	for _, seed := range []string{
		`{"type":"track","event":"e","messageId":"m","userId":"u","properties":{"a":{"b":[1,"x"]},"n":1e5,"d":"2026-01-02T03:04:05.123Z"}}`,
		`{"type":"identify","userId":"u","traits":{"0":"a","1":"b"},"context":{"traits":{"0":"ü"}}}`,
		`{"type":"page","name":"\ud800\u0000","properties":{"a":1,"a":2,"A":-0.0},"x":[[[]]]}`, `{"a":"\u12`, `{"type":"track","event":"\"`,
	} {
		f.Add([]byte(seed), []byte(`{"ip":"1.2.3.4","a":{"b":1}}`))
	}
	profiles := []Profile{RudderStack, Segment, Native}
	f.Fuzz(func(t *testing.T, body, batch []byte) {
		ev := tidegate.Event{Source: "web", ReceivedAt: received(), Body: body, Context: batch}
		id, kind, err := Peek(&ev)
		if (err == nil) != validObject(body) && nesting(body) < maxDepth && !bytes.Contains(body, []byte(`\`)) {
			t.Fatalf("Peek says %v, encoding/json says valid: %v", err, err != nil)
		}
		if !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
			t.Fatalf("id %q", id)
		}
		if err != nil {
			return
		}
		for _, k := range append(tidegate.EventTypes(), kind) {
			r := newRig(Options{Rules: Rules{Profile: profiles[len(body)%len(profiles)], ContextTraits: true, JSONPaths: []string{"a"}, HotColumns: []string{"properties.a", "context.a"}}})
			err := r.shaper.Shape(context.Background(), &ev, id, k, Batch{LoadID: "0:0", LoadedAt: received()}, r.emit)
			if err != nil && DeadCode(err) == "" {
				t.Fatal(err)
			}
			for _, row := range r.rows {
				for _, c := range row.Columns {
					switch v := c.Value.(type) {
					case string:
						if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
							t.Fatalf("column %s holds %q", c.Name, v)
						}
					case tidegate.JSONText:
						if !json.Valid([]byte(v)) {
							t.Fatalf("column %s holds %q", c.Name, v)
						}
					}
				}
			}
		}
	})
}

func validObject(b []byte) bool {
	return json.Valid(b) && bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
}

func nesting(b []byte) int { return bytes.Count(b, []byte("{")) + bytes.Count(b, []byte("[")) }

func BenchmarkShape(b *testing.B) {
	body := []byte(`{"type":"track","event":"Product Viewed","messageId":"ajs-next-1795229697309-0b6e2f9c","anonymousId":"b812cc77-3052-466d-8497-43cfabc647eb","userId":"user-123","timestamp":"2026-11-21T02:54:57.309Z","properties":{"product_id":"sku-1","name":"Shoe","price":59.9,"quantity":1,"category":"shoes","url":"https://shop.example.com/p/sku-1"},"context":{"page":{"path":"/p/sku-1","referrer":"","search":"","title":"Shoe","url":"https://shop.example.com/p/sku-1"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","locale":"en-US","library":{"name":"analytics.js","version":"next-1.84.3"},"timezone":"UTC","campaign":{"name":"x","source":"news","medium":"email"}},"integrations":{},"sentAt":"2026-11-21T02:54:57.361Z"}`)
	ev := tidegate.Event{Source: "web", ReceivedAt: received(), RequestIP: "203.0.113.7", Body: body}
	r := newRig(Options{})
	cells := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		id, kind, err := Peek(&ev)
		if err == nil {
			err = r.shaper.Shape(context.Background(), &ev, id, kind, Batch{LoadID: "0:0", LoadedAt: received()}, func(row Row) error { cells += len(row.Cells); return nil })
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// TestContextsThatComeAgain: events that have their context in common, in any order and
// more than once in an event, become the rows that each becomes with a Shaper of its own.
func TestContextsThatComeAgain(t *testing.T) {
	t.Parallel()
	contexts := []string{
		`{}`, `{"a":1,"page":{"url":"https://x/é","title":"T\u00e9\n"}}`, `{"a":2,"page":{"url":"https://x/"}}`,
		`{"page":"p","list":[1, {"b" : null}],"ip":"198.51.100.7"}`, `{"traits":{"0":"a","1":"b"},"ip":"203.0.113.9"}`,
		`{"a":{"a":1},"a":{"b":2}}`, `{"library":{"name":"x","version":"1"},"n":1e400}`, ` { "a" : 1 } `, `null`, `"text"`,
	}
	rapid.Check(t, func(t *rapid.T) {
		options := drawOptions(t)
		options.MaxColumns = 500 // which columns there are already must not matter
		one := newRig(options)
		for position := range rapid.IntRange(2, 12).Draw(t, "events") {
			pick := func(what string) string { return rapid.SampledFrom(contexts).Draw(t, what) }
			ev := tidegate.Event{Source: "web", ReceivedAt: received(), RequestIP: "203.0.113.7", Offset: tidegate.Offset{Position: int64(position)}}
			kind := rapid.SampledFrom([]string{"track", "identify"}).Draw(t, "type")
			ev.Body = fmt.Appendf(nil, `{"type":%q,"context":%s,"messageId":"m%d","userId":"u","event":"e"`, kind, pick("context"), position)
			if rapid.Bool().Draw(t, "twice") {
				ev.Body = fmt.Appendf(ev.Body, `,"context":%s`, pick("second context"))
			}
			ev.Body = append(ev.Body, '}')
			if rapid.Bool().Draw(t, "batch") {
				ev.Context = []byte(strings.TrimSpace(pick("batch's context")))
			}
			alone := newRig(options)
			alone.tables = one.tables // so that types that were fixed before are
			one.rows = nil
			body := bytes.Clone(ev.Body)
			if err := one.event(ev); err != nil {
				t.Fatal(err)
			}
			for i := range ev.Body { // the memory is used again
				ev.Body[i] = '#'
			}
			ev.Body = body
			if err := alone.event(ev); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(render(alone.rows), render(one.rows)); d != "" {
				t.Fatalf("%s in %s: alone (-), after others (+):\n%s", body, ev.Context, d)
			}
		}
	})
}
