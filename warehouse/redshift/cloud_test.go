package redshift_test

import (
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// latch is a schema that must be there in the database before its others are dropped.
const latch = "tidegate_may_drop_everything"

// TestCloud holds the adapter to the suite on a database of Redshift. The database
// belongs to the test alone: every check drops all of its schemas first.
func TestCloud(t *testing.T) {
	env := func(name string) string { return os.Getenv("TIDEGATE_REDSHIFT_" + name) }
	if env("HOST") == "" || env("BUCKET") == "" {
		t.Skip("TIDEGATE_REDSHIFT_HOST and the others are not set; see docs/warehouses/redshift.md")
	}
	cfg := redshift.Config{
		Host: env("HOST"), Database: env("DATABASE"), User: env("USER"), Password: secret.New(env("PASSWORD")),
		Bucket: env("BUCKET"), Region: env("REGION"), AccessKeyID: env("KEY_ID"), SecretAccessKey: secret.New(env("KEY")), IAMRole: env("ROLE"),
	}
	c, err := pgconn.ParseConfig("sslmode=verify-full sslrootcert=system port=5439")
	if err != nil {
		t.Fatal(err)
	}
	c.Host, c.Database, c.User, c.Password = cfg.Host, cfg.Database, cfg.User, cfg.Password.Reveal()
	c.TLSConfig.ServerName = cfg.Host
	c.Fallbacks = nil
	admin, err := pgconn.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(t.Context()) })
	schemas := func(tb testing.TB) []string {
		tb.Helper()
		results, err := admin.Exec(tb.Context(), "SELECT nspname FROM pg_namespace WHERE nspowner = (SELECT usesysid FROM pg_user WHERE usename = current_user)").ReadAll()
		if err != nil {
			tb.Fatal(err)
		}
		var names []string
		for _, row := range results[0].Rows {
			names = append(names, string(row[0]))
		}
		return names
	}
	armed := false
	for _, name := range schemas(t) {
		armed = armed || name == latch
	}
	if !armed {
		t.Fatalf("the database %s has no schema %s, so nothing of it is dropped", cfg.Database, latch)
	}
	var turn sync.Mutex // one check at a time has the database
	e := engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		turn.Lock()
		tb.Cleanup(turn.Unlock)
		for _, name := range schemas(tb) {
			if name == latch || name == "public" {
				continue
			}
			quoted, err := sqltext.Redshift().Ident(name)
			if err != nil {
				tb.Fatal(err)
			}
			if _, err := admin.Exec(tb.Context(), string("DROP SCHEMA "+quoted+" CASCADE")).ReadAll(); err != nil {
				tb.Fatal(err)
			}
		}
		return open(tb, cfg)
	})
	e.RoundsJSON = true
	e.Materializes = true
	warehousetest.Run(t, e)
}
