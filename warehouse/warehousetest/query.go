package warehousetest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// soon is how long something may take that is promised to happen at once, on a
// machine that is busy with other tests.
const soon = 10 * time.Second

// checkStreams: rows come before the query has ended, an error in the middle is
// an error, and the schema is known before the first row.
func checkStreams(t *testing.T, b *bench) {
	t.Helper()
	const at = 1_900_000
	if b.Materializes {
		if rows, err := tryRead(t.Context(), b.w, b.FailsAt(at)); err == nil || len(rows) > 0 {
			t.Errorf("a query that fails gave %d rows and %v", len(rows), err)
		}
	} else {
		b.breaks(t, at)
	}
	b.ends(t)
}

// breaks reads a query that fails at a row.
func (b *bench) breaks(t *testing.T, at int) {
	t.Helper()
	r, err := b.w.Query(t.Context(), b.FailsAt(at))
	if err != nil {
		t.Fatalf("the query failed before its first row: it does not stream: %v", err)
	}
	defer closing(t, r)
	if len(r.Schema()) != 1 {
		t.Errorf("the schema is %v", r.Schema())
	}
	for n := 0; ; n++ {
		_, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			t.Fatalf("the result ended after %d rows as if it were whole", n)
		}
		if err != nil {
			if n == 0 || n > at {
				t.Errorf("the error came after %d rows", n)
			}
			if _, again := r.Next(t.Context()); again == nil || errors.Is(again, io.EOF) {
				t.Errorf("after an error Next says %v", again)
			}
			return
		}
	}
}

// ends reads results to their end, and gives one up.
func (b *bench) ends(t *testing.T) {
	t.Helper()
	empty, err := b.w.Query(t.Context(), b.Series(0))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(columns("n", tidegate.Int), empty.Schema()); d != "" {
		t.Error(d)
	}
	for range 2 {
		if _, err := empty.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want io.EOF", err)
		}
	}
	for range 2 {
		if err := empty.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := empty.Next(t.Context()); err == nil {
		t.Error("a closed reader gives rows")
	}
	half, err := b.w.Query(t.Context(), b.Series(1_000_000)) // given up in the middle
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.Next(t.Context()); err != nil {
		t.Error(err)
	}
	if err := half.Close(); err != nil {
		t.Error(err)
	}
	if got := Rows(t, b.w, b.Series(5000)); len(got) != 5000 {
		t.Errorf("got %d rows", len(got))
	}
}

func checkQueryErrors(t *testing.T, b *bench) {
	t.Helper()
	for _, c := range []struct{ sql, says string }{
		{"SELECT 1 FORM x", "LINE 1"},
		{"SELECT\n  1,\n  nope FROM (SELECT 1 AS a) s", "LINE 3"},
		{"SELECT * FROM no_such_table", "no_such_table"},
		{"SELECT no_such_function(1)", "no_such_function"},
		{"", ""},
		{"  -- nothing\n", ""},
		{"SELECT 1; SELECT 2", ""},
		{"SELECT \x00 1", ""},
		{"SELECT '\xff'", ""},
		{strings.Repeat(" ", 9<<20) + "SELECT 1", ""},
	} {
		_, err := b.w.Query(t.Context(), c.sql)
		shown := c.sql[:min(len(c.sql), 60)]
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Action != tidegate.Halt {
			t.Errorf("%q: got %v, want a Halt", shown, err)
			continue
		}
		if !strings.Contains(strings.ToLower(f.Message), strings.ToLower(c.says)) {
			t.Errorf("%q: %q does not say %q", shown, f.Message, c.says)
		}
		if f.Hint == "" {
			t.Errorf("%q: no hint", shown)
		}
	}
}

