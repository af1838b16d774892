package snowflake_test

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
)

// TestMissingGrants takes the privileges of the set-up SQL away one by one: Snowflake's refusal of the statement that
// needs it becomes a Halt that names the GRANT. USAGE on the database and the virtual warehouse, and the roles
// themselves, are looked at when the warehouse is opened (TestCheckEverywhere in control/app).
func TestMissingGrants(t *testing.T) {
	t.Parallel()
	table := warehouse.Table{Schema: "web", Name: "t"}
	schema := tidegate.Schema{{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}}}
	ensure := func(t *testing.T, w *snowflake.Warehouse) error {
		t.Helper()
		_, err := w.Ensure(t.Context(), table, schema)
		return err
	}
	load := func(t *testing.T, w *snowflake.Warehouse) error {
		t.Helper()
		_, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table, Key: []string{"n"}}, tidegate.Rows(schema, tidegate.Row{int64(1)}))
		return err
	}
	query := func(t *testing.T, w *snowflake.Warehouse) error {
		t.Helper()
		r, err := w.Query(t.Context(), "SELECT n FROM web.t")
		if err == nil {
			_ = r.Close()
		}
		return err
	}
	exec := func(sql string) func(t *testing.T, w *snowflake.Warehouse) error {
		return func(t *testing.T, w *snowflake.Warehouse) error {
			t.Helper()
			_, err := w.Exec(t.Context(), sql)
			return err
		}
	}
	const denied = "SQL access control error:\nInsufficient privileges to operate on "
	for _, c := range []struct {
		privilege     string
		begins, role  string // of the statement that is refused
		code, message string
		do            func(t *testing.T, w *snowflake.Warehouse) error
		hint          string
	}{
		{"CREATE SCHEMA on the database", "CREATE SCHEMA", "LOADER", "003001", denied + "database 'ANALYTICS'", ensure, "CREATE SCHEMA ON DATABASE ANALYTICS TO ROLE LOADER"},
		{"CREATE TABLE on a schema", "CREATE TABLE", "LOADER", "003001", denied + "schema 'WEB'", ensure, "CREATE TABLE, CREATE STAGE, CREATE VIEW ON SCHEMA WEB TO ROLE LOADER"},
		{"CREATE VIEW on a schema", "CREATE VIEW", "LOADER", "003001", denied + "schema '_TIDEGATE'", exec(`CREATE VIEW web.v AS SELECT 1 AS n`), "CREATE VIEW ON SCHEMA _TIDEGATE TO ROLE LOADER"},
		{"what writes a table", "MERGE INTO \"WEB\"", "LOADER", "003001", denied + "table 'T'", load, "INSERT, UPDATE, DELETE ON TABLE T TO ROLE LOADER"},
		{"SELECT on a table", "SELECT n", "READER", "003001", denied + "table 'T'", query, "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE T TO ROLE READER"},
		{"SELECT on a view", "SELECT n", "READER", "003001", denied + "view 'T'", query, "GRANT SELECT ON VIEW T TO ROLE READER"},
		{"SELECT on what may not be known of", "SELECT n", "READER", "002003", "SQL compilation error:\nObject 'WEB.T' does not exist or not authorized.", query, "GRANT SELECT ON TABLE WEB.T TO ROLE READER"},
		{"USAGE on a schema", "SELECT n", "READER", "002003", "SQL compilation error:\nSchema 'ANALYTICS.WEB' does not exist or not authorized.", query, "GRANT USAGE ON SCHEMA ANALYTICS.WEB TO ROLE READER"},
		{"USAGE on the virtual warehouse", "SELECT n", "READER", "000606", "No active warehouse selected in the current session.", query, "GRANT USAGE ON WAREHOUSE … TO ROLE READER"},
		{"OPERATE on a virtual warehouse that sleeps", "SELECT n", "READER", "003001", denied + "warehouse 'COMPUTE'", query, "ON WAREHOUSE COMPUTE TO ROLE READER"},
	} {
		t.Run(c.privilege, func(t *testing.T) {
			t.Parallel()
			cfg, s := config(t)
			cfg.ReadRole = "reader"
			w := open(t, cfg)
			if !strings.HasPrefix(c.begins, "CREATE S") && !strings.HasPrefix(c.begins, "CREATE T") {
				if err := ensure(t, w); err != nil {
					t.Fatal(err)
				}
			}
			refused := false
			s.Intercept(func(call sftest.Call) *sftest.Answer {
				if !strings.HasPrefix(call.SQL, c.begins) || call.Role != c.role {
					return nil
				}
				refused = true
				return &sftest.Answer{Code: c.code, Message: c.message}
			})
			err := c.do(t, w)
			s.Intercept(nil)
			if f := tidegate.FaultOf(err); err == nil || f.Action != tidegate.Halt || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("got %v with the hint %q (refused: %v), want %q", err, f.Hint, refused, c.hint)
			}
		})
	}
}
