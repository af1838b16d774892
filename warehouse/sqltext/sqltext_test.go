package sqltext_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var update = flag.Bool("update", false, "write the golden files of the dialects")

// dialects are all of them; each has a golden file of its name.
func dialects() []sqltext.Dialect {
	return []sqltext.Dialect{sqltext.BigQuery(), sqltext.ClickHouse(), sqltext.DuckDB(), sqltext.Postgres(), sqltext.Redshift(), sqltext.Snowflake()}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, d := range dialects() {
		if got, ok := sqltext.Find(d.Name()); !ok || got.Name() != d.Name() {
			t.Errorf("Find(%q) found %q, %t", d.Name(), got.Name(), ok)
		}
	}
	if _, ok := sqltext.Find("DuckDB"); ok {
		t.Error("Find takes another case of the name")
	}
}

// TestGolden shows a dialect as a whole, so that a change of any of its rules
// is a change of its file.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, d := range dialects() {
		t.Run(d.Name(), func(t *testing.T) {
			t.Parallel()
			got := describe(d)
			path := filepath.Join("testdata", d.Name()+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("run the test with -update if this is meant (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(d sqltext.Dialect) string {
	var b strings.Builder
	section := func(title string) { fmt.Fprintf(&b, "\n-- %s --\n", title) }
	fmt.Fprintf(&b, "name %s, default schema %s, names up to %d\n", d.Name(), d.DefaultSchema(), d.MaxName())
	section("identifiers")
	for _, name := range goldenNames() {
		if q, err := d.Ident(name); err != nil {
			fmt.Fprintf(&b, "%-28q %v\n", shown(name), err)
		} else {
			fmt.Fprintf(&b, "%-28q %s\n", shown(name), q)
		}
	}
	section("tables")
	for _, table := range [][2]string{{"web", "tracks"}, {"", "tracks"}, {`s"c`, "a.b"}, {"web", ""}, {"a\x00", "t"}} {
		q, err := d.Table(table[0], table[1])
		fmt.Fprintf(&b, "%-28q %s %v\n", table, q, err)
	}
	section("types")
	for k := tidegate.Unknown; k <= tidegate.JSON; k++ {
		name, err := d.Type(tidegate.Type{Kind: k})
		fmt.Fprintf(&b, "%-28s %s %v\n", k, name, err)
	}
	for _, p := range [][2]int{{1, 0}, {10, 2}, {38, 38}, {39, 0}, {10, 11}, {10, -1}, {-1, 0}} {
		typ := tidegate.Type{Kind: tidegate.Decimal, Precision: p[0], Scale: p[1]}
		name, err := d.Type(typ)
		fmt.Fprintf(&b, "%-28s %s %v\n", typ, name, err)
	}
	section("columns")
	columns, err := d.Columns(tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: `qu"ote`, Type: tidegate.Type{Kind: tidegate.JSON}}})
	fmt.Fprintln(&b, columns, err)
	section("index")
	index, err := d.Index(`i"x`, "web", "t", "a", `b"c`)
	fmt.Fprintln(&b, index, err)
	section("distinct")
	long := strings.Repeat("x", d.MaxName())
	in := []string{"email", "Email", "EMAIL", "email_2", "Name", "name", "", long, long + "y", strings.ToUpper(long) + "z"}
	for i, name := range d.Distinct(in) {
		fmt.Fprintf(&b, "%-28q %s\n", shown(in[i]), name)
	}
	section("placeholders")
	fmt.Fprintln(&b, d.Placeholder(1), d.Placeholder(2), d.Placeholder(10))
	return b.String()
}

func goldenNames() []string {
	return []string{
		"plain", "Mixed Case", `qu"ote`, `"`, `""`, `'`, "`", "[x]", `back\slash`, "a.b", "$1", "select", "日本語", "🦆", "a\u0301", " ",
		`x"; DROP TABLE y; --`, "", "nul\x00", "tab\t", "line\n", "del\x7f", "broken\xff", "\u202eleft", "\u2028", "\ufeff", strings.Repeat("long", 2000),
	}
}

func shown(name string) string {
	if len(name) > 20 {
		return name[:20] + "…"
	}
	return name
}

func TestCheckIsAFault(t *testing.T) {
	t.Parallel()
	for _, d := range dialects() {
		for _, name := range []string{"", "\x00", "a\nb", "\xff", strings.Repeat("x", 1<<20)} {
			_, err := d.Ident(name)
			var f *tidegate.Fault
			if !errors.As(err, &f) || f.Action != tidegate.Reject || f.Code != "sql.identifier" || f.Hint == "" {
				t.Errorf("%.20q: %v is not the fault that was promised", name, err)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("%.20q: the message has %d bytes", name, len(err.Error()))
			}
		}
		if _, err := d.Idents([]string{"fine", ""}); err == nil {
			t.Error("Idents takes a name that Ident refuses")
		}
		if _, err := d.Columns(tidegate.Schema{{Name: "x"}}); err == nil {
			t.Error("Columns takes a column of an unknown type")
		}
	}
}

func TestReserved(t *testing.T) {
	t.Parallel()
	for _, d := range dialects() {
		for word, want := range map[string]bool{"select": true, "SELECT": true, "Order": true, "email": false, "": false, "selec": false} {
			if got := d.Reserved(word); got != want {
				t.Errorf("%s: Reserved(%q) is %t", d.Name(), word, got)
			}
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"email", "EMAIL", true}, {"email", "Email", true}, {"a", "b", false}, {"", "", true}, {"É", "é", false}, {"a_B", "A_b", true}, {"k", "\u212a", false},
	} {
		if got := sqltext.Same(c.a, c.b); got != c.want {
			t.Errorf("Same(%q, %q) is %t", c.a, c.b, got)
		}
	}
}

func TestJoinAndPrefix(t *testing.T) {
	t.Parallel()
	parts := []sqltext.Text{`"a"`, `"b"`}
	if got := sqltext.Join(sqltext.Prefix("t.", parts), ", "); got != `t."a", t."b"` {
		t.Errorf("got %s", got)
	}
	if got := sqltext.Join(nil, ", "); got != "" {
		t.Errorf("nothing joined is %q", got)
	}
}

// TestDistinctProperties: whatever the names, the results fit, differ after
// folding, and depend on nothing else.
func TestDistinctProperties(t *testing.T) {
	t.Parallel()
	for _, d := range dialects() {
		rapid.Check(t, func(rt *rapid.T) {
			part := rapid.SampledFrom([]string{"a", "A", "b", "_2", "_3", "é", "日", strings.Repeat("x", d.MaxName()-2)})
			names := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(part, 1, 4), func(p []string) string { return strings.Join(p, "") }), 1, 30).Draw(rt, "names")
			got := d.Distinct(names)
			if diff := cmp.Diff(got, d.Distinct(names)); diff != "" {
				rt.Fatalf("the same list gives another result:\n%s", diff)
			}
			seen := map[string]int{}
			first := map[string]bool{}
			for i, name := range got {
				if at, ok := seen[sqltext.Fold(name)]; ok {
					rt.Fatalf("%q and %q became one name %q", names[at], names[i], name)
				}
				seen[sqltext.Fold(name)] = i
				if n := len(name); n > d.MaxName() || !utf8.ValidString(name) {
					rt.Fatalf("%q became %d bytes or broken text", names[i], n)
				}
				// The first of its kind keeps its own name.
				if f := sqltext.Fold(d.Fit(names[i])); !first[f] {
					first[f] = true
					if name != d.Fit(names[i]) {
						rt.Fatalf("%q became %q although nothing was in its way", names[i], name)
					}
				}
			}
		})
	}
}

func TestColumnsByName(t *testing.T) {
	t.Parallel()
	two := tidegate.Schema{{Name: "email"}, {Name: "Email"}, {Name: "ID"}}
	for name, want := range map[string]int{"email": 0, "Email": 1, "EMAIL": 0, "id": 2, "none": -1} {
		if got := sqltext.IndexFold(two, name); got != want {
			t.Errorf("%q is at %d, want %d", name, got, want)
		}
	}
	f := tidegate.FaultOf(sqltext.CheckDistinct(two))
	if f == nil || f.Code != "warehouse.columns" || f.Action != tidegate.Halt || f.Subject != `column "Email"` {
		t.Errorf("%v", f)
	}
	if err := sqltext.CheckDistinct(two[1:]); err != nil {
		t.Error(err)
	}
}
