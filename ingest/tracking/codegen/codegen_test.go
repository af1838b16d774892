package codegen_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/tracking"
	"github.com/tidegate/tidegate/ingest/tracking/codegen"
	"github.com/tidegate/tidegate/internal/config"
)

var update = flag.Bool("update", false, "write the golden files")

func shop(t *testing.T) *tracking.Plan {
	t.Helper()
	data, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	def := tidegate.TrackingPlan{Name: "shop"}
	if err := config.DecodeYAML("shop.yaml", data, &def); err != nil {
		t.Fatal(err)
	}
	p, err := tracking.New(def)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, language := range codegen.Languages() {
		f, err := codegen.Generate(shop(t), language)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", f.Name+".golden")
		if *update {
			if err := os.WriteFile(path, f.Text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(f.Text)); d != "" {
			t.Errorf("run `go test ./ingest/tracking/codegen -update` when this is meant:\n%s", d)
		}
	}
	if _, err := codegen.Generate(shop(t), "cobol"); tidegate.FaultOf(err).Code != "codegen.language" {
		t.Errorf("a language that there is not: %v", err)
	}
}

// write writes files into a folder of the test's.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The Go code is vetted and run against sdk-go, and what it makes fits the plan.
func TestGo(t *testing.T) {
	t.Parallel()
	f, err := codegen.Generate(shop(t), "go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"go.mod":          "module example.com/app\n\ngo 1.22\n\nrequire github.com/tidegate/tidegate/sdk-go v0.0.0\n\nreplace github.com/tidegate/tidegate/sdk-go => " + filepath.Join(root(t), "sdk-go") + "\n",
		"shop/" + f.Name:  string(f.Text),
		"cmd/use/main.go": useGo,
	})
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out)
	}
	run("vet", "./...")
	var got []map[string]any
	if err := json.Unmarshal([]byte(run("run", "./cmd/use")), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{"event": "Order Completed", "userId": "u1", "properties": map[string]any{
			"order_id": "o-1", "total": 12.5, "currency": "EUR", "gone": nil, "store": "berlin", "when": "2026-01-02T03:04:05Z",
			"products": []any{map[string]any{"sku": "x", "size": "L"}}, "matrix": []any{[]any{map[string]any{"n": 1.0}}}, "address": map[string]any{"post code": "10115"},
		}},
		{"event": "7 Days `Left` \"\\ \u2028 */ ${x}", "userId": "u1", "properties": map[string]any{"a.b": "v", "a`b\"\\": 7.0, "store": "berlin", "track": true}},
		{"userId": "u1", "traits": map[string]any{"email": "a@b.c", "plan": "paid"}},
		{"userId": "u1", "groupId": "g", "traits": map[string]any{"name": "n"}, "context": says(3)},
		{"userId": "u1", "name": "Home", "properties": map[string]any{"url": "https://x", "store": "berlin"}},
		{"event": "Versioned", "userId": "u1", "properties": map[string]any{"new": "n", "store": "berlin"}, "context": says(2)},
		{"event": `Later "one"`, "userId": "u1", "properties": map[string]any{"new": "n", "store": "berlin"}, "context": says(2)},
	}
	for _, m := range got {
		delete(m, "timestamp")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what is sent (-want +got):\n%s", d)
	}
}

func says(version int) map[string]any {
	return map[string]any{"protocols": map[string]any{"event_version": float64(version)}}
}

const useGo = `package main

import (
	"encoding/json"
	"os"
	"time"

	"example.com/app/shop"
)

func main() {
	list := []any{
		shop.TrackOrderCompleted("u1", shop.OrderCompleted{
			OrderId: "o-1", Total: 12.5, Currency: shop.OrderCompletedCurrencyEUR, Store: "berlin", When: shop.Ptr(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
			Products: []shop.OrderCompletedProductsItem{{Sku: "x", Size: shop.Ptr(shop.OrderCompletedProductsItemSizeL)}},
			Matrix:   [][]shop.OrderCompletedMatrixItemItem{{{N: 1}}},
			Address:  &shop.OrderCompletedAddress{PostCode: "10115"},
		}),
		shop.TrackEvent7DaysLeftX("u1", shop.Event7DaysLeftX{AB2: "v", AB3: 7, Store: "berlin", Track: shop.Ptr(true)}),
		shop.Identify("u1", shop.Traits{Email: "a@b.c", Plan: shop.Ptr(shop.TraitsPlanPaid)}),
		shop.Group("u1", "g", shop.GroupTraits{Name: "n"}),
		shop.Page("u1", "Home", shop.PageProperties{Url: "https://x", Store: "berlin"}),
		shop.TrackVersioned("u1", shop.Versioned{New: "n", Store: "berlin"}),
		shop.TrackLaterOne("u1", shop.LaterOne{New: "n", Store: "berlin"}),
	}
	if err := json.NewEncoder(os.Stdout).Encode(list); err != nil {
		panic(err)
	}
}
`

