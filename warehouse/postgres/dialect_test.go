package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// FuzzIdentParsesBack gives the server a quoted name and asks it what it read:
// exactly that name, and the rest of the statement untouched.
func FuzzIdentParsesBack(f *testing.F) {
	for _, name := range []string{
		"plain", "Mixed Case", `qu"ote`, `"`, `""`, `'`, "`", "[x]", `back\slash`, "a.b", "$1", "select", "日本語", "🦆", "a\u0301", " ",
		`x"; DROP TABLE y; --`, "", "nul\x00", "tab\t", "\xff", strings.Repeat("é", 31) + "x", strings.Repeat("x", 64), `U&"\0061"`, `a" AS b, 2 AS "c`, `" FROM nowhere --`, "ctid",
	} {
		f.Add(name)
	}
	w := open(f, config(f))
	defer w.Close()
	d := sqltext.Postgres()
	f.Fuzz(func(t *testing.T, name string) {
		quoted, err := d.Ident(name)
		if err != nil {
			if quoted != "" {
				t.Errorf("%q was refused and became %s", name, quoted)
			}
			return
		}
		r, err := w.Query(context.Background(), string("SELECT s."+quoted+" AS "+quoted+", 'after' AS after FROM (SELECT 'before' AS "+quoted+") AS s"))
		if err != nil {
			t.Fatalf("%q as %s: %v", name, quoted, err)
		}
		defer r.Close()
		row, err := r.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{name, "after"}, r.Schema().Names()); diff != "" {
			t.Errorf("the server read other names (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(tidegate.Row{"before", "after"}, row); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
	})
}

// TestReservedWordsAreTheServers compares the list with the server's own.
func TestReservedWordsAreTheServers(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	d := sqltext.Postgres()
	rows := warehousetest.Rows(t, w, "SELECT word, catcode IN ('R', 'T') FROM pg_get_keywords()")
	for _, row := range rows {
		if word, want := row[0].(string), row[1].(bool); d.Reserved(word) != want {
			t.Errorf("%q: Reserved is %t and the server says %t", word, d.Reserved(word), want)
		}
	}
	if len(rows) < 400 {
		t.Errorf("the server named only %d words", len(rows))
	}
	for _, row := range warehousetest.Rows(t, w, "SELECT attname FROM pg_attribute WHERE attrelid = 'pg_class'::regclass AND attnum < 0") {
		if name := row[0].(string); !d.Reserved(name) || d.Fit(name) == name {
			t.Errorf("the system column %q is not known", name)
		}
	}
}

// TestTypesAreTheServers: what the dialect calls a type is one, and is described as the type that it was.
func TestTypesAreTheServers(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	for k := tidegate.Bool; k <= tidegate.JSON; k++ {
		typ := kind(k)
		if k == tidegate.Decimal {
			typ = decimal(38, 9)
		}
		name, err := sqltext.Postgres().Type(typ)
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.Query(t.Context(), string("SELECT CAST(NULL AS "+name+") AS v"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := r.Schema()[0].Type; got != typ {
			t.Errorf("%s is read back as %s, want %s", name, got, typ)
		}
		_ = r.Close()
	}
}

// TestIndexIsOne: the statement of the dialect makes an index, once.
func TestIndexIsOne(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	if _, err := w.Ensure(t.Context(), warehouse.Table{Schema: "s", Name: "t"}, columns("n", tidegate.Int)); err != nil {
		t.Fatal(err)
	}
	sql, err := sqltext.Postgres().Index(`i"x`, "s", "t", "n")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		exec(t, w, string(sql))
	}
	if got := warehousetest.Rows(t, w, "SELECT indexname FROM pg_indexes WHERE tablename = 't'"); len(got) != 1 || got[0][0] != `i"x` {
		t.Errorf("got %v", got)
	}
}

// TestTablesOfAViewAreFoundToo: a load of what a view reads changes the view.
func TestTablesOfAViewAreFoundToo(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	if _, err := w.Ensure(t.Context(), warehouse.Table{Schema: "s", Name: "t"}, columns("n", tidegate.Int)); err != nil {
		t.Fatal(err)
	}
	exec(t, w, "CREATE VIEW s.v AS SELECT n FROM s.t")
	exec(t, w, "CREATE MATERIALIZED VIEW s.m AS SELECT n FROM s.t")
	for _, c := range []struct {
		sql  string
		want []warehouse.Table
	}{
		{"SELECT * FROM s.v WHERE false", []warehouse.Table{{Schema: "s", Name: "t"}, {Schema: "s", Name: "v"}}},
		{"SELECT * FROM s.m, pg_class", []warehouse.Table{{Schema: "s", Name: "m"}}},
		{"WITH t AS (SELECT 1) SELECT * FROM t", nil},
		{"SELECT (SELECT max(n) FROM s.t)", []warehouse.Table{{Schema: "s", Name: "t"}}},
	} {
		got, err := w.TablesOf(t.Context(), c.sql)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			got = nil
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.sql, d)
		}
	}
	for _, sql := range []string{"DELETE FROM s.t", "SELECT 1; SELECT 2", "COMMIT"} {
		if _, err := w.TablesOf(t.Context(), sql); err == nil {
			t.Errorf("%s: has tables", sql)
		}
	}
}

