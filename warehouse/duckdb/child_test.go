package duckdb_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// The test binary, started again with these, plays the other programs.
const (
	modeEnv = "TIDEGATE_DUCKDB_TEST_MODE"
	pathEnv = "TIDEGATE_DUCKDB_TEST_PATH"
)

func TestMain(m *testing.M) {
	mode, path := os.Getenv(modeEnv), os.Getenv(pathEnv)
	if mode == "" {
		goleak.VerifyTestMain(m)
		return
	}
	children := map[string]func(context.Context, string) error{
		"probe": duckdb.Probe, "write": childWrite, "diskfull": childDiskFull, "crash": childCrash, "spill": childSpill,
	}
	if err := children[mode](context.Background(), path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run plays mode and returns what it printed; exit is the code it must end with.
func run(tb testing.TB, mode, path string, exit int) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), modeEnv+"="+mode, pathEnv+"="+path)
	var said, complained strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &complained
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != exit {
		tb.Fatalf("%s ended with %d, %v: %s", mode, got, err, complained.String())
	}
	return said.String()
}

func childOpen(ctx context.Context, path string) (*duckdb.Warehouse, error) {
	return duckdb.Open(ctx, duckdb.Options{Path: path, MemoryLimit: "300MB", Threads: 1, Now: time.Now})
}

func childLoad(ctx context.Context, w *duckdb.Warehouse, n int, text string) error {
	_, err := w.Load(ctx, warehouse.Load{ID: fmt.Sprint("child ", n), Table: numbers}, tidegate.Rows(numberSchema, tidegate.Row{int64(n), text}))
	return err
}

// childWrite is another program that uses the file. The lock file is not its
// business, so it writes to a copy of the path by the engine alone.
func childWrite(ctx context.Context, path string) error {
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		return err
	}
	w, err := childOpen(ctx, link)
	if err != nil {
		return err
	}
	if err := childLoad(ctx, w, 2, "from the child"); err != nil {
		return err
	}
	return w.Close()
}

// childCrash loads one row at a time, prints a letter for each load that
// returned, and kills itself in the middle.
func childCrash(ctx context.Context, path string) error {
	w, err := childOpen(ctx, path)
	if err != nil {
		return err
	}
	if _, err := w.Ensure(ctx, numbers, numberSchema); err != nil {
		return err
	}
	killed := make(chan struct{})
	for n := 0; ; n++ {
		if n == 20 {
			go func() {
				defer close(killed)
				unix.Kill(os.Getpid(), unix.SIGKILL)
			}()
		}
		if err := childLoad(ctx, w, n, "a text that is longer than twelve bytes"); err != nil {
			return err
		}
		os.Stdout.WriteString("l")
		if n > 100_000 {
			<-killed
			return fmt.Errorf("still alive")
		}
	}
}

// childDiskFull limits the size of files, checkpoints until the engine gives
// up, raises the limit, and expects everything to heal by itself.
func childDiskFull(ctx context.Context, path string) error {
	w, err := childOpen(ctx, path)
	if err != nil {
		return err
	}
	if _, err := w.Ensure(ctx, numbers, numberSchema); err != nil {
		return err
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 2 << 20, Max: before.Max}); err != nil {
		return err
	}
	text := strings.Repeat("x", 100_000)
	loaded := 0
	for ; ; loaded++ {
		if loaded == 1000 {
			return fmt.Errorf("the limit on files has no effect")
		}
		if err = childLoad(ctx, w, loaded, text+fmt.Sprint(loaded)); err != nil {
			break
		}
		if loaded%5 == 4 {
			if err = w.Checkpoint(ctx); err != nil {
				loaded++ // it had returned
				break
			}
		}
	}
	if f := tidegate.FaultOf(err); f.Action != tidegate.Retry || f.Code != "warehouse.broken" && f.Code != "warehouse.io" {
		return fmt.Errorf("a full disk is a %v %s: %w", f.Action, f.Code, err)
	}
	fmt.Fprintln(os.Stdout, "failed:", err)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		err := childLoad(ctx, w, loaded, text)
		if err == nil {
			break
		}
		if f := tidegate.FaultOf(err); f.Action != tidegate.Retry || tries == 2000 {
			return fmt.Errorf("it does not heal: %w", err)
		}
		select {
		case <-w.Recovered():
			fmt.Fprintln(os.Stdout, "recovered")
		case <-time.After(20 * time.Second):
			return fmt.Errorf("it does not open again: %w", err)
		}
	}
	r, err := w.Query(ctx, "SELECT count(*), count(DISTINCT n) FROM x.t")
	if err != nil {
		return err
	}
	row, err := r.Next(ctx)
	if err != nil {
		return err
	}
	if row[0] != int64(loaded+1) || row[1] != int64(loaded+1) {
		return fmt.Errorf("%v rows of %d loads", row, loaded+1)
	}
	if err := r.Close(); err != nil {
		return err
	}
	return w.Close()
}

// childSpill sorts more than the memory limit holds.
func childSpill(ctx context.Context, path string) error {
	w, err := duckdb.Open(ctx, duckdb.Options{Path: path, MemoryLimit: "60MB", Threads: 1, Now: time.Now})
	if err != nil {
		return err
	}
	r, err := w.Query(ctx, "SELECT count(*) FROM (SELECT range, md5(range::VARCHAR) AS h FROM range(2000000) ORDER BY h OFFSET 10)")
	if err != nil {
		return err
	}
	row, err := r.Next(ctx)
	if err != nil {
		return err
	}
	if row[0] != int64(1_999_990) {
		return fmt.Errorf("got %v", row)
	}
	if err := r.Close(); err != nil {
		return err
	}
	return w.Close()
}
