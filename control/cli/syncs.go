package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
)

func (c *command) syncCommand() *cobra.Command {
	cmd := group("sync", "Look at syncs and run them")
	cmd.AddCommand(c.syncStatus(), c.syncPlan(), c.syncRun(), c.syncRuns(), c.syncRejections(), c.syncRetry(), c.syncApply(), c.syncApprove(), c.syncSuggest(), c.syncRevert(), c.syncDrift(), c.syncCancel(), c.syncPause(), c.syncResume(), c.syncLog(), c.syncResync())
	return cmd
}

// withClient makes the function of a command that needs a server.
func (c *command) withClient(use func(ctx context.Context, client *api.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		client, err := c.client()
		if err != nil {
			return err
		}
		return use(cmd.Context(), client, args)
	}
}

func (c *command) syncStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status [NAME]", Short: "Show how syncs are now, and how their last run went", Args: cobra.MaximumNArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if len(args) == 1 {
				s, err := client.Sync(ctx, args[0])
				if err != nil {
					return err
				}
				return c.showSync(s)
			}
			list, err := client.Syncs(ctx)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			rows := make([][]string, len(list))
			for i, s := range list {
				rows[i] = []string{s.Name, s.State, lastRun(s.Last), fmt.Sprint(s.LedgerRows), fmt.Sprint(s.Pending), s.Reason}
			}
			return c.list("There are no syncs; a file in syncs/ of the project makes one.", []string{"SYNC", "NOW", "LAST RUN", "CONFIRMED", "PENDING", "WHY"}, rows)
		}),
	}
}

func lastRun(r *tidegate.Run) string {
	if r == nil {
		return "never"
	}
	return fmt.Sprintf("%s %s", r.State, r.EndedAt.UTC().Format(time.RFC3339))
}

func (c *command) showSync(s api.SyncStatus) error {
	if c.json {
		return c.printJSON(s)
	}
	rows := [][]string{
		{"sync", s.Name},
		{"model", s.Model},
		{"destination", s.Destination + " " + s.Object},
		{"mode", s.Mode},
		{"now", s.State},
		{"why", s.Reason},
		{"last run", lastRun(s.Last)},
		{"confirmed", plural(s.LedgerRows, "record")},
		{"pending", plural(s.Pending, "record")},
	}
	if s.Parked > 0 {
		rows = append(rows, []string{"parked", fmt.Sprintf("%d of them wait for their rows to change, or for `tidegate sync retry %s`", s.Parked, s.Name)})
	}
	if !s.NextRun.IsZero() {
		rows = append(rows, []string{"next run", s.NextRun.UTC().Format(time.RFC3339)})
	}
	for i, at := range s.Upcoming { // what the clocks of the schedule show, where they change too
		label := ""
		if i == 0 {
			label = "by its clock"
		}
		rows = append(rows, []string{label, fmt.Sprintf("%s (%s)", at.Format("Mon 2006-01-02 15:04 -07:00"), s.Timezone)})
	}
	if s.Current != nil {
		rows = append(rows, []string{"current run", s.Current.ID + " " + string(s.Current.State)})
	}
	if p := s.Progress; p != nil && !p.EndsAt.IsZero() {
		rows = append(rows, []string{"ends about", fmt.Sprintf("%s (%s left, %.0f a second)", p.EndsAt.UTC().Format(time.RFC3339), plural(p.Left, "change"), p.PerSecond)})
	}
	if s.Progress != nil && s.Progress.CircuitOpen && s.Progress.Waiting == nil {
		rows = append(rows, []string{"destination", "failed too often; it is left alone for a while"})
	}
	return table(c.env.Stdout, []string{"", ""}, rows)
}

func (c *command) syncPlan() *cobra.Command {
	var sample int
	var store, fresh bool
	cmd := &cobra.Command{
		Use: "plan NAME", Short: "Show what a run would send, and send nothing", Args: cobra.ExactArgs(1),
		Long: "Plan shows what a run would send. With --store the plan is kept as a held run: `tidegate sync apply RUN` then sends exactly that plan. The plan of a run that is held already is shown as it stands; with --fresh, what a new run would send instead. Looking stands in no run's way.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if store {
				return c.storePlan(ctx, client, args[0], sample)
			}
			plan, err := client.SyncPlan(ctx, args[0], sample, fresh)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(plan)
			}
			return c.showSyncPlan(plan)
		}),
	}
	cmd.Flags().IntVar(&sample, "sample", 20, "how many changes to show")
	cmd.Flags().BoolVar(&store, "store", false, "keep the plan, to be applied as it is")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "plan anew although a run is held")
	cmd.MarkFlagsMutuallyExclusive("store", "fresh")
	return cmd
}