// TestCancelReachesTheServer: nothing of a cancelled statement runs on there.
func TestCancelReachesTheServer(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	const slow = "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b"
	for name, run := range map[string]func(ctx context.Context) error{
		"query": func(ctx context.Context) error {
			r, err := w.Query(ctx, slow)
			if err == nil {
				_, err = r.Next(ctx)
				_ = r.Close()
			}
			return err
		},
		"exec": func(ctx context.Context) error { _, err := w.Exec(ctx, slow); return err },
		"transaction": func(ctx context.Context) error {
			tx, err := w.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = tx.Exec(ctx, "CREATE TABLE x AS "+slow)
			return err
		},
		"reader that is closed": func(ctx context.Context) error {
			r, err := w.Query(ctx, "SELECT n, md5(n::text) FROM (SELECT generate_series(1, 2000000000) AS n) AS s")
			if err != nil {
				return err
			}
			_, err = r.Next(ctx)
			_ = r.Close()
			if err == nil {
				err = context.Canceled
			}
			return err
		},
		"rollback under an open reader": func(ctx context.Context) error {
			tx, err := w.Begin(ctx)
			if err != nil {
				return err
			}
			if _, err = tx.Query(ctx, "SELECT n, md5(n::text) FROM (SELECT generate_series(1, 2000000000) AS n) AS s"); err == nil {
				err = tx.Rollback()
			}
			if err == nil {
				err = context.Canceled
			}
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		const busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid() AND query LIKE '%generate_series%'"
		if strings.Contains(name, "reader") {
			if err := <-ended; err == nil {
				t.Errorf("%s: it came to its end", name)
			}
		} else {
			for warehousetest.Rows(t, w, busy)[0][0] != int64(1) { // until it runs
			}
			cancel()
			if err := <-ended; err == nil {
				t.Errorf("%s: it came to its end", name)
			}
		}
		cancel()
		if got := warehousetest.Rows(t, w, busy)[0][0]; got != int64(0) {
			t.Errorf("%s: %v statements run on", name, got)
		}
	}
}

// TestExecLeavesNothing: what a statement leaves on a connection is not there for the next.
func TestExecLeavesNothing(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.MaxConnections = 2
	w := open(t, cfg)
	defer w.Close()
	for range 3 {
		exec(t, w, "CREATE TEMP TABLE x (n int)")
		exec(t, w, "SET search_path = nowhere")
		exec(t, w, "PREPARE p AS SELECT 1")
		warehousetest.Rows(t, w, "SELECT 1")
	}
	if got := warehousetest.Rows(t, w, "SELECT current_setting('search_path')"); got[0][0] == "nowhere" {
		t.Error("a setting stayed on the connection")
	}
}
