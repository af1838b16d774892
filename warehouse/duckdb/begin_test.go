package duckdb

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestAnInterruptedBeginLeavesNoTransactionBehind cancels transactions while
// they begin; the connections that come back must be fit for the next user.
func TestAnInterruptedBeginLeavesNoTransactionBehind(t *testing.T) {
	t.Parallel()
	w, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		var canceling sync.WaitGroup
		canceling.Go(cancel)
		if tx, err := w.Begin(ctx); err == nil {
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
		}
		canceling.Wait()
		tx, err := w.Begin(t.Context())
		if err != nil {
			t.Fatalf("the next transaction: %v", err)
		}
		if _, err := tx.Exec(t.Context(), "CREATE OR REPLACE TEMP TABLE probe (n INTEGER)"); err != nil {
			t.Fatalf("the next transaction's statement: %v", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}
