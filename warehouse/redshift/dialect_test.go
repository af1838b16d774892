package redshift_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// FuzzIdentParsesBack gives the server a quoted name and asks it what it read: that name, folded, and the rest of
// the statement untouched.
func FuzzIdentParsesBack(f *testing.F) {
	for _, name := range []string{
		"plain", "Mixed Case", `qu"ote`, `"`, `'`, "`", "[x]", `back\slash`, `\'`, "a.b", "$1", "select", "日本語", "🦆", "ÄÖÜ", " ", `x"; DROP TABLE y; --`, "", "nul\x00", "\xff",
		strings.Repeat("é", 63) + "x", strings.Repeat("x", 128), `" FROM nowhere --`, "ctid", "-- x", "/*", "#temp",
	} {
		f.Add(name)
	}
	cfg, _ := config(f)
	w := open(f, cfg)
	f.Cleanup(func() { _ = w.Close() })
	d := sqltext.Redshift()
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
		if diff := cmp.Diff([]string{sqltext.Fold(name), "after"}, r.Schema().Names()); diff != "" {
			t.Errorf("the server read other names (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(tidegate.Row{"before", "after"}, row); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
		if fitted := d.Fit(name); sqltext.Fold(fitted) != fitted || d.Check(fitted) != nil {
			t.Errorf("%q is fitted as %q", name, fitted)
		}
	})
}

// TestCancelReachesTheServer: nothing of a cancelled statement runs on there.
func TestCancelReachesTheServer(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	w := open(t, cfg)
	defer w.Close()
	const slow = "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b"
	const busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid() AND query LIKE '%generate_series%'"
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
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		for c.Ask(t, busy) != "1" { // until it runs
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
		if got := c.Ask(t, busy); got != "0" {
			t.Errorf("%s: %s statements run on", name, got)
		}
	}
}

// TestPermissionsNameTheGrant: a user that may do nothing is told what it lacks, step by step.
func TestPermissionsNameTheGrant(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	owner := open(t, cfg)
	defer owner.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int)
	user := "nobody_" + c.Database
	c.Postgres.Exec(t, c.Database, "CREATE ROLE "+user+" LOGIN")
	t.Cleanup(func() { c.Postgres.Exec(t, c.Database, "DROP OWNED BY "+user+"; DROP ROLE "+user) })
	cfg.User = user
	poor := open(t, cfg)
	defer poor.Close()
	hint := func(err error) string {
		t.Helper()
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Action != tidegate.Halt || f.Code != "warehouse.permission" {
			t.Errorf("got %v, want a Halt about permissions", err)
			return ""
		}
		return f.Hint
	}
	_, err := poor.Ensure(t.Context(), table, s)
	if got := hint(err); !strings.HasPrefix(got, "GRANT CREATE ON DATABASE "+c.Database+" TO "+user) {
		t.Errorf("to make a schema: %s", got)
	}
	if _, err := owner.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	if got := hint(firstError(t, poor, "SELECT n FROM s.t")); !strings.HasPrefix(got, "GRANT USAGE ON SCHEMA s TO "+user) {
		t.Errorf("to use a schema: %s", got)
	}
	c.Postgres.Exec(t, c.Database, "GRANT USAGE ON SCHEMA s, _tidegate TO "+user)
	if got := hint(firstError(t, poor, "SELECT n FROM s.t")); !strings.HasPrefix(got, "GRANT SELECT ON t TO "+user) {
		t.Errorf("to read a table: %s", got)
	}
}

// TestReaderMayReadWhatIsMade: the user of queries reads every table without a grant by hand.
func TestReaderMayReadWhatIsMade(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	user := "reader_" + c.Database
	c.Postgres.Exec(t, c.Database, "CREATE ROLE "+user+" LOGIN")
	t.Cleanup(func() { c.Postgres.Exec(t, c.Database, "DROP OWNED BY "+user+"; DROP ROLE "+user) })
	cfg.ReadUser = user
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	for _, s := range []tidegate.Schema{columns("n", tidegate.Int), columns("n", tidegate.String)} { // made, and written anew
		if _, err := w.Ensure(t.Context(), table, s); err != nil {
			t.Fatal(err)
		}
		warehousetest.Rows(t, w, "SELECT n FROM s.t")
	}
	warehousetest.Rows(t, w, "SELECT load_id FROM _tidegate.loads")
	if err := firstError(t, w, "SELECT 1 INTO s.more"); err == nil {
		t.Error("the reader writes")
	}
	// One that comes later may read the books before anything is written.
	cfg.ReadUser = "late_" + c.Database
	c.Postgres.Exec(t, c.Database, "CREATE ROLE "+cfg.ReadUser+" LOGIN")
	t.Cleanup(func() { c.Postgres.Exec(t, c.Database, "DROP OWNED BY "+cfg.ReadUser+"; DROP ROLE "+cfg.ReadUser) })
	late := open(t, cfg)
	defer late.Close()
	warehousetest.Rows(t, late, "SELECT load_id FROM _tidegate.loads")
}

