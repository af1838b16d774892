package model

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *duckdb.Warehouse {
	t.Helper()
	wh, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wh.Close() })
	for _, sql := range []string{
		"CREATE SCHEMA shop",
		"CREATE TABLE shop.customers (id INTEGER, email VARCHAR, spent DECIMAL(10,2), score DOUBLE, extra JSON)",
	} {
		if _, err := wh.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return wh
}

func TestCompile(t *testing.T) {
	t.Parallel()
	wh := open(t)
	for _, def := range []tidegate.Model{
		{Name: "by_sql", SQL: "  WITH c AS (SELECT * FROM shop.customers)\nSELECT id, email FROM c -- all of them\n ; ", PrimaryKey: []string{"id"}},
		{Name: "by_table", Table: "shop.customers", PrimaryKey: []string{"id", "email"}},
	} {
		m, err := Compile(t.Context(), wh, def)
		if err != nil {
			t.Fatal(err)
		}
		if m.Schema[0] != (tidegate.Column{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}}) || m.Schema[1].Type.Kind != tidegate.String {
			t.Fatalf("%+v", m.Schema)
		}
		if d := cmp.Diff([]warehouse.Table{{Schema: "shop", Name: "customers"}}, m.Tables); d != "" {
			t.Fatal(d)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	wh := open(t)
	many := make([]string, MaxColumns+1)
	for i := range many {
		many[i] = fmt.Sprintf("1 AS c%d", i)
	}
	key := []string{"id"}
	for _, tc := range []struct {
		name string
		def  tidegate.Model
		code string
		want []string // parts of the message and hints of all problems
	}{
		{"nothing", tidegate.Model{}, "model.invalid", []string{"none of sql, table, file and dbt", "no primary_key"}},
		{"both", tidegate.Model{SQL: "SELECT 1 AS id", Table: "a.b", PrimaryKey: key}, "model.invalid", []string{"sql and table"}},
		{"syntax", tidegate.Model{SQL: "SELEC id FROM shop.customers", PrimaryKey: key}, "model.query", []string{"SELEC"}},
		{"missing table", tidegate.Model{SQL: "SELECT id FROM shop.customer", PrimaryKey: key}, "model.query", []string{"customer"}},
		{"missing table by name", tidegate.Model{Table: "shop.customer", PrimaryKey: key}, "model.query", []string{"customer"}},
		{"two statements", tidegate.Model{SQL: "SELECT 1 AS id; DROP TABLE shop.customers", PrimaryKey: key}, "model.query", nil},
		{"a write", tidegate.Model{SQL: "DELETE FROM shop.customers", PrimaryKey: key}, "model.query", nil},
		{"a write in disguise", tidegate.Model{SQL: "SELECT 1 AS id) AS a; DROP TABLE shop.customers; SELECT * FROM (SELECT 1", PrimaryKey: key}, "model.query", nil},
		{"closes our parenthesis", tidegate.Model{SQL: "SELECT 1 AS id) AS a, (SELECT 2 AS x", PrimaryKey: key}, "model.query", nil},
		{"key missing", tidegate.Model{SQL: "SELECT id, email FROM shop.customers", PrimaryKey: []string{"idd", "emial"}}, "model.key", []string{`no column "idd"`, `did you mean "id"?`, `did you mean "email"?`, "primary_key[1]"}},
		{"key twice", tidegate.Model{SQL: "SELECT id FROM shop.customers", PrimaryKey: []string{"id", "id"}}, "model.key", []string{"named twice"}},
		{"key is a float", tidegate.Model{Table: "shop.customers", PrimaryKey: []string{"score"}}, "model.key", []string{"float", "cast it"}},
		{"key is json", tidegate.Model{Table: "shop.customers", PrimaryKey: []string{"extra"}}, "model.key", []string{"json"}},
		{"long query", tidegate.Model{SQL: "SELECT 1 AS id -- " + strings.Repeat("ü", MaxQueryChars), PrimaryKey: key}, "model.limit", []string{"65535"}},
		{"many columns", tidegate.Model{SQL: "SELECT 1 AS id, " + strings.Join(many, ", "), PrimaryKey: key}, "model.limit", []string{"514 columns", "512"}},
		{"long column", tidegate.Model{SQL: `SELECT 1 AS id, 2 AS "` + strings.Repeat("c", 129) + `"`, PrimaryKey: key}, "model.limit", []string{"129 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.def.Name = "people"
			_, err := Compile(t.Context(), wh, tc.def)
			f := tidegate.FaultOf(err)
			if f == nil || f.Action != tidegate.Halt || f.Code != tc.code || !strings.Contains(f.Subject, "people") || f.Hint == "" {
				t.Fatalf("%+v", f)
			}
			all := allFaults(err)
			for _, part := range tc.want {
				if !strings.Contains(all, part) {
					t.Errorf("%q is not in:\n%s", part, all)
				}
			}
		})
	}
	if _, err := wh.Describe(t.Context(), warehouse.Table{Schema: "shop", Name: "customers"}); err != nil {
		t.Fatal("a refused model touched the table: ", err)
	}
}

func allFaults(err error) string {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range many.Unwrap() {
			all = append(all, allFaults(e))
		}
		return strings.Join(all, "\n")
	}
	var f *tidegate.Fault
	if errors.As(err, &f) {
		return f.Error() + "\n  " + f.Hint
	}
	return err.Error()
}

// away is a warehouse that cannot be reached.
type away struct{ warehouse.Warehouse }

func (away) Query(context.Context, string, ...any) (tidegate.RowReader, error) {
	return nil, warehouse.ErrYielded
}

func TestCompileKeepsARetryARetry(t *testing.T) {
	t.Parallel()
	_, err := Compile(t.Context(), away{}, tidegate.Model{Name: "m", SQL: "SELECT 1 AS id", PrimaryKey: []string{"id"}})
	if !errors.Is(err, warehouse.ErrYielded) || tidegate.FaultOf(err).Action != tidegate.Retry {
		t.Fatal(err)
	}
}
