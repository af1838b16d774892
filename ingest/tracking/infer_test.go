package tracking

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/judge"
)

func TestInfer(t *testing.T) {
	t.Parallel()
	var f Inference
	var items []judge.Item
	for i := range 12 {
		extra := ""
		if i%2 == 0 {
			extra = `,"coupon":"x","maybe":null`
		}
		for _, body := range []string{
			fmt.Sprintf(`{"type":"track","event":"Bought","properties":{"id":"o","total":%d,"price":%d.5,"at":"2026-01-02T03:04:05Z","tags":["a"],"none":[],"lines":[{"sku":"s","n":%d}],"to":{"zip":"1"},"mixed":%s%s}}`, i, i, i, []string{`1`, `"a"`}[i%2], extra),
			`{"type":"identify","traits":{"email":"a@b.c"}}`,
			`{"type":"page"}`,
			`{"type":"alias"}`,
		} {
			f.Add([]byte(body))
			items = append(items, itemOf(body))
		}
	}
	plan := f.Plan("seen")
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"seen","version":1,"actions":{"violation":"mark","unplanned_event":"mark","unplanned_property":"mark"},"events":{"Bought":{"properties":{"at":"date-time!","coupon":"string","id":"string!","lines":{"items":{"properties":{"n":"integer!","sku":"string!"},"type":"object"},"required":true,"type":"array"},"maybe":"any","mixed":"string|integer!","none":"array!","price":"number!","tags":"string[]!","to":{"properties":{"zip":"string!"},"required":true,"type":"object"},"total":"integer!"}}},"identify":{"traits":{"email":"string!"}},"page":{}}`
	if d := cmp.Diff(want, string(text)); d != "" {
		t.Errorf("the proposal (-want +got):\n%s", d)
	}
	p, err := New(plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if v := verdictOf(t, p, item); len(v.Violations) > 0 {
			t.Fatalf("%s does not fit what was inferred of it: %+v", item.Event.Body, v.Violations)
		}
	}
}
