package tracking

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
)

var (
	numbers = []any{json.Number("0"), json.Number("-1"), json.Number("1"), json.Number("1.0"), json.Number("2.5"), json.Number("1e2"), json.Number("100"), json.Number("12345678901234567890"), json.Number("0.1"), json.Number("0.10000000000000000001")}
	words   = []any{"", "a", "ab", "äöü", "2026-01-02", "x@y.z", "🙂🙂"}
	scalars = append(append([]any{nil, true, false}, numbers...), words...)
)

// jsonValues draws a JSON value.
func jsonValues(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		if depth == 0 || rapid.IntRange(0, 2).Draw(t, "nest") > 0 {
			return rapid.SampledFrom(scalars).Draw(t, "scalar")
		}
		if rapid.Bool().Draw(t, "array") {
			return rapid.SliceOfN(jsonValues(depth-1), 0, 3).Draw(t, "items")
		}
		out := map[string]any{}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(t, "names") {
			out[name] = jsonValues(depth-1).Draw(t, name)
		}
		return out
	})
}

// schemas draws a JSON Schema of the keywords that rules check, and now and then of others.
func schemas(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		if rapid.IntRange(0, 9).Draw(t, "bool") == 0 {
			return rapid.Bool().Draw(t, "value")
		}
		s := map[string]any{}
		for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
			"type", "types", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "format",
			"properties", "required", "additionalProperties", "items", "minItems", "maxItems", "not", "multipleOf",
		}), 0, 4, rapid.ID[string]).Draw(t, "keywords") {
			switch key {
			case "type":
				s["type"] = rapid.SampledFrom(types).Draw(t, key)
			case "types":
				s["type"] = anys(rapid.SliceOfNDistinct(rapid.SampledFrom(types), 1, 3, rapid.ID[string]).Draw(t, key))
			case "enum":
				s[key] = rapid.SliceOfN(jsonValues(1), 1, 4).Draw(t, key)
			case "const":
				s[key] = jsonValues(1).Draw(t, key)
			case "minLength", "maxLength", "minItems", "maxItems":
				s[key] = json.Number(rapid.SampledFrom([]string{"0", "1", "2", "3"}).Draw(t, key))
			case "pattern":
				s[key] = rapid.SampledFrom([]string{"a", "^a", "^$", "ö"}).Draw(t, key)
			case "format":
				s[key] = rapid.SampledFrom([]string{"date", "email"}).Draw(t, key)
			case "properties":
				inner := map[string]any{}
				for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(t, "names") {
					inner[name] = any(true)
					if depth > 0 {
						inner[name] = schemas(depth-1).Draw(t, name)
					}
				}
				s[key] = inner
			case "required":
				s[key] = anys(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b"}), 0, 2, rapid.ID[string]).Draw(t, key))
			case "additionalProperties", "items", "not":
				s[key] = any(false)
				if depth > 0 {
					s[key] = schemas(depth-1).Draw(t, key)
				}
			case "multipleOf":
				s[key] = json.Number("2")
			default:
				s[key] = rapid.SampledFrom(numbers).Draw(t, key)
			}
		}
		return s
	})
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// A rule says of a value what the full validator says of it.
func TestRulesAgreeWithTheFullValidator(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema := schemas(2).Draw(t, "schema")
		value := jsonValues(3).Draw(t, "value")
		full, err := fullSchema(schema)
		if err != nil {
			t.Fatalf("%v: %v", schema, err)
		}
		r, problems := compile(schema, "")
		if problems != nil {
			t.Fatalf("%v: %v", schema, problems)
		}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var found findings
		r.check(scan.Value(raw), nil, &found)
		if want := full.Validate(value); (want == nil) != (len(found) == 0) {
			text, _ := json.Marshal(schema)
			t.Fatalf("%s against %s: found %v, the validator says %v", raw, text, found, want)
		}
	})
}

// Arbitrary accepted events get a verdict, and what is changed is still an event with
// its id.
func FuzzJudge(f *testing.F) {
	f.Add([]byte(`{"type":"track","event":"Order Completed","messageId":"m","properties":{"total":"x","more":[{"sku":1}]}}`), []byte(`{"protocols":{"event_version":1}}`))
	f.Add([]byte(`{"type":"identify","messageId":"m","traits":{"email":"e","email":1e999999999}}`), []byte(`[]`))
	p := compiled(f, shop)
	f.Fuzz(func(t *testing.T, body, context []byte) {
		var d, c scan.Document
		if d.Scan(body, 1) != nil || c.Scan(context, 1) != nil {
			return
		}
		kind, _ := d.Type.Text()
		ev := &tidegate.Event{Source: "web", Body: body, Context: context}
		v := verdictOf(t, p, judge.Item{Event: ev, Type: tidegate.EventType(kind)})
		if v.Event == nil {
			return
		}
		var again scan.Document
		if err := again.Scan(v.Event.Body, 1); err != nil || string(again.MessageID) != string(d.MessageID) {
			t.Fatalf("%s became %s: %v", body, v.Event.Body, err)
		}
	})
}
