package snowflake_test

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is a warehouse on an empty double.
func config(tb testing.TB) (snowflake.Config, *sftest.Server) {
	tb.Helper()
	s := sftest.New(tb)
	return snowflake.Config{Account: "acme-test", User: sftest.User, Password: secret.New(sftest.Password), Database: "analytics", Warehouse: "compute", Role: "loader", Endpoint: s.URL}, s
}

func env(tb testing.TB) warehouse.Env {
	tb.Helper()
	return warehouse.Env{Dir: tb.TempDir(), Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func open(tb testing.TB, cfg snowflake.Config) *snowflake.Warehouse {
	tb.Helper()
	w, err := snowflake.Open(tb.Context(), cfg, env(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Errorf("closing: %v", err)
		}
	})
	return w.(*snowflake.Warehouse)
}
