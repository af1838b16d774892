package pgwire

import (
	"context"
	"time"

	"github.com/tidegate/tidegate"
)

const (
	outcomeAttempts = 12
	outcomeWait     = 50 * time.Millisecond
)

// Commit ends the transaction of the session. When the answer is lost and it wrote something, the server is
// asked over other connections what became of it: ask says whether it was committed, as far as that is known.
func (s *Session) Commit(ctx context.Context, wrote bool, ask func(context.Context) (committed, known bool)) error {
	results, err := s.PG.Exec(ctx, "COMMIT").ReadAll()
	switch {
	case err == nil && len(results) == 1 && results[0].CommandTag.String() == "COMMIT":
		return nil
	case err == nil:
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Message: "the server rolled the transaction back"}
	case !wrote || !Lost(err):
		return s.Fault(ctx, err, "")
	}
	s.Dirty = true
	s.End() // so that another connection can be had where they are few
	return outcome(ctx, err, ask)
}

// outcome is what became of a transaction whose COMMIT was not answered because of cause.
func outcome(ctx context.Context, cause error, ask func(context.Context) (committed, known bool)) error {
	doubt := &tidegate.Fault{
		Action: tidegate.Retry, Code: "warehouse.in_doubt", Err: cause,
		Message: "the connection broke during a commit and the server cannot be asked what became of it: " + Redacted(cause),
	}
	wait := outcomeWait
	for range outcomeAttempts {
		if committed, known := ask(ctx); committed {
			return nil
		} else if known {
			return ConnectionLost(cause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return doubt
		case <-timer.C:
		}
		wait = min(2*wait, 5*time.Second)
	}
	return doubt
}
