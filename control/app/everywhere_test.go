package app_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// everywhere starts an engine or a double for each kind of server, and says how a project names it.
var everywhere = map[string]func(t *testing.T) map[string]any{
	"postgres": func(t *testing.T) map[string]any {
		t.Helper()
		s := pgServer(t)
		return map[string]any{"host": s.Host, "port": s.Port, "database": s.Database(t), "user": pgtest.Superuser, "password": inFile(t, pgPassword)}
	},
	"clickhouse": func(t *testing.T) map[string]any {
		t.Helper()
		s := chdbtest.Get(t, warehousetest.Missing)
		return map[string]any{"host": s.Host, "port": s.Port, "user": chdbtest.User, "password": inFile(t, chdbtest.Password)}
	},
	"bigquery": func(t *testing.T) map[string]any {
		t.Helper()
		double := bqtest.New(t)
		return map[string]any{"project": bqtest.Project, "endpoint": double.URL, "storage_endpoint": double.WriteURL}
	},
	"redshift": func(t *testing.T) map[string]any {
		t.Helper()
		c := rstest.New(t, pgServer(t))
		return map[string]any{
			"host": c.Host, "port": c.Port, "database": c.Database, "user": c.User, "password": inFile(t, pgPassword), "tls": "disable", "bucket": rstest.Bucket, "region": rstest.Region,
			"access_key_id": rstest.AccessKey, "secret_access_key": inFile(t, rstest.SecretKey), "iam_role": rstest.Role, "endpoint": c.S3.URL,
		}
	},
	"snowflake": func(t *testing.T) map[string]any {
		t.Helper()
		return map[string]any{
			"account": "acme-test", "user": sftest.User, "password": inFile(t, sftest.Password), "database": "analytics", "warehouse": "compute", "role": "loader",
			"endpoint": sftest.New(t).URL,
		}
	},
}

const pgPassword = "what opens the server"

// pgServer is a server that lets nobody in without a password.
func pgServer(t *testing.T) *pgtest.Server {
	t.Helper()
	shared := pgtest.Shared{Setup: pgtest.Setup{Password: pgPassword}}
	t.Cleanup(shared.Stop)
	return shared.Get(t, warehousetest.Missing)
}

// inFile is a reference to a secret.
func inFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return "${file:" + path + "}"
}

// TestMigrateEverywhere moves a hub's tables and books from DuckDB to each kind of
// warehouse, cut off on the way and done again, lets a loader go on there, and moves them back. Every time
// both sides hold the same, column by column and row by row, as if the loader had been there from the start.
func TestMigrateEverywhere(t *testing.T) {
	t.Parallel()
	for kind, start := range everywhere {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && kind != "clickhouse" {
				t.Skip("in short tests")
			}
			raw, err := json.Marshal(start(t))
			if err != nil {
				t.Fatal(err)
			}
			small := json.RawMessage(`{"memory_limit":"300MB","threads":1}`)
			p := &project.Project{
				Warehouse: project.Warehouse{Kind: "duckdb", Config: small}, Sources: []tidegate.Source{{Name: "web"}},
				Warehouses: []tidegate.Connection{{Name: "there", Kind: kind, Config: raw}, {Name: "back", Kind: "duckdb", Config: small}},
			}
			data := t.TempDir()
			events := loadertest.Events(150)
			tape := loadertest.NewTape(events[:100], 10)
			loads := func(name string) map[string][]string {
				t.Helper()
				wh, err := app.OpenNamed(t.Context(), p, data, name)
				if err != nil {
					t.Fatal(err)
				}
				loadertest.Load(t, tape, wh, 40)
				all := loadertest.Everything(t, wh)
				if err := wh.Close(); err != nil {
					t.Error(err)
				}
				return all
			}
			migrate := func(ctx context.Context, from, to string, told func(api.Migrated)) error {
				return app.Migrate(ctx, p, data, from, to, time.Now, told)
			}
			want := loads("")
			cut, stop := context.WithCancel(t.Context())
			tables := 0
			if migrate(cut, "", "there", func(api.Migrated) {
				if tables++; tables == 4 {
					stop()
				}
			}) == nil {
				t.Error("a migration that was cut off says that it is complete")
			}
			for range 2 { // and again: nothing changes
				if err := migrate(t.Context(), "", "there", func(api.Migrated) {}); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(want, loads("there")); d != "" {
				t.Errorf("-duckdb +%s: %s", kind, d)
			}
			tape.Add(events[100:]...)
			want = loads("")
			if d := cmp.Diff(want, loads("there")); d != "" {
				t.Errorf("after the loader went on: -duckdb +%s: %s", kind, d)
			}
			if err := migrate(t.Context(), "there", "back", func(api.Migrated) {}); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, loads("back")); d != "" {
				t.Errorf("after the way back: -before +after: %s", d)
			}
		})
	}
}

