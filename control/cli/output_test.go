package cli

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// TestSayAfter: only who waits is told for what.
func TestSayAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for after, want := range map[time.Duration]string{patience - time.Millisecond: "", patience + time.Millisecond: "it reads\n"} {
			var w bytes.Buffer
			stop := sayAfter(patience, &w, "it reads")
			time.Sleep(after)
			stop()
			if w.String() != want {
				t.Errorf("after %v: %q", after, w.String())
			}
		}
	})
}
