package mapping

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
)

func col(name string, kind tidegate.Kind) tidegate.Column {
	return tidegate.Column{Name: name, Type: tidegate.Type{Kind: kind}}
}

func people() *model.Model {
	return &model.Model{Name: "people", PrimaryKey: []string{"id"}, Schema: tidegate.Schema{
		col("id", tidegate.Int), col("email", tidegate.String), col("first_name", tidegate.String), col("last_name", tidegate.String),
		col("age", tidegate.Int), col("spent", tidegate.Decimal), col("vip", tidegate.Bool), col("seen", tidegate.Timestamp), col("tags", tidegate.JSON), col("photo", tidegate.Bytes),
	}}
}

func dest(name string, kind tidegate.Kind) destinations.Field {
	return destinations.Field{Name: name, Type: tidegate.Type{Kind: kind}}
}

func contacts() destinations.Object {
	email := dest("email", tidegate.String)
	email.Identifier = true
	created := dest("created", tidegate.Timestamp)
	created.ReadOnly = true
	company := dest("company", tidegate.String)
	company.Required = true
	return destinations.Object{Name: "contacts", Fields: []destinations.Field{
		email, created, company, dest("name", tidegate.String), dest("age", tidegate.Int), dest("spent", tidegate.Decimal),
		dest("vip", tidegate.Bool), dest("seen", tidegate.Date), dest("any", tidegate.Unknown),
	}}
}

func problems(err error) []string {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range many.Unwrap() {
			all = append(all, problems(e)...)
		}
		return all
	}
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Action != tidegate.Halt || f.Code != "mapping.invalid" {
		return []string{"not a fault of the mapping: " + err.Error()}
	}
	text := f.Subject + ": " + f.Message
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return []string{text}
}

func TestCompileReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Compile(tidegate.Mapping{Identifier: "emial", Fields: []tidegate.FieldMapping{
		{Field: "email", Column: "emial"},
		{Field: "nme", Column: "first_name"},
		{Field: "created", Column: "seen"},
		{Field: "age", Column: "tags"},
		{Field: "vip", Column: "age"},
		{Field: "name", Column: "first_name", Template: "x"},
		{Field: "email", Column: "email"},
		{Field: "spent", Constant: json.RawMessage(`"much"`)},
		{Field: "any", Template: "{{ first_nam }} {{ last_name | upcase }}"},
		{Field: "", Column: "id"},
	}}, people(), contacts())
	want := []string{
		`mapping.fields[0].column: the model has no column "emial" (did you mean "email"?)`,
		`mapping.fields[1].field: contacts has no field "nme" (did you mean "name"?)`,
		`mapping.fields[2].field: field "created" of contacts is read-only (leave it out of the mapping)`,
		`mapping.fields[3].column: column "tags" is json and field "age" takes int (cast the column in the model's query, or map another)`,
		`mapping.fields[4].column: column "age" is int and field "vip" takes bool (cast the column in the model's query, or map another)`,
		`mapping.fields[5]: field name has column and template (set exactly one of column, constant, template, expression, lookup, object and items)`,
		`mapping.fields[6].field: field "email" is mapped already by mapping.fields[0] (map every field once)`,
		`mapping.fields[7].constant: field "spent": the value "much" is not a number`,
		`mapping.fields[8].template: the model has no column "first_nam" (did you mean "first_name"?)`,
		`mapping.fields[9].field: the field has no name (name the destination's field)`,
		`mapping.identifier: contacts has no field "emial" (did you mean "email"?)`,
		`mapping.fields: field "company" of contacts is required and not mapped (map a column, a constant or a template to it)`,
	}
	if d := cmp.Diff(want, problems(err)); d != "" {
		t.Fatal(d)
	}
}

