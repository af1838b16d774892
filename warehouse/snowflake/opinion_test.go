package snowflake_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestSecondOpinion holds the adapter to the suite on fakesnow, an emulator that others
// wrote. Each check has a database of its own, one after another.
func TestSecondOpinion(t *testing.T) {
	python := os.Getenv("TIDEGATE_FAKESNOW") // with fakesnow (sqlglot over DuckDB)
	if python == "" {
		warehousetest.Missing(t, "fakesnow", "run `make second-opinion`, which needs python3 with venv and PyPI")
	}
	endpoint := warehousetest.Emulator(t, python, filepath.Join("testdata", "emulate.py"))
	var turn sync.Mutex
	n := 0
	e := engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		turn.Lock()
		tb.Cleanup(turn.Unlock)
		n++
		return open(tb, snowflake.Config{
			Account: "second-opinion", User: "u", Password: secret.New("p"), Warehouse: "compute", Database: fmt.Sprint("opinion", n), Endpoint: endpoint,
		})
	})
	e.LeftOut = beyondFakesnow
	warehousetest.Run(t, e)
}

// beyondFakesnow is what fakesnow 0.12.1 cannot do.
var beyondFakesnow = map[string]string{
	"types round trip/decimal(38,0)": "it reads a NUMBER without a fraction as a 64-bit integer",
	"types round trip/timestamp":     "a TIMESTAMP_TZ that is NULL comes back as 1970",
	"types round trip/json":          "it cannot describe a table that is called JSON",
	"names are quoted":               "it takes $z in a quoted name for a variable of the session",
	"histories of schemas":           "it takes $z in a quoted name for a variable of the session",
	"load of many rows":              "it does not know REMOVE of files in a stage",
	"load is all or none":            "it does not know REMOVE of files in a stage",
	"load is once":                   "its MERGE does not wait for another of the same rows",
	"loads in parallel":              "its sessions cannot make a schema at the same time, nor MERGE wait",
	"transactions":                   "its COUNT(*) is a NUMBER(38,0), where Snowflake's has 18 digits",
	"transactions are alone":         "its transactions have snapshots, and Snowflake's read what is committed",
	"query reports errors":           "it says no line of an unknown name",
	"query only reads":               "it does not know EXPLAIN",
	"query is cancelled":             "it does not end a statement that is aborted",
	"tables of a query":              "it does not know EXPLAIN",
	"estimate":                       "it does not know EXPLAIN",
}
