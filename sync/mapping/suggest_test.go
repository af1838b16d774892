package mapping

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
)

func suggested(m tidegate.Mapping) string {
	var b strings.Builder
	fmt.Fprintf(&b, "by %s:", m.Identifier)
	for _, f := range m.Fields {
		fmt.Fprintf(&b, " %s=%s", f.Field, f.Column)
	}
	return b.String()
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	field := func(name, label string, kind tidegate.Kind, as string) destinations.Field {
		return destinations.Field{Name: name, Label: label, Type: tidegate.Type{Kind: kind}, Identifier: as == "id", Required: as == "required", ReadOnly: as == "read"}
	}
	crm := destinations.Object{Name: "contacts", Fields: []destinations.Field{
		field("firstname", "First Name", tidegate.String, ""), field("lastname", "", tidegate.String, ""), field("company", "", tidegate.String, "required"), field("email", "", tidegate.String, "id"),
		field("lifecycle", "Stage", tidegate.String, ""), field("score", "", tidegate.Int, ""), field("created", "", tidegate.Timestamp, "read"), field("mobilephone", "", tidegate.String, ""), field("phone", "", tidegate.String, ""), field("city", "", tidegate.String, ""),
	}}
	m := &model.Model{PrimaryKey: []string{"id"}, Schema: tidegate.Schema{
		col("id", tidegate.Int), col("E-Mail", tidegate.String), col("first_name", tidegate.String), col("Surname", tidegate.String), col("organisation", tidegate.String), col("stage", tidegate.String),
		col("score", tidegate.Bool), col("created", tidegate.Timestamp), col("phone", tidegate.String), col("cell", tidegate.String), col("nothing_like_it", tidegate.String), col("_lookup_0", tidegate.String),
	}}
	got := Suggest(m, crm)
	if d := cmp.Diff("by email: email=E-Mail company=organisation firstname=first_name lastname=Surname lifecycle=stage mobilephone=cell phone=phone", suggested(got)); d != "" {
		t.Error(d)
	}
	if _, err := Compile(got, m, crm); err != nil {
		t.Error("a suggestion that does not compile: ", problems(err))
	}
	hook := destinations.Object{Name: "body", Open: true}
	if d := cmp.Diff("by id: id=id a\\.b=a.b", suggested(Suggest(&model.Model{PrimaryKey: []string{"id"}, Schema: tidegate.Schema{col("a.b", tidegate.Int), col("id", tidegate.Int)}}, hook))); d != "" {
		t.Error(d)
	}
	if got := Suggest(&model.Model{PrimaryKey: []string{"id"}, Schema: tidegate.Schema{col("x", tidegate.Int)}}, crm); got.Identifier != "" || len(got.Fields) != 0 {
		t.Error(suggested(got))
	}
	seen := map[string]bool{}
	for _, group := range synonyms {
		for _, word := range group {
			if seen[word] || fold(word) != word {
				t.Errorf("%q stands twice or is not folded", word)
			}
			seen[word] = true
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	m := people()
	m.Schema = append(m.Schema, col("_lookup_0", tidegate.Decimal))
	m.Lookups = map[tidegate.Lookup]string{{Model: "plans", Key: "id", Column: "price"}: "_lookup_0"}
	def := tidegate.Mapping{Identifier: "email", CreateFields: true, Fields: fields(t, `[{"field":"email","column":"email"},{"field":"company","column":"last_name"},{"field":"plan_tier","column":"first_name"},{"field":"n","column":"age"},
		{"field":"when","column":"seen"},{"field":"t","template":"x"},{"field":"e","expression":"age > 3"},{"field":"d","expression":"tags.x"},{"field":"h","column":"age","hash":"md5"},{"field":"o","object":[]},
		{"field":"l","lookup":{"model":"plans","key":"id","column":"price"}},{"field":"c","constant":1.5},{"field":"s","constant":"x"}]`)}
	var got []string
	missing := Missing(def, m, contacts())
	for _, f := range missing {
		got = append(got, f.Name+" "+f.Type.Kind.String())
	}
	if d := cmp.Diff([]string{"plan_tier string", "n int", "when timestamp", "t string", "e bool", "d string", "h string", "o json", "l decimal", "c float", "s string"}, got); d != "" {
		t.Error(d)
	}
	if missing[0].Label != "Plan tier" {
		t.Error(missing[0].Label)
	}
	obj := contacts()
	obj.Fields = append(obj.Fields, missing...)
	if _, err := Compile(def, m, obj); err != nil {
		t.Error(problems(err))
	}
	def.CreateFields = false
	if got := Missing(def, m, contacts()); got != nil {
		t.Error(got)
	}
}
