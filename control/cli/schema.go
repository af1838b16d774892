package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
)

// EventSchema is what the schema commands ask of a server, or of the warehouse that no
// server has.
type EventSchema interface {
	EventTables(ctx context.Context, f api.TableFilter) ([]evolve.EventTable, error)
	WidenColumn(ctx context.Context, req api.WidenRequest) (evolve.WidenResult, error)
	SchemaHistory(ctx context.Context, f api.TableFilter, limit int) ([]evolve.ColumnChange, error)
	Collisions(ctx context.Context) ([]evolve.NameCollision, error)
}

// withSchema runs a command against the server of the data folder or, when there is
// none, against the warehouse itself.
func (c *command) withSchema(use func(ctx context.Context, schema EventSchema, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		client, err := c.running(ctx)
		if err != nil {
			return err
		}
		if client != nil {
			return use(ctx, client, args)
		}
		p, err := c.localProject()
		if err != nil {
			return err
		}
		if err := c.elsewhere(ctx, p); err != nil {
			return err
		}
		by := "the command line"
		if user := c.env.Getenv("USER"); user != "" {
			by += " of " + user
		}
		schema, err := c.env.Local.Schema(ctx, p, c.data, by)
		if err != nil {
			return err
		}
		if closer, ok := schema.(io.Closer); ok {
			defer func() { err = errors.Join(err, closer.Close()) }()
		}
		return use(ctx, schema, args)
	}
}

// elsewhere refuses to work on files while a server answers where the project says that
// its server does: that one has another data folder, and its tables are those that were meant.
func (c *command) elsewhere(ctx context.Context, p *project.Project) error {
	host, port, err := net.SplitHostPort(p.Settings.AdminAddr)
	if err != nil || port == "0" {
		return nil //nolint:nilerr // nobody can be asked there
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	base := "http://" + net.JoinHostPort(host, port)
	if _, err := api.NewClient(base, "", c.env.HTTP).Version(ctx); err != nil {
		var refused *api.Problem
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Code, "auth.") { // nobody, or another program
			return nil
		}
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "server.elsewhere", Subject: "data folder " + c.data, Message: "no server runs on this data folder, but one with another runs at " + base,
		Hint: "name its data folder with --data, or the server with --server and its token in TIDEGATE_TOKEN; or give this project a settings.admin_addr of its own",
	}
}

func (c *command) schemaCommand() *cobra.Command {
	var columns bool
	cmd := &cobra.Command{
		Use: "schema [SOURCE[.TABLE]]", Short: "Look at the event tables and at what does not fit them", Args: cobra.MaximumNArgs(1),
		Long: `Schema lists the tables that events became, and the values that did not fit
their columns and were set aside, with a type that would hold them. --columns
lists every column. Without a server it opens the warehouse itself, and needs the
project for that.`,
		RunE: c.withSchema(func(ctx context.Context, schema EventSchema, args []string) error {
			states, err := schema.EventTables(ctx, filterOf(args))
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(states)
			}
			return c.showSchema(states, columns || len(args) > 0 && strings.Contains(args[0], "."))
		}),
	}
	cmd.Flags().BoolVar(&columns, "columns", false, "list every column")
	cmd.AddCommand(c.schemaWidenCommand(), c.schemaHistoryCommand(), c.schemaCollisionsCommand(), c.schemaFileCommand())
	return cmd
}

// filterOf reads SOURCE or SOURCE.TABLE.
func filterOf(args []string) (f api.TableFilter) {
	if len(args) > 0 {
		f.Schema, f.Table, _ = strings.Cut(args[0], ".")
	}
	return f
}

func (c *command) showSchema(states []evolve.EventTable, columns bool) error {
	var tables, conflicts [][]string
	for _, s := range states {
		name, aside := s.Schema+"."+s.Table, int64(0)
		for _, k := range s.Conflicts {
			aside += k.Values
			found := make([]string, len(k.Found))
			for i, f := range k.Found {
				found[i] = fmt.Sprintf("%d %s (%s)", f.Values, f.Type, f.Example)
			}
			proposal := k.Proposal
			if proposal == "" {
				proposal = "-"
			}
			conflicts = append(conflicts, []string{name + "." + k.Column, k.Type, k.Reason, strconv.FormatInt(k.Values, 10), k.Since.UTC().Format(time.DateOnly), proposal, strings.Join(found, ", ")})
		}
		if !columns {
			tables = append(tables, []string{name, strconv.Itoa(len(s.Columns)), strconv.FormatInt(aside, 10)})
			continue
		}
		for _, col := range s.Columns {
			tables = append(tables, []string{name, col.Name, col.Type})
		}
	}
	header := []string{"TABLE", "COLUMNS", "SET ASIDE"}
	if columns {
		header = []string{"TABLE", "COLUMN", "TYPE"}
	}
	if err := c.list("There are no event tables; the first events of a source make them.", header, tables); err != nil || len(conflicts) == 0 {
		return err
	}
	c.say("")
	if err := table(c.env.Stdout, []string{"SET ASIDE OF", "TYPE", "REASON", "VALUES", "SINCE", "PROPOSAL", "WHAT"}, conflicts); err != nil {
		return err
	}
	c.say("\nAccept a proposal: tidegate schema widen SOURCE.TABLE.COLUMN")
	return nil
}

