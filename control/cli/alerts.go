package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/control/api"
)

func (c *command) alertsCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "alerts", Short: "List what alerts are raised", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			states, err := client.Alerts(ctx)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(states)
			}
			var rows, why [][]string
			for _, s := range states {
				state := "raised"
				if !s.Raised {
					state = "resolved"
				}
				told := "yes"
				if !s.Told {
					told = "not yet"
				}
				if s.Untold != "" && (len(why) == 0 || why[len(why)-1][0] != s.Alert) { // it is the same for all of an alert
					why = append(why, []string{s.Alert, clipped(s.Untold, maxLast)})
				}
				rows = append(rows, []string{s.Alert, s.Sync, string(s.Condition), state, s.Since.UTC().Format(time.RFC3339), told, s.Message})
			}
			err = c.list("No alert is raised; `alerts` of the project says what raises one.", []string{"ALERT", "ABOUT", "CONDITION", "STATE", "SINCE", "TOLD", "MESSAGE"}, rows)
			for _, w := range why {
				c.say("Alert %s, not yet told: %s.", w[0], w[1])
			}
			return err
		}),
	}
	list.AddCommand(&cobra.Command{
		Use: "test NAME", Short: "Send a test message through an alert's channel", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if err := client.TestAlert(ctx, args[0]); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(map[string]string{"alert": args[0], "test": "sent"})
			}
			c.say(fmt.Sprintf("the test message of alert %s was taken", args[0]))
			return nil
		}),
	})
	return list
}
