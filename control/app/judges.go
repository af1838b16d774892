package app

import (
	"context"
	"sync/atomic"

	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/tracking"
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
func (j *judges) compile(p *project.Project) (judge.Chain, error) {
	var rules judge.Chain
	if j.suppression != nil {
		rules = append(rules, j.suppression)
	}
	plans, err := plansOf(p)
	if err != nil {
		return nil, err
	}
	if len(plans) > 0 {
		rules = append(rules, plans)
	}
	return rules, nil
}

// plansOf are the tracking plans of p by the sources that name them.
func plansOf(p *project.Project) (tracking.Plans, error) {
	compiled := map[string]*tracking.Plan{}
	for _, def := range p.Plans {
		plan, err := tracking.New(def)
		if err != nil {
			return nil, err
		}
		compiled[def.Name] = plan
	}
	plans := tracking.Plans{}
	for _, s := range p.Sources {
		if plan := compiled[s.TrackingPlan]; plan != nil {
			plans[s.Name] = plan
		}
	}
	return plans, nil
}

// set makes rules those that are asked from now on.
func (j *judges) set(rules judge.Chain) { j.rules.Store(&rules) }
