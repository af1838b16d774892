// Package grumble logs a trouble that goes on without filling the log with it.
//
// It logs when a trouble begins, when it becomes another (by the code of its
// fault), now and then while it goes on, and its end: an attempt that fails like
// the one before it is no news.
package grumble

import (
	"context"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate"
)

// Log remembers what was said of one kind of trouble. The zero value is ready; it is for
// one goroutine.
type Log struct {
	// Every is how often a trouble that goes on is logged: at its beginning only when 0.
	Every time.Duration

	code        string    // of the fault that was logged last
	troubled    bool      // something was logged and its end was not
	since, told time.Time // when it began and when it was logged
}

// About tells of a failed attempt. args are further attributes.
func (l *Log) About(ctx context.Context, log *slog.Logger, now time.Time, what string, err error, args ...any) {
	f := tidegate.FaultOf(err)
	if !l.troubled {
		l.since = now
	}
	if l.troubled && l.code == f.Code && (l.Every == 0 || now.Sub(l.told) < l.Every) {
		return
	}
	l.code, l.told, l.troubled = f.Code, now, true
	args = append([]any{"error", err}, args...)
	if f.Hint != "" {
		args = append(args, "hint", f.Hint)
	}
	log.WarnContext(ctx, what, args...) //nolint:sloglint // a constant of the caller
}

// Over tells that an attempt succeeded after others that were told of.
func (l *Log) Over(ctx context.Context, log *slog.Logger, now time.Time, what string) {
	if !l.troubled {
		return
	}
	log.InfoContext(ctx, what, "after", now.Sub(l.since).Round(time.Second).String()) //nolint:sloglint // a constant of the caller
	*l = Log{Every: l.Every}
}
