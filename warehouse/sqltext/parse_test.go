package sqltext_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

func engine(tb testing.TB) *duckdb.Warehouse {
	tb.Helper()
	w, err := duckdb.Open(context.Background(), duckdb.Options{Path: filepath.Join(tb.TempDir(), "w.duckdb"), Threads: 1, MemoryLimit: "256MB", Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.Close() })
	return w
}

// one runs a query of one row.
func one(ctx context.Context, w *duckdb.Warehouse, sql string, args ...any) (tidegate.Schema, tidegate.Row, error) {
	r, err := w.Query(ctx, sql, args...)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	row, err := r.Next(ctx)
	if err != nil {
		return nil, nil, err
	}
	return r.Schema(), append(tidegate.Row{}, row...), nil
}

// FuzzIdentParsesBack gives the engine a quoted name and asks it what it read:
// exactly that name, and the rest of the statement untouched.
func FuzzIdentParsesBack(f *testing.F) {
	for _, name := range goldenNames() {
		f.Add(name)
	}
	f.Add(`a" AS b, 2 AS "c`)
	f.Add(`""""`)
	f.Add(`" FROM nowhere --`)
	w := engine(f)
	d := sqltext.DuckDB()
	f.Fuzz(func(t *testing.T, name string) {
		quoted, err := d.Ident(name)
		if err != nil {
			if quoted != "" {
				t.Errorf("%q was refused and became %s", name, quoted)
			}
			return
		}
		schema, row, err := one(context.Background(), w, string("SELECT s."+quoted+" AS "+quoted+", 'after' AS after FROM (SELECT 'before' AS "+quoted+") AS s"))
		if err != nil {
			t.Fatalf("%q as %s: %v", name, quoted, err)
		}
		if diff := cmp.Diff([]string{name, "after"}, schema.Names()); diff != "" {
			t.Errorf("the engine read other names (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(tidegate.Row{"before", "after"}, row); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
	})
}

// FuzzFit: a shortened name is valid where the whole name is, and two names
// stay two.
func FuzzFit(f *testing.F) {
	d := sqltext.DuckDB()
	f.Add("a", "b")
	f.Add(strings.Repeat("x", 500), strings.Repeat("x", 501))
	f.Add(strings.Repeat("é", 64), strings.Repeat("é", 65))
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, name := range []string{a, b} {
			fitted := d.Fit(name)
			if len(fitted) > d.MaxName() {
				t.Errorf("%q became %d bytes", name, len(fitted))
			}
			if len(name) <= d.MaxName() && fitted != name {
				t.Errorf("%q needed no change and became %q", name, fitted)
			}
			if d.Check(name) == nil && d.Check(fitted) != nil {
				t.Errorf("%q became %q, which is no identifier", name, fitted)
			}
		}
		if a != b && d.Fit(a) == d.Fit(b) {
			t.Errorf("%q and %q became one", a, b)
		}
	})
}

// TestReservedWordsAreTheEngines compares the list with the engine's own.
func TestReservedWordsAreTheEngines(t *testing.T) {
	t.Parallel()
	w := engine(t)
	r, err := w.Query(t.Context(), "SELECT keyword_name, keyword_category = 'reserved' FROM duckdb_keywords()")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := sqltext.DuckDB()
	seen := 0
	for row, err := r.Next(t.Context()); err == nil; row, err = r.Next(t.Context()) {
		seen++
		if word, want := row[0].(string), row[1].(bool); d.Reserved(word) != want {
			t.Errorf("%q: Reserved is %t and the engine says %t", word, d.Reserved(word), want)
		}
	}
	if seen < 300 {
		t.Errorf("the engine named only %d words", seen)
	}
}

// TestTypesAndPlaceholdersParse: what the dialect calls a type is one, and its
// parameters are numbered as it says.
func TestTypesAndPlaceholdersParse(t *testing.T) {
	t.Parallel()
	w := engine(t)
	d := sqltext.DuckDB()
	for k := tidegate.Bool; k <= tidegate.JSON; k++ {
		typ := tidegate.Type{Kind: k}
		if k == tidegate.Decimal {
			typ.Precision, typ.Scale = 38, 9
		}
		name, err := d.Type(typ)
		if err != nil {
			t.Fatal(err)
		}
		schema, _, err := one(t.Context(), w, string("SELECT CAST(NULL AS "+name+") AS v"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if schema[0].Type != typ {
			t.Errorf("%s is read back as %s, want %s", name, schema[0].Type, typ)
		}
	}
	_, row, err := one(t.Context(), w, string("SELECT CAST("+d.Placeholder(2)+" AS VARCHAR), CAST("+d.Placeholder(1)+" AS VARCHAR)"), "first", "second")
	if diff := cmp.Diff(tidegate.Row{"second", "first"}, row); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
