package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/sync/runner"
)

func (c *command) syncLog() *cobra.Command {
	var f ledger.LogFilter
	var key string
	cmd := &cobra.Command{
		Use: "log NAME", Short: "List what became of each change, newest first", Args: cobra.ExactArgs(1),
		Long: "Log lists the results of ended runs with the values before and after. The view _tidegate.sync_log shows the same to SQL; docs/ledger.md says what its columns mean.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			f.Key = tidegate.Key(key)
			list, err := client.SyncLog(ctx, args[0], f)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			rows := make([][]string, len(list))
			for i, e := range list {
				why := ""
				if e.Fault != nil {
					why = e.Fault.Code + ": " + e.Fault.Message
				}
				rows[i] = []string{e.At.UTC().Format(time.RFC3339), e.RunID, string(e.Key), string(e.Op), e.Disposition, fieldsThatDiffer(e), why}
			}
			return c.list("No such record is in the log; `tidegate sync run` sends what has changed.", []string{"AT", "RUN", "KEY", "OP", "BECAME", "FIELDS", "WHY"}, rows)
		}),
	}
	cmd.Flags().StringVar(&f.RunID, "run", "", "only results of this run")
	cmd.Flags().StringVar(&key, "key", "", "only results of this key, as JSON: '[7]'")
	cmd.Flags().StringVar(&f.Disposition, "disposition", "", "only delivered, rejected, in_doubt, deferred, excluded or skipped ones")
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "at most so many")
	return cmd
}

// fieldsThatDiffer is a few of the changed fields: `age 1 → 2`. Those that a policy kept from
// being written are not among them: the reason beside them names them.
func fieldsThatDiffer(e ledger.LogEntry) string {
	var left []string
	if e.Fault != nil && e.Fault.Code == runner.FieldKept {
		left = strings.Split(e.Fault.Subject, ", ")
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(e.Before)), maps.Keys(e.After))
	slices.Sort(names)
	var parts []string
	for _, name := range slices.Compact(names) {
		before, after := valueText(e.Before[name]), valueText(e.After[name])
		if before == after || slices.Contains(left, name) {
			continue
		}
		if len(parts) == 3 {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s → %s", name, before, after))
	}
	return strings.Join(parts, ", ")
}

func (c *command) syncPause() *cobra.Command {
	return &cobra.Command{
		Use: "pause NAME", Short: "Keep a sync from starting by itself; a run that goes on is not stopped", Args: cobra.ExactArgs(1),
		Long: "Pause holds a sync until `tidegate sync resume NAME`, also over restarts and changes of the project. It can still be run by hand. `tidegate sync cancel RUN` stops a run.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			return c.heldOrNot(client.PauseSync(ctx, args[0]))
		}),
	}
}

func (c *command) syncResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume NAME", Short: "Let a paused sync start by itself again; what it missed is caught up once", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			return c.heldOrNot(client.ResumeSync(ctx, args[0]))
		}),
	}
}

func (c *command) heldOrNot(s api.SyncStatus, err error) error {
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(s)
	}
	if s.Paused {
		c.say("Sync %s is paused.", s.Name)
	} else {
		c.say("Sync %s starts by itself again.", s.Name)
	}
	return nil
}

func (c *command) syncResync() *cobra.Command {
	return &cobra.Command{
		Use: "resync NAME", Short: "Forget what was confirmed: the next run sends every row and removes none", Args: cobra.ExactArgs(1),
		Long: "Resync is the way out of ledger.damaged. It sends nothing itself. Records that the model does not hold any more stay in the destination, because nobody knows which were ours.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if err := client.Resync(ctx, args[0]); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(api.Resynced{Sync: args[0]})
			}
			c.say("The next run of %s sends every row and removes none.", args[0])
			return nil
		}),
	}
}
