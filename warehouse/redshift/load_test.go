package redshift_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestTextsGrow: a column is as long as its values need, whether it grows before a load or after a
// transaction that found it too short.
func TestTextsGrow(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int, "v", tidegate.String)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	length := func() string {
		return c.Ask(t, "SELECT atttypmod - 4 FROM pg_attribute WHERE attrelid = 's.t'::regclass AND attname = 'v'")
	}
	if got := length(); got != "512" {
		t.Errorf("the column begins with %s bytes", got)
	}
	load := func(id string, size int) error {
		_, err := w.Load(t.Context(), warehouse.Load{ID: id, Table: table}, tidegate.Rows(s, tidegate.Row{int64(size), strings.Repeat("é", size/2)}))
		return err
	}
	for _, step := range []struct {
		size int
		want string
	}{{512, "512"}, {514, "2048"}, {9000, "65535"}, {65_534, "65535"}} {
		if err := load(fmt.Sprint(step.size), step.size); err != nil {
			t.Fatal(err)
		}
		if got := length(); got != step.want {
			t.Errorf("after a text of %d bytes the column has %s", step.size, got)
		}
	}
	var f *tidegate.Fault
	if err := load("too long", 65_536); !errors.As(err, &f) || f.Action != tidegate.Reject || !strings.Contains(f.Subject, `"v"`) {
		t.Errorf("got %v, want a Reject that names the column", err)
	}
	// In a transaction, which is told to begin again.
	other := warehouse.Table{Schema: "s", Name: "in a transaction"}
	if _, err := w.Ensure(t.Context(), other, s); err != nil {
		t.Fatal(err)
	}
	attempt := func() error {
		tx, err := w.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Load(t.Context(), warehouse.Load{ID: "x", Table: other}, tidegate.Rows(s, tidegate.Row{int64(1), strings.Repeat("x", 600)}))
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
	if err := attempt(); !errors.As(err, &f) || f.Action != tidegate.Retry || f.Code != "warehouse.grows" {
		t.Errorf("got %v, want a Retry", err)
	}
	if err := attempt(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if got := warehousetest.Rows(t, w, `SELECT count(*) FROM s."in a transaction"`); got[0][0] != int64(1) {
		t.Errorf("got %v", got)
	}
}

// TestAColumnThatCannotGrowInPlace is written anew.
func TestAColumnThatCannotGrowInPlace(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	c.Refuse(func(sql string) *pgproto3.ErrorResponse {
		if strings.Contains(sql, "ALTER COLUMN") {
			return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "0A000", Message: "ALTER COLUMN TYPE is not supported for a column with encoding BYTEDICT"}
		}
		return nil
	})
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("v", tidegate.String)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"short", strings.Repeat("x", 5000)} {
		if _, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(i), Table: table}, tidegate.Rows(s, tidegate.Row{text})); err != nil {
			t.Fatal(err)
		}
	}
	if got := warehousetest.Rows(t, w, "SELECT len(v) FROM s.t ORDER BY 1"); len(got) != 2 || got[1][0] != int64(5000) {
		t.Errorf("got %v", got)
	}
}

