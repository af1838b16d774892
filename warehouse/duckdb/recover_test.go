package duckdb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

var (
	numbers      = warehouse.Table{Schema: "x", Name: "t"}
	numberSchema = tidegate.Schema{{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: "s", Type: tidegate.Type{Kind: tidegate.String}}}
)

func loadNumber(tb testing.TB, w *duckdb.Warehouse, n int) {
	tb.Helper()
	row := tidegate.Row{int64(n), "a text that is longer than twelve bytes"}
	if _, err := w.Load(context.Background(), warehouse.Load{ID: fmt.Sprint(n), Table: numbers}, tidegate.Rows(numberSchema, row)); err != nil {
		tb.Fatal(err)
	}
}

// snapshot returns a database file with one row in the file and four more in its log.
func snapshot(tb testing.TB) (db, wal []byte) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "s.duckdb")
	w := openAt(tb, path)
	if _, err := w.Ensure(context.Background(), numbers, numberSchema); err != nil {
		tb.Fatal(err)
	}
	loadNumber(tb, w, 0)
	if err := w.Checkpoint(context.Background()); err != nil {
		tb.Fatal(err)
	}
	for n := 1; n < 5; n++ {
		loadNumber(tb, w, n)
	}
	return readFile(tb, path), readFile(tb, path+".wal")
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// place writes a database file and its log and returns the path.
func place(tb testing.TB, db, wal []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "w.duckdb")
	for name, data := range map[string][]byte{path: db, path + ".wal": wal} {
		if data == nil {
			continue
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return path
}

func flipped(data []byte, at int) []byte {
	out := append([]byte{}, data...)
	out[at] ^= 0x55
	return out
}

func recovered(w *duckdb.Warehouse) bool {
	select {
	case <-w.Recovered():
		return true
	default:
		return false
	}
}

// set aside are the files that were kept under a new name.
func setAside(tb testing.TB, path string) []string {
	tb.Helper()
	kept, err := filepath.Glob(path + "*.unreadable-*")
	if err != nil {
		tb.Fatal(err)
	}
	return kept
}

func TestOpenRecovers(t *testing.T) {
	t.Parallel()
	db, wal := snapshot(t)
	for _, c := range []struct {
		name    string
		db, wal []byte
		rows    int // left; -1: the table is gone too
		aside   []string
	}{
		{"whole", db, wal, 5, nil},
		{"no log", db, nil, 1, nil},
		{"torn tail", db, wal[:len(wal)-1], 4, nil},
		{"flip in the log", db, flipped(wal, 60), 1, []string{".wal.unreadable-"}},
		{"flip in the middle of the log", db, flipped(wal, len(wal)/2), 1, []string{".wal.unreadable-"}},
		{"flip in the file's first header", flipped(db, 100), nil, -1, []string{".duckdb.unreadable-"}},
		{"flip in the file and in the log", flipped(db, 4100), flipped(wal, 60), -1, []string{".duckdb.unreadable-", ".wal.unreadable-"}},
		{"cut file", db[:5000], wal, -1, []string{".duckdb.unreadable-", ".wal.unreadable-"}},
		{"empty file", []byte{}, nil, -1, []string{".duckdb.unreadable-"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := place(t, c.db, c.wal)
			w := openAt(t, path)
			if got := recovered(w); got != (c.aside != nil) {
				t.Errorf("told recovered: %v", got)
			}
			kept := setAside(t, path)
			if len(kept) != len(c.aside) {
				t.Fatalf("set aside: %v", kept)
			}
			for i, want := range c.aside {
				if !strings.Contains(kept[i], want) {
					t.Errorf("set aside %v, want %v", kept, c.aside)
				}
			}
			if c.rows < 0 {
				if _, err := w.Describe(context.Background(), numbers); !errors.Is(err, warehouse.ErrNoTable) {
					t.Errorf("got %v", err)
				}
				if _, err := w.Ensure(context.Background(), numbers, numberSchema); err != nil {
					t.Fatal(err)
				}
			} else if got := all(t, w, "SELECT count(*) FROM x.t"); got[0][0] != int64(c.rows) {
				t.Errorf("%v rows are left, want %d", got[0][0], c.rows)
			}
			loadNumber(t, w, 99) // it works again
		})
	}
}

// TestOpenSurvivesEveryFlip: whatever bit of the log is wrong, the warehouse
// opens with a prefix of its loads; and what it could not read, it kept.
func TestOpenSurvivesEveryFlip(t *testing.T) {
	t.Parallel()
	db, wal := snapshot(t)
	step := 97
	if os.Getenv("TIDEGATE_LONG") != "" {
		step = 1
	}
	for at := 0; at < len(wal); at += step {
		path := place(t, db, flipped(wal, at))
		w, err := duckdb.Open(context.Background(), duckdb.Options{Path: path, MemoryLimit: "200MB", Threads: 1, Now: time.Now})
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		for i, row := range all(t, w, "SELECT n FROM x.t ORDER BY n") {
			if row[0] != int64(i) {
				t.Errorf("byte %d: row %d is %v: not a prefix", at, i, row[0])
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenLeavesForeignFilesAlone(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("SQLite format 3 or something else ", 400))
	path := place(t, text, nil)
	_, err := duckdb.Open(context.Background(), duckdb.Options{Path: path, Now: time.Now})
	if f := tidegate.FaultOf(err); f.Action != tidegate.Halt || f.Code != "warehouse.foreign" || f.Hint == "" {
		t.Errorf("got %v", err)
	}
	if string(readFile(t, path)) != string(text) || len(setAside(t, path)) != 0 {
		t.Error("a file of somebody else was touched")
	}
}

func TestOpenTwice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	openAt(t, path)
	_, err := duckdb.Open(context.Background(), duckdb.Options{Path: path, Now: time.Now})
	if f := tidegate.FaultOf(err); f.Code != "warehouse.locked" || f.Action != tidegate.Retry {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefusesWrongSettings(t *testing.T) {
	t.Parallel()
	for _, o := range []duckdb.Options{{Now: time.Now}, {Path: ":memory:", Now: time.Now}, {Path: filepath.Join(t.TempDir(), "w")}} {
		if _, err := duckdb.Open(context.Background(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	_, err := duckdb.Open(context.Background(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w"), MemoryLimit: "plenty", Now: time.Now})
	if f := tidegate.FaultOf(err); f.Action != tidegate.Halt || !strings.Contains(f.Error(), "memory_limit") {
		t.Errorf("got %v", err)
	}
}

func TestProbeDecides(t *testing.T) {
	t.Parallel()
	db, wal := snapshot(t)
	self := func(ctx context.Context, path string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), modeEnv+"=probe", pathEnv+"="+path)
		return cmd
	}
	shell := func(script string) func(context.Context, string) *exec.Cmd {
		return func(ctx context.Context, _ string) *exec.Cmd { return exec.CommandContext(ctx, "sh", "-c", script) }
	}
	for _, c := range []struct {
		name  string
		probe func(context.Context, string) *exec.Cmd
		wal   []byte
		rows  int64 // -1: Open fails and nothing is touched
	}{
		{"a good log", self, wal, 5},
		{"a bad log", self, flipped(wal, 60), 1},
		{"aborts", shell("kill -ABRT $$"), wal, 1},
		{"segfaults", shell("kill -SEGV $$"), wal, 1},
		{"Go's own death", shell("echo 'SIGABRT: abort' >&2; exit 2"), wal, 1},
		{"killed for want of memory", shell("kill -KILL $$"), wal, -1},
		{"a wrong flag", shell("echo 'unknown flag' >&2; exit 2"), wal, -1},
		{"another program has it", shell("echo 'IO Error: Could not set lock on file: Conflicting lock is held' >&2; exit 1"), wal, -1},
		{"does not start", func(ctx context.Context, _ string) *exec.Cmd { return exec.CommandContext(ctx, "/no/such/program") }, wal, -1},
		{"no command", func(context.Context, string) *exec.Cmd { return nil }, wal, 5},
		{"no log, not asked", shell("exit 1"), nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := place(t, db, c.wal)
			w, err := duckdb.Open(context.Background(), duckdb.Options{Path: path, MemoryLimit: "200MB", Threads: 1, Now: time.Now, ProbeCommand: c.probe})
			if c.rows < 0 {
				if err == nil {
					w.Close()
					t.Fatal("opened")
				}
				if tidegate.FaultOf(err).Action != tidegate.Retry {
					t.Errorf("got %v, want a Retry", err)
				}
				if len(setAside(t, path)) != 0 {
					t.Error("a file was set aside although nothing is known about it")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if got := all(t, w, "SELECT count(*) FROM x.t"); got[0][0] != c.rows {
				t.Errorf("%v rows, want %d", got[0][0], c.rows)
			}
			if lost := c.wal != nil && c.rows < 5; recovered(w) != lost || (len(setAside(t, path)) == 1) != lost {
				t.Errorf("lost: %v, set aside: %v", lost, setAside(t, path))
			}
		})
	}
}

func TestProbeChangesNothing(t *testing.T) {
	t.Parallel()
	db, wal := snapshot(t)
	path := place(t, db, wal)
	if err := duckdb.Probe(context.Background(), path); err != nil {
		t.Fatal(err)
	}
	if string(readFile(t, path)) != string(db) || string(readFile(t, path+".wal")) != string(wal) {
		t.Error("the probe changed the file or its log")
	}
}

func TestCheckpointIsInTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	w := openAt(t, path)
	if _, err := w.Ensure(context.Background(), numbers, numberSchema); err != nil {
		t.Fatal(err)
	}
	loadNumber(t, w, 1)
	if err := w.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	copied := openAt(t, place(t, readFile(t, path), nil)) // the file alone, as a crash would leave it
	if got := all(t, copied, "SELECT n FROM x.t"); len(got) != 1 {
		t.Errorf("the file holds %v", got)
	}
	x, err := w.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Exec(context.Background(), "DELETE FROM x.t"); err != nil {
		t.Fatal(err)
	}
	if err := w.Checkpoint(context.Background()); err != nil && tidegate.FaultOf(err).Action != tidegate.Retry {
		t.Errorf("beside an open transaction: %v", err)
	}
	if err := x.Rollback(); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointWhileOthersWrite: the engine refuses at once, and says that it is for later.
func TestCheckpointWhileOthersWrite(t *testing.T) {
	t.Parallel()
	w := open(t)
	tx, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec(t.Context(), "CREATE TABLE main.written (x INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if err := w.Checkpoint(t.Context()); !errors.Is(err, warehouse.ErrBusy) || tidegate.FaultOf(err).Action != tidegate.Retry {
		t.Errorf("while another transaction writes a checkpoint answers %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Errorf("afterwards it answers %v", err)
	}
}
