package transform

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
)

const signedUp = `{"type":"track","event":"Signed Up","messageId":"m1","userId":"u1","properties":{"plan":"free","n":3}}`

func TestScripts(t *testing.T) {
	t.Parallel()
	w := workers(t, 2)
	for name, c := range map[string]struct{ script, fate, code, reason, body string }{
		"changes":             {script: `function transform(event, meta) { event.properties.plan = event.properties.plan.toUpperCase(); return event }`, fate: "kept", body: `{"type":"track","event":"Signed Up","messageId":"m1","userId":"u1","properties":{"plan":"FREE","n":3}}`},
		"drops":               {script: `function transform() { return null }`, fate: "dropped"},
		"forgets to return":   {script: `function transform(e) { e.x = 1 }`, fate: "dead", code: CodeFailed, reason: "mine: the script returned nothing: return the event, or null to drop it"},
		"throws":              {script: "function transform(e) {\n  throw new Error('no ' + e.event)\n}", fate: "dead", code: CodeFailed, reason: "mine: Error: no Signed Up, at mine.js:2:9"},
		"throws a text":       {script: `function transform(e) { throw 'oh' }`, fate: "dead", code: CodeFailed, reason: "mine: oh, at mine.js:1:25"},
		"uses what is not":    {script: "function transform(e) {\n  return e.context.page.url\n}", fate: "dead", code: CodeFailed, reason: "mine: TypeError: Cannot read property 'page' of undefined, at mine.js:2:20"},
		"returns a list":      {script: `function transform(e) { return [e, e] }`, fate: "dead", code: CodeFailed, reason: "mine: the script returned no event but an array"},
		"returns a text":      {script: `function transform(e) { return 'e' }`, fate: "dead", code: CodeFailed, reason: "mine: the script returned no event but a string"},
		"returns a circle":    {script: `function transform(e) { e.self = e; return e }`, fate: "dead", code: CodeFailed, reason: "mine: TypeError: Converting circular structure to JSON"},
		"has no function":     {script: `const transform = 7`, fate: "dead", code: CodeFailed, reason: "mine: the script has no function transform(event, meta)"},
		"is no event":         {script: `function transform(e) { delete e.event; return e }`, fate: "dead", code: CodeFailed, reason: "mine"},
		"another id":          {script: `function transform(e) { e.messageId = 'other'; e.writeKey = 'x'; return e }`, fate: "kept", body: `{"type":"track","event":"Signed Up","messageId":"m1","userId":"u1","properties":{"plan":"free","n":3},"writeKey":"x"}`},
		"without the id":      {script: `function transform({messageId, ...e}) { return e }`, fate: "kept", body: `{"type":"track","event":"Signed Up","userId":"u1","properties":{"plan":"free","n":3},"messageId":"m1"}`},
		"meta":                {script: `function transform(e, m) { e.properties = m; return e }`, fate: "kept", body: `{"type":"track","event":"Signed Up","messageId":"m1","userId":"u1","properties":{"source":"web","sourceName":"web","messageId":"m1","receivedAt":"2026-01-02T03:04:05Z","requestIp":"203.0.113.9"}}`},
		"of RudderStack":      {script: "export function transformEvent(event, metadata) {\n const meta = metadata(event); event.properties = {s: meta.sourceName}; return event\n}", fate: "kept", body: `{"type":"track","event":"Signed Up","messageId":"m1","userId":"u1","properties":{"s":"web"}}`},
		"a promise":           {script: `async function transform(e) { await null; e.properties = {}; return e }`, fate: "kept", body: `{"type":"track","event":"Signed Up","messageId":"m1","userId":"u1","properties":{}}`},
		"a promise broken":    {script: `async function transform(e) { throw new Error('later') }`, fate: "dead", code: CodeFailed, reason: "mine: the promise was rejected: Error: later"},
		"a promise forgotten": {script: `function transform(e) { return new Promise(() => {}) }`, fate: "dead", code: CodeFailed, reason: "mine: the promise is never resolved"},
		"no network":          {script: `function transform(e) { return fetch('http://example.com') }`, fate: "dead", code: CodeFailed, reason: "mine: ReferenceError: fetch is not defined, at mine.js:1:37"},
		"no files":            {script: `function transform(e) { return require('fs') }`, fate: "dead", code: CodeFailed, reason: "mine: ReferenceError: require is not defined, at mine.js:1:39"},
		"no process":          {script: `function transform(e) { return process.env }`, fate: "dead", code: CodeFailed, reason: "mine: ReferenceError: process is not defined, at mine.js:1:32"},
		"deep calls":          {script: `function transform(e) { return transform(e) }`, fate: "dead", code: CodeFailed, reason: "mine: calls are nested deeper than 1000"},
		"a file for a map":    {script: "function transform(e) {\n  throw new Error('x')\n}\n//# sourceMappingURL=/dev/zero", fate: "dead", code: CodeFailed, reason: "mine: Error: x, at mine.js:2:9"},
		"says import":         {script: "// import nothing from 'here'\nfunction transform(e) { return {...e, properties: {import: 1}} }", fate: "kept", body: `{"type":"track","event":"Signed Up","messageId":"m1","userId":"u1","properties":{"import":1}}`},
		"its own JSON":        {script: "JSON.stringify = () => 'x'; JSON.parse = () => 7\nfunction transform(e) { return e }", fate: "kept", body: signedUp},
	} {
		v := judged(t, scripted(t, w, c.script), itemOf(signedUp))[0]
		if c.reason == "mine" {
			c.reason = v.Reason
			if !strings.Contains(v.Reason, "is no event") {
				t.Errorf("%s: %s", name, v.Reason)
			}
		}
		got := []string{v.Fate.String(), v.Code, v.Reason, ""}
		if v.Event != nil {
			got[3] = string(v.Event.Body)
		}
		if d := cmp.Diff([]string{c.fate, c.code, c.reason, c.body}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// No event knows of another, and the same event meets the same world.
func TestScriptsAreFunctions(t *testing.T) {
	t.Parallel()
	w := workers(t, 1)
	r := scripted(t, w, `let seen = 0; globalThis.all = (globalThis.all || 0) + 1
function transform(e) { e.properties = {seen: ++seen, all: globalThis.all, random: Math.random(), now: Date.now(), date: new Date().toISOString(), zone: new Date().getTimezoneOffset()}; return e }`)
	other := itemOf(strings.Replace(signedUp, `"m1"`, `"m2"`, 1))
	first := judged(t, r, itemOf(signedUp), other, itemOf(signedUp))
	again := judged(t, scripted(t, workers(t, 1), r.list[0].script.source), itemOf(signedUp))
	a, b, c := string(first[0].Event.Body), string(first[1].Event.Body), string(first[2].Event.Body)
	if a != c || a != string(again[0].Event.Body) || !strings.Contains(a, `"seen":1,"all":1`) || !strings.Contains(a, `"date":"2026-01-02T03:04:05.000Z","zone":0`) {
		t.Errorf("one event became\n%s\n%s\n%s", a, c, again[0].Event.Body)
	}
	if strings.Replace(a, "m1", "m2", 1) == b {
		t.Error("two events have the same random numbers")
	}
}

// Scripts that want all of a machine: each is ended, says why, and takes no other
// event with it.
func TestHostileScripts(t *testing.T) {
	t.Parallel()
	const guilty = "if (e.messageId == 'bad') "
	for name, c := range map[string]struct{ script, code string }{
		"a loop":               {guilty + `for (;;) {}`, CodeTimeout},
		"a loop that catches":  {guilty + `for (;;) { try { for (;;) {} } catch (x) {} }`, CodeTimeout},
		"a loop of promises":   {guilty + `{ const f = () => Promise.resolve().then(f); return f() }`, CodeTimeout},
		"a text that doubles":  {guilty + `{ let s = 'x'; for (;;) s = s + s + 'y' }`, ""},
		"a list that grows":    {guilty + `{ const l = []; for (;;) l.push({a: [1, 2, 3], b: 'text' + l.length}) }`, ""},
		"a billion at once":    {guilty + `new Array(1e9).fill(0)`, ""},
		"a long text at once":  {guilty + `'x'.repeat(5e8).length`, ""},
		"a big buffer":         {guilty + `new Uint8Array(2e9).fill(1)`, ""},
		"a slow pattern":       {guilty + `/^(a+)+\1$/.test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab')`, CodeTimeout},
		"a sort without sense": {guilty + `[...Array(1e5).keys()].sort(() => { for (;;) {} })`, CodeTimeout},
		"a getter that hangs":  {guilty + `return {get type() { for (;;) {} }}`, CodeTimeout},
		"a proxy":              {guilty + `return new Proxy(e, {ownKeys() { for (;;) {} }})`, CodeTimeout},
		"a toJSON":             {guilty + `{ e.properties = {toJSON() { for (;;) {} }}; return e }`, CodeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := New([]tidegate.Transform{{Name: "mine", Script: "function transform(e) { " + c.script + "\n return e }", Timeout: "30ms", MemoryMB: 24}}, Options{Workers: workers(t, 1)})
			if err != nil {
				t.Fatal(err)
			}
			var items []judge.Item
			for _, id := range []string{"a", "bad", "b", "c"} {
				items = append(items, itemOf(strings.Replace(signedUp, `"m1"`, `"`+id+`"`, 1)))
			}
			for i, v := range judged(t, r, items...) {
				switch {
				case items[i].ID != "bad" && v.Fate != judge.Keep:
					t.Errorf("event %s is %s: %s %s", items[i].ID, v.Fate, v.Code, v.Reason)
				case items[i].ID != "bad":
				case v.Fate != judge.Dead || c.code != "" && v.Code != c.code:
					t.Errorf("the guilty event is %s: %s %s", v.Fate, v.Code, v.Reason)
				default:
					t.Logf("%s: %s", v.Code, v.Reason)
				}
			}
		})
	}
}

// Without a process nothing is decided: whoever asks, asks again.
func TestNoProcess(t *testing.T) {
	t.Parallel()
	w := NewWorkers(WorkersOptions{Command: func() *exec.Cmd { return exec.Command("/does/not/exist") }})
	r := scripted(t, w, `function transform(e) { return null }`)
	verdicts := make([]judge.Verdict, 1)
	err := r.Judge(t.Context(), []judge.Item{itemOf(signedUp)}, verdicts)
	if tidegate.FaultOf(err).Code != "transform.worker" || verdicts[0].Fate != judge.Keep {
		t.Errorf("error %v, verdict %+v", err, verdicts[0])
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Judge(t.Context(), []judge.Item{itemOf(signedUp)}, verdicts); err == nil {
		t.Error("closed workers worked")
	}
}

// Many events go through several processes and keep their places.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	w := workers(t, 3)
	r := scripted(t, w, `function transform(e) { if (e.properties.n % 7 == 0) return null; e.properties.twice = e.properties.n * 2; return e }`)
	var items []judge.Item
	for n := range 3000 {
		items = append(items, itemOf(fmt.Sprintf(`{"type":"track","event":"E","messageId":"m%d","userId":"u","properties":{"n":%d}}`, n, n)))
	}
	for n, v := range judged(t, r, items...) {
		want := fmt.Sprintf(`{"type":"track","event":"E","messageId":"m%d","userId":"u","properties":{"n":%d,"twice":%d}}`, n, n, 2*n)
		if n%7 == 0 {
			if v.Fate != judge.Drop {
				t.Fatalf("event %d is %s %s", n, v.Fate, v.Reason)
			}
		} else if v.Event == nil || string(v.Event.Body) != want {
			t.Fatalf("event %d: %+v", n, v)
		}
	}
	if got := len(w.idle); got > 3 {
		t.Errorf("%d processes", got)
	}
}

func TestWrongScripts(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		`function transform(e { return e }`: "the script cannot be read",
		`function other(e) { return e }`:    "the script has no function transform",
		`import x from 'y'; transform`:      `there is no library "y"`,
	} {
		problems := Check(tidegate.Transform{Name: "mine", Script: script}, nil)
		if len(problems) != 1 || problems[0].Path != "script" || !strings.HasPrefix(problems[0].Message, want) {
			t.Errorf("%s: %+v", script, problems)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(appendRequest(nil, &request{Script: "id", Name: "n", Source: "s", Timeout: 7, Memory: 8, Tasks: []task{{Event: []byte("{}"), Source: "web", MessageID: "m", ReceivedAt: -1, Seed: [2]uint64{1, 2}}}}))
	f.Add(appendResult(nil, &result{Event: []byte("{}"), Drop: true, Code: "c", Message: "m", Logs: []string{"a", ""}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		if q, err := decodeRequest(body); err == nil {
			again, err := decodeRequest(appendRequest(nil, &q))
			if d := cmp.Diff(q, again); d != "" || err != nil {
				t.Error(err, d)
			}
		}
		if r, err := decodeResult(body); err == nil {
			again, err := decodeResult(appendResult(nil, &r))
			if d := cmp.Diff(r, again); d != "" || err != nil {
				t.Error(err, d)
			}
		}
	})
}

func BenchmarkScript(b *testing.B) {
	w := workers(b, 2)
	r := scripted(b, w, `function transform(e) { if (e.properties.total > 100) e.properties.tier = 'gold'; return e }`)
	items := make([]judge.Item, 1024)
	for i := range items {
		items[i] = itemOf(fmt.Sprintf(tenProperties, i))
	}
	verdicts := make([]judge.Verdict, len(items))
	b.ReportAllocs()
	for b.Loop() {
		clear(verdicts)
		if err := r.Judge(b.Context(), items, verdicts); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(items)*b.N)/b.Elapsed().Seconds(), "events/s")
}

const tenProperties = `{"type":"track","messageId":"m%d","anonymousId":"a-0001","event":"Order Completed","properties":{"order_id":"o-1","total":129.5,"currency":"EUR","coupon":"SPRING","items":3,"shipping":4.9,"tax":20.1,"first":true,"channel":"web","store":"berlin"},"context":{"library":{"name":"analytics.js","version":"2"},"page":{"url":"https://shop.example.com/checkout","path":"/checkout","title":"Checkout"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","ip":"203.0.113.9"},"timestamp":"2026-01-02T03:04:05.000Z"}`
