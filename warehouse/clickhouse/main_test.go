package clickhouse_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func TestMain(m *testing.M) {
	chdbtest.Main()
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// server is an engine of the test's own, as schemas are databases of it.
func server(tb testing.TB) *chdbtest.Server {
	tb.Helper()
	return chdbtest.Get(tb, warehousetest.Missing)
}

func config(s *chdbtest.Server) clickhouse.Config {
	return clickhouse.Config{Host: s.Host, Port: s.Port, User: chdbtest.User, Password: secret.New(chdbtest.Password)}
}

func env() warehouse.Env {
	return warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func open(tb testing.TB, cfg clickhouse.Config) *clickhouse.Warehouse {
	tb.Helper()
	w, err := clickhouse.Open(tb.Context(), cfg, env())
	if err != nil {
		tb.Fatal(err)
	}
	return w.(*clickhouse.Warehouse)
}
