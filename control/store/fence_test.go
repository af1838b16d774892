package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/runner"
)

// TestAnOldEpochWritesNothing: a node that lost its lease and does not know it
// yet must not write over what its successor decided.
func TestAnOldEpochWritesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newClock()
	s := open(t, filepath.Join(t.TempDir(), "control.db"), c)
	old, err := s.AcquireLease(ctx, "default", "crm", "node a", c.now(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	run := tidegate.Run{ID: "run_1", Workspace: "default", Sync: "crm", State: tidegate.RunRunning, Epoch: old.Epoch, CreatedAt: c.now()}
	if err := s.CreateRun(ctx, run); err != nil {
		t.Fatal(err)
	}
	next, err := s.AcquireLease(ctx, "default", "crm", "node b", c.now().Add(time.Minute), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	run.State = tidegate.RunSucceeded
	if err := s.UpdateRun(ctx, run, tidegate.RunRunning); !errors.Is(err, runner.ErrConflict) {
		t.Errorf("the old node's write: %v, want ErrConflict", err)
	}
	run.Epoch = next.Epoch
	if err := s.UpdateRun(ctx, run, tidegate.RunRunning); err != nil {
		t.Errorf("the new node's write: %v", err)
	}
}