// commonEscapes are writes in the words of every SQL.
var commonEscapes = []string{
	"INSERT INTO escape.target VALUES (2)",
	"INSERT INTO escape.target VALUES (2) RETURNING n",
	"UPDATE escape.target SET n = 2",
	"DELETE FROM escape.target",
	"DROP TABLE escape.target",
	"TRUNCATE escape.target",
	"ALTER TABLE escape.target ADD COLUMN x INTEGER",
	"CREATE TABLE escape.more (n INTEGER)",
	"CREATE TABLE escape.more AS SELECT 1 AS n",
	"CREATE VIEW escape.v AS SELECT 1 AS n",
	"CREATE SCHEMA escape2",
	"DROP SCHEMA escape CASCADE",
	"SELECT 1; DROP TABLE escape.target",
	"SELECT 1;; DELETE FROM escape.target;",
	"; DROP TABLE escape.target",
	"COMMIT; DROP TABLE escape.target",
	"ROLLBACK; DROP TABLE escape.target",
	"/* SELECT */ DROP TABLE escape.target",
	"-- SELECT\nDROP TABLE escape.target",
	"BEGIN", "COMMIT", "ROLLBACK",
	"EXPLAIN DROP TABLE escape.target",
	"EXPLAIN DELETE FROM escape.target",
	"EXPLAIN ANALYZE DELETE FROM escape.target",
	"eXpLaIn\n/* x */ AnAlYzE INSERT INTO escape.target VALUES (3)",
	"WITH x AS (SELECT 1 AS n) INSERT INTO escape.target SELECT n FROM x",
	"WITH x AS (SELECT 1 AS n) DELETE FROM escape.target USING x",
	"VACUUM", "ANALYZE",
}

func checkReadOnly(t *testing.T, b *bench) {
	t.Helper()
	escapes := append(append([]string{}, commonEscapes...), b.Escapes...)
	if len(escapes) < 40 {
		t.Errorf("only %d attempts at escaping", len(escapes))
	}
	target := warehouse.Table{Schema: "escape", Name: "target"}
	schema := columns("n", tidegate.Int)
	b.ensure(t, target, schema)
	b.load(t, warehouse.Load{ID: "x", Table: target}, schema, tidegate.Row{int64(1)})
	for _, sql := range escapes {
		rows, err := tryRead(t.Context(), b.w, sql)
		if err == nil {
			t.Errorf("%q was let through and gave %v", sql, rows)
			continue
		}
		if f := tidegate.FaultOf(err); f.Action != tidegate.Halt {
			t.Errorf("%q: the fault is a %v: %v", sql, f.Action, err)
		}
		got, err := tryRead(t.Context(), b.w, b.selectAll(t, target, "n"))
		if d := cmp.Diff([]tidegate.Row{{int64(1)}}, got); err != nil || d != "" {
			t.Fatalf("%q changed the table: %v %s", sql, err, d)
		}
	}
	described, err := b.w.Describe(t.Context(), target)
	if err != nil || len(described) != 1 {
		t.Errorf("the table became %v, %v", described, err)
	}
	for _, sql := range append([]string{
		"SELECT 1", "select 1;", " \n SELECT 1 -- done", "(SELECT 1)", "VALUES (1), (2)", "SELECT ';'", "SELECT 'DROP TABLE x'",
		"WITH x AS (SELECT 1 AS n) SELECT * FROM x", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1",
	}, b.Reads...) {
		if slices.Contains(b.Unspoken, sql) {
			continue
		}
		if rows, err := tryRead(t.Context(), b.w, sql); err != nil || len(rows) == 0 {
			t.Errorf("%q: %d rows, %v", sql, len(rows), err)
		}
	}
}

