package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
)

func (c *command) warehouseCommand() *cobra.Command {
	cmd := group("warehouse", "Look after the warehouses")
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Try what loading and syncing need of the project's warehouses", Args: cobra.NoArgs,
		Long: `Check connects to each warehouse of the project with the project's own configuration,
makes a schema with one table, loads into it, widens it, reads it and drops it
again. Each step says how long it took, or what is missing and the statement
that grants it. A warehouse that is a file must not be in use by a server.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			return c.showFindings(c.env.Local.CheckWarehouse(cmd.Context(), p, c.data))
		},
	})
	cmd.AddCommand(c.migrateCommand(), c.rejoinCommand())
	return cmd
}

func (c *command) rejoinCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "rejoin", Short: "Let loading go on after the warehouse or the journal was lost", Args: cobra.NoArgs,
		Long: `The loader's place in the journal is kept in the warehouse. When the warehouse
was lost or put back from a backup, or the journal's folder was, the journal
does not have that place, or other events there, and loading stops with
journal.trimmed, journal.ahead or journal.replaced. Bring back what was lost if
you can.

Otherwise rejoin makes the loader go on at the oldest event that the journal
keeps: what the warehouse has already is left out by its ids; what neither of
the two has is lost. Stop the server first. Without --yes it says what it would do.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.localProject()
			if err != nil {
				return err
			}
			done, err := c.env.Local.Rejoin(cmd.Context(), p, c.data, yes)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(map[string]any{"done": yes, "before": done.Before, "after": done.After, "events": done.Events})
			}
			c.say("The loader's place is %s; the journal keeps %s from %s on.", done.Before, plural(done.Events, "event"), done.After)
			if yes {
				c.say("It goes on there when the server starts.")
			} else {
				c.say("With --yes it goes on there.")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (c *command) migrateCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use: "migrate --from NAME --to NAME", Short: "Copy events and ledgers from one warehouse of the project to another", Args: cobra.NoArgs,
		Long: `Migrate copies the tables of the project's sources, the loader's books and the
ledgers of the syncs whose models read there, and compares the counts. What it
copies from stays as it is. The name of the warehouse that events go to is
"warehouse".

Nothing may load meanwhile: stop the server first. Run it again when it was cut
off, it goes on where it was. Afterwards make the new warehouse the project's
"warehouse:" and start the server: the loader goes on in its journal where it
was, no sync sends anything again.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usage(errors.New("say which warehouse to copy to: --to NAME"))
			}
			client, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			if client != nil {
				return &tidegate.Fault{
					Action: tidegate.Halt, Code: "migrate.running", Subject: "data folder " + c.data, Message: "a server is loading into the warehouse",
					Hint: "stop it; SDKs keep events and send them when it is back",
				}
			}
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			done := []api.Migrated{}
			var rows [][]string
			err = c.env.Local.Migrate(cmd.Context(), p, c.data, from, to, func(m api.Migrated) {
				done = append(done, m)
				rows = append(rows, []string{m.Table, fmt.Sprint(m.Rows), fmt.Sprint(m.Copied)})
			})
			if c.json {
				return errors.Join(err, c.printJSON(map[string]any{"complete": err == nil, "tables": done}))
			}
			if len(rows) > 0 {
				err = errors.Join(err, table(c.env.Stdout, []string{"TABLE", "ROWS", "COPIED"}, rows))
			}
			if err == nil {
				c.say("Everything is there. Now let `warehouse:` in the project be what %q is, and start the server.", orDefault(to, project.KindWarehouse))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", project.KindWarehouse, "the warehouse to copy from")
	cmd.Flags().StringVar(&to, "to", "", "the warehouse to copy to")
	return cmd
}
