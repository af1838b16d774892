package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
)

const maxEventBytes = 4 << 20

func (c *command) explainCommand() *cobra.Command {
	var source string
	cmd := &cobra.Command{
		Use: "explain < EVENT.json", Short: "Show the tables, columns and rows that an event becomes", Args: cobra.NoArgs,
		Long: "Explain reads one event from standard input and prints, per table, the columns with their types and the row. With a running server it looks at the tables as they are and marks columns that would be new; without one every column is new.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			event, err := io.ReadAll(io.LimitReader(c.env.Stdin, maxEventBytes+1))
			if err != nil {
				return fmt.Errorf("reading the event: %w", err)
			}
			if len(event) > maxEventBytes || !json.Valid(event) {
				return &tidegate.Fault{Action: tidegate.Reject, Code: "event.invalid", Message: "standard input holds no JSON object", Hint: `try: echo '{"type":"track","event":"Signed Up","userId":"u1"}' | tidegate explain`}
			}
			client, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			var e api.Explanation
			if client != nil {
				if source, err = c.onlySource(cmd.Context(), client, source); err == nil {
					e, err = client.Explain(cmd.Context(), source, event)
				}
			} else {
				e, err = c.explainHere(cmd.Context(), source, event)
			}
			if err != nil {
				return err
			}
			return c.showExplanation(e)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the source that the event comes from")
	return cmd
}

// onlySource is the source named, or the server's only one.
func (c *command) onlySource(ctx context.Context, client *api.Client, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	p, err := client.Project(ctx)
	if err != nil {
		return "", err
	}
	if len(p.Sources) != 1 {
		return "", usage(fmt.Errorf("the server has %s: name one with --source", plural(int64(len(p.Sources)), "source")))
	}
	return p.Sources[0].Name, nil
}

func (c *command) showExplanation(e api.Explanation) error {
	if c.json {
		if err := c.printJSON(e); err != nil {
			return err
		}
	}
	if r := e.Refusal; r != nil {
		if c.json {
			return &codedError{code: ExitError}
		}
		return &tidegate.Fault{Action: tidegate.Reject, Code: r.Code, Subject: orDefault(r.Subject, "event"), Message: r.Message, Hint: r.Hint}
	}
	if c.json {
		return nil
	}
	c.showVerdict(e.Verdict)
	for i, t := range e.Tables {
		if i > 0 {
			c.say("")
		}
		name := t.Name
		if !strings.HasPrefix(name, t.Schema+".") {
			name = t.Schema + "." + name
		}
		c.say("%s", name)
		var rows [][]string
		for _, col := range t.Columns {
			fresh := ""
			if col.New {
				fresh = "new"
			}
			rows = append(rows, []string{"  " + col.Name, col.Type, valueText(col.Value), fresh})
		}
		if err := table(c.env.Stdout, []string{"  COLUMN", "TYPE", "VALUE", "NEW"}, rows); err != nil {
			return err
		}
	}
	return nil
}

const (
	tableRows = 1000
	allRows   = 1_000_000_000
)

func (c *command) queryCommand() *cobra.Command {
	var limit int64
	var name, file string
	cmd := &cobra.Command{
		Use: "query SQL", Short: "Run one read-only statement in the warehouse", Args: cobra.ExactArgs(1),
		Long: "Query runs one read-only statement through the running server or, when there is none, in the warehouse file itself; then it needs the project. With --json each row is one JSON object on a line of its own; with --out the rows go into a file of Parquet, CSV or NDJSON.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return usage(errors.New("the statement is empty"))
			}
			if limit <= 0 {
				limit = tableRows
				if c.json || file != "" {
					limit = allRows
				}
			}
			client, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			var out resultWriter = &rowPrinter{c: c}
			if file != "" {
				writer, err := c.fileWriter(file)
				if err != nil {
					return err
				}
				defer writer.discard()
				out = writer
			}
			var end api.End
			if client != nil {
				end, err = client.Query(cmd.Context(), api.QueryRequest{Warehouse: name, SQL: args[0], Limit: limit}, out.columns, out.row)
			} else {
				end, err = c.queryFile(cmd.Context(), name, args[0], limit, out)
			}
			if err != nil {
				return err
			}
			return out.finish(end)
		},
	}
	cmd.Flags().Int64Var(&limit, "limit", 0, "at most so many rows; without it a table shows 1,000 and --json prints all")
	cmd.Flags().StringVar(&file, "out", "", "write all rows into this file, whose name ends in "+fileFormats)
	cmd.Flags().StringVar(&name, "warehouse", "", "one of the project's further warehouses, instead of the one that events go to")
	return cmd
}

