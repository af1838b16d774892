package webhook

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

func TestBodies(t *testing.T) {
	t.Parallel()
	const list = `[{% for r in records %}{{ r.record | json }}{% unless forloop.last %},{% endunless %}{% endfor %}]`
	for _, c := range []struct {
		name, config, want string
		batch              destinations.Batch
	}{
		{
			"envelope", "", `{"object":"records","mode":"mirror","identifier_field":"id","op":"added","key":["a<b"],"identifier":"a<b","record":{"id":"a<b","name":"Na<b"},"idempotency_key":"k-a<b"}`,
			batch(tidegate.Added, "a<b"),
		},
		{
			"envelopes", "batch: true", `{"object":"records","mode":"mirror","identifier_field":"id","records":[{"op":"removed","key":["1"],"identifier":1,"record":{"id":1,"name":"N1"},"idempotency_key":"k-1"},{"op":"removed","key":["9007199254740993"],"identifier":9007199254740993,"record":{"id":9007199254740993,"name":"N9007199254740993"},"idempotency_key":"k-9007199254740993"}]}`,
			batch(tidegate.Removed, int64(1), int64(9007199254740993)),
		},
		{
			"template", `body: '{"{{ op }}": {{ identifier | json }}, "who": {{ record.name | json }}, "k": "{{ idempotency_key }}", "key": {{ key | json }}, "m": "{{ mode }} {{ object }} {{ identifier_field }}"}'`,
			`{"changed": "x\"y", "who": "Nx\"y", "k": "k-x"y", "key": "[\"x\"y\"]", "m": "mirror records id"}`,
			batch(tidegate.Changed, `x"y`),
		},
		{"records only", "batch: true\nbody: '" + list + "'", `[{"id":"a","name":"Na"},{"id":"b","name":"Nb"}]`, batch(tidegate.Added, "a", "b")},
		{"lines", "batch: true\ncontent_type: application/x-ndjson\nbody: \"{% for r in records %}{{ r.record.id | json }}\\n{% endfor %}\"", "\"a\"\n\"b\"\n", batch(tidegate.Added, "a", "b")},
		{"form", "content_type: application/x-www-form-urlencoded\nbody: 'id={{ identifier | url_encode }}&x=1'", "id=a+%26b&x=1", batch(tidegate.Added, "a &b")},
		{"known otherwise", "body: '{{ previous_identifier | json }} {{ identifier | json }}'\ncontent_type: text/plain", `"old" "new"`, renamed("new", "old")},
		{
			"known otherwise, in the envelope", "", `{"object":"records","mode":"mirror","identifier_field":"id","op":"changed","key":["new"],"identifier":"new","previous_identifier":"old","record":{"id":"new","name":"Nnew"},"idempotency_key":"k-new"}`,
			renamed("new", "old"),
		},
		{"removed has its own", "body: '{}'\nremoved: {body: '{\"gone\": {{ identifier | json }}}'}", `{"gone": "a"}`, batch(tidegate.Removed, "a")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := serve(t, says(200, "", ""))
			d := connect(t, e.URL, "url: BASE/x\n"+c.config)
			out, err := d.Write(t.Context(), c.batch)
			if c.name == "template" { // a quote where no filter escapes it is no JSON
				if got := short(out, err); got != "error reject record.not_json" || len(e.got()) != 0 {
					t.Fatalf("%s, %d calls", got, len(e.got()))
				}
				c.batch, c.want = batch(tidegate.Changed, "xy"), `{"changed": "xy", "who": "Nxy", "k": "k-xy", "key": ["xy"], "m": "mirror records id"}`
				out, err = d.Write(t.Context(), c.batch)
			}
			if err != nil || len(out) != len(c.batch.Items) {
				t.Fatalf("%d outcomes, %v", len(out), err)
			}
			if diff := cmp.Diff(c.want, e.got()[0].body); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// renamed is a change of the record that was known as before.
func renamed(id, before any) destinations.Batch {
	b := batch(tidegate.Changed, id)
	b.Items[0].PreviousIdentifier = before
	return b
}

func TestTheSameBatchHasTheSameBodyAndKey(t *testing.T) {
	t.Parallel()
	e := serve(t, says(200, "", ""))
	d := connect(t, e.URL, "url: BASE/x\nbatch: true\nauth: {kind: hmac, secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, previous_secret: 0123456789abcdef}")
	for _, b := range []destinations.Batch{batch(tidegate.Added, "a", "b"), batch(tidegate.Added, "a", "b"), batch(tidegate.Added, "a", "c"), batch(tidegate.Added, "a")} {
		if _, err := d.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	calls := e.got()
	if diff := cmp.Diff(calls[0], calls[1], cmp.AllowUnexported(call{})); diff != "" {
		t.Error(diff)
	}
	first, third := calls[0].header.Get("Idempotency-Key"), calls[2].header.Get("Idempotency-Key")
	if first == "" || first == third || first != calls[0].header.Get("Webhook-Id") || calls[3].header.Get("Idempotency-Key") != "k-a" {
		t.Errorf("keys %q and %q, one record %q", first, third, calls[3].header.Get("Idempotency-Key"))
	}
	if n := len(strings.Fields(calls[0].header.Get("Webhook-Signature"))); n != 2 {
		t.Errorf("%d signatures while the secret is replaced", n)
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	e := serve(t, says(200, "", ""))
	for name, c := range map[string]struct {
		config, want string
		batch        destinations.Batch
	}{
		"not a JSON value": {"", "error reject record.not_json", batch(tidegate.Added, math.Inf(1))},
		"over the limit":   {"limits: {bytes: 1024}", "error reject record.too_large", batch(tidegate.Added, strings.Repeat("x", 1024))},
		"filter fails":     {"body: '{{ record.name | divided_by: 0 }}'", "error reject record.template", batch(tidegate.Added, "a")},
		"endless":          {"content_type: text/plain\nbody: '{% assign x = record.name %}{% for a in record.l %}{% for b in record.l %}{% for c in record.l %}{% for d in record.l %}{{ x }}{% endfor %}{% endfor %}{% endfor %}{% endfor %}'", "error reject record.too_large", wide(batch(tidegate.Added, strings.Repeat("x", 1000)))},
		"no object":        {"", "error halt webhook.object", destinations.Batch{Object: "people", Items: make([]destinations.Item, 1)}},
		"too many":         {"", "error reject webhook.batch_size", batch(tidegate.Added, "a", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			d := connect(t, e.URL, "url: BASE/x\n"+c.config)
			if got := short(d.Write(t.Context(), c.batch)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if n := len(e.got()); n != 0 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func TestTemplatesReadNoFiles(t *testing.T) {
	t.Parallel()
	if out, err := newEngine().ParseAndRenderString("{% include 'doc.go' %}", nil); err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestDeletesNameTheRecord(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]call{
		"removed: {method: DELETE, url: 'BASE/x/{identifier}'}":             {method: "DELETE", path: "/x/a%2Fb"},
		"removed: {method: DELETE, url: 'BASE/{op}/{identifier}', body: x}": {method: "DELETE", path: "/removed/a%2Fb", body: "x"},
		"removed: {method: PATCH, body: gone}":                              {method: "PATCH", path: "/x", body: "gone"},
		"method: PUT\nbody: '{{ op }}'":                                     {method: "PUT", path: "/x", body: "removed"},
	} {
		e := serve(t, says(200, "", ""))
		d := connect(t, e.URL, "url: BASE/x\ncontent_type: text/plain\n"+text)
		if _, err := d.Write(t.Context(), batch(tidegate.Removed, "a/b")); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := e.got()[0]
		if hasType := got.header.Get("Content-Type") != ""; hasType != (want.body != "") {
			t.Errorf("%s: Content-Type %q", text, got.header.Get("Content-Type"))
		}
		got.header = nil
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(call{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

func wide(b destinations.Batch) destinations.Batch {
	b.Items[0].Record["l"] = make([]any, 15)
	return b
}

func TestTemplatesThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{% include '/etc/passwd' %}":          `tag "include"`,
		"{%- include x %}":                     `tag "include"`,
		"{% for i in (1..9999999999) %}":       "ranges",
		"{{ (1..9999999999) | join }}":         "ranges",
		"{{ recordd.x }}":                      `did you mean "record"?`,
		"{{ records }}":                        `did you mean "record"?`,
		"{% if op %}":                          "not valid Liquid",
		"{{ 'open }}":                          "not valid Liquid",
		"{% nosuch %}":                         "not valid Liquid",
		"{% assign a = 1 %}{{ a }}{{ wrong }}": `no variable "wrong"`,
	} {
		if _, err := parseTemplate(text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := parseTemplate("{{ identifier }}", true); err == nil || !strings.Contains(err.Error(), "{% for r in records %}{{ r.identifier }}{% endfor %}") {
		t.Errorf("a record's variable in a batch: %v", err)
	}
	for _, text := range []string{"{% raw %}{{ anything }} {% include x %}{% endraw %}", "{% comment %}{{ x }}{% endcomment %}", "{% for r in record.list %}{{ r }}{{ forloop.index }}{% endfor %}", "{{ 'text' }}{{ 1 }}{{ nil }}"} {
		if _, err := parseTemplate(text, false); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzTemplate: no template ends the process, and none reads a file.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{ record | json }}", "{% for x in record.l %}{{ x | plus: 'a' }}{% endfor %}", "{% case op %}{% when 1 %}{% endcase %}", "{{ record.name | slice: 5, -1 }}", "{%include'x'%}", "{{ record.l | sort | first | date: '%Y' }}", "{{ '' | truncate: -1 }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tpl, err := parseTemplate(text, false)
		if err != nil {
			return
		}
		b := batch(tidegate.Added, "a")
		b.Items[0].Record["l"] = []any{int64(3), "x", nil, map[string]any{"y": 1.5}}
		before, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := tpl.body(&b, false, "k"); err != nil && tidegate.FaultOf(err).Action != tidegate.Reject {
			t.Fatalf("%q, %v", out, err)
		}
		if after, err := json.Marshal(b); err != nil || string(after) != string(before) {
			t.Fatalf("the template changed the batch: %s", after)
		}
	})
}