func TestCompileIdentifier(t *testing.T) {
	t.Parallel()
	open := destinations.Object{Name: "hook", Open: true}
	fields := []tidegate.FieldMapping{{Field: "company", Column: "email"}, {Field: "name", Column: "email"}}
	for _, tc := range []struct {
		name, identifier string
		obj              destinations.Object
		want             string
	}{
		{"none", "", contacts(), "mapping.identifier: no identifier is named (name the field by which the destination matches records: email)"},
		{"not capable", "name", contacts(), `mapping.identifier: field "name" of contacts cannot match records (use one of email)`},
		{"not mapped", "email", contacts(), `mapping.identifier: the identifier "email" is not among mapping.fields (map a column to it)`},
		{"open object", "name", open, ""},
		{"open object, not mapped", "other", open, `mapping.identifier: the identifier "other" is not among mapping.fields (map a column to it)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := Compile(tidegate.Mapping{Identifier: tc.identifier, Fields: fields}, people(), tc.obj)
			var want []string
			if tc.want != "" {
				want = []string{tc.want}
			}
			if d := cmp.Diff(want, problems(err)); d != "" {
				t.Fatal(d)
			}
		})
	}
	if _, err := Compile(tidegate.Mapping{Identifier: "email"}, people(), contacts()); err == nil {
		t.Fatal("a mapping without fields")
	}
}

// compile maps email, company and the fields given.
func compile(t *testing.T, fields ...tidegate.FieldMapping) *Mapping {
	t.Helper()
	fields = append([]tidegate.FieldMapping{{Field: "email", Column: "email"}, {Field: "company", Constant: json.RawMessage(`"ACME"`)}}, fields...)
	m, err := Compile(tidegate.Mapping{Identifier: "email", Fields: fields}, people(), contacts())
	if err != nil {
		t.Fatal(problems(err))
	}
	return m
}

// row is laid out as m wants it.
func row(m *Mapping, cells map[string]any) tidegate.Row {
	r := make(tidegate.Row, len(m.Columns()))
	for i, c := range m.Columns() {
		r[i] = cells[c]
	}
	return r
}

func TestApply(t *testing.T) {
	t.Parallel()
	m := compile(t,
		tidegate.FieldMapping{Field: "name", Template: "{{ first_name | capitalize }}{% if last_name %} {{ last_name }}{% endif %}"},
		tidegate.FieldMapping{Field: "age", Column: "age", SkipNull: true},
		tidegate.FieldMapping{Field: "spent", Column: "spent"},
		tidegate.FieldMapping{Field: "vip", Column: "vip"},
		tidegate.FieldMapping{Field: "seen", Column: "seen"},
		tidegate.FieldMapping{Field: "any", Column: "tags"},
	)
	if d := cmp.Diff([]string{"id", "email", "first_name", "last_name", "age", "spent", "vip", "seen", "tags"}, m.Columns()); d != "" {
		t.Fatal(d)
	}
	got, fault := m.Apply(row(m, map[string]any{
		"email": "a@x.io", "first_name": "ada", "spent": tidegate.DecimalText("1.5"), "vip": true,
		"seen": time.Date(2024, 2, 29, 23, 59, 0, 0, time.UTC), "tags": tidegate.JSONText(`{"a":[1]}`),
	}))
	if fault != nil {
		t.Fatal(fault)
	}
	want := tidegate.Record{"email": "a@x.io", "company": "ACME", "name": "Ada", "spent": "1.5", "vip": true, "seen": "2024-02-29", "any": map[string]any{"a": []any{int64(1)}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

func TestApplyRejects(t *testing.T) {
	t.Parallel()
	m := compile(t, tidegate.FieldMapping{Field: "age", Template: "{{ first_name }}"}, tidegate.FieldMapping{Field: "name", Template: "{% for a in tags %}{{ photo }}{% endfor %}"})
	big := strings.Repeat("x", model.MaxValueBytes/4)
	for _, tc := range []struct {
		name    string
		cells   map[string]any
		code    string
		subject string
		message string
	}{
		{"no identifier", map[string]any{}, "mapping.identifier", "field email", "null"},
		{"empty identifier", map[string]any{"email": ""}, "mapping.identifier", "field email", "empty"},
		{"misfit", map[string]any{"email": "e", "first_name": "ten"}, "mapping.value", "field age", `the value "ten" is not a whole number`},
		{"template too long", map[string]any{"email": "e", "photo": []byte(big), "tags": tidegate.JSONText(`[1,2,3,4,5]`)}, "mapping.value", "field name", "more than"},
		{"bad json", map[string]any{"email": "e", "tags": tidegate.JSONText(`[`)}, "mapping.value", "column tags", "reading JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rec, f := m.Apply(row(m, tc.cells))
			if f == nil || f.Action != tidegate.Reject || f.Code != tc.code || f.Subject != tc.subject || !strings.Contains(f.Message, tc.message) || f.Hint == "" {
				t.Fatalf("%v %+v", rec, f)
			}
		})
	}
	required, err := Compile(tidegate.Mapping{Identifier: "email", Fields: []tidegate.FieldMapping{{Field: "email", Column: "email"}, {Field: "company", Column: "last_name", SkipNull: true}}}, people(), contacts())
	if err != nil {
		t.Fatal(err)
	}
	if _, f := required.Apply(tidegate.Row{int64(1), "e", nil}); f == nil || f.Code != "mapping.required" {
		t.Fatalf("%+v", f)
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	noon := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		cell any
		to   tidegate.Kind
		want any // nil: it is a misfit
	}{
		{int64(5), tidegate.String, "5"},
		{1.5, tidegate.String, "1.5"},
		{2.0, tidegate.String, "2"},
		{true, tidegate.String, "true"},
		{tidegate.JSONText(`{"b":1,"a":2}`), tidegate.String, `{"a":2,"b":1}`},
		{noon, tidegate.String, "2024-05-01T12:00:00.000000Z"},
		{2.0, tidegate.Int, int64(2)},
		{2.5, tidegate.Int, nil},
		{1e300, tidegate.Int, nil},
		{tidegate.DecimalText("7"), tidegate.Int, int64(7)},
		{tidegate.DecimalText("7.5"), tidegate.Int, nil},
		{" 7.0 ", tidegate.Int, int64(7)},
		{"7.", tidegate.Int, nil},
		{"", tidegate.Int, nil},
		{"1e3", tidegate.Float, 1000.0},
		{"0x10", tidegate.Float, nil},
		{"inf", tidegate.Float, nil},
		{"1_0", tidegate.Float, nil},
		{int64(1) << 60, tidegate.Float, int64(1) << 60},
		{tidegate.DecimalText("0.1"), tidegate.Decimal, "0.1"},
		{0.1, tidegate.Decimal, "0.1"},
		{"x", tidegate.Decimal, nil},
		{"TRUE", tidegate.Bool, true},
		{"yes", tidegate.Bool, nil},
		{noon, tidegate.Date, "2024-05-01"},
		{"2024-05-01 23:00:00", tidegate.Date, "2024-05-01"},
		{"01.05.2024", tidegate.Date, nil},
		{tidegate.DateOf(noon), tidegate.Timestamp, "2024-05-01T00:00:00.000000Z"},
		{"2024-05-01T14:00:00+02:00", tidegate.Timestamp, "2024-05-01T12:00:00.000000Z"},
		{[]byte{1}, tidegate.Bytes, "AQ=="},
		{"AQ==", tidegate.Bytes, "AQ=="},
		{"not base64!", tidegate.Bytes, nil},
		{tidegate.JSONText("[1]"), tidegate.JSON, []any{int64(1)}},
	} {
		got, err := fit(tc.cell, tc.to)
		if (err != nil) != (tc.want == nil) || err == nil && !cmp.Equal(got, tc.want) {
			t.Errorf("%v as %s: %v, %v; want %v", tc.cell, tc.to, got, err, tc.want)
		}
	}
	kinds := []tidegate.Kind{tidegate.Unknown, tidegate.Bool, tidegate.Int, tidegate.Float, tidegate.Decimal, tidegate.String, tidegate.Bytes, tidegate.Date, tidegate.Timestamp, tidegate.JSON}
	cells := map[tidegate.Kind]any{tidegate.Bool: true, tidegate.Int: int64(1), tidegate.Float: 1.0, tidegate.Decimal: tidegate.DecimalText("1"), tidegate.Bytes: []byte("x"), tidegate.Date: tidegate.CalendarDate(1), tidegate.Timestamp: noon, tidegate.JSON: tidegate.JSONText("{}")}
	for _, from := range kinds { // what compiles works for an ordinary value, and what does not never does
		for _, to := range kinds {
			if cell, ok := cells[from]; ok {
				if _, err := fit(cell, to); (err == nil) != canFit(from, to) {
					t.Errorf("%s to %s: canFit says %t, fit says %v", from, to, canFit(from, to), err)
				}
			}
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	base := compile(t, tidegate.FieldMapping{Field: "name", Column: "first_name"}).Version()
	if again := compile(t, tidegate.FieldMapping{Field: "name", Column: "first_name"}).Version(); again != base || base == "" {
		t.Fatal("the version is not stable")
	}
	seen := map[string]bool{base: true}
	for _, f := range []tidegate.FieldMapping{
		{Field: "name", Column: "last_name"},
		{Field: "name", Column: "first_name", SkipNull: true},
		{Field: "name", Template: "first_name"},
		{Field: "name", Constant: json.RawMessage(`"first_name"`)},
		{Field: "any", Column: "first_name"},
	} {
		v := compile(t, f).Version()
		if seen[v] {
			t.Errorf("%+v has the version of another mapping", f)
		}
		seen[v] = true
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, variables, out, err string }{
		{text: "plain", out: "plain"},
		{text: "{{ a }}-{{ b.c }}", variables: "a b", out: "1-2"},
		{text: `{{ a | append: "b" | default: d }}`, variables: "a d", out: "1b"},
		{text: "{% assign x = a %}{{ x }}{{ n }}", variables: "a n", out: "1"},
		{text: "{% for item in list %}{{ item }},{{ forloop.index }};{% endfor %}", variables: "list", out: "x,1;y,2;"},
		{text: "{% if n == nil and a contains 'a' %}{% elsif a == 1 %}one{% endif %}", variables: "n a", out: "one"},
		{text: "{% raw %}{{ zzz }}{% endraw %}{% comment %}{{ yyy }}{% endcomment %}", out: "{{ zzz }}"},
		{text: `{{ "2024-02-29" | date: "%d.%m.%Y" }}`, out: "29.02.2024"},
		{text: "{% capture c %}{{ a }}{% endcapture %}{{ c }}", variables: "a", out: "1"},
		{text: "{% include 'etc/passwd' %}", err: `tag "include" is not allowed`},
		{text: "{% for i in (1..1000000000) %}{% endfor %}", err: "ranges"},
		{text: "{% if a %}", err: "not valid Liquid"},
		{text: "{{ a | nofilter }}", err: `there is no filter "nofilter"`},
		{text: "Dear {{ a", err: "{{ is not closed by }}"},
		{text: "{{ a }} {% if a", err: "{% is not closed by %}"},
		{text: "{% raw %}{{ a{% endraw %}{{ b.c }", err: "{{ is not closed by }}"},
		{text: `{"x":{"y":{{ a }}}}`, variables: "a", out: `{"x":{"y":1}}`},
		{text: "{{ a | divided_by: 0 }}", variables: "a", err: "division by zero"},
	} {
		tpl, variables, err := parseTemplate(tc.text)
		out := ""
		if err == nil {
			if got := strings.Join(variables, " "); got != tc.variables {
				t.Errorf("%s: variables %q, want %q", tc.text, got, tc.variables)
			}
			out, err = tpl.render(map[string]any{"a": int64(1), "b": map[string]any{"c": int64(2)}, "d": "d", "n": nil, "list": []any{"x", "y"}})
		}
		if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) || out != tc.out {
			t.Errorf("%s: %q, %v", tc.text, out, err)
		}
	}
}

// FuzzTemplate: no template ends the process, and one that parses and renders
// once renders the same again.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"{{ a }}", "{% if a %}x{% endif %}", "{% for x in list %}{{ x | upcase }}{% endfor %}", "{{ a | slice: -1, 99 }}", "{% case a %}{% when 1 %}{% endcase %}", "{{", "{% assign a = b %}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 || strings.Contains(text, "now") {
			return
		}
		tpl, _, err := parseTemplate(text)
		if err != nil {
			return
		}
		bindings := func() map[string]any { return map[string]any{"a": int64(1), "b": "x", "list": []any{"x", int64(2)}} }
		first, err := tpl.render(bindings())
		if err != nil {
			return
		}
		if again, err := tpl.render(bindings()); err != nil || again != first {
			t.Fatalf("%q then %q, %v", first, again, err)
		}
	})
}

func BenchmarkApply(b *testing.B) {
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
		rec, f := m.Apply(r)
		if f != nil {
			b.Fatal(f)
		}
		buf = model.AppendJSON(buf[:0], rec)
	}
}
