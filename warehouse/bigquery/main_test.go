package bigquery_test

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is a warehouse on an empty double.
func config(tb testing.TB) (bigquery.Config, *bqtest.Server) {
	tb.Helper()
	s := bqtest.New(tb)
	return bigquery.Config{Project: bqtest.Project, Endpoint: s.URL, StorageEndpoint: s.WriteURL}, s
}

func env() warehouse.Env {
	return warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func open(tb testing.TB, cfg bigquery.Config) *bigquery.Warehouse {
	tb.Helper()
	w, err := bigquery.Open(tb.Context(), cfg, env())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Errorf("closing: %v", err)
		}
	})
	return w.(*bigquery.Warehouse)
}
