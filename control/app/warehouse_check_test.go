package app_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func checkWarehouse(t *testing.T, kind string, config map[string]any) []api.Finding {
	t.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return app.CheckWarehouses(t.Context(), &project.Project{Warehouse: project.Warehouse{Kind: kind, Config: raw}}, t.TempDir(), time.Now)
}

// failed returns the checks that did not pass.
func failed(found []api.Finding) (checks []string) {
	for _, f := range found {
		if f.Level != "ok" {
			checks = append(checks, f.Check+": "+f.Hint)
		}
	}
	return checks
}

func TestCheckWarehouse(t *testing.T) {
	t.Parallel()
	t.Run("duckdb", func(t *testing.T) {
		t.Parallel()
		found := checkWarehouse(t, "duckdb", map[string]any{"memory_limit": "300MB", "threads": 1})
		if d := cmp.Diff([]string(nil), failed(found)); d != "" || len(found) != 10 {
			t.Errorf("%v %s", found, d)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		var shared pgtest.Shared
		defer shared.Stop()
		s := shared.Get(t, warehousetest.Missing)
		s.Exec(t, "postgres", "CREATE DATABASE shop")
		s.Exec(t, "postgres", "CREATE ROLE loads LOGIN; CREATE ROLE reads LOGIN; REVOKE ALL ON DATABASE shop FROM PUBLIC; GRANT CONNECT, CREATE ON DATABASE shop TO loads; GRANT CONNECT ON DATABASE shop TO reads")
		config := map[string]any{"host": s.Host, "port": s.Port, "database": "shop", "user": "loads", "read_user": "reads"}
		missing := failed(checkWarehouse(t, "postgres", config))
		if len(missing) != 1 || !strings.HasPrefix(missing[0], "load by key: GRANT TEMPORARY ON DATABASE shop TO loads") {
			t.Errorf("got %q", missing)
		}
		s.Exec(t, "postgres", "GRANT TEMPORARY ON DATABASE shop TO loads")
		found := checkWarehouse(t, "postgres", config)
		if d := cmp.Diff([]string(nil), failed(found)); d != "" || len(found) != 10 {
			t.Errorf("%v %s", found, d)
		}
		if left := s.Psql(t, "shop", "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tidegate_check%'", ""); !strings.Contains(left, "(0 rows)") {
			t.Errorf("schemas are left behind: %s", left)
		}
		config["user"] = "nobody"
		if got := failed(checkWarehouse(t, "postgres", config)); len(got) != 1 || !strings.HasPrefix(got[0], "connect: ") {
			t.Errorf("got %q", got)
		}
	})
}
