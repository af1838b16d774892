package loader

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/internal/retry"
)

// maxRest bounds one rest of the loader.
const maxRest = time.Second

// pace lets the loader stand back while more events arrive than it can load: the lag
// then grows whatever it does, and the processors serve those who send. As soon as it
// can keep up, or nothing arrives, it works without a rest.
type pace struct {
	share float64 // of the time that it works while it stands back
	since time.Time
	head  int64 // the journal's end then
}

// begin starts an interval of work.
func (p *pace) begin(now time.Time, head int64) { p.since, p.head = now, head }

// rest says how long to rest after the interval that began last, in which loaded
// events were loaded.
func (p *pace) rest(now time.Time, head, loaded int64) time.Duration {
	worked := now.Sub(p.since)
	if head-p.head <= loaded || worked <= 0 {
		return 0
	}
	return min(maxRest, time.Duration(float64(worked)*(1/p.share-1)))
}

// pause rests after a part when it is time to, and begins the next interval.
func (l *Loader) pause(ctx context.Context, loaded int) {
	if rest := l.pace.rest(l.opts.Now(), l.head(), int64(loaded)); rest > 0 {
		_ = retry.Wait(ctx, rest) // what comes next looks at ctx
	}
	l.pace.begin(l.opts.Now(), l.head())
}

// head is the journal's end, 0 when nobody tells.
func (l *Loader) head() int64 {
	if l.opts.Head == nil {
		return 0
	}
	return l.opts.Head().Position
}
