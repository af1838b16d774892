package app_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/local"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
)

// TestMain makes the test's binary a worker of transformations when a hub starts it
// as one.
func TestMain(m *testing.M) {
	chdbtest.Main()
	if err, ok := local.Worker(os.Args[1:], os.Stdin, os.Stdout, time.Now); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
