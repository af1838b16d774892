package store

import "context"

// Raw runs SQL past the methods, to play what a stranger would do to the file.
func (w *Workspace) Raw(ctx context.Context, sql string) error {
	_, err := w.s.write.ExecContext(ctx, sql)
	return err
}

// Sibling returns another workspace of the same store.
func (w *Workspace) Sibling(id string) *Workspace { return w.s.In(id) }
