package edit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/scan"
)

func open(t *testing.T, text string) *Object {
	t.Helper()
	o, ok := Open(scan.Value(text))
	if !ok {
		t.Fatalf("%s is no object", text)
	}
	return o
}

func TestEdits(t *testing.T) {
	t.Parallel()
	const event = `{"type":"track", "properties":{"n":12345678901234567890123, "a":{"b":[{"c":1,"d":2},{"d":3},4]}},"x":1,"x":2}`
	upper := func(v scan.Value) []byte { return []byte(strings.ToUpper(string(v))) }
	for name, c := range map[string]struct {
		edit func(*Object)
		want string
	}{
		"nothing":                 {func(*Object) {}, `{"type":"track","properties":{"n":12345678901234567890123, "a":{"b":[{"c":1,"d":2},{"d":3},4]}},"x":2}`},
		"a new member":            {func(o *Object) { o.Set([]byte(`true`), "context", "app", "ok") }, `{"type":"track","properties":{"n":12345678901234567890123, "a":{"b":[{"c":1,"d":2},{"d":3},4]}},"x":2,"context":{"app":{"ok":true}}}`},
		"over a scalar":           {func(o *Object) { o.Set([]byte(`1`), "x", "y") }, `{"type":"track","properties":{"n":12345678901234567890123, "a":{"b":[{"c":1,"d":2},{"d":3},4]}},"x":{"y":1}}`},
		"a deep delete":           {func(o *Object) { o.Delete("properties", "a") }, `{"type":"track","properties":{"n":12345678901234567890123},"x":2}`},
		"in every item":           {func(o *Object) { o.Each([]string{"properties", "a", "b", Items, "d"}, upper) }, `{"type":"track","properties":{"n":12345678901234567890123,"a":{"b":[{"c":1,"d":2},{"d":3},4]}},"x":2}`},
		"out of every item":       {func(o *Object) { o.Delete("properties", "a", "b", Items, "d") }, `{"type":"track","properties":{"n":12345678901234567890123,"a":{"b":[{"c":1},{},4]}},"x":2}`},
		"every item":              {func(o *Object) { o.Delete("properties", "a", "b", Items) }, `{"type":"track","properties":{"n":12345678901234567890123,"a":{"b":[]}},"x":2}`},
		"what is not there":       {func(o *Object) { o.Delete("properties", "a", "z", Items, "d") }, `{"type":"track","properties":{"n":12345678901234567890123,"a":{"b":[{"c":1,"d":2},{"d":3},4]}},"x":2}`},
		"a name that needs signs": {func(o *Object) { o.Set([]byte(`1`), "a\"\n") }, `{"type":"track","properties":{"n":12345678901234567890123, "a":{"b":[{"c":1,"d":2},{"d":3},4]}},"x":2,"a\"\n":1}`},
	} {
		o := open(t, event)
		c.edit(o)
		if d := cmp.Diff(c.want, string(o.Append(nil))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if got := string(open(t, event).Get("properties", "n")); got != "12345678901234567890123" {
		t.Errorf("got %s", got)
	}
	if got := open(t, event).Get("x", "y", "z"); got != nil {
		t.Errorf("below a number there is %s", got)
	}
}

func TestUnder(t *testing.T) {
	t.Parallel()
	o := open(t, `{"page":{"url":"own"},"ip":"1.2.3.4","app":7}`)
	o.Under(open(t, `{"page":{"url":"shared","title":"T"},"ip":"9.9.9.9","app":{"name":"n"},"os":{"name":"x"}}`))
	if d := cmp.Diff(`{"page":{"url":"own","title":"T"},"ip":"1.2.3.4","app":7,"os":{"name":"x"}}`, string(o.Append(nil))); d != "" {
		t.Error(d)
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"type":                      {"type"},
		"properties.Order ID":       {"properties", "Order ID"},
		"properties.products[].sku": {"properties", "products", Items, "sku"},
		"properties.m[][]":          {"properties", "m", Items, Items},
		`properties."a.b[]".c`:      {"properties", "a.b[]", "c"},
		"":                          nil,
		".a":                        nil,
		"a.":                        nil,
		"a..b":                      nil,
		"a[0]":                      nil,
		`"a`:                        nil,
		`"a"b`:                      nil,
	} {
		got, err := Path(text)
		if d := cmp.Diff(want, got); d != "" || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %s", text, err, d)
		}
	}
}

// Whatever is edited, the result is valid JSON when the event was, and what was set is
// there.
func FuzzEdits(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[{"c":1}]},"d":"e"}`), "a.b[].c", `"v"`)
	f.Add([]byte(`{"a":1,"a":{"\u0061":null}}`), "a.a", `{}`)
	f.Fuzz(func(t *testing.T, event []byte, path, value string) {
		var d scan.Document
		p, err := Path(path)
		if d.Scan(event, 10) != nil || err != nil || !json.Valid([]byte(value)) || !utf8.ValidString(path+value) {
			return
		}
		o, _ := Open(d.Raw)
		o.Each(p, func(scan.Value) []byte { return []byte(value) })
		plain := !strings.Contains(fmt.Sprint(p), Items)
		if plain {
			o.Set([]byte(value), p...)
		}
		out := o.Append(nil)
		if !json.Valid(out) {
			t.Fatalf("%s is no JSON", out)
		}
		again, _ := Open(out)
		if plain && string(again.Get(p...)) != strings.TrimSpace(value) {
			t.Fatalf("%s has %s at %q, want %s", out, again.Get(p...), p, value)
		}
		o.Delete(p...)
		if out := o.Append(nil); !json.Valid(out) {
			t.Fatalf("%s is no JSON", out)
		}
	})
}