func (c *command) showSyncPlan(p api.SyncPlan) error {
	marks := map[tidegate.Op]string{tidegate.Added: "+", tidegate.Changed: "~", tidegate.Removed: "-"}
	for _, ch := range p.Sample {
		stays := ""
		if ch.Excluded {
			stays = " (not sent: the mode leaves it alone)"
		}
		c.say("%s %s%s", marks[ch.Op], oneLine(string(ch.Key)), stays)
		for _, f := range ch.Fields {
			c.say("    %s: %s → %s", oneLine(f.Field), oneLine(valueText(f.Before)), oneLine(valueText(f.After)))
		}
		if ch.Fault != nil {
			c.say("    would be rejected: %s: %s", ch.Fault.Code, oneLine(ch.Fault.Message))
		}
	}
	s := p.Summary
	if more := s.Added + s.Changed + s.Removed - int64(len(p.Sample)); more > 0 && len(p.Sample) > 0 {
		c.say("… and %d more", more)
	}
	c.say("%d read: %d unchanged, %d added, %d changed, %d removed%s.", s.Read, s.Unchanged, s.Added, s.Changed, s.Removed,
		further(s.BadKeys, "with bad keys", s.BadRows, "that cannot be mapped", s.Retries, "tried again"))
	if s.Baselined > 0 {
		c.say("%s of these were never sent: they are taken for confirmed (first_run: baseline).", plural(s.Baselined, "unchanged row"))
	}
	if p.Excluded > 0 {
		c.say("The sync's mode leaves %s of these alone.", plural(p.Excluded, "change"))
	}
	c.say("About %s and %s.", plural(p.Calls, "call"), time.Duration(p.Seconds*float64(time.Second)).Round(100*time.Millisecond))
	for _, cost := range p.Costs {
		switch {
		case cost.Left == nil:
			c.say("It costs about %s.", plural(cost.Amount, cost.Unit))
		case cost.Amount > *cost.Left:
			c.say("It costs about %s, MORE than the %d that are left.", plural(cost.Amount, cost.Unit), *cost.Left)
		default:
			c.say("It costs about %s, of %d that are left.", plural(cost.Amount, cost.Unit), *cost.Left)
		}
	}
	if p.Safety != "" {
		c.say("A repeated delivery is %s.", p.Safety)
	}
	switch {
	case p.RunID != "":
		c.say("This is the plan of run %s, which is held; `tidegate sync plan %s --fresh` shows what the model says now.", p.RunID, p.Sync)
	case p.Beside != nil && p.Beside.State == tidegate.RunHeld:
		c.say("Run %s is held and has a plan of its own: `tidegate sync plan %s`.", p.Beside.ID, p.Sync)
	case p.Beside != nil:
		c.say("Run %s is %s: what it sends counts as not sent here.", p.Beside.ID, p.Beside.State)
	}
	switch {
	case p.Held != nil && p.RunID != "":
		c.say("It is held: %s (%s)", p.Held.Message, p.Held.Hint)
	case p.Held != nil:
		c.say("A run would be held: %s (%s)", p.Held.Message, p.Held.Hint)
	}
	return nil
}

// pollEvery is how often a waiting command asks how its run is.
const pollEvery = 200 * time.Millisecond

func (c *command) syncRun() *cobra.Command {
	var async bool
	cmd := &cobra.Command{
		Use: "run NAME", Short: "Start a run and wait for its end", Args: cobra.ExactArgs(1),
		Long: "Run starts a run now, whatever the schedule says, and waits until it has finished or is held by a guard. Ctrl-C ends the waiting, not the run.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			run, err := client.SyncRun(ctx, args[0])
			if err != nil {
				return err
			}
			if async {
				return c.showRun(run, false)
			}
			if run, err = c.await(ctx, client, run); err != nil {
				return err
			}
			return c.showRun(run, true)
		}),
	}
	cmd.Flags().BoolVar(&async, "async", false, "do not wait")
	return cmd
}

