package transform

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

func libraries() Libraries {
	return LibrariesOf([]tidegate.Library{
		{Name: "money", Script: "import { whole } from 'round'\n// sums\nexport const cents = (n) => {\n  if (n < 0) throw new Error('negative')\n  return whole(n * 100)\n}\nlet calls = 0\nexport const count = () => ++calls\nexport default {name: 'money'}\n"},
		{Name: "round", Script: "export function whole(n) { return Math.round(n) }\nexport class Sum { #n = 0; add(n) { this.#n += n; return this } get value() { return this.#n } }\n"},
		{Name: "ping", Script: "import { pong } from 'pong'\nexport const ping = (n) => n ? pong(n - 1) : 'ping'\n"},
		{Name: "pong", Script: "import { ping } from 'ping'\nexport const pong = (n) => n ? ping(n - 1) : 'pong'\n"},
		{Name: "later", Script: "export async function* each(list) { for (const x of list) yield x }\n"},
	})
}

func TestLibraries(t *testing.T) {
	t.Parallel()
	w := workers(t, 2)
	const event = `{"type":"track","event":"E","messageId":"m","userId":"u","properties":{"n":1.5}}`
	became := func(properties string) string { return strings.Replace(event, `{"n":1.5}`, properties, 1) }
	for name, c := range map[string]struct{ script, body, reason string }{
		"a name":           {script: "import { cents } from 'money'\nexport function transform(e) { e.properties.n = cents(e.properties.n); return e }", body: became(`{"n":150}`)},
		"all of one":       {script: "import * as m from 'money'\nexport const transform = (e) => { e.properties = {c: m.cents(2), d: m.default.name}; return e }", body: became(`{"c":200,"d":"money"}`)},
		"its default":      {script: "import m, { cents as c } from 'money'\nexport default function (e) { e.properties = {m: m.name, c: c(1)}; return e }", body: became(`{"m":"money","c":100}`)},
		"two, of a class":  {script: "import { cents } from 'money'\nimport { Sum } from 'round'\nfunction transform(e) { e.properties = {s: new Sum().add(cents(1)).add(1).value}; return e }\nexport { transform }", body: became(`{"s":101}`)},
		"a circle":         {script: "import { ping } from 'ping'\nexport function transform(e) { e.properties = {p: ping(3)}; return e }", body: became(`{"p":"pong"}`)},
		"as a promise":     {script: "export async function transform(e) { const { cents } = await import('money'); e.properties = {c: cents(3)}; return e }", body: became(`{"c":300}`)},
		"later":            {script: "import { each } from 'later'\nexport async function transform(e) { e.properties = {l: []}; for await (const x of each([1, 2])) e.properties.l.push(x); return e }", body: became(`{"l":[1,2]}`)},
		"of RudderStack":   {script: "import { cents } from \"money\";\nexport function transformEvent(event, metadata) { event.properties = {s: metadata(event).sourceName, c: cents(4)}; return event }", body: became(`{"s":"web","c":400}`)},
		"no state":         {script: "import { count } from 'money'\nexport function transform(e) { count(); e.properties = {n: count()}; return e }", body: became(`{"n":2}`)},
		"throws in it":     {script: "import { cents } from 'money'\nexport function transform(e) {\n  return cents(-1)\n}", reason: "mine: Error: negative, at libraries/money.js:4:19"},
		"throws by itself": {script: "import { cents } from 'money'\n\nexport function transform(e) {\n  return e.context.page[cents(1)]\n}", reason: "mine: TypeError: Cannot read property 'page' of undefined, at mine.js:4:19"},
	} {
		r, err := New([]tidegate.Transform{{Name: "mine", Script: c.script}}, Options{Workers: w, Libraries: libraries()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for range 2 { // in the same process
			v := judged(t, r, itemOf(event))[0]
			got := ""
			if v.Event != nil {
				got = string(v.Event.Body)
			}
			if d := cmp.Diff([]string{c.body, c.reason}, []string{got, v.Reason}); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	}
}

// A library's text is part of what a script is known by: a worker that knows the old
// one does not run it for the new.
func TestChangedLibrary(t *testing.T) {
	t.Parallel()
	w := workers(t, 1)
	for _, answer := range []string{"1", "2"} {
		r, err := New([]tidegate.Transform{{Name: "mine", Script: "import { n } from 'lib'\nexport function transform(e) { e.properties = {n}; return e }"}},
			Options{Workers: w, Libraries: LibrariesOf([]tidegate.Library{{Name: "lib", Script: "export const n = " + answer}})})
		if err != nil {
			t.Fatal(err)
		}
		if v := judged(t, r, itemOf(signedUp))[0]; v.Event == nil || !strings.Contains(string(v.Event.Body), `{"n":`+answer+`}`) {
			t.Errorf("library %s: %+v", answer, v)
		}
	}
}

func TestWrongImports(t *testing.T) {
	t.Parallel()
	const hint = `write libraries/NAME.js, and import it as "NAME"; scripts reach no files, packages or addresses`
	const end = "\nexport function transform(e) { return e }"
	for name, c := range map[string]struct {
		script string
		want   []config.Problem
	}{
		"misspelt":          {"import m from 'mony'" + end, []config.Problem{{File: "mine.js", Line: 1, Column: 15, Path: "script", Message: `there is no library "mony"`, Hint: `did you mean "money"?`}}},
		"a file":            {"import m from '/etc/passwd'" + end, []config.Problem{{File: "mine.js", Line: 1, Column: 15, Path: "script", Message: `there is no library "/etc/passwd"`, Hint: "known: later, money, ping, pong, round"}}},
		"an address":        {"import m from 'https://example.com/x.js'" + end, []config.Problem{{File: "mine.js", Line: 1, Column: 15, Path: "script", Message: `there is no library "https://example.com/x.js"`, Hint: "known: later, money, ping, pong, round"}}},
		"what is not in it": {"\nimport { dollars } from 'money'" + end, []config.Problem{{File: "mine.js", Line: 2, Column: 10, Path: "script", Message: `No matching export in "libraries/money.js" for import "dollars"`}}},
		"exports nothing":   {"import { cents } from 'money'\nfunction transform(e) { return cents(1) }", []config.Problem{{Path: "script", Message: "a script that imports libraries is a module, and this one does not export its function", Hint: "write export function transform(event, meta) { …; return event }"}}},
		"exports another":   {"import * as ping from 'ping'\nexport const other = ping", []config.Problem{{Path: "script", Message: "a script that imports libraries is a module, and this one does not export its function", Hint: "write export function transform(event, meta) { …; return event }"}}},
		"cannot be read":    {"import { cents } from 'money'\nexport function transform(e {}", []config.Problem{{File: "mine.js", Line: 2, Column: 29, Path: "script", Message: `Expected ")" but found "{"`}}},
	} {
		if d := cmp.Diff(c.want, Check(tidegate.Transform{Name: "mine", Script: c.script}, libraries())); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	got := Check(tidegate.Transform{Name: "mine", Script: "import x from 'y'" + end}, nil)
	if d := cmp.Diff([]config.Problem{{File: "mine.js", Line: 1, Column: 15, Path: "script", Message: `there is no library "y"`, Hint: hint}}, got); d != "" {
		t.Errorf("without libraries (-want +got):\n%s", d)
	}
}

func TestWrongLibraries(t *testing.T) {
	t.Parallel()
	ls := LibrariesOf([]tidegate.Library{
		{Name: "good", Script: "import bad from 'bad'\nexport const x = 1"},
		{Name: "bad", Script: "export const x = 1\nexport default (x"},
		{Name: "lost", Script: "import y from 'god'"},
		{Name: "large", Script: "//" + strings.Repeat("x", maxScript)},
	})
	got := map[string][]config.Problem{}
	for name := range ls {
		got[name] = ls.Check(name)
	}
	want := map[string][]config.Problem{
		"good":  {},
		"bad":   {{File: "libraries/bad.js", Line: 2, Column: 18, Path: "script", Message: `Expected ")" but found end of file`}},
		"lost":  {{File: "libraries/lost.js", Line: 1, Column: 15, Path: "script", Message: `there is no library "god"`, Hint: `did you mean "good"?`}},
		"large": {{Path: "script", Message: "the library has 1048578 bytes, 1048576 are allowed"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