// firstError is that of a query or of its first row.
func firstError(t *testing.T, w warehouse.Warehouse, sql string) error {
	t.Helper()
	r, err := w.Query(t.Context(), sql)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.Next(t.Context())
	return err
}

// TestConfigurations: what cannot work is refused with the setting's name, before anything is asked.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	good, c := config(t)
	for name, change := range map[string]func(*redshift.Config){
		"bucket":            func(c *redshift.Config) { c.Bucket = "" },
		"region":            func(c *redshift.Config) { c.Region = "eu' OR" },
		"prefix":            func(c *redshift.Config) { c.Prefix = "a b" },
		"access_key_id":     func(c *redshift.Config) { c.AccessKeyID = "" },
		"secret_access_key": func(c *redshift.Config) { c.SecretAccessKey = secret.New("") },
		"iam_role":          func(c *redshift.Config) { c.IAMRole = "arn' MANIFEST; DROP TABLE x; --" },
		"query_group":       func(c *redshift.Config) { c.QueryGroup = `x\'` },
		"endpoint":          func(c *redshift.Config) { c.Endpoint = "::" },
		"tls":               func(c *redshift.Config) { c.TLS = "maybe" },
	} {
		cfg := good
		change(&cfg)
		w, err := redshift.Open(t.Context(), cfg, env())
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Action != tidegate.Halt || !strings.HasSuffix(f.Subject, "."+name) {
			t.Errorf("%s: got %v", name, err)
		}
		if err == nil {
			_ = w.Close()
		}
	}
	// A PostgreSQL is none.
	cfg := good
	cfg.Port = c.Postgres.Port
	if w, err := redshift.Open(t.Context(), cfg, env()); err == nil {
		_ = w.Close()
		t.Error("a PostgreSQL was taken for a Redshift")
	}
	good.QueryGroup = "nightly"
	w := open(t, good)
	defer w.Close()
	warehousetest.Rows(t, w, "SELECT 1")
	if all := strings.Join(c.Statements(), "\n"); !strings.Contains(all, "SET query_group TO 'nightly'") {
		t.Error("the statements have no label")
	}
}

// TestForeignTables: what others made is read as it is, and external tables are listed.
func TestForeignTables(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	w := open(t, cfg)
	defer w.Close()
	c.Postgres.Exec(t, c.Database, `CREATE SCHEMA crm; CREATE TABLE crm.t (a smallint, b integer, c real, d numeric(18,0), e char(3), f timestamp, g time, h text);
		INSERT INTO crm.t VALUES (1, 2, 0.5, 3, 'x', '2026-01-02 03:04:05.25', '10:11:12', 'text');
		INSERT INTO pg_catalog.rs_external VALUES ('lake', 'orders'); CREATE VIEW crm.v AS SELECT a FROM crm.t`)
	want := tidegate.Row{int64(1), int64(2), 0.5, tidegate.DecimalText("3"), "x  ", "2026-01-02T03:04:05.25Z", "10:11:12", "text"}
	got := warehousetest.Rows(t, w, "SELECT a, b, c, d, e, to_char(f, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS') AS f, g, h FROM crm.t")
	want[5] = "2026-01-02T03:04:05.250"
	if d := cmp.Diff([]tidegate.Row{want}, got); d != "" {
		t.Error(d)
	}
	tables, err := w.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := []warehouse.Table{{Schema: "crm", Name: "t"}, {Schema: "crm", Name: "v"}, {Schema: "lake", Name: "orders"}}
	if d := cmp.Diff(all, tables); d != "" {
		t.Error(d)
	}
	s, err := w.Describe(t.Context(), warehouse.Table{Schema: "CRM", Name: "T"})
	if err != nil || len(s) != 8 || s[5].Type.Kind != tidegate.Timestamp || s[6].Type.Kind != tidegate.String {
		t.Errorf("got %v, %v", s, err)
	}
	found, err := w.TablesOf(t.Context(), `WITH x AS (SELECT a FROM crm."T" AS t) SELECT 'crm.v', t.a FROM x AS t -- lake.orders`)
	if d := cmp.Diff(all[:1], found); err != nil || d != "" {
		t.Error(err, d)
	}
	c.Postgres.Exec(t, c.Database, "CREATE VIEW crm.w AS SELECT * FROM crm.v; CREATE VIEW later AS SELECT * FROM crm.w")
	for sql, want := range map[string][]warehouse.Table{
		"SELECT * FROM crm.v":   {all[1], all[0]},
		"SELECT a FROM later":   {{Schema: "public", Name: "later"}, {Schema: "crm", Name: "w"}, all[1], all[0]},
		"SELECT 1 AS something": nil,
	} {
		found, err := w.TablesOf(t.Context(), sql)
		if d := cmp.Diff(want, found); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", sql, err, d)
		}
	}
}

