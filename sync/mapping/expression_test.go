package mapping

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

func exprSchema() tidegate.Schema {
	return append(people().Schema, col("First Name", tidegate.String), col("int", tidegate.Int), col("score", tidegate.Float), col("born", tidegate.Date), col("_lookup_0", tidegate.String))
}

func exprRow() map[string]any {
	return map[string]any{
		"id": int64(7), "email": "ada@x.io", "first_name": "ada", "age": int64(36), "spent": tidegate.DecimalText("12.50"), "vip": true, "score": 80.5,
		"seen": time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), "born": tidegate.DateOf(time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC)),
		"tags": tidegate.JSONText(`{"a":[1,2],"b":"x"}`), "photo": []byte{1, 2}, "First Name": "Ada", "int": int64(3),
	}
}

func evaluate(t *testing.T, text string, cells map[string]any) (any, tidegate.Kind, error) {
	t.Helper()
	e, problems := compileExpression(text, exprSchema(), normalize.Meta)
	if len(problems) > 0 {
		t.Fatalf("%s: %+v", text, problems)
	}
	row := make(tidegate.Row, len(e.reads))
	for i := range e.reads {
		e.reads[i].cell = i
		row[i] = cells[e.reads[i].column]
	}
	v, err := e.eval(row)
	if err == nil {
		v, err = plain(v)
	}
	return v, e.kind, err
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want any
		kind tidegate.Kind
	}{
		{`score > 80 ? "hot" : "cold"`, "hot", tidegate.String},
		{`score > 80.0 && vip`, true, tidegate.Bool},
		{`age + 1`, int64(37), tidegate.Int},
		{`age > 35.5`, true, tidegate.Bool},
		{`spent * 2.0`, 25.0, tidegate.Float},
		{`first_name + " " + string(age)`, "ada 36", tidegate.String},
		{`last_name == null ? first_name : last_name`, "ada", tidegate.String},
		{`coalesce(last_name, first_name, "?")`, "ada", tidegate.Unknown},
		{`coalesce(last_name, last_name)`, nil, tidegate.Unknown},
		{`vip ? dyn("yes") : dyn(null)`, "yes", tidegate.Unknown},
		{`!vip ? dyn("yes") : dyn(null)`, nil, tidegate.Unknown},
		{`row["First Name"] + "!"`, "Ada!", tidegate.String},
		{`row["int"] + 1`, int64(4), tidegate.Int},
		{`row.age`, int64(36), tidegate.Unknown},
		{`tags.a[1]`, int64(2), tidegate.Unknown},
		{`tags.a.map(x, x * 2)`, []any{int64(2), int64(4)}, tidegate.JSON},
		{`has(tags.c) ? "c" : tags.b`, "x", tidegate.Unknown},
		{`{"name": first_name, "born": born, "tags": tags.a}`, map[string]any{"name": "ada", "born": "1815-12-10T00:00:00.000000Z", "tags": []any{int64(1), int64(2)}}, tidegate.JSON},
		{`[first_name, email].join("|")`, "ada|ada@x.io", tidegate.String},
		{`email.split("@")[1]`, "x.io", tidegate.String},
		{`email.replace("@", " at ").upper()`, "ADA AT X.IO", tidegate.String},
		{`"ÄÖ".lower() + "x".upperAscii()`, "äöX", tidegate.String},
		{`email.matches("^[a-z]+@")`, true, tidegate.Bool},
		{`seen`, "2024-02-29T12:00:00.000000Z", tidegate.Timestamp},
		{`seen.getFullYear()`, int64(2024), tidegate.Int},
		{`int(seen)`, int64(1709208000), tidegate.Int},
		{`seen > timestamp("2024-01-01T00:00:00Z")`, true, tidegate.Bool},
		{`string(seen - born > duration("1h"))`, "true", tidegate.String},
		{`hash("md5", "")`, "d41d8cd98f00b204e9800998ecf8427e", tidegate.String},
		{`normalize("email", " A@B.C ")`, "a@b.c", tidegate.Unknown},
		{`normalize("phone", "030 901820", "DE")`, "4930901820", tidegate.Unknown},
		{`normalize("phone", "030 901820")`, nil, tidegate.Unknown},
		{`normalize("email", last_name)`, nil, tidegate.Unknown},
		{`coalesce(normalize("email", "nobody"), email)`, "ada@x.io", tidegate.Unknown},
		{`base64.encode(photo)`, "AQI=", tidegate.String},
		{`math.greatest(age, 40)`, int64(40), tidegate.Int},
		{`cel.bind(x, age * 2, x + x)`, int64(144), tidegate.Int},
		{`"%s is %d".format([first_name, age])`, "ada is 36", tidegate.String},
		{`18446744073709551615u`, "18446744073709551615", tidegate.Int},
		{`photo`, "AQI=", tidegate.Bytes},
		{`null`, nil, tidegate.Unknown},
		{`1.0 / 4.0`, 0.25, tidegate.Float},
	} {
		got, kind, err := evaluate(t, tc.text, exprRow())
		if err != nil || !cmp.Equal(got, tc.want) || kind != tc.kind {
			t.Errorf("%s: %v (%s), %v; want %v (%s)", tc.text, got, kind, err, tc.want, tc.kind)
		}
	}
}