// TestObjectsOfALoad: they are packed, named by the load, listed in a manifest, and removed; what else lies
// in the folder is not read.
func TestObjectsOfALoad(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	cfg.Prefix = "some/where"
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int, "v", tidegate.String)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	const rows, size = 1150, 60_000 // 69 MB of JSON, which is two objects
	names := func() []string {
		var list []string
		for _, call := range c.S3.Calls() {
			if call.Method == http.MethodPut {
				list = append(list, call.Key)
			}
		}
		slices.Sort(list)
		return list
	}
	load := warehouse.Load{ID: "big", Table: table}
	c.S3.Put("some/where/foreign.json.gz", []byte("not packed"))
	var failed atomic.Bool
	c.S3.Intercept(func(call rstest.Call) *rstest.Answer {
		if strings.HasSuffix(call.Key, "manifest.json") && !failed.Swap(true) { // a first attempt ends here
			return &rstest.Answer{Status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
		}
		return nil
	})
	var f *tidegate.Fault
	if _, err := w.Load(t.Context(), load, &wide{schema: s, n: rows, text: strings.Repeat("x", size)}); !errors.As(err, &f) || f.Action != tidegate.Halt || !strings.Contains(f.Hint, "s3:PutObject") {
		t.Fatalf("got %v, want a Halt that names the action", err)
	}
	first := names()
	if len(first) != 3 {
		t.Fatalf("objects %v, want two and the manifest", first)
	}
	if n, err := w.Load(t.Context(), load, &wide{schema: s, n: rows, text: strings.Repeat("x", size)}); n != rows || err != nil {
		t.Fatal(n, err)
	}
	if d := cmp.Diff(first, slices.Compact(names())); d != "" {
		t.Errorf("the same load has other objects: %s", d)
	}
	if d := cmp.Diff([]string{"some/where/foreign.json.gz"}, c.S3.Keys()); d != "" {
		t.Errorf("in the bucket: %s", d)
	}
	if got := warehousetest.Rows(t, w, "SELECT count(*), count(DISTINCT n), min(len(v)) FROM s.t"); got[0][0] != int64(rows) || got[0][1] != int64(rows) || got[0][2] != int64(size) {
		t.Errorf("got %v", got)
	}
	if n, err := w.Load(t.Context(), load, tidegate.Rows(s)); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// wide gives n rows of one long text without holding them.
type wide struct {
	schema  tidegate.Schema
	next, n int
	text    string
	look    func(row int)
}

func (w *wide) Schema() tidegate.Schema { return w.schema }
func (w *wide) Close() error            { return nil }

func (w *wide) Next(context.Context) (tidegate.Row, error) {
	if w.next == w.n {
		return nil, io.EOF
	}
	w.next++
	if w.look != nil {
		w.look(w.next)
	}
	return tidegate.Row{int64(w.next), w.text}, nil
}

// TestMemoryIsFlat: a load holds the objects that are under way, and a read nothing. It runs alone, for it looks
// at the memory of the whole process.
func TestMemoryIsFlat(t *testing.T) {
	cfg, c := config(t)
	w := open(t, cfg)
	defer w.Close()
	s := columns("n", tidegate.Int, "v", tidegate.String)
	table := warehouse.Table{Schema: "s", Name: "t"}
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	before, most := warehousetest.Held(), int64(0)
	const rows, room = 200_000, 48 << 20 // the rows are 100 MB of JSON
	// The double would hold what it is given, so it is given nothing: the load ends before COPY.
	c.S3.Intercept(func(call rstest.Call) *rstest.Answer {
		if strings.HasSuffix(call.Key, "manifest.json") {
			return &rstest.Answer{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		return nil
	})
	look := func(row int) {
		if row%(rows/8) == 0 {
			most = max(most, warehousetest.Held()-before)
		}
	}
	_, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, &wide{schema: s, n: rows, text: strings.Repeat("a text of some length ", 22), look: look})
	if tidegate.FaultOf(err).Action != tidegate.Halt {
		t.Fatal(err)
	}
	if most > room {
		t.Errorf("a load held %d bytes", most)
	}
	r, err := w.Query(t.Context(), "SELECT n, repeat('x', 400) FROM generate_series(1, 150000) AS n")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	before, most = warehousetest.Held(), 0
	for i := 1; ; i++ {
		if _, err := r.Next(t.Context()); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if i%30_000 == 0 {
			most = max(most, warehousetest.Held()-before)
		}
	}
	if most > 16<<20 {
		t.Errorf("a read held %d bytes", most)
	}
}

// TestRefusedCopyIsExplained: what Redshift refuses of a row is told with row and column.
func TestRefusedCopyIsExplained(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int, "When It Was", tidegate.Timestamp)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	c.Postgres.Exec(t, c.Database, `ALTER TABLE s.t ALTER COLUMN "when it was" TYPE time USING NULL`)
	_, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(s, tidegate.Row{int64(1), nil}))
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Action != tidegate.Halt || !strings.Contains(f.Subject, "when it was") {
		t.Errorf("got %v, want a Halt about a type that is not written", err)
	}
	c.Postgres.Exec(t, c.Database, `ALTER TABLE s.t DROP COLUMN "when it was"; ALTER TABLE s.t ADD COLUMN v numeric(38, 0)`)
	s = columns("n", tidegate.Int, "v", tidegate.Decimal)
	s[1].Type.Precision = 38
	for _, inTransaction := range []bool{false, true} {
		rows := tidegate.Rows(s, tidegate.Row{int64(1), nil}, tidegate.Row{int64(2), tidegate.DecimalText("5")}, tidegate.Row{int64(3), nil})
		load := warehouse.Load{ID: fmt.Sprint(inTransaction), Table: table}
		c.Spoil(`"c1":"5"`, `"c1":"?"`)
		if inTransaction {
			tx, err2 := w.Begin(t.Context())
			if err2 != nil {
				t.Fatal(err2)
			}
			_, err = tx.Load(t.Context(), load, rows)
			_ = tx.Rollback()
		} else {
			_, err = w.Load(t.Context(), load, rows)
		}
		if !errors.As(err, &f) || f.Action != tidegate.Reject || f.Subject != `column "v"` || !strings.HasPrefix(f.Message, "row 2: ") {
			t.Errorf("got %v, want a Reject of row 2, column v", err)
		}
	}
	if got := warehousetest.Rows(t, w, "SELECT count(*) FROM s.t"); got[0][0] != int64(0) {
		t.Errorf("got %v", got)
	}
}

