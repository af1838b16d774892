package postgres_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// restricted makes the roles of docs/warehouses/postgres.md in a new database.
func restricted(t *testing.T) postgres.Config {
	t.Helper()
	cfg := config(t)
	s := server(t)
	cfg.User, cfg.ReadUser = cfg.Database+"_load", cfg.Database+"_read"
	for _, role := range []string{cfg.User, cfg.ReadUser} {
		s.Exec(t, "postgres", "CREATE ROLE "+role+" LOGIN")
		t.Cleanup(func() { s.Exec(t, "postgres", "DROP ROLE "+role) })
	}
	s.Exec(t, "postgres", "REVOKE ALL ON DATABASE "+cfg.Database+" FROM PUBLIC; GRANT CONNECT, CREATE, TEMPORARY ON DATABASE "+cfg.Database+" TO "+cfg.User+"; GRANT CONNECT ON DATABASE "+cfg.Database+" TO "+cfg.ReadUser)
	s.Exec(t, cfg.Database, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
	t.Cleanup(func() {
		s.Exec(t, cfg.Database, "DROP OWNED BY "+cfg.User+" CASCADE; DROP OWNED BY "+cfg.ReadUser+" CASCADE")
	})
	return cfg
}

func fault(t *testing.T, err error, action tidegate.Action, code, hint string) {
	t.Helper()
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Action != action || f.Code != code || !strings.Contains(f.Hint, hint) {
		t.Errorf("got %+v (%v), want %s %s with the hint %q", f, err, action, code, hint)
	}
}

// TestLeastPrivilege: with the grants of the documentation everything works, and
// queries run as a role that may not write.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	cfg := restricted(t)
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("id", tidegate.String, "n", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]string{nil, {"id"}} {
		if _, err := w.Load(t.Context(), warehouse.Load{ID: "x" + strings.Join(key, ""), Table: table, Key: key}, tidegate.Rows(s, tidegate.Row{"a", int64(1)})); err != nil {
			t.Errorf("key %v: %v", key, err)
		}
	}
	if got := warehousetest.Rows(t, w, "SELECT current_user, count(*) FROM s.t"); got[0][0] != cfg.ReadUser || got[0][1] != int64(1) {
		t.Errorf("got %v", got)
	}
	exec(t, w, "CREATE TABLE _tidegate.extra AS SELECT 1 AS n")
	for _, sql := range []string{"SELECT * FROM _tidegate.loads", "SELECT * FROM _tidegate.extra"} {
		if got := warehousetest.Rows(t, w, sql); len(got) == 0 {
			t.Errorf("%s: %v", sql, got)
		}
	}
	// A role of queries that comes later may read the books all the same, and before anything is written.
	other := cfg
	other.ReadUser = cfg.Database + "_late"
	server(t).Exec(t, cfg.Database, "CREATE ROLE "+other.ReadUser+" LOGIN; GRANT CONNECT ON DATABASE "+cfg.Database+" TO "+other.ReadUser)
	t.Cleanup(func() { server(t).Exec(t, cfg.Database, "DROP OWNED BY "+other.ReadUser+"; DROP ROLE "+other.ReadUser) })
	late := open(t, other)
	defer late.Close()
	if got := warehousetest.Rows(t, late, "SELECT count(*) FROM _tidegate.loads"); got[0][0] != int64(2) {
		t.Errorf("got %v", got)
	}
	if _, err := late.Load(t.Context(), warehouse.Load{ID: "late", Table: table}, tidegate.Rows(s, tidegate.Row{"b", int64(1)})); err != nil {
		t.Fatal(err)
	}
	if got := warehousetest.Rows(t, late, "SELECT count(*) FROM _tidegate.extra"); got[0][0] != int64(1) {
		t.Errorf("got %v", got)
	}
	exec(t, w, "CREATE SCHEMA private")
	exec(t, w, "CREATE TABLE private.t AS SELECT 1 AS n")
	_, err := w.Query(t.Context(), "SELECT * FROM private.t")
	fault(t, err, tidegate.Halt, "warehouse.permission", "GRANT USAGE ON SCHEMA private TO "+cfg.ReadUser)
	exec(t, w, "GRANT USAGE ON SCHEMA private TO "+cfg.ReadUser)
	r, err := w.Query(t.Context(), "SELECT * FROM private.t")
	if err == nil { // permissions of tables are looked at when the statement runs
		_, err = r.Next(t.Context())
		_ = r.Close()
	}
	fault(t, err, tidegate.Halt, "warehouse.permission", "GRANT SELECT ON t TO "+cfg.ReadUser)
}

