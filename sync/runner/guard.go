package runner

import (
	"fmt"
	"math"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/ledger"
)

// The defaults of tidegate.Guards.
const (
	DefaultMaxRemovedRows    = 100
	DefaultMaxRemovedPercent = 5.0
)

const guardCode = "guard."

// Guard returns the fault for which a plan is to be held, nil when it may be
// delivered (Invariant 6). Removals count only where the mode delivers them. A limit of
// -1 takes no part; the guard of removals is off when both of its limits are.
func Guard(sum ledger.Summary, g tidegate.Guards, mode tidegate.Mode) *tidegate.Fault {
	if sum.Read == 0 && sum.LedgerRows > 0 && !g.AllowEmpty && !sum.Partial && sum.Reverts == "" {
		return hold("empty", "set guards.allow_empty on the sync if an empty result is normal",
			"the model returned no rows although the destination holds %d", sum.LedgerRows)
	}
	if limit, on := removedLimit(sum, g); on && mode.Lets(tidegate.Removed) && float64(sum.Removed) > limit {
		return hold("removals", "raise guards.max_removed_rows or guards.max_removed_percent if such plans are normal",
			"the plan removes %d of %d records, more than the limit of %d", sum.Removed, sum.LedgerRows, int64(limit))
	}
	if p := g.MaxChangedPercent; p > 0 && sum.LedgerRows > 0 && float64(sum.Changed) > p/100*float64(sum.LedgerRows) {
		return hold("churn", "raise guards.max_changed_percent if such plans are normal",
			"the plan changes %d of %d records, more than %g %%", sum.Changed, sum.LedgerRows, p)
	}
	if p := g.MaxRowsPercent; p > 0 && sum.LastRead > 0 && !sum.Partial && math.Abs(float64(sum.Read-sum.LastRead)) > p/100*float64(sum.LastRead) {
		return hold("rows", "raise guards.max_rows_percent if such plans are normal",
			"the model returned %d rows, the last run read %d: they differ by more than %g %%", sum.Read, sum.LastRead, p)
	}
	return guardNulls(sum, g.MaxNullPercent)
}

// guardNulls looks for a field that lost its values. What was never confirmed
// cannot have lost any.
func guardNulls(sum ledger.Summary, percent float64) *tidegate.Fault {
	if percent <= 0 {
		return nil
	}
	for _, n := range sum.Nulls {
		now, before := share(n.Now, n.Rows), share(n.Before, n.Confirmed)
		if n.Confirmed > 0 && now > percent && before <= percent {
			return hold("nulls", "raise guards.max_null_percent if such plans are normal",
				"field %s is null in %d of %d records of the plan, and was in %d of %d that were confirmed", n.Field, n.Now, n.Rows, n.Before, n.Confirmed)
		}
	}
	return nil
}

func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

func removedLimit(sum ledger.Summary, g tidegate.Guards) (limit float64, on bool) {
	rows, percent := g.MaxRemovedRows, g.MaxRemovedPercent
	if rows == 0 {
		rows = DefaultMaxRemovedRows
	}
	if percent == 0 {
		percent = DefaultMaxRemovedPercent
	}
	if rows < 0 && percent < 0 {
		return 0, false
	}
	return max(float64(rows), percent/100*float64(sum.LedgerRows), 0), true
}

func hold(code, hint, format string, args ...any) *tidegate.Fault {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: guardCode + code, Message: fmt.Sprintf(format, args...),
		Hint: "look at the run's plan, then approve or cancel the run; " + hint,
	}
}

// approved says whether run is delivering a plan that was held before: the
// fault for which it was held stays on it until it ends.
func approved(run tidegate.Run) bool {
	return run.State == tidegate.RunRunning && run.Fault != nil && (strings.HasPrefix(run.Fault.Code, guardCode) || run.Fault.Code == reviewCode)
}

// reviewCode is the code of a plan that was made to be looked at first.
const reviewCode = "plan.review"

func reviewed() *tidegate.Fault {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: reviewCode, Message: "the plan is stored and waits to be looked at",
		Hint: "apply exactly this plan, or cancel the run",
	}
}
