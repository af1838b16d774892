package transform

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
)

// TestMain makes the test's binary a worker when it is told to be one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == WorkerCommand {
		if err := Worker(os.Stdin, os.Stdout, time.Now); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func workers(t testing.TB, size int) *Workers {
	t.Helper()
	w := NewWorkers(WorkersOptions{Log: slog.New(slog.DiscardHandler), Size: size, Command: func() *exec.Cmd {
		return exec.Command(os.Args[0], WorkerCommand) //nolint:gosec // ourselves, until Close
	}})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func itemOf(body string) judge.Item {
	var d scan.Document
	if err := d.Scan([]byte(body), 1); err != nil {
		panic(body + ": " + err.Error())
	}
	kind, _ := d.Type.Text()
	id, _ := d.MessageID.Text()
	return judge.Item{
		Event: &tidegate.Event{Source: "web", Body: []byte(body), ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), RequestIP: "203.0.113.9"},
		ID:    string(id), Type: tidegate.EventType(kind),
	}
}

// judged has rules judge events, one verdict an event.
func judged(t testing.TB, r *Rules, items ...judge.Item) []judge.Verdict {
	t.Helper()
	verdicts := make([]judge.Verdict, len(items))
	if err := r.Judge(t.Context(), items, verdicts); err != nil {
		t.Fatal(err)
	}
	return verdicts
}

func scripted(t testing.TB, w *Workers, source string) *Rules {
	t.Helper()
	r, err := New([]tidegate.Transform{{Name: "mine", Script: source}}, Options{Workers: w})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
