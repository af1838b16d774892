package analytics

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain fails the package when a goroutine of it is left behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftBehind(5 * time.Second); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines are left behind:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftBehind waits until no goroutine of this module runs any more and returns
// those that still do when time is up. Another goroutine's end gives no signal.
func leftBehind(within time.Duration) string {
	for deadline := time.Now().Add(within); ; {
		left := strangers()
		if left == "" || time.Now().After(deadline) {
			return left
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// strangers returns the stacks of this module's goroutines, those of the test
// runner left out.
func strangers() string {
	buf := make([]byte, 1<<20)
	var left []string
	for i, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if i == 0 { // this one
			continue
		}
		if strings.Contains(stack, "tidegate/sdk-go") || strings.Contains(stack, "persistConn") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