// queryFile opens the warehouse itself: no server runs.
func (c *command) queryFile(ctx context.Context, name, sql string, limit int64, out resultWriter) (end api.End, err error) {
	p, err := c.localProject()
	if err != nil {
		return api.End{}, err
	}
	rows, done, err := c.env.Local.Query(ctx, p, c.data, name, sql)
	if err != nil {
		return api.End{}, err
	}
	defer func() { err = errors.Join(err, rows.Close(), done()) }()
	if err := out.columns(api.Columns(rows.Schema())); err != nil {
		return api.End{}, err
	}
	for {
		row, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err != nil {
			return end, err
		}
		if end.Count == limit {
			end.Truncated = true
			return end, nil
		}
		end.Count++
		if err := out.row(api.EncodeRow(row)); err != nil {
			return end, err
		}
	}
}

// localProject is the project of a command that works without a server.
func (c *command) localProject() (*project.Project, error) {
	if !c.hasProject() {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "server.not_running", Subject: "data folder " + c.data, Message: "no server runs on this data folder",
			Hint: "start one with `tidegate serve`, or name the project with --project so that the warehouse can be opened without one",
		}
	}
	return c.loadProject(nil)
}

// rowPrinter prints rows as they come (JSON) or when all are there: a table under the names
// that the statement gives its columns or, where the statement is ours, as list does.
type rowPrinter struct {
	c      *command
	none   string   // the sentence of list; empty where somebody else wrote the statement
	header []string // goes with none
	cols   []api.ColumnInfo
	rows   [][]string
}

func (p *rowPrinter) columns(cols []api.ColumnInfo) error {
	p.cols = cols
	return nil
}

func (p *rowPrinter) row(cells []json.RawMessage) error {
	if !p.c.json {
		line := make([]string, len(cells))
		for i, v := range cells {
			line[i] = cellText(v)
		}
		p.rows = append(p.rows, line)
		return nil
	}
	return writeObject(p.c.env.Stdout, p.cols, cells)
}

// writeObject writes a row as one JSON object on a line of its own.
func writeObject(out io.Writer, cols []api.ColumnInfo, cells []json.RawMessage) error {
	b := []byte{'{'}
	for i, v := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(cols[i].Name)
		if err != nil {
			return fmt.Errorf("encoding a column's name: %w", err)
		}
		b = append(append(append(b, name...), ':'), v...)
	}
	_, err := out.Write(append(b, '}', '\n'))
	return err
}

func (p *rowPrinter) finish(end api.End) error {
	if !p.c.json {
		if err := p.table(); err != nil {
			return err
		}
	}
	if end.Truncated {
		_, _ = fmt.Fprintf(p.c.env.Stderr, "Only the first %s; there are more (--limit).\n", plural(end.Count, "row"))
	}
	return nil
}

func (p *rowPrinter) table() error {
	if p.none != "" {
		return p.c.list(p.none, p.header, p.rows)
	}
	header := make([]string, len(p.cols))
	for i, col := range p.cols {
		header[i] = col.Name
	}
	if len(p.rows) == 0 {
		_, _ = fmt.Fprintln(p.c.env.Stderr, "No row.")
	}
	return table(p.c.env.Stdout, header, p.rows)
}

func (c *command) execCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exec [flags] -- COMMAND [ARGUMENT...]", Short: "Lend the warehouse's file to another program", Args: cobra.MinimumNArgs(1),
		Long: "Exec pauses loading, gives the warehouse's file up, runs the command (dbt, a notebook, the duckdb shell) with its path in TIDEGATE_WAREHOUSE_PATH, and takes the file back. Events are accepted all the while. The exit code is the command's.",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			use := func(ctx context.Context, path string) error { return c.runChild(ctx, args, path) }
			if client != nil {
				return client.Lend(cmd.Context(), borrower(args[0]), use)
			}
			p, err := c.localProject()
			if err != nil {
				return err
			}
			return c.env.Local.Lend(cmd.Context(), p, c.data, use)
		},
	}
}

// borrower is what the server tells others of who has the file: the program alone,
// because arguments may hold secrets, and this process, which gives the file back when it ends.
func borrower(program string) string {
	name := []rune(filepath.Base(program))
	return fmt.Sprintf("`%s` (tidegate exec, process %d)", string(name[:min(len(name), 40)]), os.Getpid())
}

func (c *command) runChild(ctx context.Context, args []string, path string) error {
	child := exec.CommandContext(ctx, args[0], args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = c.env.Stdin, c.env.Stdout, c.env.Stderr
	child.Env = append(append([]string(nil), c.env.Environ...), "TIDEGATE_WAREHOUSE_PATH="+path)
	err := child.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &codedError{code: exit.ExitCode()} // it has said why
	}
	if err != nil {
		return fmt.Errorf("running %s: %w", args[0], err)
	}
	return nil
}
