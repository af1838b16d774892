package scan

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	v := Value(` {"a" : 1 , "b\u0063":[1, {"x":"]"} ,"two" ] ,"a":{"ip":"x","deep":{"ip":"y"}},"é":null}`)[1:]
	var got []string
	for name, value := range v.Members {
		got = append(got, string(name)+"="+string(value))
	}
	want := []string{"a=1", `bc=[1, {"x":"]"} ,"two" ]`, `a={"ip":"x","deep":{"ip":"y"}}`, "é=null"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if got := v.Member("a"); string(got) != `{"ip":"x","deep":{"ip":"y"}}` {
		t.Errorf("of a repeated name the last counts, got %s", got)
	}
	if got := v.Member("none"); got != nil {
		t.Errorf("a member that is not there is %s", got)
	}
	var items []string
	for item := range v.Member("bc").Items {
		items = append(items, string(item))
	}
	if diff := cmp.Diff([]string{"1", `{"x":"]"}`, `"two"`}, items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	for _, other := range []Value{nil, Value("1"), Value(`"{}"`), Value("null"), Value("{}"), Value("[]"), Value("{ }"), Value("[ ]")} {
		for name, value := range other.Members {
			t.Errorf("%s has the member %s: %s", other, name, value)
		}
		for item := range other.Items {
			t.Errorf("%s has the item %s", other, item)
		}
	}
}

func TestAppendReplaced(t *testing.T) {
	t.Parallel()
	ip := []string{"context", "ip"}
	for _, c := range []struct{ in, want string }{
		{`{"context":{"ip":"1.2.3.4","x":1},"ip":"kept"}`, `{"context":{"ip":?,"x":1},"ip":"kept"}`},
		{`{"context" : { "ip" : "a" , "ip":"b"},"context":{"ip":"c"}}`, `{"context" : { "ip" : ? , "ip":?},"context":{"ip":?}}`},
		{`{"\u0063ontext":{"\u0069p":[1,2]}}`, `{"\u0063ontext":{"\u0069p":?}}`},
		{`{"context":"ip"}`, `{"context":"ip"}`},
		{`{}`, `{}`},
		{`7`, `7`},
	} {
		got := Value(c.in).AppendReplaced([]byte(">"), ip, func(Value) []byte { return []byte("?") })
		if string(got) != ">"+c.want {
			t.Errorf("%s became %s, want %s", c.in, got, c.want)
		}
	}
}

// What Members finds is what encoding/json finds, and replacing a value with
// itself changes nothing, whatever the text.
func TestMembersAgreeWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := document(t)
		if !json.Valid(body) || !utf8.Valid(body) {
			for range Value(body).Members { // no panic is all that is asked
			}
			return
		}
		body = bytes.TrimSpace(body)
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		for name, value := range Value(body).Members {
			got[string(name)] = json.RawMessage(value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("members of %s (-want +got):\n%s", body, diff)
		}
		same := Value(body).AppendReplaced(nil, []string{"batch", "context"}, func(v Value) []byte { return v })
		if !bytes.Equal(same, body) {
			t.Fatalf("%s became %s", body, same)
		}
	})
}
