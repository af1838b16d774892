package bigquery_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestSecondOpinion holds the adapter to the suite on an emulator that others
// wrote. It has one connection for everything, so each check has an emulator of its
// own, one after another. `make second-opinion` runs those checks that it can stand:
// it forgets the digits of decimals, makes up job ids of uploads, does not decode BYTES
// in loads, and cannot run anything beside a session.
func TestSecondOpinion(t *testing.T) {
	python := os.Getenv("TIDEGATE_BQEMULATOR") // with bqemulator (sqlglot over DuckDB)
	if python == "" {
		warehousetest.Missing(t, "bqemulator", "run `make second-opinion`, which needs python3 with venv and PyPI")
	}
	var turn sync.Mutex
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		turn.Lock()
		tb.Cleanup(turn.Unlock)
		return open(tb, bigquery.Config{Project: "second-opinion", Endpoint: warehousetest.Emulator(tb, python, filepath.Join("testdata", "emulate.py"))})
	}))
}