// mistake is what a project says wrongly of a warehouse, what the check then finds first, and a word of the hint that
// says what to do.
type mistake struct {
	name  string
	say   map[string]any
	check string
	code  string
	hint  string
}

// wrongs are those of each kind.
var wrongs = map[string][]mistake{
	"postgres": {
		{"wrong password", map[string]any{"password": wrongSecret}, "connect", "auth.refused", "check user and password"},
		{"no password", map[string]any{"password": nil}, "connect", "auth.refused", "check user and password"},
		{"wrong password that reads", map[string]any{"read_user": pgtest.Superuser, "read_password": wrongSecret}, "connect", "auth.refused", "read_user and read_password"},
		{"no password that reads", map[string]any{"read_user": pgtest.Superuser}, "connect", "auth.refused", "read_user and read_password"},
		{"no such folder of a socket", map[string]any{"host": "/nowhere"}, "connect", "warehouse.connection", "host"},
		{"nobody is there", map[string]any{"port": 1}, "connect", "warehouse.connection", "port"},
		{"no such host", map[string]any{"host": "warehouse.invalid"}, "connect", "warehouse.connection", "host"},
		{"wrong user", map[string]any{"user": "nobody"}, "connect", "auth.refused", "user"},
		{"no such database", map[string]any{"database": "nowhere"}, "connect", "warehouse.database", "database"},
		{"TLS where there is none", map[string]any{"tls": "verify-full"}, "connect", "warehouse.tls", "tls: disable"},
		{"wrong user that reads", map[string]any{"read_user": "nobody"}, "connect", "auth.refused", "read_user"},
		{"no such certificate", map[string]any{"tls": "verify-full", "root_cert": "/nowhere.pem"}, "connect", "warehouse.config", "root_cert"},
	},
	"redshift": {
		{"wrong password", map[string]any{"password": wrongSecret}, "connect", "auth.refused", "check user and password"},
		{"no password", map[string]any{"password": nil}, "connect", "auth.refused", "check user and password"},
		{"wrong password that reads", map[string]any{"read_user": pgtest.Superuser, "read_password": wrongSecret}, "connect", "auth.refused", "read_user and read_password"},
		{"nobody is there", map[string]any{"port": 1}, "connect", "warehouse.connection", "port"},
		{"no such host", map[string]any{"host": "warehouse.invalid"}, "connect", "warehouse.connection", "host"},
		{"wrong user that reads", map[string]any{"read_user": "nobody"}, "connect", "auth.refused", "read_user"},
		{"no such bucket", map[string]any{"bucket": "nowhere"}, "load", "warehouse.bucket", "bucket"},
		{"wrong region", map[string]any{"region": "us-east-1"}, "load", "warehouse.region", "region"},
		{"wrong role", map[string]any{"iam_role": "arn:aws:iam::123456789012:role/nobody"}, "load", "warehouse.permission", "iam_role"},
		{"wrong key's name", map[string]any{"access_key_id": "AKIDNOBODY"}, "load", "auth.refused", "access_key_id"},
		{"no S3 there", map[string]any{"endpoint": "http://127.0.0.1:1"}, "load", "egress.port_refused", "port"},
		{"no such S3", map[string]any{"endpoint": "https://bucket.invalid"}, "load", "warehouse.storage", "endpoint"},
		{"wrong user", map[string]any{"user": "nobody"}, "connect", "auth.refused", "user"},
		{"no such database", map[string]any{"database": "nowhere"}, "connect", "warehouse.database", "database"},
		{"TLS where there is none", map[string]any{"tls": "verify-full"}, "connect", "warehouse.tls", "tls: disable"},
		{"wrong key of the bucket", map[string]any{"secret_access_key": wrongSecret}, "load", "auth.refused", "secret_access_key"},
	},
	"clickhouse": {
		{"nobody is there", map[string]any{"port": 1}, "connect", "warehouse.connection", "port"},
		{"no such host", map[string]any{"host": "warehouse.invalid"}, "connect", "warehouse.connection", "host"},
		{"wrong user", map[string]any{"user": "nobody"}, "connect", "auth.refused", "user"},
		{"wrong password", map[string]any{"password": wrongSecret}, "connect", "auth.refused", "password"},
		{"TLS where there is none", map[string]any{"tls": "verify-full"}, "connect", "warehouse.tls", "tls: disable"},
		{"no such database", map[string]any{"database": "nowhere"}, "connect", "warehouse.database", "database"},
		{"wrong user that reads", map[string]any{"read_user": "nobody"}, "connect", "auth.refused", "read_user"},
		{"no such cluster", map[string]any{"cluster": "nowhere"}, "create a schema and a table", "warehouse.cluster", "cluster"},
		{"wrong protocol", map[string]any{"protocol": "native"}, "connect", "warehouse.connection", "protocol"},
		{"no such certificate", map[string]any{"tls": "verify-full", "root_cert": "/nowhere.pem"}, "connect", "warehouse.config", "root_cert"},
	},
	"bigquery": {
		{"no key", map[string]any{"credentials": wrongSecret}, "connect", "auth.refused", "credentials"},
		{"no key that reads", map[string]any{"read_credentials": wrongSecret}, "connect", "auth.refused", "read_credentials"},
		{"nobody is there", map[string]any{"endpoint": "http://127.0.0.1:1"}, "connect", "egress.port_refused", "port"},
		{"no such host", map[string]any{"endpoint": "http://warehouse.invalid"}, "connect", "warehouse.connection", "endpoint"},
		{"no such project", map[string]any{"project": "nowhere"}, "connect", "sql.unknown", "project"},
	},
	"snowflake": {
		{"nobody is there", map[string]any{"endpoint": "http://127.0.0.1:1"}, "connect", "egress.port_refused", "port"},
		{"no such host", map[string]any{"endpoint": "https://warehouse.invalid"}, "connect", "warehouse.connection", "endpoint"},
		{"no address", map[string]any{"endpoint": "warehouse"}, "connect", "warehouse.config: tidegate.yaml", "mend"},
		{"wrong user", map[string]any{"user": "nobody"}, "connect", "auth.refused", "user"},
		{"wrong password", map[string]any{"password": wrongSecret}, "connect", "auth.refused", "password"},
		{"no key", map[string]any{"password": "", "private_key": wrongSecret}, "connect", "auth.refused", "key.p8"},
		{"wrong token", map[string]any{"password": "", "token": wrongSecret}, "connect", "auth.refused", "token"},
		{"no such role", map[string]any{"role": "nobody"}, "connect", "warehouse.permission", "role"},
		{"no such role that reads", map[string]any{"read_role": "nobody"}, "connect", "warehouse.permission", "role"},
		{"no such database", map[string]any{"database": "nowhere"}, "connect", "warehouse.permission", "GRANT USAGE ON DATABASE NOWHERE TO ROLE LOADER"},
		{"no such warehouse", map[string]any{"warehouse": "nowhere"}, "connect", "warehouse.no_compute", "GRANT USAGE ON WAREHOUSE NOWHERE TO ROLE LOADER"},
		{"no such warehouse that reads", map[string]any{"read_warehouse": "nowhere"}, "connect", "warehouse.no_compute", "correct read_warehouse"},
		{"no such schema", map[string]any{"schema": "nowhere"}, "settings", "the schema", "GRANT USAGE ON SCHEMA NOWHERE"},
	},
}

