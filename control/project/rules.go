package project

import (
	"fmt"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/tracking"
	"github.com/tidegate/tidegate/internal/config"
)

// allPlans compiles the tracking plans as the readers of the journal will, and
// checks what sources say of them.
func (c *checker) allPlans() {
	unique(c, c.plans, "tracking plan", func(v tidegate.TrackingPlan) string { return v.Name })
	for _, it := range c.plans {
		for _, p := range tracking.Check(it.value) {
			c.add(it.problem(p.Path, p.Message, p.Hint))
		}
		if to := it.value.Actions.Route; slices.Contains(reservedSchemas, to) {
			c.add(it.problem("actions.route", fmt.Sprintf("%q is a schema of the warehouse itself", to), "choose another"))
		}
	}
	known := names(c.plans, func(v tidegate.TrackingPlan) string { return v.Name })
	for _, it := range c.sources {
		name := it.value.TrackingPlan
		if name == "" || slices.Contains(known, name) {
			continue
		}
		hint := config.DidYouMean(name, known)
		if len(known) == 0 {
			hint = "the project has no tracking plans: write plans/" + name + ".yaml"
		}
		c.add(it.problem("tracking_plan", fmt.Sprintf("there is no tracking plan %q", name), hint))
	}
}
