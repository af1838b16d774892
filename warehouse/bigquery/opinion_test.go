package bigquery_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// emulator starts the bqemulator of `make bqemulator-env`, an emulator by others
// (sqlglot over DuckDB), and returns its address.
func emulator(t *testing.T) string {
	t.Helper()
	path := os.Getenv("TIDEGATE_BQEMULATOR")
	if path == "" {
		path = filepath.Join("..", "..", ".cache", "bqemulator", "bin", "bqemulator")
	}
	if _, err := os.Stat(path); err != nil {
		warehousetest.Missing(t, "bqemulator", err.Error()+"; run `make bqemulator-env`, which needs python3 with venv and PyPI")
	}
	cmd := exec.Command(path, "start", "--rest-port", "0", "--grpc-port", "0", "--log-format", "json")
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
// wrote, each check in a project of its own.
func TestSecondOpinion(t *testing.T) {
	t.Parallel()
	address := emulator(t)
	projects := make(chan string)
	go func() {
		for i := 0; ; i++ {
			select {
			case projects <- fmt.Sprintf("p-%d", i):
			case <-t.Context().Done():
				return
			}
		}
	}()
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		return open(tb, bigquery.Config{Project: <-projects, Endpoint: address})
	}))
}
