package snowflake_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

const serveEnv = "TIDEGATE_TEST_SERVE"

// TestMemoryIsFlat runs alone, for it looks at the memory of the whole process. The double is another one.
func TestMemoryIsFlat(t *testing.T) {
	t.Setenv(serveEnv, "1")
	t.Setenv("TMPDIR", t.TempDir()) // what the double leaves there goes, too
	endpoint := warehousetest.Emulator(t, os.Args[0], "-test.run=^TestServe$")
	w := open(t, snowflake.Config{
		Account: "acme-test", User: sftest.User, Password: secret.New(sftest.Password), Database: "analytics", Warehouse: "compute", Endpoint: endpoint,
	})
	warehousetest.MemoryWithin(t, w, 20_000, 32<<20)
}

// TestServe is the double of TestMemoryIsFlat, until its input ends.
func TestServe(t *testing.T) {
	if os.Getenv(serveEnv) == "" {
		t.Skip("TestMemoryIsFlat starts it")
	}
	fmt.Println(sftest.New(t).URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
