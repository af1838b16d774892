package cli

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestSettlesTwice: at once, and once more when the start is over; not when the hub has ended.
func TestSettlesTwice(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			begin, settled := time.Now(), []time.Duration(nil)
			ctx, end := context.WithCancel(t.Context())
			defer end()
			settleTwice(ctx, func() {
				settled = append(settled, time.Since(begin))
				if ends {
					end()
				}
			})
			if want := map[bool]int{false: 2, true: 1}[ends]; len(settled) != want || settled[0] != 0 || want == 2 && settled[1] != settleAgain {
				t.Errorf("ends %v: settled at %v", ends, settled)
			}
		})
	}
}
