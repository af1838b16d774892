package bigquery_test

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// emulator starts the bqemulator of `make second-opinion`, an emulator by others
// (sqlglot over DuckDB), and returns its address.
func emulator(t testing.TB) string {
	t.Helper()
	path := os.Getenv("TIDEGATE_BQEMULATOR") // its python
	if path == "" {
		warehousetest.Missing(t, "bqemulator", "run `make second-opinion`, which needs python3 with venv and PyPI")
	}
	cmd := exec.Command(path, filepath.Join("testdata", "emulate.py"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	told := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			if found := told.FindString(lines.Text()); found != "" {
				select {
				case address <- found:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case found := <-address:
		return found
	case <-read:
		t.Fatal("the emulator ended without an address")
	case <-time.After(2 * time.Minute):
		t.Fatal("the emulator does not say where it listens")
	}
	return ""
}

// TestSecondOpinion holds the adapter to the suite on an emulator that others
// wrote. It has one connection for everything, so each check has an emulator of its
// own, one after another. `make second-opinion` runs those checks that it can stand:
// it forgets the digits of decimals, makes up job ids of uploads, does not decode BYTES
// in loads, and cannot run anything beside a session.
func TestSecondOpinion(t *testing.T) {
	var turn sync.Mutex
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		turn.Lock()
		tb.Cleanup(turn.Unlock)
		return open(tb, bigquery.Config{Project: "second-opinion", Endpoint: emulator(tb)})
	}))
}
