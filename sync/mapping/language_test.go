package mapping

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
)

func open() destinations.Object {
	id := dest("id", tidegate.Unknown)
	id.Identifier = true
	return destinations.Object{Name: "body", Open: true, Fields: []destinations.Field{id, dest("flat.name", tidegate.String), dest("number", tidegate.Int), dest("text", tidegate.String)}}
}

// fields decodes the mapping as a user writes it.
func fields(t testing.TB, text string) []tidegate.FieldMapping {
	t.Helper()
	var list []tidegate.FieldMapping
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

func openMapping(t testing.TB, text string) (*Mapping, error) {
	t.Helper()
	m := people()
	m.Schema = append(m.Schema, col("_lookup_0", tidegate.String))
	m.Lookups = map[tidegate.Lookup]string{{Model: "plans", Key: "id", Column: "title"}: "_lookup_0"}
	all := append([]tidegate.FieldMapping{{Field: "id", Column: "id"}}, fields(t, text)...)
	return Compile(tidegate.Mapping{Identifier: "id", Fields: all}, m, open())
}

var ada = map[string]any{
	"id": int64(1), "email": " Ada@X.io", "first_name": "Ada", "age": int64(36), "spent": tidegate.DecimalText("12.5"), "vip": true,
	"seen": time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), "tags": tidegate.JSONText(`["b","a"]`), "_lookup_0": "Gold",
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	const emailHash = "7d7e4c4ba3cbc60a38ac7ab7ba9a4ac9b7dbe0d8b3e4f4a0d0dcdd2bdfd24bd7"
	for _, tc := range []struct{ name, fields, want string }{
		{
			"nested object", `[{"field":"person","object":[{"field":"name","column":"first_name"},{"field":"last","column":"last_name"},{"field":"spent","column":"spent"}]}]`,
			`{"id":1,"person":{"last":null,"name":"Ada","spent":"12.5"}}`,
		},
		{"nested twice", `[{"field":"a","object":[{"field":"b","object":[{"field":"c","constant":[1]}]}]}]`, `{"a":{"b":{"c":[1]}},"id":1}`},
		{
			"array", `[{"field":"list","items":[{"column":"first_name"},{"column":"last_name"},{"column":"age"},{"object":[{"field":"x","column":"tags"}]}]}]`,
			`{"id":1,"list":["Ada",null,36,{"x":["b","a"]}]}`,
		},
		{"array without nulls", `[{"field":"list","items":[{"column":"last_name","skip_null":true},{"column":"age"}]}]`, `{"id":1,"list":[36]}`},
		{"nothing left", `[{"field":"list","skip_null":true,"items":[{"column":"last_name","skip_null":true}]},{"field":"o","skip_null":true,"object":[{"field":"x","column":"last_name","skip_null":true}]}]`, `{"id":1}`},
		{"empty but kept", `[{"field":"list","items":[]},{"field":"o","object":[{"field":"x","column":"last_name","skip_null":true}]}]`, `{"id":1,"list":[],"o":{}}`},
		{
			"dotted", `[{"field":"address.city","column":"first_name"},{"field":"address.zip.code","column":"age"},{"field":"address.zip.plus","column":"vip"}]`,
			`{"address":{"city":"Ada","zip":{"code":36,"plus":true}},"id":1}`,
		},
		{"dotted skips", `[{"field":"address.city","column":"last_name","skip_null":true}]`, `{"id":1}`},
		{"dotted and known", `[{"field":"flat.name","column":"first_name"}]`, `{"flat.name":"Ada","id":1}`},
		{"a point in a name", `[{"field":"a\\.b","column":"first_name"}]`, `{"a.b":"Ada","id":1}`},
		{"object as text", `[{"field":"text","object":[{"field":"x","column":"age"}]}]`, `{"id":1,"text":"{\"x\":36}"}`},
		{"array as text", `[{"field":"text","items":[{"column":"age"}]}]`, `{"id":1,"text":"[36]"}`},
		{"expression", `[{"field":"number","expression":"age + 1"},{"field":"x","expression":"spent > 10.0 ? 'big' : 'small'"}]`, `{"id":1,"number":37,"x":"big"}`},
		{"expression gives null", `[{"field":"x","expression":"last_name + 'x'","skip_null":true},{"field":"y","expression":"last_name + 'x'"}]`, `{"id":1,"y":null}`},
		{
			"lookup", `[{"field":"plan","lookup":{"model":"plans","key":"id","column":"title"}},{"field":"up","object":[{"field":"plan","lookup":{"model":"plans","key":"id","column":"title"}}]}]`,
			`{"id":1,"plan":"Gold","up":{"plan":"Gold"}}`,
		},
		{"normalised", `[{"field":"e","column":"email","normalize":"email"},{"field":"n","template":" {{ first_name }} ","normalize":"lower"}]`, `{"e":"ada@x.io","id":1,"n":"ada"}`},
		{
			"hashed", `[{"field":"e","column":"email","normalize":"email","hash":"md5"},{"field":"n","column":"age","hash":"md5"},{"field":"none","column":"last_name","hash":"md5"}]`,
			`{"e":"` + md5of("ada@x.io") + `","id":1,"n":"` + md5of("36") + `","none":null}`,
		},
		{"hashed already", `[{"field":"e","expression":"'` + strings.ToUpper(emailHash) + `'","normalize":"email","hash":"sha256"}]`, `{"e":"` + emailHash + `","id":1}`},
		{
			"other rules", `[{"field":"p","constant":1},{"field":"e","expression":"'a.b+c@gmail.com'","normalize":"email","rules":"google"},{"field":"f","expression":"'+1 650 555 1212'","normalize":"phone","rules":"meta"},{"field":"g","expression":"'650 555 1212'","normalize":"phone","country":"us"}]`,
			`{"e":"ab@gmail.com","f":"16505551212","g":"+16505551212","id":1,"p":1}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m, err := openMapping(t, tc.fields)
			if err != nil {
				t.Fatal(problems(err))
			}
			record, fault := m.Apply(row(m, ada))
			if fault != nil {
				t.Fatal(fault)
			}
			if d := cmp.Diff(tc.want, string(model.AppendJSON(nil, record))); d != "" {
				t.Error(d)
			}
			text, at, fault := m.ApplyTo([]byte("!"), row(m, ada))
			if fault != nil {
				t.Fatal(fault)
			}
			if d := cmp.Diff("!"+tc.want, string(text)); d != "" {
				t.Error(d)
			}
			if string(text[at.Start:at.End]) != "1" {
				t.Errorf("the identifier is %s", text[at.Start:at.End])
			}
		})
	}
}

func TestLanguageRefuses(t *testing.T) {
	t.Parallel()
	deep := `{"field":"x","column":"id"}`
	for range MaxDepth {
		deep = `{"field":"x","object":[` + deep + `]}`
	}
	for _, tc := range []struct{ name, fields, want string }{
		{"no source", `[{"field":"x"}]`, "mapping.fields[1]: field x has no value (set exactly one of column, constant, template, expression, lookup, object and items)"},
		{"two sources", `[{"field":"x","column":"id","expression":"1"}]`, "mapping.fields[1]: field x has column and expression"},
		{"inner source", `[{"field":"x","object":[{"field":"y","column":"agee"}]}]`, `mapping.fields[1].object[0].column: the model has no column "agee" (did you mean "age"?)`},
		{"inner name", `[{"field":"x","object":[{"column":"age"}]}]`, "mapping.fields[1].object[0].field: the member has no name"},
		{"inner twice", `[{"field":"x","object":[{"field":"y","column":"age"},{"field":"y","column":"age"}]}]`, `mapping.fields[1].object[1].field: the member "y" stands twice`},
		{"named entry", `[{"field":"x","items":[{"field":"y","column":"age"}]}]`, "mapping.fields[1].items[0].field: an entry of an array has no name"},
		{"inner policy", `[{"field":"x","items":[{"column":"age","policy":"on_create"}]}]`, "mapping.fields[1].items[0].policy: a part of an object"},
		{"dotted policy", `[{"field":"x.y","column":"age","policy":"on_create"}]`, `mapping.fields[1].policy: field "x.y" is part of an object`},
		{"identifier policy", `[{"field":"y","column":"age","policy":"sometimes"}]`, `mapping.fields[1].policy: there is no policy "sometimes"`},
		{"value and object", `[{"field":"x","column":"age"},{"field":"x.y","column":"age"}]`, `mapping.fields[2].field: field "x" is mapped as a value and as an object`},
		{"object and value", `[{"field":"x.y","column":"age"},{"field":"x","column":"age"}]`, `mapping.fields[2].field: field "x" is mapped as a value and as an object`},
		{"empty step", `[{"field":"x..y","column":"age"}]`, `mapping.fields[1].field: the path "x..y" has an empty step`},
		{"object into a number", `[{"field":"number","object":[{"field":"y","column":"age"}]}]`, `mapping.fields[1].object: field "number" takes int, not an object or an array`},
		{"deep", `[` + deep + `]`, "is nested deeper than 8 levels"},
		{"expression", `[{"field":"x","expression":"agee + 1"}]`, `mapping.fields[1].expression: 1:1: the model has no column "agee" (did you mean "age"?)`},
		{"expression of another type", `[{"field":"number","expression":"vip"}]`, `mapping.fields[1].expression: the expression is bool and field "number" takes int (convert it`},
		{"lookup", `[{"field":"x","lookup":{"model":"plans","key":"id","column":"colour"}}]`, `mapping.fields[1].lookup: model people was compiled without the lookup into "plans"`},
		{"lookup of another type", `[{"field":"number","lookup":{"model":"plans","key":"id","column":"title"}}]`, ""},
		{"lookup column by name", `[{"field":"x","column":"_lookup_0"}]`, `the model has no column "_lookup_0"`},
		{"normal form", `[{"field":"x","column":"email","normalize":"emial"}]`, `mapping.fields[1].normalize: there is no normal form "emial" (did you mean "email"?)`},
		{"rules", `[{"field":"x","column":"email","normalize":"email","rules":"myspace"}]`, `mapping.fields[1].rules: there are no rules of "myspace"`},
		{"digest", `[{"field":"x","column":"email","hash":"sha265"}]`, `mapping.fields[1].hash: there is no digest "sha265" (did you mean "sha256"?)`},
		{"country alone", `[{"field":"x","column":"email","country":"DE"}]`, "mapping.fields[1].country: a country says how a value is normalised"},
		{"hash of a constant", `[{"field":"x","constant":"a","hash":"md5"}]`, "mapping.fields[1]: field x is a constant, an object or an array"},
		{"hash into a number", `[{"field":"number","column":"email","hash":"md5"}]`, "field number takes int and a normalised or hashed value is a text"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := openMapping(t, tc.fields)
			if all := strings.Join(problems(err), "\n"); tc.want != "" && !strings.Contains(all, tc.want) || tc.want == "" && err != nil {
				t.Errorf("%s\nwant %s", all, tc.want)
			}
		})
	}
	_, err := Compile(tidegate.Mapping{Identifier: "id", Fields: fields(t, `[{"field":"id","object":[]}]`)}, people(), open())
	if all := strings.Join(problems(err), "\n"); !strings.Contains(all, `the identifier "id" is an object or an array`) {
		t.Error(all)
	}
	_, err = Compile(tidegate.Mapping{Identifier: "id", Fields: fields(t, `[{"field":"id","column":"id","policy":"if_empty"}]`)}, people(), open())
	if all := strings.Join(problems(err), "\n"); !strings.Contains(all, `the identifier "id" is always sent`) {
		t.Error(all)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	m, err := openMapping(t, `[{"field":"a","column":"age","policy":"if_empty"},{"field":"b","column":"age","policy":"on_create"},{"field":"c","column":"age","policy":"if_newer"},{"field":"d","column":"age","policy":"always"}]`)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]tidegate.FieldPolicy{"a": tidegate.IfEmpty, "b": tidegate.OnCreate, "c": tidegate.IfNewer}, m.Policies()); d != "" {
		t.Error(d)
	}
	if err := m.RequireReader(true); err != nil {
		t.Error(err)
	}
	if all := problems(m.RequireReader(false)); len(all) != 2 || !strings.Contains(all[0], "if_empty") || !strings.Contains(all[1], "if_newer") {
		t.Error(all)
	}
}

func TestVersionSealsTheLanguage(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, text := range []string{
		`[]`, `[{"field":"x","column":"email"}]`, `[{"field":"x","expression":"email"}]`, `[{"field":"x","expression":"email "}]`, `[{"field":"x","column":"email","hash":"md5"}]`, `[{"field":"x","column":"email","hash":"sha1"}]`,
		`[{"field":"x","column":"email","normalize":"email"}]`, `[{"field":"x","column":"email","normalize":"lower"}]`, `[{"field":"x","column":"email","normalize":"phone"}]`, `[{"field":"x","column":"email","normalize":"phone","country":"DE"}]`,
		`[{"field":"x","column":"email","normalize":"email","rules":"google"}]`, `[{"field":"x","column":"email","policy":"on_create"}]`, `[{"field":"x","object":[{"field":"y","column":"email"}]}]`, `[{"field":"x","object":[{"field":"z","column":"email"}]}]`,
		`[{"field":"x","items":[{"column":"email"}]}]`, `[{"field":"x.y","column":"email","skip_null":true}]`, `[{"field":"x","lookup":{"model":"plans","key":"id","column":"title"}}]`,
	} {
		m, err := openMapping(t, text)
		if err != nil {
			t.Fatal(problems(err))
		}
		if other, twice := seen[m.Version()]; twice {
			t.Errorf("%s and %s have one version", text, other)
		}
		seen[m.Version()] = text
	}
}

func md5of(text string) string {
	m, err := Compile(tidegate.Mapping{Identifier: "id", Fields: []tidegate.FieldMapping{{Field: "id", Column: "id"}, {Field: "x", Expression: fmt.Sprintf("hash('md5', %q)", text)}}}, people(), open())
	if err != nil {
		panic(err)
	}
	record, _ := m.Apply(tidegate.Row{int64(1)})
	return record["x"].(string)
}

// TestApplyToAgreesWithApply over random rows of every kind.
func TestApplyToAgreesWithApply(t *testing.T) {
	t.Parallel()
	obj := open()
	for k := tidegate.Bool; k <= tidegate.JSON; k++ {
		obj.Fields = append(obj.Fields, dest("to_"+k.String(), k))
	}
	mapped := []tidegate.FieldMapping{{Field: "id", Column: "id"}, {Field: "all.x", Expression: "email + string(age)"}, {Field: "all.y", Template: "{{ first_name }}{{ tags }}"}}
	m := people()
	for _, c := range m.Schema {
		mapped = append(mapped, tidegate.FieldMapping{Field: "plain_" + c.Name, Column: c.Name})
		for k := tidegate.Bool; k <= tidegate.JSON; k++ {
			if field := "to_" + k.String(); canFit(c.Type.Kind, k) && c.Name != "id" && !mappedTo(mapped, field) {
				mapped = append(mapped, tidegate.FieldMapping{Field: field, Column: c.Name, SkipNull: k%2 == 0})
			}
		}
	}
	compiled, err := Compile(tidegate.Mapping{Identifier: "id", Fields: mapped}, m, obj)
	if err != nil {
		t.Fatal(problems(err))
	}
	rapid.Check(t, func(t *rapid.T) {
		cells := map[string]any{
			"id": rapid.Int64().Draw(t, "id"), "email": rapid.String().Draw(t, "email"), "age": rapid.Int64().Draw(t, "age"), "vip": rapid.Bool().Draw(t, "vip"),
			"first_name": rapid.SampledFrom([]any{nil, "", "x", "12", "true", "2024-02-29"}).Draw(t, "first"), "spent": tidegate.DecimalText(rapid.SampledFrom([]string{"0", "-12.5", "99999999999999999999"}).Draw(t, "spent")),
			"seen": time.UnixMicro(rapid.Int64Range(-1e17, 3e17).Draw(t, "seen")), "tags": tidegate.JSONText(rapid.SampledFrom([]string{"{}", `{"b":1,"a":[null]}`, "[1,", "7"}).Draw(t, "tags")), "photo": []byte(rapid.String().Draw(t, "photo")),
		}
		for name := range cells {
			if name != "id" && rapid.IntRange(0, 4).Draw(t, name) == 0 {
				cells[name] = nil
			}
		}
		r := row(compiled, cells)
		record, fault := compiled.Apply(r)
		text, at, fault2 := compiled.ApplyTo(nil, r)
		if (fault == nil) != (fault2 == nil) {
			t.Fatalf("%v and %v", fault, fault2)
		}
		if fault != nil {
			return
		}
		if want := string(model.AppendJSON(nil, record)); want != string(text) {
			t.Fatal(cmp.Diff(want, string(text)))
		}
		if want := string(model.AppendJSON(nil, record["id"])); want != string(text[at.Start:at.End]) {
			t.Fatalf("the identifier %s, want %s", text[at.Start:at.End], want)
		}
	})
}

func mappedTo(list []tidegate.FieldMapping, field string) bool {
	for _, f := range list {
		if f.Field == field {
			return true
		}
	}
	return false
}

func BenchmarkApplyTo(b *testing.B) {
	m, err := Compile(tidegate.Mapping{Identifier: "email", Fields: []tidegate.FieldMapping{
		{Field: "email", Column: "email"}, {Field: "a", Column: "first_name"}, {Field: "b", Column: "last_name"}, {Field: "c", Column: "age"}, {Field: "d", Column: "spent"}, {Field: "e", Column: "seen"},
	}}, people(), destinations.Object{Name: "o", Open: true})
	if err != nil {
		b.Fatal(err)
	}
	r := tidegate.Row{int64(1), "ada@example.com", "Ada", "Lovelace", int64(36), tidegate.DecimalText("12.5"), time.Unix(1_700_000_000, 0)}
	b.ReportAllocs()
	buf := make([]byte, 0, 512)
	for b.Loop() {
		if _, _, f := m.ApplyTo(buf[:0], r); f != nil {
			b.Fatal(f)
		}
	}
}
