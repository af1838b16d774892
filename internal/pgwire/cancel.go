package pgwire

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// canceller tells the server that a statement is of no more use. A request that
// comes before the statement has begun is lost on the server, so it is repeated
// until the statement ends; after Grace the connection breaks as well.
// (The driver's own canceller asks once.)
type canceller struct {
	pg    *pgconn.PgConn
	stop  context.CancelFunc
	ended chan struct{}
}

// The waits between requests, doubling.
const firstRepeat, lastRepeat = 50 * time.Millisecond, time.Second

// HandleCancel is called when the context of a statement has ended.
func (c *canceller) HandleCancel(context.Context) {
	ctx, stop := context.WithTimeout(context.Background(), Grace)
	if at, ok := ctx.Deadline(); ok {
		_ = c.pg.Conn().SetDeadline(at)
	}
	c.stop, c.ended = stop, make(chan struct{})
	go func() {
		defer close(c.ended)
		for wait := firstRepeat; ctx.Err() == nil; wait = min(2*wait, lastRepeat) {
			_ = c.pg.CancelRequest(ctx) // one that fails is repeated like one that came too early
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}()
}

// HandleUnwatchAfterCancel is called when the statement has ended after HandleCancel.
func (c *canceller) HandleUnwatchAfterCancel() {
	c.stop()
	<-c.ended
	_ = c.pg.Conn().SetDeadline(time.Time{})
}
