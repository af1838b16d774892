package config_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tidegate/tidegate/internal/config"
)

type branch struct {
	Name  string   `json:"name"`
	Token string   `json:"token,omitempty" secret:"true"`
	Left  []branch `json:"left,omitempty"`
	Right []branch `json:"right,omitempty"`
}

func TestStructsThatContainThemselves(t *testing.T) {
	t.Parallel()
	deep := []byte(`{"name": "a", "left": [{"name": "b", "right": [{"name": "c", "token": "hush", "left": [{"name": "d", "nam": 1}]}]}]}`)
	var b branch
	if err := config.DecodeJSON("tree", deep, &b); err == nil || b.Left[0].Right[0].Name != "c" {
		t.Errorf("%v, %+v", err, b)
	}
	schema, err := json.Marshal(config.Schema(branch{}))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("tree.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("tree.json")
	if err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{string(deep): false, `{"name": "a", "left": [{"name": "b", "right": [{"name": "c", "left": [{"name": "d"}]}]}]}`: true} {
		in, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(in); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got := string(config.Scrub(json.RawMessage(`{"name":"a","left":[{"name":"b","left":[{"name":"c","token":"hush"}]}]}`), branch{})); got != `{"name":"a","left":[{"name":"b","left":[{"name":"c","token":"***"}]}]}` {
		t.Error(got)
	}
}
