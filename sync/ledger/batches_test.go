package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// TestPlanBatches: all rows in their order, and an end that is none is an error (Invariant 6).
func TestPlanBatches(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, rows := range []int{0, 1, pagedRows - 1, pagedRows, batchRows, batchRows + 1, 3*batchRows + 7} {
		for _, end := range []error{io.EOF, broken} {
			t.Run(fmt.Sprintf("%d rows, then %v", rows, end), func(t *testing.T) {
				t.Parallel()
				w := &planWriter{}
				p := newPlanBatches(t.Context(), w, rowsThen(rows, end))
				got := int64(0)
				for p.Next() {
					ordinals := p.RecordBatch().Column(0).(*array.Int64)
					for i := range ordinals.Len() {
						if ordinals.Value(i) != got {
							t.Fatalf("row %d has ordinal %d", got, ordinals.Value(i))
						}
						got++
					}
				}
				err := p.close()
				if !errors.Is(end, io.EOF) {
					if !errors.Is(err, broken) {
						t.Fatalf("%v, want %v", err, broken)
					}
					return
				}
				if err != nil || got != int64(rows) || w.sum.Changed != int64(rows) {
					t.Fatalf("%v, %d rows in batches, %d counted, want %d", err, got, w.sum.Changed, rows)
				}
			})
		}
	}
}

// TestPlanBatchesStop: an engine that takes no more has its own error; a caller that gives up is one.
func TestPlanBatchesStop(t *testing.T) {
	t.Parallel()
	endless := rowsThen(1<<40, io.EOF)
	p := newPlanBatches(t.Context(), &planWriter{}, endless)
	if !p.Next() {
		t.Fatal("no batch")
	}
	if err := p.close(); err != nil {
		t.Errorf("closed early: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p = newPlanBatches(ctx, &planWriter{}, endless)
	if !p.Next() {
		t.Fatal("no batch")
	}
	cancel()
	for p.Next() { // those that were made before
	}
	if err := p.close(); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// rowsThen gives so many changes, and then end.
func rowsThen(rows int, end error) func(ctx context.Context, into *planRow) error {
	given := 0
	return func(_ context.Context, into *planRow) error {
		if given == rows {
			return end
		}
		given++
		*into = planRow{op: "changed", key: fmt.Sprint(given), idempotencyKey: "k"}
		return nil
	}
}
