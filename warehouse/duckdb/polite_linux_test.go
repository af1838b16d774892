package duckdb

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTheEnginesThreadsAreNice: its workers are nicer than the program, and no other thread is.
func TestTheEnginesThreadsAreNice(t *testing.T) {
	before := nices(t)
	w, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), Threads: 3, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	own := 0
	for id, nice := range nices(t) {
		if was, there := before[id]; there && was != nice {
			t.Errorf("thread %s was at %d and is at %d", id, was, nice)
		} else if !there && nice > before[strconv.Itoa(os.Getpid())] {
			own++
		}
	}
	if own != 2 { // the third is whoever calls
		t.Errorf("%d nice threads, want 2", own)
	}
}

// nices reads the nice value of each of the program's threads.
func nices(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	tasks, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
		fields := strings.Fields(rest)
		if found[filepath.Base(filepath.Dir(task))], err = strconv.Atoi(fields[16]); err != nil {
			t.Fatal(err)
		}
	}
	return found
}
