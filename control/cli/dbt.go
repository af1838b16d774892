package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/sync/dbt"
)

// DbtCheckOptions are the flags of `dbt check`.
type DbtCheckOptions struct {
	Name, Target, State string
	// Query asks the warehouse; nil without --prove.
	Query func(ctx context.Context, sql string) ([]dbt.Column, int64, error)
}

func (c *command) dbtCommand() *cobra.Command {
	cmd := group("dbt", "Work with dbt projects")
	cmd.AddCommand(c.dbtListCommand(), c.dbtCheckCommand(), c.dbtExposuresCommand())
	return cmd
}

func (c *command) dbtListCommand() *cobra.Command {
	var used bool
	cmd := &cobra.Command{
		Use: "list", Short: "List dbt models with their keys, their syncs, and whether they may be synced now", Args: cobra.NoArgs,
		Long: "List shows what the running server knows of the dbt projects after it has looked at their artefacts again or, without a server, what the artefacts of the project folder say.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			var projects []api.DbtStatus
			if client != nil {
				projects, err = client.RefreshDbt(cmd.Context())
			} else {
				var p *project.Project
				if p, err = c.localProject(); err == nil {
					projects, err = c.env.Local.Dbt(cmd.Context(), p, c.projectDir(nil), c.data)
				}
			}
			if err != nil {
				return err
			}
			return c.showDbt(projects, used)
		},
	}
	cmd.Flags().BoolVar(&used, "synced", false, "only models that a sync reads")
	return cmd
}

