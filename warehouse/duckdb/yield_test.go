package duckdb_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestYieldLendsTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	w := openAt(t, path)
	ctx := context.Background()
	if _, err := w.Ensure(ctx, numbers, numberSchema); err != nil {
		t.Fatal(err)
	}
	loadNumber(t, w, 1)
	err := w.Yield(ctx, func(ctx context.Context, lent string) error {
		if lent != path {
			t.Errorf("lent %s", lent)
		}
		run(t, "write", path, 0)
		_, query := w.Query(ctx, "SELECT 1")
		_, describe := w.Describe(ctx, numbers)
		_, ensure := w.Ensure(ctx, numbers, numberSchema)
		_, load := w.Load(ctx, warehouse.Load{ID: "x", Table: numbers}, tidegate.Rows(numberSchema))
		_, exec := w.Exec(ctx, "SELECT 1")
		_, begin := w.Begin(ctx)
		_, tables := w.Tables(ctx)
		for what, err := range map[string]error{
			"Query": query, "Describe": describe, "Ensure": ensure, "Load": load, "Exec": exec, "Begin": begin, "Tables": tables,
			"Checkpoint": w.Checkpoint(ctx), "Yield": w.Yield(ctx, nil),
		} {
			if !errors.Is(err, warehouse.ErrYielded) || tidegate.FaultOf(err).Action != tidegate.Retry {
				t.Errorf("%s: got %v", what, err)
			}
		}
		return errTest
	})
	if !errors.Is(err, errTest) {
		t.Errorf("got %v, want the error of use", err)
	}
	if got := all(t, w, "SELECT n FROM x.t ORDER BY n"); len(got) != 2 {
		t.Errorf("got %v, want the rows of both programs", got)
	}
	if recovered(w) {
		t.Error("nothing was lost")
	}
}

var errTest = errors.New("test")

func TestYieldWaitsForRunningCalls(t *testing.T) {
	t.Parallel()
	w := open(t)
	r, err := w.Query(context.Background(), "SELECT range FROM range(1000000)")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err = w.Yield(ctx, func(context.Context, string) error {
		t.Error("the file was lent under an open reader")
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Next(context.Background()); err != nil {
		t.Errorf("the reader was disturbed: %v", err)
	}
	r.Close()
	all(t, w, "SELECT 1") // open again
	yielded := false
	if err := w.Yield(context.Background(), func(context.Context, string) error { yielded = true; return nil }); err != nil || !yielded {
		t.Errorf("%v, %v", yielded, err)
	}
}

func TestYieldAndClose(t *testing.T) {
	t.Parallel()
	w := open(t)
	inside, closed := make(chan struct{}), make(chan error)
	go func() {
		<-inside
		closed <- w.Close()
	}()
	err := w.Yield(context.Background(), func(context.Context, string) error {
		close(inside)
		for { // until Close has begun
			if _, err := w.Query(context.Background(), "SELECT 1"); !errors.Is(err, warehouse.ErrYielded) {
				return nil
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestFatalErrorsAreHealed fills the disk (by a limit on the size of files, in a
// process of its own) until the engine gives up, and lets it heal.
func TestFatalErrorsAreHealed(t *testing.T) {
	t.Parallel()
	said := run(t, "diskfull", filepath.Join(t.TempDir(), "w.duckdb"), 0)
	for _, want := range []string{"warehouse.broken", "invalidated", "recovered"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %q", want, said)
		}
	}
}

// TestKillKeepsWhatReturned kills a process that loads, and opens what it left.
func TestKillKeepsWhatReturned(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	said := run(t, "crash", path, -1)
	w, err := duckdb.Open(context.Background(), duckdb.Options{Path: path, MemoryLimit: "200MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	returned := len(said)
	rows := len(all(t, w, "SELECT n FROM x.t"))
	if returned == 0 || rows != returned && rows != returned+1 {
		t.Errorf("%d loads had returned and %d rows are there", returned, rows)
	}
	if got := all(t, w, "SELECT count(*) FROM _tidegate.loads"); got[0][0] != int64(rows) {
		t.Errorf("%v loads are remembered for %d rows", got[0][0], rows)
	}
}
