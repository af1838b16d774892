package journal

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain sets how many random schedules run: 4,000, or 100,000 with
// TIDEGATE_LONG=1, unless -rapid.checks says otherwise.
func TestMain(m *testing.M) {
	checks := "4000"
	if os.Getenv("TIDEGATE_LONG") != "" {
		checks = "100000"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
