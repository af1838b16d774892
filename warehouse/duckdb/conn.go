package duckdb

import (
	"context"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// interruptEvery is how often a cancelled call is interrupted again: the engine
// forgets an interrupt that arrives between two steps of a statement.
const interruptEvery = 5 * time.Millisecond

// conn is one connection of the engine; one goroutine uses it at a time.
type conn struct {
	raw bindings.Connection
}

// guard runs call, which blocks in the engine, and interrupts it while ctx is over.
func (c *conn) guard(ctx context.Context, call func()) {
	if ctx.Done() == nil {
		call()
		return
	}
	returned, left := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(left)
		again := time.NewTicker(interruptEvery)
		defer again.Stop()
		for {
			bindings.Interrupt(c.raw)
			select {
			case <-returned:
				return
			case <-again.C:
			}
		}
	})
	call()
	close(returned)
	if !stop() {
		<-left // or its interrupt could hit the next statement
	}
}

// control runs one of the program's own statements without parameters or result.
func (c *conn) control(ctx context.Context, sql string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var res bindings.Result
	var state bindings.State
	c.guard(ctx, func() { state = bindings.Query(c.raw, sql, &res) })
	defer bindings.DestroyResult(&res)
	if state == bindings.StateError {
		return engineError(ctx, bindings.ResultError(&res))
	}
	return nil
}

// stmt is one prepared statement.
type stmt struct {
	c   *conn
	raw bindings.PreparedStatement
}

// prepare compiles sql, which must be exactly one statement.
func (c *conn) prepare(ctx context.Context, sql string) (*stmt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := sqlcheck.Text(sql); err != nil {
		return nil, err
	}
	var extracted bindings.ExtractedStatements
	count := bindings.ExtractStatements(c.raw, sql, &extracted)
	defer bindings.DestroyExtracted(&extracted)
	if count == 0 {
		if msg := bindings.ExtractStatementsError(extracted); msg != "" {
			return nil, engineError(ctx, msg)
		}
		return nil, sqlcheck.Empty()
	}
	if count > 1 {
		return nil, manyStatements(int(count))
	}
	s := &stmt{c: c}
	var state bindings.State
	c.guard(ctx, func() { state = bindings.PrepareExtractedStatement(c.raw, extracted, 0, &s.raw) })
	if state == bindings.StateError {
		err := engineError(ctx, bindings.PrepareError(s.raw))
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stmt) close() { bindings.DestroyPrepare(&s.raw) }

// run executes s with args. A streaming result is produced while it is read.
// The caller destroys the result.
func (s *stmt) run(ctx context.Context, streaming bool, args []any) (bindings.Result, error) {
	var res bindings.Result
	if err := s.bind(args); err != nil {
		return res, err
	}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	var pending bindings.PendingResult
	start := bindings.PendingPrepared
	if streaming {
		start = bindings.PendingPreparedStreaming
	}
	var state bindings.State
	s.c.guard(ctx, func() { state = start(s.raw, &pending) })
	defer bindings.DestroyPending(&pending)
	if state == bindings.StateError {
		return res, engineError(ctx, bindings.PendingError(pending))
	}
	done := true
	s.c.guard(ctx, func() {
		if done = await(pending); done {
			state = bindings.ExecutePending(pending, &res)
		}
	})
	if !done {
		return res, engineError(ctx, bindings.PendingError(pending))
	}
	if state == bindings.StateError {
		err := engineError(ctx, bindings.ResultError(&res))
		bindings.DestroyResult(&res)
		return res, err
	}
	return res, nil
}

// How often await asks in a row before it pauses, and for how long it then does.
const (
	eagerAsks              = 16
	firstPause, finalPause = 20 * time.Microsecond, 500 * time.Microsecond
)

// await works on pending until its result is there, or its error: then it is false.
// When the engine's other threads have taken all the work, ExecutePending would ask
// without end whether they are done and keep a processor busy with that, through a long
// commit too; here the asking pauses.
func await(pending bindings.PendingResult) bool {
	pause := firstPause
	for asked := 1; ; asked++ {
		switch bindings.PendingExecuteTask(pending) {
		case bindings.PendingStateNoTasksAvailable:
		case bindings.PendingStateResultNotReady: // some work was done, or it waits for something
			pause = firstPause
		case bindings.PendingStateError:
			return false
		default:
			return true
		}
		if asked%eagerAsks == 0 {
			<-time.NewTimer(pause).C
			pause = min(2*pause, finalPause)
		}
	}
}

// settle runs a statement of the program's own that can take long: COMMIT, CHECKPOINT.
func (c *conn) settle(ctx context.Context, sql string) error {
	_, err := c.exec(ctx, sql)
	return err
}

// exec prepares, runs and forgets one statement and returns the rows it touched.
func (c *conn) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	s, err := c.prepare(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer s.close()
	res, err := s.run(ctx, false, args)
	if err != nil {
		return 0, err
	}
	defer bindings.DestroyResult(&res)
	return int64(bindings.RowsChanged(&res)), nil
}

func (c *conn) close() {
	if c.raw.Ptr != nil {
		bindings.Disconnect(&c.raw)
	}
}
