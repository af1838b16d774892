// Package cli is the command line: a tree of commands over the admin API's
// client, and over a few functions that work without a server (Local).
//
// Invariants: what a program reads goes to standard output and, with --json,
// is JSON and nothing else; everything for people goes to standard error; the
// exit code is one of the table in docs/reference/cli.md; an error shows its
// code, its place and what to do.
//
// It holds no logic of the hub. Run uses nothing of the process but what Env
// gives it, so that tests run it as it is; it starts no goroutine that outlives it.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/dbt"
)

// Env is the outside world.
type Env struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) string
	Environ []string // for the command of exec
	Now     func() time.Time
	Version string
	HTTP    *http.Client // for the admin API
	Local   Local
}

// Local is what works in this process, without a server.
type Local struct {
	Kinds        project.Kinds
	Destinations []destinations.Kind
	// Serve runs the hub until ctx ends.
	Serve func(ctx context.Context, o ServeOptions) error
	// Demo shows the whole loop and, unless o.Once, stays up until ctx ends. Its
	// result is what --json prints.
	Demo func(ctx context.Context, o DemoOptions) (result any, err error)
	// Explain says what an event becomes, against no tables, by the rules of p, which
	// lies in dir; p may be nil. The store of dataDir has its secrets.
	Explain func(ctx context.Context, p *project.Project, dir, dataDir, source string, event json.RawMessage) (api.Explanation, error)
	// TryTransform runs events through the transformation called name of p, which lies in dir.
	TryTransform func(ctx context.Context, p *project.Project, dir, dataDir, name string, trials []api.TransformTrial) ([]api.ExplainedVerdict, error)
	// Query opens a warehouse of p in dataDir itself, the one that events go to when it has no name; the caller calls done.
	Query func(ctx context.Context, p *project.Project, dataDir, warehouse, sql string) (rows tidegate.RowReader, done func() error, err error)
	// Schema opens the warehouse that the events of p go to in dataDir itself; what is widened is noted as by's doing.
	Schema func(ctx context.Context, p *project.Project, dataDir, by string) (EventSchema, error)
	// Lend calls use with the path of the warehouse's file of p while nobody has it open.
	Lend func(ctx context.Context, p *project.Project, dataDir string, use func(ctx context.Context, path string) error) error
	// Doctor examines a project and a data folder that no server uses.
	Doctor func(ctx context.Context, p *project.Project, dataDir string) []api.Finding
	// Migrate copies events, books and ledgers from one warehouse of p to another while no
	// server runs on dataDir; told is called after each table.
	Migrate func(ctx context.Context, p *project.Project, dataDir, from, to string, told func(api.Migrated)) error
	// Rejoin lets the loader of p's warehouse go on in the journal of dataDir, or says that it would, while no server runs there.
	Rejoin func(ctx context.Context, p *project.Project, dataDir string, do bool) (api.Rejoined, error)
	// CheckWarehouse tries what loading and syncing need of each warehouse of p.
	CheckWarehouse func(ctx context.Context, p *project.Project, dataDir string) []api.Finding
	// Secrets calls use with the secrets of dataDir while no server runs on it.
	Secrets func(ctx context.Context, dataDir string, use func(Secrets) error) error
	// Dbt lists the dbt projects of p, which lies in dir.
	Dbt func(ctx context.Context, p *project.Project, dir, dataDir string) ([]api.DbtStatus, error)
	// DbtExposures writes the exposures of p's dbt projects.
	DbtExposures func(ctx context.Context, p *project.Project, dir, dataDir string) ([]api.DbtExposures, error)
	// DbtCheck says what a change of a dbt project breaks.
	DbtCheck func(ctx context.Context, p *project.Project, dir, dataDir string, o DbtCheckOptions) ([]dbt.Finding, error)
}

// ServeOptions are the flags of serve.
type ServeOptions struct {
	Project, Data         string
	IngestAddr, AdminAddr string
	SDKDir                string
	Log                   *slog.Logger
	// Ready is called once, when both listeners answer.
	Ready func(ingestURL, adminURL string)
}

// DemoOptions are the flags of demo.
type DemoOptions struct {
	Once bool
	Data string // empty: a folder of its own that is removed afterwards
	// Story is where it tells what it does as it does it.
	Story io.Writer
	Log   *slog.Logger
}

// The exit codes.
const (
	ExitOK          = 0
	ExitError       = 1
	ExitUsage       = 2
	ExitInvalid     = 3
	ExitHeld        = 4
	ExitUnreachable = 5
	ExitDenied      = 6
	ExitDisk        = 74
	ExitInterrupted = 130
)