// checkCancel: a context that ends stops the query, wherever it is.
func checkCancel(t *testing.T, b *bench) {
	t.Helper()
	t.Run("before it starts", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.w.Query(ctx, "SELECT 1"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("before its first row", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		late := time.AfterFunc(soon, func() { t.Error("the query outlived its context") })
		defer late.Stop()
		_, err := tryRead(ctx, b.w, b.Endless)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("between rows", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := b.w.Query(ctx, b.Series(1_000_000))
		if err != nil {
			t.Fatal(err)
		}
		defer closing(t, r)
		for n := 0; ; n++ {
			if n == 10 {
				cancel()
			}
			_, err := r.Next(ctx)
			if errors.Is(err, io.EOF) {
				t.Fatal("a cancelled query ended as if it were whole")
			}
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				break
			}
		}
	})
	t.Run("by closing the reader", func(t *testing.T) {
		r, err := b.w.Query(t.Context(), b.Series(1_000_000))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			for {
				if _, err := r.Next(t.Context()); err != nil {
					ended <- err
					return
				}
			}
		}()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; errors.Is(err, io.EOF) {
			t.Log("the reader had ended before it was closed")
		}
	})
	// The connections that were interrupted work again.
	for range 20 {
		if got := Rows(t, b.w, b.Series(3)); len(got) != 3 {
			t.Errorf("got %v", got)
		}
	}
}

func checkParameters(t *testing.T, b *bench) {
	t.Helper()
	s := columns("b", tidegate.Bool, "i", tidegate.Int, "f", tidegate.Float, "d", decimal(38, 9), "s", tidegate.String,
		"x", tidegate.Bytes, "day", tidegate.Date, "t", tidegate.Timestamp)
	table := warehouse.Table{Schema: "parameters", Name: "kinds"} // not t: in BigQuery that would be the row and not its column
	b.ensure(t, table, s)
	row := tidegate.Row{
		true, int64(-5), 0.25, tidegate.DecimalText("12345678901234567890.123456789"), "it's \"quoted\"; -- $1",
		[]byte{0, 1},
		tidegate.CalendarDate(19_000),
		time.UnixMicro(1_700_000_000_123_456).UTC(),
	}
	b.load(t, warehouse.Load{ID: "x", Table: table}, s, row)
	from := strings.SplitN(b.selectAll(t, table, s.Names()...), " ORDER BY ", 2)[0]
	for i, c := range s {
		name, err := b.Dialect.Ident(c.Name)
		if err != nil {
			t.Fatal(err)
		}
		got := Rows(t, b.w, from+" WHERE "+string(name)+" = "+string(b.Dialect.Placeholder(1)), row[i])
		if d := cmp.Diff([]tidegate.Row{row}, got); d != "" {
			t.Errorf("by column %s: %s", c.Name, d)
		}
	}
	for _, args := range [][]any{{}, {1, 2}} {
		if _, err := b.w.Query(t.Context(), "SELECT "+string(b.Dialect.Placeholder(1)), args...); err == nil {
			t.Errorf("%d arguments for one parameter were taken", len(args))
		}
	}
}

func checkEstimate(t *testing.T, b *bench) {
	t.Helper()
	e, ok := b.w.(warehouse.Estimator)
	if !ok {
		t.Skip("the engine estimates nothing")
	}
	got, err := e.Estimate(t.Context(), b.Series(12_345))
	if err != nil {
		t.Fatal(err)
	}
	if got.Rows < -1 || got.Bytes < -1 || got.Rows == 0 {
		t.Errorf("got %+v", got)
	}
	if _, err := e.Estimate(t.Context(), "DROP TABLE x"); err == nil {
		t.Error("a DROP has an estimate")
	}
}

func checkClose(t *testing.T, b *bench) {
	t.Helper()
	table := warehouse.Table{Schema: "closing", Name: "t"}
	s := columns("n", tidegate.Int)
	b.ensure(t, table, s)
	for range 2 {
		if err := b.w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	_, query := b.w.Query(ctx, "SELECT 1")
	_, describe := b.w.Describe(ctx, table)
	_, ensure := b.w.Ensure(ctx, table, s)
	_, load := b.w.Load(ctx, warehouse.Load{ID: "x", Table: table}, tidegate.Rows(s))
	for what, err := range map[string]error{"Query": query, "Describe": describe, "Ensure": ensure, "Load": load} {
		if err == nil {
			t.Errorf("%s works after Close", what)
		}
	}
}
