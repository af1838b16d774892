package loader

import (
	"context"
	"errors"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// looking reads the books after every table that the loader makes, as `tidegate events
// reconcile` may.
type looking struct {
	duck
	t *testing.T
}

func (w looking) Ensure(ctx context.Context, of warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	got, err := w.duck.Ensure(ctx, of, s)
	if _, missing := w.Describe(ctx, cursorTable); errors.Is(missing, warehouse.ErrNoTable) {
		return got, err
	}
	if _, err := ReadCounts(ctx, w.duck); err != nil {
		w.t.Errorf("after %s: %v", of, err)
	}
	for _, book := range Books() {
		if _, err := w.Describe(ctx, book); err != nil {
			w.t.Errorf("after %s there is a cursor and no book: %v", of, err)
		}
	}
	return got, err
}

// Whoever finds the cursor in a new warehouse finds all books: it is made last.
func TestCursorIsMadeLast(t *testing.T) {
	t.Parallel()
	tp := newTape()
	upTo := tp.add("web", epoch(), `{"type":"track","messageId":"a","userId":"u","event":"E"}`)
	loadAll(t, options(tp, looking{tempDuck(t), t}), upTo)
}