// await returns the run once it has finished or is held.
func (c *command) await(ctx context.Context, client *api.Client, run tidegate.Run) (tidegate.Run, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !run.State.Finished() && run.State != tidegate.RunHeld {
		select {
		case <-ctx.Done():
			return run, c.left(run, ctx.Err())
		case <-timer.C:
		}
		now, err := client.Run(ctx, run.ID)
		if err != nil && ctx.Err() != nil {
			return run, c.left(run, ctx.Err())
		} else if err != nil {
			return run, err
		}
		run = now
		timer.Reset(pollEvery)
	}
	return run, nil
}

// left says what becomes of a run for whose end nobody waits any more.
func (c *command) left(run tidegate.Run, err error) error {
	_, _ = fmt.Fprintf(c.env.Stderr, "Run %s goes on: `tidegate sync status %s` says how far it has come, `tidegate sync cancel %s` stops it.\n", run.ID, run.Sync, run.ID)
	return err
}

// further lists the counts that are not zero, each followed by its word.
func further(pairs ...any) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != int64(0) {
			fmt.Fprintf(&b, ", %d %s", pairs[i], pairs[i+1])
		}
	}
	return b.String()
}

// showRun prints a run; judge turns its end into the exit code.
func (c *command) showRun(run tidegate.Run, judge bool) error {
	if c.json {
		if err := c.printJSON(run); err != nil {
			return err
		}
	} else {
		n := run.Counts
		c.say("%s %s: %d read, %d added, %d changed, %d removed; %d delivered%s.", run.ID, run.State, n.Read, n.Added, n.Changed, n.Removed, n.Delivered,
			further(n.Rejected, "rejected", n.InDoubt, "in doubt", n.Deferred, "deferred", n.Held, "held", n.Excluded, "excluded", n.BadKeys, "with bad keys", n.Waiting, "of earlier runs waiting for another try"))
		if f := run.Fault; f != nil && run.State != tidegate.RunRunning { // what held it is past
			c.say("  %s: %s", strings.TrimSpace(f.Code+" "+f.Subject), f.Message)
			if f.Hint != "" {
				c.say("  %s", f.Hint)
			}
		}
		if run.State == tidegate.RunHeld {
			c.say("  look at it with `tidegate sync plan %s`, then `tidegate sync approve %s` or `tidegate sync cancel %s`", run.Sync, run.ID, run.ID)
		}
	}
	if !judge {
		return nil
	}
	switch run.State {
	case tidegate.RunFailed:
		return &codedError{code: ExitError}
	case tidegate.RunHeld, tidegate.RunPartial, tidegate.RunCanceled:
		return &codedError{code: ExitHeld}
	case tidegate.RunQueued, tidegate.RunRunning, tidegate.RunSucceeded:
	}
	return nil
}

func (c *command) syncRuns() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "runs NAME", Short: "List a sync's runs, newest first", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			runs, err := client.Runs(ctx, args[0], limit)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(runs)
			}
			rows := make([][]string, len(runs))
			for i, r := range runs {
				why := ""
				if r.Fault != nil {
					why = r.Fault.Code + ": " + r.Fault.Message
				}
				n := r.Counts
				if why == "" && r.State.Finished() {
					why = leftBehind(r)
				}
				rows[i] = []string{
					r.ID, r.CreatedAt.UTC().Format(time.RFC3339), r.Trigger, string(r.State), fmt.Sprint(n.Read), fmt.Sprint(n.Added), fmt.Sprint(n.Changed), fmt.Sprint(n.Removed),
					fmt.Sprint(n.Delivered), fmt.Sprint(n.Rejected), fmt.Sprint(n.InDoubt + n.Deferred), why,
				}
			}
			return c.list("There are no runs; `tidegate sync run NAME` makes one.", []string{"RUN", "CREATED", "TRIGGER", "STATE", "READ", "ADDED", "CHANGED", "REMOVED", "DELIVERED", "REJECTED", "LATER", "WHY"}, rows)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	return cmd
}

// leftBehind says what a run without a fault did not deliver.
func leftBehind(r tidegate.Run) string {
	n := r.Counts
	switch left := n.Rejected + n.InDoubt + n.Deferred; {
	case r.State == tidegate.RunCanceled && left > 0:
		return plural(left, "record") + " left to the next run"
	case left > 0:
		return plural(left, "record") + " left behind: tidegate sync rejections " + r.Sync + " --causes"
	case n.BadKeys > 0:
		return plural(n.BadKeys, "row") + " with bad keys: tidegate sync rejections " + r.Sync
	case n.Waiting > 0:
		return plural(n.Waiting, "record") + " of earlier runs waiting for another try"
	}
	return ""
}

