package ingest

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func TestMerge(t *testing.T) {
	t.Parallel()
	const (
		two  = `"mergeProperties":[{"type":"email","value":"a@example.com"},{"type":"phone","value":4930}]`
		kept = `{"type":"track","event":"merge","properties":{"merge_property_1_type":"email","merge_property_1_value":"a@example.com","merge_property_2_type":"phone","merge_property_2_value":4930}`
	)
	for name, c := range map[string]struct {
		path, body string
		status     int
		want       []tidegate.Event
	}{
		"by the path":         {"/v1/merge", `{` + two + `,"messageId":"m","context":{"x":1}}`, 200, []tidegate.Event{{Body: []byte(kept + `,"messageId":"m","context":{"x":1}}`)}}},
		"by its type":         {"/v1/track", `{"type":"merge",` + two + `,"userId":"u","messageId":"m"}`, 200, []tidegate.Event{{Body: []byte(kept + `,"userId":"u","messageId":"m"}`)}}},
		"what it may not say": {"/merge", `{` + two + `,"messageId":"m","event":"x","properties":{"y":1},"a\"b":2}`, 200, []tidegate.Event{{Body: []byte(kept + `,"messageId":"m","a\"b":2}`)}}},
		"without an id":       {"/v1/merge", `{` + two + `}`, 200, []tidegate.Event{{Body: []byte(kept + `}`), MessageID: "generated-1"}}},
		"in a batch, beside a bad one": {"/v1/batch", `{"batch":[{"type":"merge",` + two + `,"messageId":"m"},{"type":"merge","messageId":"n"}]}`, 200, []tidegate.Event{
			{Body: []byte(kept + `,"messageId":"m"}`)}, {Body: []byte(`{"type":"merge","messageId":"n"}`), Refusal: RefusedBadMerge},
		}},
		"of one":                           {"/v1/merge", `{"mergeProperties":[{"type":"email","value":"a"}]}`, 400, nil},
		"of three":                         {"/v1/merge", `{"mergeProperties":[{"type":"a","value":"a"},{"type":"b","value":"b"},{"type":"c","value":"c"}]}`, 400, nil},
		"of what says nothing":             {"/v1/merge", `{"mergeProperties":[{"type":"a","value":"a"},{"type":"b","value":""}]}`, 400, nil},
		"of what is no id":                 {"/v1/merge", `{"mergeProperties":[{"type":"a","value":"a"},{"type":"b","value":{}}]}`, 400, nil},
		"a message id that cannot be kept": {"/v1/merge", `{` + two + `,"messageId":{}}`, 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, nil)
			mustFind(t, h.send(c.path, c.body), c.status)
			events, _ := h.journal.take()
			var got []tidegate.Event
			for _, e := range events {
				got = append(got, tidegate.Event{Body: e.Body, MessageID: e.MessageID, Refusal: e.Refusal, Type: e.Type})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergeOfASuppressedPerson(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(o *Options) { o.Suppression = &forgotten{users: map[string]bool{"gone": true}} })
	mustFind(t, h.send("/v1/merge", `{"mergeProperties":[{"type":"userId","value":"u"},{"type":"userId","value":"gone"}],"messageId":"m"}`), http.StatusOK, `"okEvents":1`)
	if diff := cmp.Diff([]kept{{Body: `{"messageId":"m"}`, Refusal: gone}}, h.kept()); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}
