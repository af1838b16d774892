// Package txstate holds what a transaction of a warehouse is in, in the program: whether it can go on,
// and what it has done, for engines in which that must be done again.
//
//	        a call fails
//	open ─────────────────▶ failed
//	  │ Commit, Rollback       │ Rollback, Commit (which errs)
//	  └──────────▶ over ◀──────┘
//
// Invariants: the first error is the one that is told; nothing that failed can be committed; what is
// done again touches as many rows as it did before, or errs. It talks to no engine. Like the
// transactions themselves, nothing here is safe for concurrent use.
package txstate

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
)

// State says whether a transaction can go on. The zero value is open.
type State struct {
	// What it is called; a transaction where it is empty.
	What string
	// Over is set by its end, by Commit or by Rollback.
	Over bool
	// Failed is the first error that left it without its full effect: it cannot be committed.
	Failed error
}

// Ready says why the transaction takes no call; reading says that the reader of its last query is open.
func (s *State) Ready(reading bool) error {
	what := s.What
	if what == "" {
		what = "transaction"
	}
	switch {
	case s.Over:
		return fmt.Errorf("the %s is over", what)
	case reading:
		return fmt.Errorf("using a %s: the reader of its last query is still open", what)
	case s.Failed != nil:
		return fmt.Errorf("using a %s after an error: %w", what, s.Failed)
	}
	return nil
}

// Fail remembers err, if it is one, as the reason why the transaction cannot be committed, and returns it.
func (s *State) Fail(err error) error {
	if err != nil && s.Failed == nil {
		s.Failed = err
	}
	return err
}

// GiveUp is what a Commit answers of a transaction that is not Ready, because of err: it is rolled back, unless it is over already.
func (s *State) GiveUp(err error, rollback func() error) error {
	if s.Over {
		return err
	}
	return errors.Join(fmt.Errorf("committing: %w", err), rollback())
}

// maxLog is how many bytes of statements and values a Log keeps.
const maxLog = 32 << 20

// Log is what a transaction has done, so that it can be done again. R is a request of the adapter's. The zero value is ready.
type Log[R any] struct {
	steps []R
	rows  []int64
	bytes int
	lost  bool // there was too much to keep
}

// Add keeps a request of about so many bytes that touched rows; rows is -1 where the engine does not say.
func (l *Log[R]) Add(r R, bytes int, rows int64) {
	if l.bytes += bytes; l.bytes > maxLog {
		*l = Log[R]{lost: true, bytes: l.bytes}
	}
	if !l.lost {
		l.steps, l.rows = append(l.steps, r), append(l.rows, rows)
	}
}

// Kept says that everything can be done again, or why not.
func (l *Log[R]) Kept() error {
	if !l.lost {
		return nil
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.order", Message: "a table cannot be changed in a transaction that has written this much",
		Hint: "call Ensure before the transaction's first load",
	}
}

// Again empties the log and does all that was in it once more; do adds what it does.
func (l *Log[R]) Again(ctx context.Context, do func(context.Context, R) (int64, error)) error {
	before := *l
	*l = Log[R]{}
	for i, r := range before.steps {
		n, err := do(ctx, r)
		if err == nil && before.rows[i] >= 0 && n != before.rows[i] {
			err = &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Message: "another transaction changed rows while a table was changed for this one"}
		}
		if err != nil {
			return fmt.Errorf("repeating a statement: %w", err)
		}
	}
	return nil
}
