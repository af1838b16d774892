package loader

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/internal/vfs"
)

// inJournal opens the journal on fs, appends so many events called after prefix and calls
// use with a loader's options.
func inJournal(t *testing.T, fs vfs.FS, wh Warehouse, prefix string, events int, use func(Options, *journal.Journal)) {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: "/journal", FS: fs, Now: time.Now, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for i := range events {
		e := envelope.Envelope{Source: "web", ReceivedAt: epoch(), Events: []envelope.Event{{Body: []byte(track("e", fmt.Sprint(prefix, i), "u", nil))}}}
		if _, err := j.Append(t.Context(), envelope.Append(nil, &e), 1); err != nil {
			t.Fatal(err)
		}
	}
	reader, err := j.Reader("loader")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}()
	use(Options{Reader: reader, Warehouse: wh, Log: slog.New(slog.DiscardHandler), Now: time.Now, Linger: time.Millisecond, MaxBackoff: time.Millisecond}, j)
}

// refused runs a loader until it says that the journal is not the one of the cursor, which
// is before it loads. It returns what the loader says of itself then.
func refused(t *testing.T, o Options) Stats {
	t.Helper()
	failed := make(faults, 1)
	o.Log = slog.New(failed)
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, l)
	defer stop()
	select {
	case <-failed:
	case <-time.After(20 * time.Second):
		t.Fatal("the loader loads, or waits")
	}
	s := l.Stats()
	if s.Fault == nil || s.Fault.Code != "journal.replaced" || !strings.Contains(s.Fault.Hint, "tidegate warehouse rejoin") || s.Batches > 0 {
		t.Errorf("the loader says %+v, having loaded %d batches", s.Fault, s.Batches)
	}
	return s
}

// faults is a log that tells of the first failure.
type faults chan struct{}

func (faults) Enabled(context.Context, slog.Level) bool { return true }

func (f faults) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "loading failed") {
		select {
		case f <- struct{}{}:
		default:
		}
	}
	return nil
}

func (f faults) WithAttrs([]slog.Attr) slog.Handler { return f }

func (f faults) WithGroup(string) slog.Handler { return f }

func counted(t *testing.T, wh duck, want string) {
	t.Helper()
	rows := table(t, wh, "SELECT left(id, 1) AS w, count(*) AS n FROM web.e GROUP BY 1 ORDER BY 1")
	if got := strings.Join(rows, ", "); got != want {
		t.Errorf("web.e holds %s, want %s", got, want)
	}
}

// rejoin lets loading go on with what the journal keeps.
func rejoin(t *testing.T, wh Warehouse, j *journal.Journal) {
	t.Helper()
	oldest := j.Stats().Oldest
	if err := SetCursor(t.Context(), wh, oldest, j.Mark(oldest)); err != nil {
		t.Fatal(err)
	}
}

// TestARegrownJournalIsNotLoaded: a place of a journal that is gone lies inside of the one
// that took its place, and nothing below it may be passed over.
func TestARegrownJournalIsNotLoaded(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	first := vfs.NewMem(1)
	var backup *vfs.Mem
	inJournal(t, first, wh, "a", 2, func(o Options, j *journal.Journal) { loadAll(t, o, j.Durable()) })
	backup = first.KillClone()
	inJournal(t, first, wh, "b", 3, func(o Options, j *journal.Journal) { loadAll(t, o, j.Durable()) })
	counted(t, wh, "w=a n=2, w=b n=3")

	// Put back as it was after two events, and written on.
	inJournal(t, backup, wh, "c", 9, func(o Options, _ *journal.Journal) { refused(t, o) })
	counted(t, wh, "w=a n=2, w=b n=3")
	inJournal(t, backup, wh, "c", 0, func(o Options, j *journal.Journal) {
		rejoin(t, wh, j)
		loadAll(t, o, j.Durable())
	})
	counted(t, wh, "w=a n=2, w=b n=3, w=c n=9")

	// Lost and made anew.
	second := vfs.NewMem(2)
	for range 2 {
		inJournal(t, second, wh, "d", 20, func(o Options, _ *journal.Journal) { refused(t, o) })
	}
	counted(t, wh, "w=a n=2, w=b n=3, w=c n=9")
	inJournal(t, second, wh, "e", 1, func(o Options, j *journal.Journal) {
		rejoin(t, wh, j)
		loadAll(t, o, j.Durable())
		if at, mark, err := Cursor(t.Context(), wh); err != nil || at != j.Durable() || mark != j.Mark(at) {
			t.Errorf("the cursor is %s, marked %q, of a journal that says %q: %v", at, mark, j.Mark(at), err)
		}
	})
	counted(t, wh, "w=a n=2, w=b n=3, w=c n=9, w=d n=20, w=e n=1")
}

// TestWhatWaitsHasAnAge: also before the first batch, while nothing can be read.
func TestWhatWaitsHasAnAge(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	inJournal(t, vfs.NewMem(1), wh, "a", 2, func(o Options, j *journal.Journal) { loadAll(t, o, j.Durable()) })
	inJournal(t, vfs.NewMem(2), wh, "b", 3, func(o Options, j *journal.Journal) {
		o.Head, o.AppendedAt = j.Durable, j.AppendedAt
		o.Now = func() time.Time { return time.Now().Add(time.Hour) }
		if s := refused(t, o); s.LagEvents != 3 || s.LagAge < time.Hour || s.LagAge > 2*time.Hour {
			t.Errorf("3 events wait for an hour, the loader says %d for %v", s.LagEvents, s.LagAge)
		}
		// What an earlier process saw loaded does not wait.
		if err := o.Reader.Commit(t.Context(), tidegate.Offset{Position: 2}); err != nil {
			t.Fatal(err)
		}
		if s := refused(t, o); s.LagEvents != 1 || s.LagAge < time.Hour {
			t.Errorf("1 event waits for an hour, the loader says %d for %v", s.LagEvents, s.LagAge)
		}
	})
}

// TestACursorOfAnEarlierVersionIsAdopted: it does not say which journal it is of, and is
// taken for one of the first that a loader finds it with.
func TestACursorOfAnEarlierVersionIsAdopted(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	fs := vfs.NewMem(1)
	inJournal(t, fs, wh, "a", 3, func(o Options, j *journal.Journal) { loadAll(t, o, j.Durable()) })
	if _, err := wh.Exec(t.Context(), "ALTER TABLE _tidegate.cursor DROP COLUMN journal"); err != nil {
		t.Fatal(err)
	}
	if at, mark, err := Cursor(t.Context(), wh); err != nil || at.Position != 3 || mark != "" {
		t.Errorf("the cursor of an earlier version: %s, %q, %v", at, mark, err)
	}
	inJournal(t, fs, wh, "", 0, func(o Options, j *journal.Journal) {
		loadAll(t, o, j.Durable()) // there is nothing to load
		if at, mark, err := Cursor(t.Context(), wh); err != nil || at.Position != 3 || mark != j.Mark(at) || mark == "" {
			t.Errorf("adopted: %s, %q, %v", at, mark, err)
		}
	})
	inJournal(t, vfs.NewMem(2), wh, "b", 9, func(o Options, _ *journal.Journal) { refused(t, o) })
	// An earlier version knows nothing of the column and leaves it as it is.
	inJournal(t, fs, wh, "c", 4, func(o Options, j *journal.Journal) {
		if _, err := wh.Exec(t.Context(), "UPDATE _tidegate.cursor SET next_position = 5"); err != nil {
			t.Fatal(err)
		}
		loadAll(t, o, j.Durable())
	})
	counted(t, wh, "w=a n=3, w=c n=2")
}
