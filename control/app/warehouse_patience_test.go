package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate"
)

// TestCheckIsImpatient: a step that does not end is told as one that had no answer, whatever the engine says of
// it; a step that ends in time keeps its context, for what it has opened may hold on to it; a warning is a finding.
func TestCheckIsImpatient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		c := &warehouseCheck{now: time.Now}
		for _, hangs := range []func(ctx context.Context) (string, error){
			func(ctx context.Context) (string, error) { <-ctx.Done(); return "", context.Cause(ctx) },
			func(ctx context.Context) (string, error) {
				<-ctx.Done()
				return "", errors.New("the engine's own words")
			},
		} {
			began := time.Now()
			if c.step(ctx, "connect", connectPatience, hangs) || time.Since(began) != connectPatience {
				t.Errorf("it took %s", time.Since(began))
			}
			if f := c.found[len(c.found)-1]; !strings.Contains(f.Detail, "no answer within 20s") || !strings.Contains(f.Hint, "port") {
				t.Errorf("got %+v", f)
			}
		}
		var kept context.Context
		c.step(ctx, "connect", connectPatience, func(ctx context.Context) (string, error) { kept = ctx; return "", nil }) //nolint:fatcontext // that it lives is what is tested
		time.Sleep(2 * connectPatience)
		if kept.Err() != nil {
			t.Error("the context of a step that passed is over")
		}
		log := slog.New(&warnings{check: c}).With("schema", "nowhere")
		log.Info("nothing")
		log.Warn("what is wrong", "hint", "mend it")
		log.Warn("more", "error", &tidegate.Fault{Code: "a.b", Message: "m", Hint: "mend that"})
		if w := c.warned; len(w) != 2 || w[0].Detail != "what is wrong, schema nowhere" || w[0].Hint != "mend it" || w[1].Hint != "mend that" || w[1].Level != "warning" {
			t.Errorf("got %+v", w)
		}
	})
}
