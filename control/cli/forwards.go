package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/control/api"
)

func (c *command) forwardCommand() *cobra.Command {
	cmd := group("forward", "Look at forwards, which send events within seconds")
	cmd.AddCommand(c.forwardList(), c.forwardStatus(), c.forwardDead(), c.forwardRetry(), c.forwardDiscard(), c.forwardPause(), c.forwardResume())
	return cmd
}

func (c *command) forwardList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List forwards and how they are", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			list, err := client.ListForwards(ctx)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			rows := make([][]string, len(list))
			for i, f := range list {
				rows[i] = []string{f.Name, string(f.State), fmt.Sprint(f.LagEvents), fmt.Sprint(f.Progress.Delivered), fmt.Sprint(f.Waiting), fmt.Sprint(f.Dead), f.Reason}
			}
			return c.list("There are no forwards; a file in forwards/ of the project makes one.", []string{"FORWARD", "NOW", "BEHIND", "DELIVERED", "WAITING", "DEAD", "WHY"}, rows)
		}),
	}
}

func (c *command) forwardStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status NAME", Short: "Show how a forward is, and what became of its events", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			f, err := client.GetForward(ctx, args[0])
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(f)
			}
			p := f.Progress
			rows := [][]string{
				{"forward", f.Name},
				{"destination", f.Destination + " " + f.Object},
				{"mode", f.Mode},
				{"now", string(f.State)},
				{"why", f.Reason},
				{"behind", fmt.Sprintf("%s, %.1f MiB, %s", plural(f.LagEvents, "event"), float64(f.LagBytes)/(1<<20), time.Duration(f.LagSeconds*float64(time.Second)).Round(time.Second))},
				{"on their way", plural(int64(f.InMemory), "event")},
				{"waiting", plural(f.Waiting, "event")},
				{"dead letters", plural(f.Dead, "event")},
				{"a repeated delivery is", string(f.Safety)},
				{"since the start", fmt.Sprintf("%d read, %d delivered, %d dead, %d tries repeated", p.Read, p.Delivered, p.Dead, p.Retried)},
				{"left out", fmt.Sprintf("%d by the filter, %d without consent, %d repeats, %d dropped, %d suppressed, %d violating", p.Filtered, p.Withheld, p.Repeats, p.Dropped, p.Suppressed, p.Violating)},
			}
			return table(c.env.Stdout, []string{"", ""}, rows)
		}),
	}
}

// deadFlags are the flags by which dead letters are chosen.
type deadFlags struct {
	code     string
	position int64
	all      bool
}

func (d *deadFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.code, "code", "", "only letters with this code")
	cmd.Flags().Int64Var(&d.position, "position", -1, "only the letter at this position")
}

func (d *deadFlags) filter() api.DeadFilter {
	f := api.DeadFilter{Code: d.code}
	if d.position >= 0 {
		f.Position = &d.position
	}
	return f
}

func (c *command) forwardDead() *cobra.Command {
	var flags deadFlags
	var causes bool
	var limit int
	cmd := &cobra.Command{
		Use: "dead NAME", Short: "List the events that a forward could not deliver, newest first", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if causes {
				return c.deadCauses(ctx, client, args[0])
			}
			f := flags.filter()
			f.Limit = limit
			list, err := client.ListDeadEvents(ctx, args[0], f)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			rows := make([][]string, len(list))
			for i, e := range list {
				rows[i] = []string{fmt.Sprint(e.Position), e.DiedAt.UTC().Format(time.RFC3339), e.Type + " " + e.Name, e.User, fmt.Sprint(e.Attempts), e.Code, e.Hint, e.Message}
			}
			return c.list("There are no such dead letters.", []string{"POSITION", "DIED", "EVENT", "USER", "TRIES", "CODE", "MEND", "MESSAGE"}, rows)
		}),
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&causes, "causes", false, "count them by their codes")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most, up to 1000")
	return cmd
}

func (c *command) deadCauses(ctx context.Context, client *api.Client, name string) error {
	list, err := client.ListDeadCauses(ctx, name)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(list)
	}
	rows := make([][]string, len(list))
	for i, e := range list {
		rows[i] = []string{e.Code, fmt.Sprint(e.Letters), e.LastAt.UTC().Format(time.RFC3339), e.Message}
	}
	return c.list("There are no dead letters.", []string{"CODE", "EVENTS", "LAST", "MESSAGE"}, rows)
}

func (c *command) forwardRetry() *cobra.Command {
	var flags deadFlags
	cmd := &cobra.Command{
		Use: "retry NAME", Short: "Send dead letters again, behind what waits", Args: cobra.ExactArgs(1),
		Long: "Send dead letters again: judged, filtered and mapped as the project says now, behind what waits for the same\nusers. In a mode that overwrites records an old event may overwrite what a newer one wrote since.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			n, err := client.RetryDeadEvents(ctx, args[0], flags.filter())
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(api.Retried{Retried: n})
			}
			c.say(plural(n, "dead letter") + " of forward " + args[0] + " will be sent again")
			return nil
		}),
	}
	flags.add(cmd)
	return cmd
}

func (c *command) forwardDiscard() *cobra.Command {
	var flags deadFlags
	cmd := &cobra.Command{
		Use: "discard NAME", Short: "Forget dead letters for good", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if flags.code == "" && flags.position < 0 && !flags.all {
				return usage(errors.New("say which: --code CODE, --position POSITION or --all"))
			}
			n, err := client.DiscardDeadEvents(ctx, args[0], flags.filter())
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(api.Discarded{Discarded: n})
			}
			c.say(plural(n, "dead letter") + " of forward " + args[0] + " forgotten")
			return nil
		}),
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.all, "all", false, "all of them")
	return cmd
}

func (c *command) forwardPause() *cobra.Command {
	return &cobra.Command{
		Use: "pause NAME", Short: "Hold a forward; its events wait in the journal, for as long as the forward may hold them back", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			return c.forwardSaid(args[0], "paused", client.PauseForward(ctx, args[0]))
		}),
	}
}

func (c *command) forwardResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume NAME", Short: "Let a paused forward go on, or one that waits for its destination try at once", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			return c.forwardSaid(args[0], "resumed", client.ResumeForward(ctx, args[0]))
		}),
	}
}

func (c *command) forwardSaid(name, what string, err error) error {
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"forward": name, "state": what})
	}
	c.say("forward " + name + " is " + what)
	return nil
}
