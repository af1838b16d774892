// Package warehousetest holds every adapter to the words of the warehouse
// contract: one call per adapter, the same checks for all.
//
// It proves types to their edges, Ensure, idempotent loads, streaming and
// read-only queries, cancellation, hostile names, transactions and
// concurrency. It does not prove speed, nor what an engine does when its disk
// or its network fails: those are tests of the adapter.
//
// The suite starts goroutines only inside one check and waits for them there.
package warehousetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// RequireEnv names the environment variable that lists the engines whose
// absence fails a test instead of skipping it: "duckdb,postgres".
const RequireEnv = "TIDEGATE_REQUIRE"

// Engine is an adapter under test and what the suite must know of its SQL.
type Engine struct {
	Name string // as in RequireEnv
	// Open returns a fresh, empty warehouse. The suite closes it.
	Open    func(tb testing.TB) warehouse.Warehouse
	Dialect sqltext.Dialect
	// Series is a query of n rows with one integer column n, from 0.
	Series func(n int) string
	// FailsAt is a query that gives text rows and fails at row n.
	FailsAt func(n int) string
	// Endless is a query that would run for minutes before its first row.
	Endless string
	// Escapes are texts that would write, change settings or leave the database,
	// in the engine's own ways; Query must refuse each. Before them the table
	// `escape.target (n)` with one row is there.
	Escapes []string
	// Reads are queries that must be let through, beyond the plain ones.
	Reads []string
	// RewritesJSON says that the engine keeps the document and not its text: it
	// may come back with other white space and another order of keys. Numbers keep their digits.
	RewritesJSON bool
	// RoundsJSON says that the numbers of JSON are 64-bit integers and doubles there; what is neither
	// comes back as a string with all its digits.
	RoundsJSON bool
	// Materializes says that a query is done before its first row can be read.
	Materializes bool
	// Unspoken are queries that the suite has for every engine, and that are none in this one's SQL.
	Unspoken []string
	// Lowers says that the engine hands names out in lower case, whatever case they were given in.
	Lowers bool
	// ReadCommitted says that a transaction reads what is committed when a statement begins, and has no snapshot.
	ReadCommitted bool
	// Histories is how many columns the random histories have (see Histories); a few when 0.
	Histories int
	// Lacks says which values of a type the engine has no place for; v is nil for all of them. nil: it has
	// a place for everything. Each is on the page of the adapter.
	Lacks func(t tidegate.Type, v any) bool
	// LeftOut names checks (or a type of the first, "types round trip/json") that an emulator by others
	// cannot stand, with the reason. An adapter's own engine leaves none out.
	LeftOut map[string]string
	// Units says that Begin gives units and no transactions (see warehouse.Tx).
	Units bool
}

// Missing skips the test because the engine called name is not there, or fails
// it when RequireEnv names it.
func Missing(tb testing.TB, name, why string) {
	tb.Helper()
	for _, required := range strings.Split(os.Getenv(RequireEnv), ",") {
		if strings.TrimSpace(required) == name {
			tb.Fatalf("%s is required by %s and missing: %s", name, RequireEnv, why)
		}
	}
	tb.Skipf("%s is missing: %s", name, why)
}

// Run holds e to the contract.
func Run(t *testing.T, e Engine) {
	t.Helper()
	checks := []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"types round trip", checkTypes},
		{"values that do not fit are named", checkMisfits},
		{"ensure creates, adds and widens", checkEnsure},
		{"ensure converges", checkEnsureConcurrently},
		{"histories of schemas", checkHistories},
		{"widen", checkWiden},
		{"names are quoted", checkNames},
		{"names of case alone are one", checkFoldedNames},
		{"describe knows what is missing", checkDescribe},
		{"load appends and replaces", checkLoad},
		{"load is once", checkLoadOnce},
		{"load is all or none", checkLoadAllOrNone},
		{"load of many rows", checkLoadMany},
		{"loads in parallel", checkLoadConcurrently},
		{"load keys", checkLoadKeys},
		{"splits do not matter", checkLoadSplits},
		{"query streams", checkStreams},
		{"query reports errors", checkQueryErrors},
		{"query only reads", checkReadOnly},
		{"query is cancelled", checkCancel},
		{"query has parameters", checkParameters},
		{"transactions", checkTx},
		{"transactions are alone", checkTxIsolation},
		{"units", checkUnits},
		{"tables are listed", checkTables},
		{"tables of a query", checkTablesOf},
		{"estimate", checkEstimate},
		{"record batches", checkArrow},
		{"close", checkClose},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if why := e.LeftOut[c.name]; why != "" {
				t.Skip(why)
			}
			b := &bench{Engine: e, w: e.Open(t)}
			t.Cleanup(func() {
				if err := b.w.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
			})
			c.run(t, b)
		})
	}
}

// bench is one warehouse on which one check works.
type bench struct {
	Engine
	w warehouse.Warehouse
}

