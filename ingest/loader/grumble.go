package loader

import (
	"context"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate"
)

// grumbleEvery is how often a trouble that goes on is logged.
const grumbleEvery = time.Minute

// grumble logs a trouble when it begins, when it becomes another, once a minute while it
// goes on, and its end; an attempt that fails like the one before it is no news.
type grumble struct {
	code        string    // of the fault that was logged last, "" while all is well
	since, told time.Time // when it began and when it was logged
}

// about tells of a failed attempt.
func (g *grumble) about(ctx context.Context, log *slog.Logger, now time.Time, err error, attempt int) {
	f := tidegate.FaultOf(err)
	if g.code == "" {
		g.since = now
	}
	if g.code == f.Code && now.Sub(g.told) < grumbleEvery {
		return
	}
	g.code, g.told = f.Code, now
	args := []any{"error", err, "attempt", attempt}
	if f.Hint != "" {
		args = append(args, "hint", f.Hint)
	}
	log.WarnContext(ctx, "loading failed and will be tried again", args...)
}

// over tells that an attempt succeeded after others that were told of.
func (g *grumble) over(ctx context.Context, log *slog.Logger, now time.Time) {
	if g.code == "" {
		return
	}
	log.InfoContext(ctx, "loading goes on", "after", now.Sub(g.since).Round(time.Second).String())
	*g = grumble{}
}
