package postgres_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

var shared pgtest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	shared.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

func server(tb testing.TB) *pgtest.Server {
	tb.Helper()
	return shared.Get(tb, warehousetest.Missing)
}

// config is a warehouse in an empty database.
func config(tb testing.TB) postgres.Config {
	tb.Helper()
	s := server(tb)
	return postgres.Config{Host: s.Host, Port: s.Port, Database: s.Database(tb), User: pgtest.Superuser, MaxConnections: 10}
}

func env() warehouse.Env {
	return warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func open(tb testing.TB, cfg postgres.Config) *postgres.Warehouse {
	tb.Helper()
	w, err := postgres.Open(tb.Context(), cfg, env())
	if err != nil {
		tb.Fatal(err)
	}
	return w.(*postgres.Warehouse)
}

// openAt opens a warehouse whose clock stands still.
func openAt(tb testing.TB, cfg postgres.Config, now time.Time) *postgres.Warehouse {
	tb.Helper()
	e := env()
	e.Now = func() time.Time { return now }
	w, err := postgres.Open(tb.Context(), cfg, e)
	if err != nil {
		tb.Fatal(err)
	}
	return w.(*postgres.Warehouse)
}