// exitCodes is the table of the reference.
func exitCodes() []struct {
	Code    int
	Meaning string
} {
	return []struct {
		Code    int
		Meaning string
	}{
		{ExitOK, "Done."},
		{ExitError, "Something failed; standard error says what. `dbt check`: the change breaks something."},
		{ExitUsage, "The command line is wrong."},
		{ExitInvalid, "The project, its configuration or the input is invalid; an event breaks its plan (`tracking check`), an example differs (`transform test`)."},
		{ExitHeld, "Not everything was delivered: the run is held, partial or was canceled. Or something was found: an error by `doctor` or `warehouse check`, a gap by `events reconcile`, drift by `sync drift`."},
		{ExitUnreachable, "No server answers."},
		{ExitDenied, "The token is missing, wrong, or may not do this."},
		{ExitDisk, "`serve` only: the journal's disk failed. Start it again; acknowledged events are read back."},
		{ExitInterrupted, "Interrupted before it was done. Commands that run until Ctrl-C (`serve`, `demo`, `simulate`, `events tail`, `events stream`) end with 0."},
	}
}

// codedError carries an exit code; a nil Err was said already.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *codedError) Unwrap() error { return e.err }

// ExitCode is asked by exitCode.
func (e *codedError) ExitCode() int { return e.code }

func usage(err error) error { return &codedError{code: ExitUsage, err: err} }

func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	var invalid *config.Error
	if errors.As(err, &invalid) {
		return ExitInvalid
	}
	f := tidegate.FaultOf(err)
	switch {
	case strings.HasPrefix(f.Code, "server."):
		return ExitUnreachable
	case strings.HasPrefix(f.Code, "auth."):
		return ExitDenied
	case strings.HasPrefix(f.Code, "project."), strings.HasPrefix(f.Code, "config."), strings.HasPrefix(f.Code, "secret."), strings.HasPrefix(f.Code, "event."), strings.HasSuffix(f.Code, ".invalid"):
		return ExitInvalid
	}
	return ExitError
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, env Env) int {
	c := &command{env: env}
	root := c.tree()
	root.SetArgs(env.Args)
	cmd, err := root.ExecuteContextC(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return ExitInterrupted // the person who did it needs no message
	}
	c.report(cmd, err)
	return exitCode(err)
}

// command is one command line while it runs.
type command struct {
	env     Env
	json    bool
	project string
	data    string
	server  string
}

const longRoot = `Tidegate collects events into your warehouse and sends changed rows of it to
the tools that need them.

Commands that need a running server find it through the data folder, or through
--server and TIDEGATE_TOKEN.`

func (c *command) tree() *cobra.Command {
	root := &cobra.Command{
		Use: "tidegate", Short: "Events into your warehouse, changed rows out of it", Long: longRoot,
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.env.Stdin)
	root.SetOut(c.env.Stdout)
	root.SetErr(c.env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		own := c.env.Args // what stands behind the wrong flag was not read
		if end := slices.Index(own, "--"); end >= 0 {
			own = own[:end]
		}
		c.json = c.json || slices.Contains(own, "--json")
		return usage(wrongFlag(cmd, err))
	})
	flags := root.PersistentFlags()
	flags.BoolVar(&c.json, "json", false, "print JSON")
	flags.StringVar(&c.project, "project", c.env.Getenv("TIDEGATE_PROJECT"), "the project folder (TIDEGATE_PROJECT)")
	flags.StringVar(&c.data, "data", orDefault(c.env.Getenv("TIDEGATE_DATA"), "tidegate-data"), "the data folder (TIDEGATE_DATA)")
	flags.StringVar(&c.server, "server", c.env.Getenv("TIDEGATE_SERVER"), "the server's admin address, as http://HOST:PORT (TIDEGATE_SERVER)")
	root.AddCommand(
		c.serveCommand(), c.demoCommand(),
		c.checkCommand(), c.planCommand(), c.applyCommand(), c.exportCommand(), c.schemaCommand(),
		c.explainCommand(), c.queryCommand(), c.eventsCommand(), c.privacyCommand(), c.execCommand(), c.warehouseCommand(),
		c.modelCommand(), c.syncCommand(), c.forwardCommand(), c.dbtCommand(), c.lineageCommand(), c.trackingCommand(), c.transformCommand(), c.simulateCommand(), c.statusCommand(), c.doctorCommand(), c.alertsCommand(), c.secretsCommand(), c.tokenCommand(), c.versionCommand(),
	)
	wrapUsage(root)
	return root
}

// group is a command that only holds others: it shows its help.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs, Annotations: map[string]string{isGroup: ""},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// isGroup marks what group made.
const isGroup = "group"

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}