func typ(k tidegate.Kind) tidegate.Type { return tidegate.Type{Kind: k} }

func decimal(precision, scale int) tidegate.Type {
	return tidegate.Type{Kind: tidegate.Decimal, Precision: precision, Scale: scale}
}

// columns builds a schema from name, type, name, type …
func columns(pairs ...any) tidegate.Schema {
	var s tidegate.Schema
	for i := 0; i < len(pairs); i += 2 {
		c := tidegate.Column{Name: pairs[i].(string)}
		switch t := pairs[i+1].(type) {
		case tidegate.Type:
			c.Type = t
		case tidegate.Kind:
			c.Type = typ(t)
		}
		s = append(s, c)
	}
	return s
}

// compareJSON compares JSON as the engine keeps it.
func (b *bench) compareJSON() cmp.Option {
	return cmp.Comparer(func(x, y tidegate.JSONText) bool {
		return x == y || b.RewritesJSON && sameDocument(string(x), string(y), b.RoundsJSON)
	})
}

// sameDocument compares two JSON texts with numbers as they are written, or by
// their value when they are rounded.
func sameDocument(x, y string, rounded bool) bool {
	var documents [2]any
	for i, text := range []string{x, y} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if d.Decode(&documents[i]) != nil {
			return false
		}
	}
	var option []cmp.Option
	if rounded {
		option = append(option, cmp.FilterValues(func(x, y any) bool { return isNumber(x) || isNumber(y) }, cmp.Comparer(sameNumber)))
	}
	return cmp.Equal(documents[0], documents[1], option...)
}

func isNumber(v any) bool { _, ok := v.(json.Number); return ok }

// sameNumber compares two numbers of JSON, or one with the text of its digits.
func sameNumber(x, y any) bool {
	if fmt.Sprint(x) == fmt.Sprint(y) {
		return true
	}
	n, ok1 := x.(json.Number)
	m, ok2 := y.(json.Number)
	if !ok1 || !ok2 {
		return false
	}
	a, err1 := n.Float64()
	b, err2 := m.Float64()
	return err1 == nil && err2 == nil && a == b
}

// named is a schema with the names that the engine gives back.
func (b *bench) named(s tidegate.Schema) tidegate.Schema {
	if !b.Lowers {
		return s
	}
	lowered := slices.Clone(s)
	for i := range lowered {
		lowered[i].Name = sqltext.Fold(lowered[i].Name)
	}
	return lowered
}

func (b *bench) ensure(t *testing.T, table warehouse.Table, s tidegate.Schema) tidegate.Schema {
	t.Helper()
	got, err := b.w.Ensure(t.Context(), table, s)
	if err != nil {
		t.Fatalf("ensuring %s: %v", table, err)
	}
	return got
}

func (b *bench) load(t *testing.T, l warehouse.Load, s tidegate.Schema, rows ...tidegate.Row) int64 {
	t.Helper()
	n, err := b.w.Load(t.Context(), l, tidegate.Rows(s, rows...))
	if err != nil {
		t.Fatalf("loading %s: %v", l.ID, err)
	}
	return n
}

// text builds a SELECT of the columns of table, ordered by its first.
func (b *bench) selectAll(t *testing.T, table warehouse.Table, names ...string) string {
	t.Helper()
	quoted, err := b.Dialect.Idents(names)
	if err != nil {
		t.Fatal(err)
	}
	name, err := b.Dialect.Table(table.Schema, table.Name)
	if err != nil {
		t.Fatal(err)
	}
	return string("SELECT " + sqltext.Join(quoted, ", ") + " FROM " + name + " ORDER BY " + quoted[0])
}

// Rows returns all rows of a query.
func Rows(tb testing.TB, q warehouse.Querier, sql string, args ...any) []tidegate.Row {
	tb.Helper()
	rows, err := tryRead(tb.Context(), q, sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return rows
}

func tryRead(ctx context.Context, q warehouse.Querier, sql string, args ...any) ([]tidegate.Row, error) {
	r, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return tidegate.AllRows(ctx, r)
}

// closing closes what a test has read.
func closing(t *testing.T, r io.Closer) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// begin returns a transaction, or skips the check where there are none.
func (b *bench) begin(t *testing.T) warehouse.Tx {
	t.Helper()
	x, ok := b.w.(warehouse.Execer)
	if !ok {
		t.Skip("the engine has no transactions")
	}
	tx, err := x.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tx.Rollback(); err != nil {
			t.Errorf("rolling back: %v", err)
		}
	})
	return tx
}

// wantFault fails unless err carries a fault with the action.
func wantFault(t *testing.T, err error, action tidegate.Action) *tidegate.Fault {
	t.Helper()
	var f *tidegate.Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault", err)
	}
	if f.Action != action {
		t.Errorf("%v: the action is %v, want %v", err, f.Action, action)
	}
	return f
}
