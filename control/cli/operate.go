package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
)

func (c *command) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how far behind each stage is and what became of every event", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			r, err := client.Status(ctx)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(r)
			}
			var stages, sources [][]string
			for _, s := range r.Stages {
				ready := "yes"
				if !s.Ready {
					ready = "NO"
				}
				lag := time.Duration(s.LagSeconds * float64(time.Second)).Round(time.Millisecond).String()
				stages = append(stages, []string{s.Name, ready, fmt.Sprint(s.LagEvents), lag, s.Detail})
			}
			for _, s := range r.Sources {
				sources = append(sources, []string{s.Source, fmt.Sprint(s.Accepted), fmt.Sprint(s.Loaded), fmt.Sprint(s.Duplicates), fmt.Sprint(s.Waiting), fmt.Sprint(s.Dead), fmt.Sprint(s.Suppressed), fmt.Sprint(s.Dropped)})
			}
			if err := table(c.env.Stdout, []string{"STAGE", "READY", "EVENTS BEHIND", "OLDEST", "DETAIL"}, stages); err != nil || len(sources) == 0 {
				return err
			}
			c.say("")
			return table(c.env.Stdout, []string{"SOURCE", "ACCEPTED", "LOADED", "DUPLICATE", "WAITING", "DEAD", "SUPPRESSED", "DROPPED"}, sources)
		}),
	}
}

func (c *command) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Examine the hub and say what to mend", Args: cobra.NoArgs,
		Long: "Doctor examines the running server or, when there is none, the project and the data folder: its control.db and every frame of its journal, which may take a while.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			var found []api.Finding
			if client != nil {
				found, err = client.Doctor(cmd.Context())
			} else {
				var p *project.Project
				if p, err = c.localProject(); err == nil {
					found = c.env.Local.Doctor(cmd.Context(), p, c.data)
				}
			}
			if err != nil {
				return err
			}
			return c.showFindings(found)
		},
	}
}

func (c *command) showFindings(found []api.Finding) error {
	failed := false
	var rows [][]string
	for _, f := range found {
		failed = failed || f.Level == "error"
		rows = append(rows, []string{strings.ToUpper(f.Level), f.Check, f.Detail})
		if f.Hint != "" {
			rows = append(rows, []string{"", "", "→ " + f.Hint})
		}
	}
	var err error
	if c.json {
		err = c.printJSON(found)
	} else {
		err = c.list("Nothing was found.", []string{"LEVEL", "CHECK", "FOUND"}, rows)
	}
	if err == nil && failed {
		return &codedError{code: ExitHeld}
	}
	return err
}

func (c *command) tokenCommand() *cobra.Command {
	cmd := group("token", "Manage API tokens")
	var asked api.NewToken
	create := &cobra.Command{
		Use: "create NAME", Short: "Make an API token; it is shown once", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			asked.Name = args[0]
			token, err := client.CreateToken(ctx, asked)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(token)
			}
			c.say("%s", token.Token)
			return nil
		}),
	}
	create.Flags().StringVar(&asked.Role, "role", "viewer", "viewer, analyst, operator, editor, admin, stream or stream:NAME")
	create.Flags().StringVar(&asked.ExpiresIn, "expires-in", "", "how long it lives, as 720h; without it, until it is revoked")
	list := &cobra.Command{
		Use: "list", Short: "List API tokens", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			tokens, err := client.Tokens(ctx)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(tokens)
			}
			rows := make([][]string, len(tokens))
			for i, t := range tokens {
				state := "live"
				if !t.Live(c.env.Now()) {
					state = "ended"
				}
				rows[i] = []string{t.ID, t.Name, t.Role, state, t.CreatedAt.UTC().Format(time.RFC3339)}
			}
			return c.list("There are no tokens; `tidegate token create NAME` makes one.", []string{"TOKEN", "NAME", "ROLE", "STATE", "CREATED"}, rows)
		}),
	}
	revoke := &cobra.Command{
		Use: "revoke TOKEN", Short: "End an API token at once", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			if err := client.RevokeToken(ctx, args[0]); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(map[string]string{"revoked": args[0]})
			}
			c.say("Revoked %s.", args[0])
			return nil
		}),
	}
	cmd.AddCommand(create, list, revoke)
	return cmd
}