func (c *command) syncRejections() *cobra.Command {
	var limit int
	var causes bool
	cmd := &cobra.Command{
		Use: "rejections NAME", Short: "List records that the destination does not hold as it should", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if causes {
				return c.showCauses(ctx, client, args[0], limit)
			}
			list, err := client.Rejections(ctx, args[0], limit)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			rows := make([][]string, len(list))
			for i, r := range list {
				rows[i] = []string{string(r.Key), string(r.Op), r.State, fmt.Sprint(r.Attempts), r.Fault.Code, r.Fault.Hint, r.Fault.Message}
			}
			return c.list("No record is rejected.", []string{"KEY", "OP", "STATE", "ATTEMPTS", "CODE", "MEND", "MESSAGE"}, rows)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	cmd.Flags().BoolVar(&causes, "causes", false, "their causes instead, most frequent first")
	return cmd
}

func (c *command) showCauses(ctx context.Context, client *api.Client, name string, limit int) error {
	list, err := client.Causes(ctx, name, limit)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(list)
	}
	rows := make([][]string, len(list))
	for i, l := range list {
		keys := make([]string, len(l.Keys))
		for k, key := range l.Keys {
			keys[k] = string(key)
		}
		rows[i] = []string{shortCluster(l.Cluster), fmt.Sprint(l.Count), fmt.Sprint(l.Parked), l.Fault.Code, strings.Join(keys, " "), l.Fault.Hint, l.Fault.Message}
	}
	return c.list("No record is rejected.", []string{"CLUSTER", "RECORDS", "PARKED", "CODE", "KEYS", "MEND", "MESSAGE"}, rows)
}

// shortCluster is what a cluster is called where its name, the common part of its messages, is too long to be typed.
func shortCluster(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:4])
}

// clusterNamed finds the cluster of a sync that somebody names, in short or in full.
func clusterNamed(ctx context.Context, client *api.Client, sync, name string) (string, error) {
	list, err := client.Causes(ctx, sync, 1000)
	if err != nil {
		return "", err
	}
	for _, l := range list {
		if name == l.Cluster || name == shortCluster(l.Cluster) {
			return l.Cluster, nil
		}
	}
	return "", &tidegate.Fault{
		Action: tidegate.Halt, Code: "cluster.not_found", Subject: "sync " + sync,
		Message: fmt.Sprintf("no rejection is of the cluster %q", name), Hint: "`tidegate sync rejections " + sync + " --causes` lists them",
	}
}

func (c *command) syncRetry() *cobra.Command {
	var cluster, key string
	cmd := &cobra.Command{
		Use: "retry NAME", Short: "Let the next run try rejected records again", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			cause := cluster
			if cause != "" {
				var err error
				if cause, err = clusterNamed(ctx, client, args[0], cause); err != nil {
					return err
				}
			}
			n, err := client.RetryRejections(ctx, args[0], cause, tidegate.Key(key))
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(api.Retried{Retried: n})
			}
			c.say("The next run tries %s again.", plural(n, "record"))
			return nil
		}),
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "only those of this cluster, as 'rejections --causes' names it")
	cmd.Flags().StringVar(&key, "key", "", "only the record of this key, as 'rejections' shows it: [7]")
	cmd.MarkFlagsMutuallyExclusive("cluster", "key")
	return cmd
}

func (c *command) syncApprove() *cobra.Command {
	return &cobra.Command{
		Use: "approve RUN", Short: "Let a held run deliver exactly its stored plan", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			run, err := client.Approve(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showRun(run, false)
		}),
	}
}

func (c *command) syncCancel() *cobra.Command {
	var async bool
	cmd := &cobra.Command{
		Use: "cancel RUN", Short: "Stop a run; what was not sent stays to be sent", Args: cobra.ExactArgs(1),
		Long: "Cancel stops a run and waits for its end, which comes when the calls that are under way were answered. What was not sent is sent by the next run.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			run, err := client.Cancel(ctx, args[0])
			if err != nil {
				return err
			}
			if !async {
				if run, err = c.await(ctx, client, run); err != nil {
					return err
				}
			}
			return c.showRun(run, false)
		}),
	}
	cmd.Flags().BoolVar(&async, "async", false, "do not wait")
	return cmd
}
