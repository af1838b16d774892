package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// short prints outcomes as words: "delivered:id", "rejected:message".
func short(out []destinations.Outcome, err error) string {
	if err != nil {
		f := tidegate.FaultOf(err)
		return fmt.Sprintf("error %s %s", f.Action, f.Code)
	}
	var words []string
	for _, o := range out {
		w := string(o.Disposition)
		if o.DestinationID != "" {
			w += ":" + o.DestinationID
		}
		if o.Fault != nil && o.Disposition != destinations.InDoubt {
			w += ":" + o.Fault.Action.String() + ":" + o.Fault.Message
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestResults(t *testing.T) {
	t.Parallel()
	const (
		byIndex  = "results: {path: data.items, index: at, status: state, error: problem, id: ref}"
		byOrder  = "results: {path: items, status: ok}"
		byID     = "results: {path: items, identifier: who.id, status: code}"
		failures = "results: {path: failed_records, index: index, error: message, unlisted: delivered}"
		whole    = "results: {status: ok, error: error}"
		mixpanel = failures + "\nstatuses: {delivered: [2xx, '400']}"
		words    = "results: {path: items, status: s, delivered: [duplicate], rejected: [ok], retried: [busy]}"
	)
	for _, c := range []struct {
		name, config string
		status       int
		body, want   string
	}{
		{"by index", byIndex, 200, `{"data":{"items":[{"at":1,"state":"invalid","problem":{"message":"bad mail"}},{"at":0,"state":"created","ref":7},{"at":2,"state":"OK"}]}}`, "delivered:7 rejected:reject:bad mail delivered"},
		{"index as text", byIndex, 200, `{"data":{"items":[{"at":"1","state":"ok"},{"at":"0","state":true},{"at":"2","state":200}]}}`, "delivered delivered delivered"},
		{"one is not named", byIndex, 200, `{"data":{"items":[{"at":0,"state":"ok"},{"at":2,"state":"ok"}]}}`, "delivered in_doubt delivered"},
		{"index out of range", byIndex, 200, `{"data":{"items":[{"at":3,"state":"ok"},{"at":-1,"state":"ok"},{"at":1.5,"state":"ok"},{"state":"ok"}]}}`, "in_doubt in_doubt in_doubt"},
		{"the worse of two", byIndex, 200, `{"data":{"items":[{"at":0,"state":"error","problem":"x"},{"at":0,"state":"ok"},{"at":1,"state":"ok"},{"at":1,"state":"failed"},{"at":2,"state":"ok"}]}}`, `rejected:reject:x rejected:reject:the result's status is "failed" delivered`},
		{"unknown word", byIndex, 200, `{"data":{"items":[{"at":0,"state":"perhaps"},{"at":1},{"at":2,"state":null}]}}`, "in_doubt in_doubt in_doubt"},
		{"no list", byIndex, 200, `{"data":{}}`, "in_doubt in_doubt in_doubt"},
		{"not a list", byIndex, 200, `{"data":{"items":"none"}}`, "in_doubt in_doubt in_doubt"},
		{"not JSON", byIndex, 200, `OK`, "error retry webhook.not_json"},
		{"two JSON values", byIndex, 200, `{"data":{"items":[]}} {}`, "error retry webhook.not_json"},
		{"empty", byIndex, 200, ``, "error retry webhook.not_json"},
		{"no content", byIndex, 204, ``, "delivered delivered delivered"},
		{"by order", byOrder, 207, `{"items":[{"ok":true},{"ok":false},{"ok":true}]}`, `delivered rejected:reject:the result's status is "false" delivered`},
		{"too few in order", byOrder, 200, `{"items":[{"ok":true},{"ok":true}]}`, "in_doubt in_doubt in_doubt"},
		{"too many in order", byOrder, 200, `{"items":[{"ok":true},{"ok":true},{"ok":true},{"ok":true}]}`, "in_doubt in_doubt in_doubt"},
		{"by identifier", byID, 200, `{"items":[{"who":{"id":"c"},"code":201},{"who":{"id":"a"},"code":409},{"who":{"id":"z"},"code":200},{"who":{"id":"b"},"code":503}]}`, `rejected:reject:the result's status is "409" deferred:retry:the result's status is "503" delivered`},
		{"throttled one by one", byID, 200, `{"items":[{"who":{"id":"a"},"code":429},{"who":{"id":"b"},"code":200},{"who":{"id":"c"},"code":302}]}`, `deferred:throttle:the result's status is "429" delivered in_doubt`},
		{"failures only", failures, 200, `{"failed_records":[{"index":1,"message":"no $token"}]}`, "delivered rejected:reject:no $token delivered"},
		{"no failures", failures, 200, `{"code":200}`, "delivered delivered delivered"},
		{"failures under 400", mixpanel, 400, `{"failed_records":[{"index":0,"message":"too old"},{"index":2,"message":"too new"}]}`, "rejected:reject:too old delivered rejected:reject:too new"},
		{"the answer speaks for all", whole, 200, `{"ok":true}`, "delivered delivered delivered"},
		{"one verdict for many", whole, 200, `{"ok":false,"error":"channel_not_found"}`, "error reject webhook.record"},
		{"own words", words, 200, `{"items":[{"s":"Duplicate"},{"s":"ok"},{"s":"busy"}]}`, `delivered rejected:reject:the result's status is "ok" deferred:retry:the result's status is "busy"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := serve(t, says(c.status, "", c.body))
			d := connect(t, e.URL, "url: BASE/x\nbatch: true\n"+c.config)
			out, err := d.Write(t.Context(), batch(tidegate.Added, "a", "b", "c"))
			if diff := cmp.Diff(c.want, short(out, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOneVerdictForOneRecord(t *testing.T) {
	t.Parallel()
	e := serve(t, says(http.StatusOK, "application/json", `{"ok":false,"error":"channel_not_found"}`))
	d := connect(t, e.URL, "url: BASE/x\nresults: {status: ok, error: error}")
	if got := short(d.Write(t.Context(), batch(tidegate.Added, "a"))); got != "rejected:reject:channel_not_found" {
		t.Error(got)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	var doc any
	if err := json.Unmarshal([]byte(`{"a":{"b.c":[10,{"d":"x"}]},"":1}`), &doc); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{`a.b\.c.0`: "10", `a.b\.c.1.d`: "x", `a.b\.c.2`: "", `a.b\.c.-1`: "", "a.b": "", "a.b.c": "", "": "1", `a.b\.c.1.d.e`: ""} {
		v, _ := lookup(doc, path)
		if got := scalar(v); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// FuzzResults: whatever an endpoint answers, there is one outcome per record
// that obeys the contract, or an error.
func FuzzResults(f *testing.F) {
	for _, s := range []string{`{"data":[{"i":0,"s":"ok"}]}`, `{"data":[{"i":9e99,"s":1e400}]}`, `[]`, `null`, `{"data":[null,[],"x",{"i":{},"s":[]}]}`, `{"data":{"0":{}}}`} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, failuresOnly bool) {
		r := &Results{Path: "data", Index: "i", Status: "s", Error: "e", ID: "id"}
		if failuresOnly {
			r = &Results{Path: "data", Identifier: "i", Error: "e", Unlisted: "delivered"}
		}
		d := &Destination{cfg: Config{Results: r}}
		b := batch(tidegate.Added, "a", "b")
		out, err := d.results(&b, answer)
		if err != nil {
			return
		}
		if len(out) != 2 {
			t.Fatalf("%d outcomes", len(out))
		}
		for _, o := range out {
			if (o.Fault == nil) != (o.Disposition == destinations.Delivered) || o.Disposition == destinations.Rejected && o.Fault.Action != tidegate.Reject {
				t.Fatalf("%+v", o)
			}
		}
	})
}
