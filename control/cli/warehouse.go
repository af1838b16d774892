package cli

import "github.com/spf13/cobra"

func (c *command) warehouseCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "warehouse", Short: "Look after the warehouse", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Try what loading and syncing need of the project's warehouses", Args: cobra.NoArgs,
		Long: `Check connects to each warehouse of the project with the project's own configuration,
makes a schema with one table, loads into it, widens it, reads it and drops it
again. Each step says how long it took, or what is missing and the statement
that grants it. A warehouse that is a file must not be in use by a server.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.localProject()
			if err != nil {
				return err
			}
			return c.showFindings(c.env.Local.CheckWarehouse(cmd.Context(), p, c.data))
		},
	})
	return cmd
}