// TestFaultsOfStorage: what S3 and Redshift say of the bucket becomes a fault that says what to do, and shows no key.
func TestFaultsOfStorage(t *testing.T) {
	t.Parallel()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int)
	for _, c := range []struct {
		name   string
		change func(*redshift.Config)
		answer *rstest.Answer
		action tidegate.Action
		code   string
		hint   string
	}{
		{"another key", func(c *redshift.Config) { c.SecretAccessKey = secret.New("canary-of-another-key") }, nil, tidegate.Halt, "auth.refused", "secret_access_key"},
		{"an unknown key", func(c *redshift.Config) { c.AccessKeyID = "AKIDNOBODY" }, nil, tidegate.Halt, "auth.refused", "access_key_id"},
		{"no such bucket", func(c *redshift.Config) { c.Bucket = "elsewhere" }, nil, tidegate.Halt, "warehouse.bucket", "bucket"},
		{"another region", func(c *redshift.Config) { c.Region = "us-east-1" }, nil, tidegate.Halt, "warehouse.region", rstest.Region},
		{"a token that expired", nil, &rstest.Answer{Status: 400, Code: "ExpiredToken"}, tidegate.Halt, "auth.expired", "session_token"},
		{"a clock that is wrong", nil, &rstest.Answer{Status: 403, Code: "RequestTimeTooSkewed"}, tidegate.Halt, "auth.clock", "clock"},
		{"a role that is not associated", func(c *redshift.Config) { c.IAMRole = "arn:aws:iam::123456789012:role/other" }, nil, tidegate.Halt, "warehouse.permission", "associate"},
		{"a key that redshift does not get", func(c *redshift.Config) { c.IAMRole = "" }, nil, 0, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, cluster := config(t)
			if c.change != nil {
				c.change(&cfg)
			}
			if c.answer != nil {
				cluster.S3.Intercept(func(rstest.Call) *rstest.Answer { return c.answer })
			}
			w := open(t, cfg)
			defer w.Close()
			if _, err := w.Ensure(t.Context(), table, s); err != nil {
				t.Fatal(err)
			}
			_, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(s, ints(1)...))
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var f *tidegate.Fault
			if !errors.As(err, &f) || f.Action != c.action || f.Code != c.code || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("got %+v (%v)", f, err)
			}
			if text := fmt.Sprintf("%v %+v", err, f); strings.Contains(text, "canary") || strings.Contains(text, rstest.SecretKey) {
				t.Errorf("the error shows a key: %s", text)
			}
		})
	}
}

// TestCopyErrorsHideKeys: a COPY that is refused is not shown, for it may hold a key.
func TestCopyErrorsHideKeys(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	cfg.IAMRole = ""
	c.Refuse(func(sql string) *pgproto3.ErrorResponse {
		if strings.HasPrefix(sql, "COPY") {
			return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "42601", Message: `syntax error at or near "GZIP"`, Position: 90}
		}
		return nil
	})
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	_, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(s, ints(1)...))
	if err == nil || strings.Contains(fmt.Sprintf("%+v", err), rstest.SecretKey) {
		t.Errorf("got %v", err)
	}
}
