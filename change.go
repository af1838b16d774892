package tidegate

import "context"

// Op says what happened to a key between what the destination last confirmed
// and what the model says now.
type Op string

// The three operations of a change.
const (
	Added   Op = "added"
	Changed Op = "changed"
	Removed Op = "removed"
)

// Key is the primary key of a model row as canonical JSON: an array of its
// columns' values in key order (`["42"]`, `[7,"de"]`). Two rows have the same
// key exactly when these texts are equal.
type Key string

// Change is one row of a plan. Before and After are mapped payloads: what the
// destination last confirmed (nil for Added) and what it is to hold (nil for
// Removed).
type Change struct {
	Op     Op
	Key    Key
	Before Record
	After  Record
}

// Record is a mapped payload: destination field to value. A value is nil (set
// to null), bool, int64, float64, json.Number-free text (string), or a JSON
// array or object made of these ([]any, map[string]any). Decimals are strings.
type Record map[string]any

// ChangeReader is a stream of changes, read by one goroutine; Next returns
// io.EOF after the last.
type ChangeReader interface {
	Next(ctx context.Context) (Change, error)
	Close() error
}
