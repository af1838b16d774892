package app_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/internal/vfs"
)

// smallDisk takes no more bytes while it is full.
type smallDisk struct {
	vfs.FS
	full atomic.Bool
}

func (d *smallDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	return smallFile{f, d}, err
}

type smallFile struct {
	vfs.File
	disk *smallDisk
}

func (f smallFile) WriteAt(b []byte, off int64) (int, error) {
	if f.disk.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(b, off)
}

// watched is a hub with an alert on everything, whose clock and disk the test moves.
type watched struct {
	*app.App
	told  *channel
	later *atomic.Int64
	disk  *smallDisk
}

func watchedHub(t *testing.T) watched {
	t.Helper()
	w := watched{told: &channel{}, later: &atomic.Int64{}, disk: &smallDisk{FS: vfs.NewMem(1)}}
	srv := httptest.NewServer(w.told)
	t.Cleanup(srv.Close)
	o := options(t, oneSource+"settings: {allow_private: [127.0.0.0/8]}\nalerts: [{name: oncall, webhook: {url: '"+srv.URL+"'}}]\n")
	o.Now = func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
	o.FS = w.disk
	w.App = hubOf(t, o)
	return w
}

func (w watched) pass(d time.Duration) { w.later.Add(int64(d)) }

// wantTold waits until this was told, and everything else is a mistake.
func (w watched) wantTold(t *testing.T, want ...string) {
	t.Helper()
	got := await(t, w.told.list, func(told []string) bool {
		w.Hub.LookAtAlerts()
		return len(told) >= len(want)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func (w watched) finding(t *testing.T, check string) api.Finding {
	t.Helper()
	for _, f := range w.Hub.Doctor(t.Context()) {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("doctor says nothing of %s", check)
	return api.Finding{}
}

// TestLoadingThatStoppedIsTold: events that wait for ten minutes, here for a warehouse that
// somebody has borrowed, are told once, and so is that they are loaded.
func TestLoadingThatStoppedIsTold(t *testing.T) {
	t.Parallel()
	w := watchedHub(t)
	sendAll(t, w.App, sold("m1", "u1"))
	err := w.Hub.Lend(t.Context(), "a person", func(context.Context, string) error {
		if status, err := send(t, w.App, sold("m2", "u2")); err != nil || status != http.StatusOK {
			return fmt.Errorf("status %d, %w", status, err)
		}
		await(t, func(context.Context) (int64, error) { return w.Hub.Waiting(), nil }, func(n int64) bool { return n > 0 })
		w.pass(9 * time.Minute)
		w.Hub.LookAtAlerts()
		w.pass(2 * time.Minute)
		w.wantTold(t, "raised the loader loading")
		state := w.Hub.Alerts(t.Context())[0]
		if f := w.finding(t, "loader"); f.Level != "warning" || !strings.Contains(f.Detail, "a person") || !strings.Contains(state.Message, "a person") || state.Hint != f.Hint || f.Hint == "" {
			t.Errorf("doctor says %+v, the alert %+v", f, state)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Hub.WaitLoaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Minute) // between two messages an alert is quiet
	w.wantTold(t, "raised the loader loading", "resolved the loader loading")
}

// TestAJournalThatRefusesIsTold: at once, and that it takes events again when it has for a while.
func TestAJournalThatRefusesIsTold(t *testing.T) {
	t.Parallel()
	w := watchedHub(t)
	sendAll(t, w.App, sold("m1", "u1"))
	for range 2 { // a disk that is almost full refuses one and takes the next
		w.disk.full.Store(true)
		if status, err := send(t, w.App, sold("m2", "u2")); err != nil || status != http.StatusServiceUnavailable {
			t.Fatalf("on a full disk: status %d, %v", status, err)
		}
		if f := w.finding(t, "journal.space"); f.Level != "error" || f.Hint == "" {
			t.Errorf("doctor says %+v of a full disk", f)
		}
		w.wantTold(t, "raised the journal journal")
		w.disk.full.Store(false)
		sendAll(t, w.App, sold("m2", "u2"))
		if f := w.finding(t, "journal.space"); f.Level != "warning" || f.Hint == "" {
			t.Errorf("doctor says %+v of a disk that was full", f)
		}
		w.pass(2 * time.Minute)
		w.Hub.LookAtAlerts()
	}
	w.pass(6 * time.Minute)
	w.wantTold(t, "raised the journal journal", "resolved the journal journal")
	if f := w.finding(t, "journal.space"); f.Level != "ok" {
		t.Errorf("doctor says %+v of a disk with space", f)
	}
	await(t, func(context.Context) ([]alert.State, error) { return w.Hub.Alerts(t.Context()), nil }, func(l []alert.State) bool { return len(l) == 0 })
}