// TestMissingGrants: each grant that is missing is named.
func TestMissingGrants(t *testing.T) {
	t.Parallel()
	cfg := restricted(t)
	cfg.ReadUser = ""
	s := server(t)
	table := warehouse.Table{Schema: "s", Name: "t"}
	schema := columns("n", tidegate.Int)
	w := open(t, cfg)
	defer w.Close()
	s.Exec(t, "postgres", "REVOKE CREATE, TEMPORARY ON DATABASE "+cfg.Database+" FROM "+cfg.User)
	_, err := w.Ensure(t.Context(), table, schema)
	fault(t, err, tidegate.Halt, "warehouse.permission", "GRANT CREATE ON DATABASE "+cfg.Database+" TO "+cfg.User)
	s.Exec(t, "postgres", "GRANT CREATE ON DATABASE "+cfg.Database+" TO "+cfg.User)
	if _, err := w.Ensure(t.Context(), table, schema); err != nil {
		t.Fatal(err)
	}
	_, err = w.Load(t.Context(), warehouse.Load{ID: "x", Table: table, Key: []string{"n"}}, tidegate.Rows(schema, ints(1)...))
	fault(t, err, tidegate.Halt, "warehouse.permission", "GRANT TEMPORARY ON DATABASE "+cfg.Database+" TO "+cfg.User)
	s.Exec(t, cfg.Database, "CREATE SCHEMA theirs; CREATE TABLE theirs.t (n int); GRANT USAGE ON SCHEMA theirs TO "+cfg.User)
	theirs := warehouse.Table{Schema: "theirs", Name: "t"}
	_, err = w.Load(t.Context(), warehouse.Load{ID: "x", Table: theirs}, tidegate.Rows(schema, ints(1)...))
	fault(t, err, tidegate.Halt, "warehouse.permission", "GRANT SELECT ON t TO "+cfg.User+"; and INSERT")
	_, err = w.Ensure(t.Context(), theirs, columns("n", tidegate.String))
	fault(t, err, tidegate.Halt, "warehouse.permission", "ALTER TABLE t OWNER TO "+cfg.User)
	_, err = w.Ensure(t.Context(), warehouse.Table{Schema: "theirs", Name: "more"}, schema)
	fault(t, err, tidegate.Halt, "warehouse.permission", "GRANT USAGE ON SCHEMA theirs TO "+cfg.User)
}

