package pgwire

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidegate/tidegate"
)

// Classify says what an error of the server means. sql is what ran, and user who ran it.
type Classify func(pg *pgconn.PgError, sql, user string) *tidegate.Fault

// Session is one connection in use, by one goroutine. It is ended once.
type Session struct {
	PG   *pgconn.PgConn
	User string
	// Dirty sessions are not used again: they hold settings or temporary tables.
	Dirty bool
	Ended bool

	conn   *pgxpool.Conn
	speech Speech
}

// ofReader says of a login that was refused that it is the user who reads.
func ofReader(err error) error {
	var f *tidegate.Fault
	if errors.As(err, &f) && f.Code == "auth.refused" {
		f.Hint = strings.Replace(f.Hint, "user and password", "read_user and read_password", 1)
	}
	return err
}

// End gives the connection back; the pool drops it when it is broken or still in a transaction.
func (s *Session) End() {
	if s.Ended {
		return
	}
	s.Ended = true
	if s.Dirty {
		quietly(s.conn.Conn())
	}
	s.conn.Release()
}

// Control runs statements of the program's own that return nothing of interest, in one round trip.
func (s *Session) Control(ctx context.Context, sql string) error {
	_, err := s.PG.Exec(ctx, sql).ReadAll()
	return s.Fault(ctx, err, sql)
}

// Exec runs one statement and returns the rows it touched.
func (s *Session) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	values, err := Args(args, s.speech.AppendArg)
	if err != nil {
		return 0, err
	}
	result := s.PG.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return 0, s.Fault(ctx, result.Err, sql)
	}
	return result.CommandTag.RowsAffected(), nil
}

// Rows runs one of the program's own statements and returns all that it returns.
func (s *Session) Rows(ctx context.Context, sql string, args ...any) ([]tidegate.Row, error) {
	r, err := s.Start(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return tidegate.AllRows(ctx, r)
}

// Rollback ends whatever transaction the connection is in, also after ctx has ended.
func (s *Session) Rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Grace)
	defer cancel()
	if s.PG.TxStatus() != 'I' && s.Control(ctx, "ROLLBACK") != nil {
		s.Dirty = true // the connection is in a state that nobody knows
	}
}

// Fault says what a failed call means: the context's own error when that
// interrupted it, otherwise a fault. sql is what ran; it may be shown.
func (s *Session) Fault(ctx context.Context, err error, sql string) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		s.Dirty = true // a late request to cancel must not hit the next user's statement
		return fmt.Errorf("running a statement: %w", cause)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return s.speech.Classify(pg, sql, s.User)
	}
	return ConnectionLost(err)
}