func (c *command) schemaWidenCommand() *cobra.Command {
	var req api.WidenRequest
	var yes bool
	cmd := &cobra.Command{
		Use: "widen SOURCE.TABLE.COLUMN", Short: "Give a column a type that holds what was set aside, and put it there", Args: cobra.ExactArgs(1),
		Long: `Widen changes the type of a column to the one that "tidegate schema" proposes,
or to that of --to, puts the values that were set aside into their rows and
removes their discards, in one transaction between two loads. Events wait in
the journal meanwhile. Without --yes it says what it would do. When no server
runs, the warehouse is opened by this command.`,
		RunE: c.withSchema(func(ctx context.Context, schema EventSchema, args []string) error {
			parts := strings.Split(args[0], ".")
			if len(parts) != 3 {
				return usage(errors.New("name the column as SOURCE.TABLE.COLUMN"))
			}
			req.Schema, req.Table, req.Column, req.DryRun = parts[0], parts[1], parts[2], !yes
			result, err := schema.WidenColumn(ctx, req)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(result)
			}
			c.sayWidened(result)
			return nil
		}),
	}
	cmd.Flags().StringVar(&req.To, "to", "", "the type: float, decimal(38,9), string, timestamp or json")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// sayWidened tells what a widening did or would do. A column that has the type already may
// have values set aside that fit it: those that came before it had, and were left.
func (c *command) sayWidened(r evolve.WidenResult) {
	name, aside := r.Schema+"."+r.Table+"."+r.Column, plural(r.Values, "value")
	same := r.NewType == r.OldType
	switch {
	case same && r.Values == 0 && r.Backfilled == 0:
		c.say("%s is %s already and nothing of it is set aside: there is nothing to widen. Another type is named with --to.", name, r.OldType)
	case same && !r.Done:
		c.say("%s is %s already; %s set aside. Those that fit go back into their rows with --yes; another type is named with --to.", name, r.OldType, aside)
	case same && r.Backfilled == 0:
		c.say("%s is %s already, and none of %s set aside went back: name another type with --to.", name, r.OldType, aside)
	case same:
		c.say("%s is %s already: of %s set aside %d went back into their rows.", name, r.OldType, aside, r.Backfilled)
	case !r.Done:
		c.say("%s would become %s instead of %s; %s set aside. Do it with --yes.", name, r.NewType, r.OldType, aside)
	case r.Values == 0:
		c.say("%s is %s now, it was %s; nothing of it was set aside.", name, r.NewType, r.OldType)
	default:
		c.say("%s is %s now, it was %s: of %s set aside %d went back into their rows.", name, r.NewType, r.OldType, aside, r.Backfilled)
	}
	if r.Left > 0 {
		c.say("%d do not fit that type either, or their rows are gone; they stay in %s.tidegate_discards.", r.Left, r.Schema)
	}
}

func (c *command) schemaHistoryCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "history [SOURCE[.TABLE]]", Short: "Show which events brought columns, and who widened them", Args: cobra.MaximumNArgs(1),
		RunE: c.withSchema(func(ctx context.Context, schema EventSchema, args []string) error {
			list, err := schema.SchemaHistory(ctx, filterOf(args), limit)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			rows := make([][]string, len(list))
			for i, h := range list {
				what, typ := "event "+h.MessageID+" at "+h.Offset, h.NewType
				if h.Name != "" {
					what = h.Name + " of " + what
				}
				if h.Change == evolve.Widened {
					what, typ = h.By+", "+plural(h.Backfilled, "value")+" filled in", h.OldType+" → "+h.NewType
				}
				rows[i] = []string{h.At.UTC().Format(time.RFC3339), h.Schema + "." + h.Table + "." + h.Column, h.Change, typ, what}
			}
			return c.list("No column has a history; the first events of a source make its tables.", []string{"WHEN", "COLUMN", "CHANGE", "TYPE", "BY"}, rows)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many changes, the newest")
	return cmd
}

func (c *command) schemaCollisionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "collisions", Short: "List names that became one column or one table", Args: cobra.NoArgs,
		RunE: c.withSchema(func(ctx context.Context, schema EventSchema, _ []string) error {
			list, err := schema.Collisions(ctx)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			rows := make([][]string, len(list))
			for i, m := range list {
				name := m.Schema + "." + m.Table
				if m.Column != "" {
					name += "." + m.Column
				}
				rows[i] = []string{m.At.UTC().Format(time.RFC3339), name, m.Kept, m.Other}
			}
			return c.list("No two names became one.", []string{"SINCE", "TABLE OR COLUMN", "KEPT", "OTHER"}, rows)
		}),
	}
}

func (c *command) schemaFileCommand() *cobra.Command {
	return &cobra.Command{
		Use: "file [" + strings.Join(project.Schemas(), "|") + "]", Short: "Print the JSON Schema of a project's files, for editors",
		Long: "File prints a JSON Schema. Editors that speak yaml-language-server take it from the first line of a file:\n\n  # yaml-language-server: $schema=tidegate.schema.json",
		Args: cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs), ValidArgs: project.Schemas(),
		RunE: func(_ *cobra.Command, args []string) error {
			name := project.Schemas()[0]
			if len(args) > 0 {
				name = args[0]
			}
			return c.printJSON(project.Schema(name, c.env.Local.Kinds))
		},
	}
}
