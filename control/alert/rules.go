package alert

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
)

// Condition is what an alert watches a sync for.
type Condition string

// The conditions.
const (
	Failed    Condition = "failed"    // a run failed, or none can start
	Partial   Condition = "partial"   // a run left records behind
	Held      Condition = "held"      // a plan waits for approval
	Late      Condition = "late"      // the last success is older than the sync's objective
	Deviation Condition = "deviation" // the model returned unusually many or few rows
	Gap       Condition = "gap"       // events or rows of a source are not accounted for
	Loading   Condition = "loading"   // events wait too long to be loaded
	Journal   Condition = "journal"   // the journal refuses events
)

const (
	// historyRuns are looked at for a deviation; fewer than minHistory say nothing.
	historyRuns = 10
	minHistory  = 3

	defaultDeviationPercent = 50

	// DefaultLoadingAfter is how long events may wait to be loaded.
	DefaultLoadingAfter = 10 * time.Minute
)

// verdict says of one condition whether it holds. A run that says nothing about
// a condition gives none.
type verdict struct {
	condition Condition
	holds     bool
	message   string
	hint      string
}

// judge is what a run says under the thresholds of an alert. history holds
// earlier finished runs of the sync, newest first.
func judge(a tidegate.Alert, run tidegate.Run, history []tidegate.Run) []verdict {
	if run.State == tidegate.RunHeld {
		return []verdict{{Held, true, faultMessage(run, "a plan waits for approval"), "look at it, then `tidegate sync approve " + run.ID + "` or `tidegate sync cancel " + run.ID + "`"}}
	}
	if !run.State.Finished() {
		return nil
	}
	list := []verdict{{condition: Held}}
	switch run.State {
	case tidegate.RunFailed:
		hint := "`tidegate sync status " + run.Sync + "` tells more"
		if run.Fault != nil && run.Fault.Hint != "" {
			hint = run.Fault.Hint
		}
		return append(list, verdict{Failed, true, faultMessage(run, "the run failed"), hint})
	case tidegate.RunCanceled:
		return list
	case tidegate.RunSucceeded, tidegate.RunPartial, tidegate.RunQueued, tidegate.RunRunning, tidegate.RunHeld:
	}
	list = append(list, verdict{condition: Failed}, partial(a, run))
	return append(list, deviation(a, run, history)...)
}

func faultMessage(run tidegate.Run, otherwise string) string {
	if run.Fault == nil || run.Fault.Message == "" {
		return otherwise
	}
	return run.Fault.Message
}

func partial(a tidegate.Alert, run tidegate.Run) verdict {
	c := run.Counts
	left := c.Rejected + c.InDoubt + c.Deferred + c.BadKeys
	all := c.Added + c.Changed + c.Removed + c.BadKeys
	if left == 0 || all == 0 || 100*float64(left)/float64(all) < a.PartialPercent {
		return verdict{condition: Partial}
	}
	return verdict{
		Partial, true,
		fmt.Sprintf("%d of %d records were left behind: %d rejected, %d in doubt, %d deferred, %d without a usable key", left, all, c.Rejected, c.InDoubt, c.Deferred, c.BadKeys),
		"`tidegate sync rejections " + run.Sync + "` lists them with their reasons",
	}
}

// deviation compares the rows that were read with the median of earlier runs.
func deviation(a tidegate.Alert, run tidegate.Run, history []tidegate.Run) []verdict {
	var rows []int64
	for _, h := range history {
		if h.ID != run.ID && (h.State == tidegate.RunSucceeded || h.State == tidegate.RunPartial) && len(rows) < historyRuns {
			rows = append(rows, h.Counts.Read)
		}
	}
	if len(rows) < minHistory {
		return nil
	}
	slices.Sort(rows)
	median := rows[len(rows)/2]
	limit := a.DeviationPercent
	if limit <= 0 {
		limit = defaultDeviationPercent
	}
	read := run.Counts.Read
	if diff := float64(max(read-median, median-read)); diff <= limit/100*float64(max(median, 1)) {
		return []verdict{{condition: Deviation}}
	}
	return []verdict{{
		Deviation, true,
		fmt.Sprintf("the model returned %d rows, and %d in the median of the last %d runs", read, median, len(rows)),
		"look whether the model's tables are complete: `tidegate sync plan " + run.Sync + "`",
	}}
}

// part judges a part of the hub, which has no runs: it holds once it has lasted for long enough.
func part(a tidegate.Alert, st Standing, now time.Time) verdict {
	patience := time.Duration(0)
	if st.Part == Loading {
		patience = DefaultLoadingAfter
		if d, err := time.ParseDuration(a.LoadingAfter); err == nil { // project.Check has refused others
			patience = d
		}
	}
	if st.Fault == nil || now.Sub(st.Since) < patience {
		return verdict{condition: st.Part}
	}
	return verdict{st.Part, true, st.Fault.Message, st.Fault.Hint}
}

// watches says whether a is about the condition of the sync.
func watches(a tidegate.Alert, sync string, c Condition) bool {
	return (len(a.Syncs) == 0 || slices.Contains(a.Syncs, sync)) && (len(a.On) == 0 || slices.Contains(a.On, string(c)))
}