// TestCannotOpen: what is wrong with a configuration is said at once, without its secrets.
func TestCannotOpen(t *testing.T) {
	t.Parallel()
	good := config(t)
	const canary = "c4n4ry-secret"
	good.Password = secret.New(canary)
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for _, c := range []struct {
		name   string
		change func(*postgres.Config)
		action tidegate.Action
		code   string
	}{
		{"no such role", func(c *postgres.Config) { c.User = "nobody" }, tidegate.Halt, "auth.refused"},
		{"no such reader", func(c *postgres.Config) { c.ReadUser = "nobody" }, tidegate.Halt, "auth.refused"},
		{"no such database", func(c *postgres.Config) { c.Database = "nothing" }, tidegate.Halt, "warehouse.database"},
		{"nobody listens", func(c *postgres.Config) { c.Port = closed.Addr().(*net.TCPAddr).Port }, tidegate.Retry, "warehouse.connection"},
		{"no TLS there", func(c *postgres.Config) { c.TLS = "require" }, tidegate.Halt, "warehouse.tls"},
		{"no such mode", func(c *postgres.Config) { c.TLS = "maybe" }, tidegate.Halt, "warehouse.config"},
		{"no certificate", func(c *postgres.Config) { c.RootCert = "x" }, tidegate.Halt, "warehouse.config"},
		{"key without certificate", func(c *postgres.Config) { c.ClientCert, c.ClientKey = "x", secret.New(canary) }, tidegate.Halt, "warehouse.config"},
		{"no host key", func(c *postgres.Config) { c.SSH = &postgres.SSH{Host: "h", PrivateKey: secret.New(canary)} }, tidegate.Halt, "warehouse.config"},
		{"no private key", func(c *postgres.Config) {
			c.SSH = &postgres.SSH{Host: "h", HostKey: "h ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtTMCBrXQyYGZVTXYmcuCVRgvcgkP2LrzvZRXlqGDgC", PrivateKey: secret.New(canary)}
		}, tidegate.Halt, "warehouse.config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			c.change(&cfg)
			w, err := postgres.Open(t.Context(), cfg, env())
			if err == nil {
				_ = w.Close()
			}
			fault(t, err, c.action, c.code, "")
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// TestEnvironmentIsNotRead: what people set for psql does not change where events go.
func TestEnvironmentIsNotRead(t *testing.T) {
	cfg := config(t)
	for _, name := range strings.Fields(`PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGAPPNAME PGCONNECT_TIMEOUT PGSSLMODE PGSSLKEY PGSSLCERT
		PGSSLCERTMODE PGSSLSNI PGSSLROOTCERT PGSSLPASSWORD PGSSLNEGOTIATION PGTARGETSESSIONATTRS PGTZ PGOPTIONS PGMINPROTOCOLVERSION PGMAXPROTOCOLVERSION PGCHANNELBINDING PGREQUIREAUTH`) {
		t.Setenv(name, "99")
	}
	w := open(t, cfg)
	defer w.Close()
	if got := warehousetest.Rows(t, w, "SELECT current_database(), current_setting('timezone'), current_setting('application_name')"); got[0][0] != cfg.Database || got[0][1] != "UTC" || got[0][2] != "tidegate" {
		t.Errorf("got %v", got)
	}
}

// TestTLS runs a server of its own that shows a certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	_ = server(t) // skips where there is none
	cert, key := pgtest.Authority(t)
	s, err := pgtest.Setup{Cert: cert, Key: key}.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	stranger, _ := pgtest.Authority(t)
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, host, mode string
		root             []byte
		code             string // "" for success
	}{
		{"full", "localhost", "verify-full", cert, ""},
		{"full, another name", "127.0.0.1", "verify-full", cert, "warehouse.tls"},
		{"full, another authority", "localhost", "verify-full", stranger, "warehouse.tls"},
		{"full, the system's authorities", "localhost", "verify-full", nil, "warehouse.tls"},
		{"authority only, another name", "127.0.0.1", "verify-ca", cert, ""},
		{"authority only, another one", "127.0.0.1", "verify-ca", stranger, "warehouse.tls"},
		{"full, from a file", "localhost", "verify-full", []byte(file), ""},
		{"require", "127.0.0.1", "require", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := postgres.Config{Host: c.host, Port: s.Port, Database: "postgres", User: pgtest.Superuser, TLS: c.mode, RootCert: string(c.root)}
			w, err := postgres.Open(t.Context(), cfg, env())
			if err != nil {
				fault(t, err, tidegate.Halt, c.code, "root_cert")
				return
			}
			defer w.Close()
			if c.code != "" {
				t.Fatal("it was trusted")
			}
			if got := warehousetest.Rows(t, w, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got[0][0] != true {
				t.Errorf("the connection is not encrypted: %v", got)
			}
			// A cancelled query travels the same way.
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			r, err := w.Query(ctx, "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b")
			if err == nil {
				_, err = r.Next(ctx)
				_ = r.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestUnixSocket: a host that is a folder is the socket in it.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Host = server(t).Dir
	if _, err := os.Stat(filepath.Join(cfg.Host, ".s.PGSQL."+strconv.Itoa(cfg.Port))); err != nil {
		t.Skipf("the socket cannot be seen: %v", err)
	}
	w := open(t, cfg)
	defer w.Close()
	if got := warehousetest.Rows(t, w, "SELECT inet_client_addr() IS NULL"); got[0][0] != true {
		t.Error("the connection is not local")
	}
}