func TestExpressionsMeetNull(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		`score > 80.0 ? "hot" : "cold"`:                  nil,
		`score != null && score > 80.0 ? "hot" : "cold"`: "cold",
		`age + 1`:                         nil,
		`first_name + last_name`:          nil,
		`first_name.lower()`:              nil,
		`seen.getFullYear()`:              nil,
		`row["First Name"] + "x"`:         nil,
		`email.split("@")[1]`:             nil,
		`tags.a`:                          nil,
		`last_name == null`:               true,
		`vip || true`:                     true,
		`coalesce(age, 5) + 1`:            int64(6),
		`string(coalesce(last_name, ""))`: "",
		`{"a": age}`:                      map[string]any{"a": nil},
		`[first_name, last_name]`:         []any{nil, nil},
		`hash("sha256", email)`:           nil,
		`email.replace("a", "b")`:         nil,
		`email.matches("a")`:              nil,
	} {
		got, _, err := evaluate(t, text, map[string]any{})
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestExpressionsFail(t *testing.T) {
	t.Parallel()
	cells := exprRow()
	for text, want := range map[string]string{
		`1 / (age - 36)`:  "division by zero",
		`int(first_name)`: "failed",
		`tags.a[5]`:       "out of bounds",
		`first_name.replace("a", "` + strings.Repeat("x", 5000) + `").replace("x", "` + strings.Repeat("y", 100) + `")`:                                                        "more than",
		`[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, [1,2,3,4,5,6,7,8,9,10].map(c, [1,2,3,4,5,6,7,8,9,10].map(d, [1,2,3,4,5,6,7,8,9,10].map(e, a+b+c+d+e)))))`: "cost limit",
		`{1: 2}`:                   "no texts",
		`hash("crc32", email)`:     "crc32",
		`normalize("shoe", email)`: "shoe",
		`0.0 / 0.0`:                "finite",
		`cel.bind(a, first_name + first_name + first_name + first_name, cel.bind(b, a+a+a+a+a+a+a+a, cel.bind(c, b+b+b+b+b+b+b+b, cel.bind(d, c+c+c+c+c+c+c+c, cel.bind(e, d+d+d+d+d+d+d+d, e+e+e+e+e+e+e+e)))))`: "more than",
	} {
		if got, _, err := evaluate(t, text, cells); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %.80v, %v; want %q", text, got, err, want)
		}
	}
	cells["email"] = strings.Repeat("x", model.MaxValueBytes+1)
	if _, _, err := evaluate(t, `email + "x"`, cells); err == nil || !strings.Contains(err.Error(), "an expression takes") {
		t.Error(err)
	}
	cells["tags"] = tidegate.JSONText(`[`)
	if _, _, err := evaluate(t, `tags`, cells); err == nil || !strings.Contains(err.Error(), `column "tags"`) {
		t.Error(err)
	}
}

func TestExpressionsAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`scoree > 80`:                  `1:1: the model has no column "scoree" (did you mean "score"?)`,
		"age > 1 &&\n  emial == ''":    `2:3: the model has no column "emial" (did you mean "email"?)`,
		`first_name.uper()`:            `1:16: there is no function "uper" (did you mean "upper"?)`,
		`coalesc(age, 1)`:              `1:8: there is no function "coalesc" (did you mean "coalesce"?)`,
		`first_name.x == "a"`:          `1:11: "first_name" is a string and has no members`,
		`age + first_name`:             `1:5: + does not take int, string (convert an operand: string(x), int(x), double(x), timestamp(x))`,
		`vip ? "a" : 1`:                `1:5: ?_: does not take bool, string, int (both results must be of one type; write dyn(null) for a null)`,
		`age >`:                        `1:6: Syntax error`,
		``:                             `Syntax error`,
		`int`:                          `the expression is a type(int), which no field takes (convert it: string(x), int(x), double(x))`,
		`seen - seen`:                  `the expression is a google.protobuf.Duration, which no field takes (convert it: string(x), int(x), double(x))`,
		`row`:                          `row is not followed by a column's name (write row["First Name"])`,
		`row[email]`:                   `row is not followed by a column's name (write row["First Name"])`,
		`row["Fist Name"]`:             `1:4: the model has no column "Fist Name" (did you mean "First Name"?)`,
		`_lookup_0`:                    `1:1: the model has no column "_lookup_0"`,
		`row["_lookup_0"]`:             `1:4: the model has no column "_lookup_0"`,
		`now()`:                        `1:4: there is no function "now"`,
		strings.Repeat("(", 200) + "1": `expression recursion limit exceeded`,
		`"` + strings.Repeat("x", MaxExpressionChars) + `"`: `expression code point size exceeds limit`,
	} {
		_, problems := compileExpression(text, exprSchema(), "")
		var all []string
		for _, p := range problems {
			line := p.message
			if p.hint != "" {
				line += " (" + p.hint + ")"
			}
			all = append(all, line)
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, want) {
			t.Errorf("%.40s:\n%s\nwant %s", text, got, want)
		}
	}
}

// FuzzExpression: no expression ends the process, and one that works gives the same again.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{`score > 80 ? "a" : "b"`, `tags.a.map(x, x)`, `email.replace("", email)`, `row["First Name"]`, `coalesce(age, 1)`, `[1].exists(x, x > age)`, `"%s".format([age])`, `cel.bind(a, age, a+a)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 300 {
			return
		}
		e, problems := compileExpression(text, exprSchema(), normalize.Google)
		if e == nil {
			if len(problems) == 0 {
				t.Fatal("refused without a reason")
			}
			return
		}
		cells := exprRow()
		row := make(tidegate.Row, len(e.reads))
		for i := range e.reads {
			e.reads[i].cell, row[i] = i, cells[e.reads[i].column]
		}
		first, err := e.eval(row)
		if err != nil {
			return
		}
		value, err := plain(first)
		if err != nil {
			return
		}
		again, err := e.eval(row)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := plain(again); err != nil || string(model.AppendJSON(nil, v)) != string(model.AppendJSON(nil, value)) {
			t.Fatalf("%v then %v, %v", value, v, err)
		}
	})
}

func BenchmarkExpression(b *testing.B) {
	for _, text := range []string{`score > 80.0 ? "hot" : "cold"`, `first_name.upperAscii() + " " + string(age)`} {
		b.Run(fmt.Sprintf("%.12s", text), func(b *testing.B) {
			m, err := Compile(tidegate.Mapping{Identifier: "id", Fields: []tidegate.FieldMapping{{Field: "id", Column: "id"}, {Field: "x", Expression: text}}},
				&model.Model{Name: "m", PrimaryKey: []string{"id"}, Schema: exprSchema()}, destinations.Object{Name: "o", Open: true})
			if err != nil {
				b.Fatal(err)
			}
			r := row(m, exprRow())
			b.ReportAllocs()
			buf := make([]byte, 0, 512)
			for b.Loop() {
				if _, _, f := m.ApplyTo(buf, r); f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}
