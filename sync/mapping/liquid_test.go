package mapping

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/sync/model"
)

// TestLiquidOracle holds templates to what liquidjs, the most used of the other
// implementations, made of them. testdata/liquid.json was written by it; where the two differ, the
// case says why in "differs" and what we write in "ours".
func TestLiquidOracle(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/liquid.json")
	if err != nil {
		t.Fatal(err)
	}
	var oracle struct {
		Data  json.RawMessage
		Cases []struct{ Template, Want, Error, Differs, Ours string }
	}
	if err := json.Unmarshal(text, &oracle); err != nil {
		t.Fatal(err)
	}
	if len(oracle.Cases) < 90 {
		t.Fatalf("%d templates", len(oracle.Cases))
	}
	for _, tc := range oracle.Cases {
		bindings, err := model.ParseRecord(oracle.Data)
		if err != nil {
			t.Fatal(err)
		}
		tpl, _, err := parseTemplate(tc.Template)
		got := ""
		if err == nil {
			got, err = tpl.render(bindings)
		}
		want := tc.Want
		if tc.Differs != "" {
			if want = tc.Ours; got == tc.Want {
				t.Errorf("%s: differs no more", tc.Template)
			}
		}
		if (err != nil) != (tc.Error != "") || got != want {
			t.Errorf("%s: %q, %v; liquidjs writes %q %s", tc.Template, got, err, tc.Want, tc.Error)
		}
	}
}

// TestOwnFilters are those that the oracle does not have.
func TestOwnFilters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{{ "a" | md5 }}`:                   "0cc175b9c0f1b6a831c399e269772661",
		`{{ "a" | sha256 | slice: 0, 8 }}`:  "ca978112",
		`{{ "ab" | base64_encode }}`:        "YWI=",
		`{{ "YWI=" | base64_decode }}`:      "ab",
		`{{ list | json }}`:                 `["x",1,{"a":null}]`,
		`{{ n | json }}{{ s | json }}`:      `7"q\""`,
		`{{ people | where: "on" | size }}`: "1",
		`{{ "2.5" | at_least: 2 }}`:         "2.5",
		`{{ people | map: "v" | sum }}`:     "3.5",
		`{{ s | at_most: 1 }}`:              "!takes numbers",
		`{{ people | sum }}`:                "!takes numbers",
		`{{ "*" | base64_decode }}`:         "!illegal base64",
	} {
		bindings, err := model.ParseRecord([]byte(`{"list":["x",1,{"a":null}],"n":7,"s":"q\"","people":[{"on":true,"v":1},{"on":false,"v":2.5}]}`))
		if err != nil {
			t.Fatal(err)
		}
		tpl, _, err := parseTemplate(text)
		if err != nil {
			t.Fatal(text, err)
		}
		got, err := tpl.render(bindings)
		if part, fails := strings.CutPrefix(want, "!"); fails && (err == nil || !strings.Contains(err.Error(), part)) || !fails && (err != nil || got != want) {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}
