package bigquery_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// serveEnv names the variable with the file for the address of the Storage Write API.
const serveEnv = "TIDEGATE_TEST_SERVE"

// TestMemoryIsFlat runs alone, for it looks at the memory of the whole process. The double is another one.
func TestMemoryIsFlat(t *testing.T) {
	for _, c := range []struct {
		staging string
		few     int
		room    int64
	}{
		{"auto", 6_000, 12 << 20}, // a load job, for the larger one
		{"storage_write", 6_000, 12 << 20},
	} {
		t.Run(c.staging, func(t *testing.T) {
			cfg := elsewhere(t)
			cfg.Staging = c.staging
			w := open(t, cfg)
			warehousetest.MemoryWithin(t, w, c.few, c.room)
		})
	}
}

// elsewhere is a warehouse on a double in another process.
func elsewhere(tb testing.TB) bigquery.Config {
	tb.Helper()
	temp := tb.TempDir() // what the double leaves there goes, too
	tb.Setenv("TMPDIR", temp)
	write := filepath.Join(temp, "write")
	tb.Setenv(serveEnv, write)
	endpoint := warehousetest.Emulator(tb, os.Args[0], "-test.run=^TestServe$")
	address, err := os.ReadFile(write)
	if err != nil {
		tb.Fatal(err)
	}
	return bigquery.Config{Project: bqtest.Project, Endpoint: endpoint, StorageEndpoint: string(address)}
}

// TestServe is the double of elsewhere, until its input ends.
func TestServe(t *testing.T) {
	write := os.Getenv(serveEnv)
	if write == "" {
		t.Skip("elsewhere starts it")
	}
	s := bqtest.New(t)
	if err := os.WriteFile(write, []byte(s.WriteURL), 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
