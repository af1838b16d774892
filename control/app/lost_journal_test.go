package app_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/app"
)

// TestDoctorOfALostJournal: doctor does not wait for counts that cannot come, and promises nothing that does not go on by itself.
func TestDoctorOfALostJournal(t *testing.T) {
	o := options(t, oneSource)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := send(t, a, `{"event":"A","userId":"u"}`); err != nil || status != 200 {
		t.Fatalf("status %d, %v", status, err)
	}
	if err := a.Hub.WaitLoaded(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Data, "journal")); err != nil {
		t.Fatal(err)
	}
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	if a, err = app.Start(ctx, o); err != nil {
		t.Fatal(err)
	}
	wait(t, "the loader to stop", func() bool { return !a.Hub.Ready(ctx).Ready })
	began := time.Now()
	for _, f := range a.Hub.Doctor(ctx) {
		if f.Check == "loader" && (f.Level != "error" || !strings.Contains(f.Detail, "journal.ahead") || strings.Contains(f.Hint, "goes on by itself")) {
			t.Errorf("doctor says %+v", f)
		}
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("doctor took %v", took)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}