// TestHashesOfTheDouble holds the double to the examples of Redshift's documentation, and to FarmHash's own numbers for the lengths that it
// treats each in its way.
func TestHashesOfTheDouble(t *testing.T) {
	t.Parallel()
	cfg, _ := config(t)
	w := open(t, cfg)
	defer w.Close()
	for sql, want := range map[string]int64{
		"SELECT FARMFINGERPRINT64('Amazon Redshift')":                  8085098817162212970,
		"SELECT FARMFINGERPRINT64(CAST('Amazon Redshift' AS VARBYTE))": 8085098817162212970,
		"SELECT FNV_HASH(1)":                                                       -5968735742475085980,
		"SELECT FNV_HASH('Amazon Redshift')":                                       7783490368944507294,
		"SELECT FNV_HASH('Amazon Redshift', FNV_HASH(1))":                          -2202602717770968555,
		"SELECT FNV_HASH('cd', FNV_HASH('ab'))":                                    -281581062704388899,
		"SELECT FARMFINGERPRINT64(CAST(CAST('' AS VARCHAR) AS VARBYTE))":           -7286425919675154353,
		"SELECT CAST(JSON_SERIALIZE_TO_VARBYTE(JSON_PARSE('[1]')) IS NULL AS INT)": 0,
	} {
		if rows := warehousetest.Rows(t, w, sql); rows[0][0] != want {
			t.Errorf("%s is %v, want %d", sql, rows[0][0], want)
		}
	}
	for n, want := range map[int]int64{
		1: 1366698271136253306, 3: -8824672173256051715, 4: -797828528184215899, 7: -343606922379908217, 8: 5102859526078303239, 16: 4320848957565769301, 17: -4061352233596342851,
		32: -5307099777350626718, 33: -981808865693223978, 64: -8304030206579935072, 65: 8330986144681106620, 128: 6548702730867532314, 129: -353075450497946926, 200: 640913882323733241,
	} {
		if rows := warehousetest.Rows(t, w, "SELECT FARMFINGERPRINT64(SUBSTRING(REPEAT('The quick brown fox jumps over the lazy dog. ', 5), 1, CAST($1 AS INT)))", n); rows[0][0] != want {
			t.Errorf("the fingerprint of %d bytes is %v, want %d", n, rows[0][0], want)
		}
	}
}

// TestLongValuesAreValues: what is as long as a long name, which the double gives another, stays what it is.
func TestLongValuesAreValues(t *testing.T) {
	t.Parallel()
	cfg, _ := config(t)
	w := open(t, cfg)
	defer w.Close()
	for _, n := range []int{63, 64, 100, 127, 128} {
		value := strings.Repeat("é", n/2) + strings.Repeat("x", n%2)
		want := []tidegate.Row{{int64(n), value}}
		if diff := cmp.Diff(want, warehousetest.Rows(t, w, "SELECT CAST(OCTET_LENGTH(CAST($1 AS VARCHAR(999))) AS BIGINT), CAST($1 AS VARCHAR(999))", value)); diff != "" {
			t.Errorf("%d bytes: %s", n, diff)
		}
	}
}