// wrongSecret stands for a reference to a secret that opens nothing.
const wrongSecret = "WRONG"

// TestCheckEverywhere: each kind of warehouse passes its check, and says what to do when it cannot be
// reached, is not what the project says, or lets nobody in; and never the secret.
func TestCheckEverywhere(t *testing.T) {
	t.Parallel()
	for kind, start := range everywhere {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			config := start(t)
			found := checkWarehouse(t, kind, config)
			if d := cmp.Diff([]string(nil), failed(found)); d != "" || len(found) != 10 {
				t.Errorf("%v %s", found, d)
			}
			for _, wrong := range wrongs[kind] {
				wrong.find(t, kind, config)
			}
		})
	}
}

// find has the check find what is wrong first, and say it in one line.
func (wrong mistake) find(t *testing.T, kind string, config map[string]any) {
	t.Helper()
	changed := maps.Clone(config)
	maps.Copy(changed, wrong.say)
	for key, value := range changed {
		switch value {
		case nil: // it is left out
			delete(changed, key)
		case wrongSecret:
			changed[key] = inFile(t, "opens nothing")
		}
	}
	found := checkWarehouse(t, kind, changed)
	i := slices.IndexFunc(found, func(f api.Finding) bool { return f.Level != "ok" })
	if i < 0 {
		t.Errorf("%s: the check passes", wrong.name)
		return
	}
	if f := found[i]; f.Check != wrong.check || !strings.HasPrefix(f.Detail, wrong.code) || !strings.Contains(f.Hint, wrong.hint) {
		t.Errorf("%s: %+v", wrong.name, f)
	}
	for _, f := range found {
		if f.Level != "ok" && f.Hint == "" || strings.Contains(f.Detail+f.Hint, "\n") || strings.Contains(f.Detail+f.Hint, "opens nothing") {
			t.Errorf("%s: %+v", wrong.name, f)
		}
	}
}