// The TypeScript code is compiled, strictly, against sdk-js; what does not fit the plan
// does not compile.
func TestTypeScript(t *testing.T) {
	t.Parallel()
	tsc := filepath.Join(root(t), "sdk-js", "node_modules", "typescript", "bin", "tsc")
	node, err := exec.LookPath("node")
	if _, missing := os.Stat(tsc); err != nil || missing != nil {
		t.Skip("SKIPPED: the generated TypeScript is not compiled: it needs Node and `npm ci` in sdk-js")
	}
	f, err := codegen.Generate(shop(t), "ts")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sdk := filepath.Join(root(t), "sdk-js")
	config, err := json.Marshal(map[string]any{
		"compilerOptions": map[string]any{
			"target": "ES2020", "module": "ESNext", "moduleResolution": "Bundler", "lib": []string{"ES2020", "DOM", "DOM.Iterable"}, "types": []string{"node"}, "typeRoots": []string{filepath.Join(sdk, "node_modules", "@types")},
			"strict": true, "exactOptionalPropertyTypes": true, "noUncheckedIndexedAccess": true, "skipLibCheck": true, "noEmit": true, "allowImportingTsExtensions": true,
			"paths": map[string][]string{"@tidegate/sdk-js": {filepath.Join(sdk, "src", "index.ts")}, "@tidegate/sdk-js/server": {filepath.Join(sdk, "src", "server.ts")}},
		},
		"files": []string{"use.ts"},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"tsconfig.json": string(config), f.Name: string(f.Text), "use.ts": useTypeScript})
	out, err := exec.CommandContext(t.Context(), node, tsc, "-p", dir).CombinedOutput() //nolint:gosec // the compiler of sdk-js
	if err != nil {
		t.Fatalf("tsc: %v\n%s", err, out)
	}
}

var useTypeScript = fmt.Sprintf(`import { load } from '@tidegate/sdk-js';
import { Analytics } from '@tidegate/sdk-js/server';
import { eventVersions, type Events, type GroupTraits, type OrderCompleted, type PageProperties, type Traits } from './shop.js';

const analytics = load<Events>({ writeKey: 'WK', host: 'https://events.example.com', plugins: [eventVersions] });
const order: OrderCompleted = { order_id: 'o-1', total: 12.5, currency: 'EUR', gone: null, store: 'berlin', products: [{ sku: 'x', size: 'L' }], when: new Date() };
analytics.track('Order Completed', order);
analytics.track(%s, { 'a.b': 'v', 'a%sb"\\': 7, store: 'berlin', track: true });
analytics.track('Versioned', { new: 'n', store: 's' });
// @ts-expect-error the total is missing
analytics.track('Order Completed', { order_id: 'o-1', currency: 'EUR', gone: null, store: 'berlin', products: [] });
// @ts-expect-error the currency is none of those
analytics.track('Order Completed', { ...order, currency: 'GBP' });
// @ts-expect-error there is no such event
analytics.track('Order Complete', {});
const traits: Traits = { email: 'a@b.c', plan: 'paid' };
analytics.identify('u1', traits);
const group: GroupTraits = { name: 'n' };
analytics.group('g1', group);
const page: PageProperties = { url: 'https://x', store: 's' };
analytics.page('Home', page);
analytics.register(eventVersions);
const server = new Analytics<Events>({ writeKey: 'WK', host: 'https://events.example.com', plugins: [eventVersions] });
server.track({ userId: 'u1', event: 'Order Completed', properties: order });
`, `"7 Days `+"`"+`Left`+"`"+` \"\\ \u2028 */ ${x}"`, "`")
