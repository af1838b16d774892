package snowflake_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// latch is a schema that must be there in the database before its others are dropped.
const latch = "tidegate_may_drop_everything"

// TestCloud holds the adapter to the suite in a database of Snowflake's. The database
// belongs to the test alone: every check drops all of its schemas first.
func TestCloud(t *testing.T) {
	cfg := snowflake.Config{
		Account: os.Getenv("TIDEGATE_SNOWFLAKE_ACCOUNT"), User: os.Getenv("TIDEGATE_SNOWFLAKE_USER"), Database: os.Getenv("TIDEGATE_SNOWFLAKE_DATABASE"),
		Warehouse: os.Getenv("TIDEGATE_SNOWFLAKE_WAREHOUSE"), Role: os.Getenv("TIDEGATE_SNOWFLAKE_ROLE"), Tag: "test-cloud",
	}
	key := os.Getenv("TIDEGATE_SNOWFLAKE_KEY")
	const missing = "TIDEGATE_SNOWFLAKE_ACCOUNT, _USER, _DATABASE and _KEY (the path of a private key) are not all set; see docs/warehouses/snowflake.md"
	if cfg.Account == "" {
		t.Skip(missing)
	}
	if cfg.User == "" || cfg.Database == "" || key == "" {
		t.Fatal(missing)
	}
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	cfg.PrivateKey = secret.New(string(text))
	admin := open(t, cfg)
	schemas := func() (names []string) {
		for _, row := range warehousetest.Rows(t, admin, "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ('INFORMATION_SCHEMA', 'PUBLIC')") {
			names = append(names, row[0].(string))
		}
		return names
	}
	if !strings.Contains(strings.ToLower(strings.Join(schemas(), " ")), latch) {
		t.Fatalf("the database %s has no schema %s, so nothing of it is dropped", cfg.Database, latch)
	}
	var turn sync.Mutex // one check at a time has the database
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		turn.Lock()
		tb.Cleanup(turn.Unlock)
		for _, name := range schemas() {
			if strings.EqualFold(name, latch) {
				continue
			}
			if _, err := admin.Exec(tb.Context(), `DROP SCHEMA "`+strings.ReplaceAll(name, `"`, `""`)+`" CASCADE`); err != nil {
				tb.Fatal(err)
			}
		}
		return open(tb, cfg)
	}))
}
