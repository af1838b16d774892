package codegen_test

import (
	"testing"

	"github.com/dop251/goja"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/tracking/codegen"
)

// The plugin says the version of what has versions, and of nothing else.
func TestTypeScriptSaysVersions(t *testing.T) {
	t.Parallel()
	f, err := codegen.Generate(shop(t), "ts")
	if err != nil {
		t.Fatal(err)
	}
	plain := api.Transform(string(f.Text), api.TransformOptions{Loader: api.LoaderTS, Format: api.FormatIIFE, GlobalName: "shop", Target: api.ES2020})
	if len(plain.Errors) > 0 {
		t.Fatal(plain.Errors)
	}
	vm := goja.New()
	got, err := vm.RunString(string(plain.Code) + `
function passed(event) {
  let set = '';
  const passing = {event, updateEvent(path, value) { set += path + '=' + value }};
  if (shop.eventVersions[event.type](passing) !== passing) return 'another';
  return set;
}
[{type: 'track', event: 'Versioned'}, {type: 'track', event: 'Later "one"', context: {}}, {type: 'group', groupId: 'g'},
 {type: 'track', event: 'Versioned', context: {protocols: {event_version: 1}}},
 {type: 'track', event: 'Order Completed'}, {type: 'track', event: 'constructor'}, {type: 'track'}, {type: 'identify'}, {type: 'page'}].map(passed)`)
	if err != nil {
		t.Fatal(err)
	}
	const path = "context.protocols.event_version="
	if d := cmp.Diff([]any{path + "2", path + "2", path + "3", "", "", "", "", "", ""}, got.Export()); d != "" {
		t.Errorf("what the plugin sets (-want +got):\n%s", d)
	}
}