func (c *command) showDbt(projects []api.DbtStatus, used bool) error {
	for i := range projects {
		var kept []api.DbtModelStatus
		for _, m := range projects[i].Models {
			if !used || len(m.Syncs) > 0 {
				kept = append(kept, m)
			}
		}
		projects[i].Models = kept
	}
	if c.json {
		return c.printJSON(projects)
	}
	if len(projects) == 0 {
		c.say("The project names no dbt project: add `dbt: [{target: PATH}]` to %s.", project.File)
	}
	for i, p := range projects {
		if i > 0 {
			c.say("")
		}
		seen := ""
		if !p.At.IsZero() {
			seen = ", last invocation " + p.At.UTC().Format(time.RFC3339)
		}
		if p.Version != "" {
			c.say("%s: dbt %s%s", p.Name, p.Version, seen)
		} else {
			c.say("%s: not read", p.Name)
		}
		if p.Fault != "" {
			c.say("  %s", p.Fault)
		}
		for _, problem := range p.Problems {
			c.say("  %s", problem)
		}
		var rows [][]string
		for _, m := range p.Models {
			state := "passed"
			if !m.Passed {
				state = "blocked: " + m.Reason
			}
			key := strings.Join(m.PrimaryKey, ", ")
			rows = append(rows, []string{"  " + m.Name, m.Table, m.Materialized, orDefault(key, "-"), fmt.Sprint(m.Tests), orDefault(strings.Join(m.Syncs, ", "), "-"), state})
		}
		if len(rows) > 0 {
			if err := table(c.env.Stdout, []string{"  MODEL", "TABLE", "MATERIALIZED", "KEY", "TESTS", "SYNCS", "GATE"}, rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// fromHere names a folder that somebody typed, who means it from where they are and not from
// the project; a URL stays.
func fromHere(folder string) (string, error) {
	if folder == "" || strings.Contains(folder, "://") {
		return folder, nil
	}
	abs, err := filepath.Abs(folder)
	if err != nil {
		return "", fmt.Errorf("naming the folder %s: %w", folder, err)
	}
	return abs, nil
}

func (c *command) dbtCheckCommand() *cobra.Command {
	var o DbtCheckOptions
	var prove bool
	cmd := &cobra.Command{
		Use: "check", Short: "Say what a change of a dbt project breaks in the syncs that read it", Args: cobra.NoArgs,
		Long: `Check compares two states of a dbt project and fails (exit code 1) when the new
one drops, renames or disables a model that a sync reads, drops or renames a
column that a sync maps, changes such a column's type, or no longer proves that
the key is unique. It needs manifest.json of both; with catalog.json
(dbt docs generate) it knows every column and type; with --prove it asks the
warehouse.

In CI: dbt compile --target-path new, then
tidegate dbt check --project DIR --state PRODUCTION_TARGET --target new`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			for _, folder := range []*string{&o.Target, &o.State} {
				if *folder, err = fromHere(*folder); err != nil {
					return err
				}
			}
			if prove {
				if err := c.prover(cmd.Context(), p, &o); err != nil {
					return err
				}
			}
			findings, err := c.env.Local.DbtCheck(cmd.Context(), p, c.projectDir(nil), c.data, o)
			if err != nil {
				return err
			}
			return c.showBreaks(findings)
		},
	}
	cmd.Flags().StringVar(&o.Name, "dbt", "", "the dbt project, when there are several")
	cmd.Flags().StringVar(&o.Target, "target", "", "the folder or URL of the new artefacts; the project's own target when empty")
	cmd.Flags().StringVar(&o.State, "state", "", "the folder or URL of the old artefacts; without it only the new ones are looked at")
	cmd.Flags().BoolVar(&prove, "prove", false, "ask the warehouse for columns, types and unique keys")
	return cmd
}

func (c *command) showBreaks(findings []dbt.Finding) error {
	breaks := 0
	for _, f := range findings {
		if f.Breaks {
			breaks++
		}
	}
	if c.json {
		if findings == nil {
			findings = []dbt.Finding{}
		}
		if err := c.printJSON(map[string]any{"breaks": breaks > 0, "findings": findings}); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			level := "note"
			if f.Breaks {
				level = "BREAKS"
			}
			at := f.Model
			if f.Column != "" {
				at += "." + f.Column
			}
			c.say("%s %s: sync %s: %s: %s", level, f.Code, f.Sync, at, f.Message)
			if f.Hint != "" {
				c.say("  %s", f.Hint)
			}
		}
		if breaks == 0 {
			c.say("No sync breaks.")
		} else {
			c.say("%s.", plural(int64(breaks), "break"))
		}
	}
	if breaks > 0 {
		return &codedError{code: ExitError}
	}
	return nil
}

// prover lets the check ask the warehouse, through the server or in the file.
func (c *command) prover(ctx context.Context, p *project.Project, o *DbtCheckOptions) error {
	warehouse := ""
	for _, d := range p.Dbt {
		if d.Name == o.Name || o.Name == "" && len(p.Dbt) == 1 {
			warehouse = d.Warehouse
		}
	}
	client, err := c.running(ctx)
	if err != nil {
		return err
	}
	if client != nil {
		o.Query = func(ctx context.Context, sql string) (columns []dbt.Column, rows int64, err error) {
			_, err = client.Query(ctx, api.QueryRequest{Warehouse: warehouse, SQL: sql, Limit: 1}, func(list []api.ColumnInfo) error {
				columns = columnsOf(list)
				return nil
			}, func([]json.RawMessage) error { rows++; return nil })
			return columns, rows, err
		}
		return nil
	}
	o.Query = func(ctx context.Context, sql string) (columns []dbt.Column, count int64, err error) {
		rows, done, err := c.env.Local.Query(ctx, p, c.data, warehouse, sql)
		if err != nil {
			return nil, 0, err
		}
		defer func() { err = errors.Join(err, rows.Close(), done()) }()
		columns = columnsOf(api.Columns(rows.Schema()))
		for count < 1 {
			if _, err := rows.Next(ctx); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, 0, err
			}
			count++
		}
		return columns, count, nil
	}
	return nil
}

func columnsOf(list []api.ColumnInfo) []dbt.Column {
	out := make([]dbt.Column, len(list))
	for i, c := range list {
		out[i] = dbt.Column{Name: c.Name, Type: c.Type}
	}
	return out
}

func (c *command) dbtExposuresCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exposures", Short: "Write the syncs back into dbt projects as exposures", Args: cobra.NoArgs,
		Long: "Exposures writes the file that `exposures` of each dbt project names, when its text has changed; for a project that names none it prints the text. A running server does this by itself.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			list, err := c.env.Local.DbtExposures(cmd.Context(), p, c.projectDir(nil), c.data)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(append([]api.DbtExposures{}, list...)) // an empty list is no null
			}
			if len(list) == 0 {
				c.say("The project names no dbt project: add `dbt: [{target: PATH}]` to %s.", project.File)
			}
			for _, e := range list {
				switch {
				case e.Path == "":
					c.say("%s", strings.TrimSuffix(e.Text, "\n"))
				case e.Changed:
					c.say("%s is written.", e.Path)
				default:
					c.say("%s is up to date.", e.Path)
				}
			}
			return nil
		},
	}
}

func (c *command) lineageCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lineage [NAME]", Short: "Show how values travel: source, table, model, sync, field", Args: cobra.MaximumNArgs(1),
		Long: "Lineage prints every step, or those that lead to and from one source, table, model, sync or field (written destination.object.field). The table _tidegate.lineage of the warehouse holds the same.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			l, err := client.Lineage(ctx, name)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(l)
			}
			var rows [][]string
			for _, e := range l.Edges {
				rows = append(rows, []string{e.FromKind, e.From, e.ToKind, e.To, strings.Join(e.Columns, ", ")})
			}
			return c.list("There is no lineage; a model or a sync of the project makes one.", []string{"FROM", "NAME", "TO", "NAME", "COLUMNS"}, rows)
		}),
	}
}
