package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/sync/runner"
)

// storePlan keeps a plan and shows it.
func (c *command) storePlan(ctx context.Context, client *api.Client, name string, sample int) error {
	run, err := client.StorePlan(ctx, name)
	if err != nil {
		return err
	}
	if run.State == tidegate.RunHeld && !c.json {
		plan, err := client.SyncPlan(ctx, name, sample, false)
		if err != nil {
			return err
		}
		plan.Held, plan.RunID = nil, "" // it is held, and the run says why and what to do
		if err := c.showSyncPlan(plan); err != nil {
			return err
		}
	}
	return c.showRun(run, run.State != tidegate.RunHeld)
}

func (c *command) syncApply() *cobra.Command {
	var async bool
	cmd := &cobra.Command{
		Use: "apply RUN", Short: "Send exactly a stored plan and wait for the end", Args: cobra.ExactArgs(1),
		Long: "Apply sends the plan that `tidegate sync plan NAME --store` kept, or that a guard holds: exactly that plan, whatever the model says by now. Ctrl-C ends the waiting, not the run.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			run, err := client.Approve(ctx, args[0])
			if err != nil {
				return err
			}
			return c.follow(ctx, client, run, async)
		}),
	}
	cmd.Flags().BoolVar(&async, "async", false, "do not wait")
	return cmd
}

// follow shows a run, once it has ended or is held unless async.
func (c *command) follow(ctx context.Context, client *api.Client, run tidegate.Run, async bool) error {
	if async {
		return c.showRun(run, false)
	}
	run, err := c.await(ctx, client, run)
	if err != nil {
		return err
	}
	return c.showRun(run, true)
}

func (c *command) syncRevert() *cobra.Command {
	var async bool
	cmd := &cobra.Command{
		Use: "revert RUN", Short: "Take back what a finished run delivered, and wait for the end", Args: cobra.ExactArgs(1),
		Long: "Revert begins a run that gives fields the values that were confirmed before RUN, removes what it added and adds what it removed, as far as the sync's mode lets it. " +
			"Records for which something else was confirmed since are left alone. Guards judge it like any run. Pause the sync or mend its model first: the next run sends what the model says.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			run, err := client.Revert(ctx, args[0])
			if err != nil {
				return err
			}
			return c.followRevert(ctx, client, run, async)
		}),
	}
	cmd.Flags().BoolVar(&async, "async", false, "do not wait")
	return cmd
}

// followRevert is follow, and tells what the revert has left alone once it has ended.
func (c *command) followRevert(ctx context.Context, client *api.Client, run tidegate.Run, async bool) error {
	if async {
		return c.showRun(run, false)
	}
	run, err := c.await(ctx, client, run)
	if err != nil {
		return err
	}
	if run.State.Finished() && !c.json {
		const few = 10
		left, err := client.SyncLog(ctx, run.Sync, ledger.LogFilter{RunID: run.ID, Disposition: "skipped", Limit: few + 1})
		if err != nil {
			return err
		}
		keys := make([]string, min(len(left), few))
		for i := range keys {
			keys[i] = oneLine(string(left[i].Key))
		}
		if len(left) > 0 {
			c.say("Left alone, because something else was confirmed since or is in doubt: %s%s; `tidegate sync log %s --run %s --disposition skipped` lists them.",
				strings.Join(keys, " "), map[bool]string{true: " …"}[len(left) > few], run.Sync, run.ID)
		}
		if n := run.Counts.Excluded; n > 0 {
			c.say("Left as they are, because the sync's mode does not let through what would take them back: %s.", plural(n, "record"))
		}
	}
	return c.showRun(run, true)
}

func (c *command) syncDrift() *cobra.Command {
	var opts runner.DriftOptions
	cmd := &cobra.Command{
		Use: "drift NAME", Short: "Compare what the destination holds with what it confirmed", Args: cobra.ExactArgs(1),
		Long: "Drift reads confirmed records back and shows, field by field, what the model says, what the destination confirmed and what it holds now. The exit code is 4 when something drifted. With --restore a run writes the confirmed values again.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			report, err := client.Drift(ctx, args[0], opts)
			if err != nil {
				return err
			}
			if report.Run != nil {
				if err := c.showDrift(report); err != nil {
					return err
				}
				return c.follow(ctx, client, *report.Run, c.json)
			}
			if err := c.showDrift(report); err != nil {
				return err
			}
			if report.Drifted+report.Missing > 0 {
				return &codedError{code: ExitHeld}
			}
			return nil
		}),
	}
	cmd.Flags().IntVar(&opts.Sample, "sample", 1000, "about how many records to look at; 0 is all of them")
	cmd.Flags().BoolVar(&opts.Restore, "restore", false, "begin a run that writes the confirmed values again")
	return cmd
}

func (c *command) showDrift(r runner.DriftReport) error {
	if c.json {
		return c.printJSON(r)
	}
	for _, rec := range r.Records {
		switch {
		case rec.Missing:
			c.say("- %s %s: it is gone", oneLine(string(rec.Key)), oneLine(valueText(rec.Identifier)))
		case rec.Unwanted:
			c.say("~ %s %s (the model has no such row any more)", oneLine(string(rec.Key)), oneLine(valueText(rec.Identifier)))
		default:
			c.say("~ %s %s", oneLine(string(rec.Key)), oneLine(valueText(rec.Identifier)))
		}
		for _, f := range rec.Fields {
			c.say("    %s: the model says %s, confirmed was %s, it holds %s", oneLine(f.Field), oneLine(valueText(f.Desired)), oneLine(valueText(f.Confirmed)), oneLine(valueText(f.Actual)))
		}
	}
	c.say("%s looked at: %d drifted, %d gone.", plural(r.Checked, "record"), r.Drifted, r.Missing)
	for _, field := range slices.Sorted(maps.Keys(r.Fields)) {
		c.say("  %s", fmt.Sprintf("%s: %s", oneLine(field), plural(r.Fields[field], "record")))
	}
	return nil
}
