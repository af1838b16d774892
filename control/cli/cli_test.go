package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/api/apitest"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/cli"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/sync/dbt"
	"github.com/tidegate/tidegate/sync/ledger"
)

var update = flag.Bool("update", false, "write the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tidegate": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		code := cli.Run(ctx, env())
		stop()
		os.Exit(code)
	}})
}

func env() cli.Env {
	return cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Environ: os.Environ(),
		Now: time.Now, Version: "v0.0.0-test", HTTP: &http.Client{}, Local: local(),
	}
}

type warehouseConfig struct {
	Path string `json:"path,omitempty" doc:"The database file."`
}

type crmConfig struct {
	Token secret.Secret `json:"token" doc:"The access token."`
}

func kinds() project.Kinds {
	return project.Kinds{
		Warehouses:   map[string]func() any{"duckdb": func() any { return new(warehouseConfig) }},
		Destinations: map[string]func() any{"crm": func() any { return new(crmConfig) }},
	}
}

var (
	schema = tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: "note", Type: tidegate.Type{Kind: tidegate.String}}}
	some   = func() tidegate.RowReader {
		return tidegate.Rows(schema, tidegate.Row{int64(1), "one"}, tidegate.Row{int64(22), nil}, tidegate.Row{int64(3), "a\x1b[31mred\nline"})
	}
)

// local plays the parts that need engines.
func local() cli.Local {
	return cli.Local{
		Kinds: kinds(),
		Destinations: []destinations.Kind{{
			Name: "crm", Title: "CRM", NewConfig: func() any { return new(crmConfig) },
			Simulate: func(json.RawMessage) (destinations.Simulator, error) { return simulator{}, nil },
			SimulatorConfig: func(url string) json.RawMessage {
				return json.RawMessage(`{"base_url":` + strconv.Quote(url) + `}`)
			},
		}},
		Serve: serve,
		Demo: func(_ context.Context, o cli.DemoOptions) (any, error) {
			_, err := fmt.Fprintln(o.Story, "Sending events…")
			return map[string]bool{"once": o.Once}, err
		},
		Explain: func(_ context.Context, _ *project.Project, _, _, source string, _ json.RawMessage) (api.Explanation, error) {
			return api.Explanation{Tables: []api.ExplainedTable{{Schema: source, Name: "tracks", Columns: []api.ExplainedColumn{{Name: "id", Type: "string", Value: "m1", New: true}}}}}, nil
		},
		Query: func(context.Context, *project.Project, string, string, string) (tidegate.RowReader, func() error, error) {
			return some(), func() error { return nil }, nil
		},
		Secrets: func(ctx context.Context, dataDir string, use func(cli.Secrets) error) error {
			s, err := openStore(ctx, dataDir)
			if err != nil {
				return err
			}
			return errors.Join(use(offlineSecrets{vaultOf(s.In("default"), dataDir)}), s.Close())
		},
		Lend: func(ctx context.Context, _ *project.Project, dataDir string, use func(context.Context, string) error) error {
			return use(ctx, filepath.Join(dataDir, "own.duckdb"))
		},
		Doctor: func(context.Context, *project.Project, string) []api.Finding {
			return []api.Finding{{Check: "disk.space", Level: "error", Detail: "1 MB left", Hint: "make room"}}
		},
		Rejoin: func(_ context.Context, _ *project.Project, _ string, _ bool) (api.Rejoined, error) {
			return api.Rejoined{Before: tidegate.Offset{Position: 78500}, After: tidegate.Offset{Position: 7}, Events: 3}, nil
		},
		Dbt: func(_ context.Context, p *project.Project, dir, _ string) ([]api.DbtStatus, error) {
			return []api.DbtStatus{{Name: p.Dbt[0].Name, Fault: "nothing in " + dir, Problems: []config.Problem{{File: "m.yml", Path: "meta.tidegate", Message: "is wrong"}}}}, nil
		},
		DbtExposures: func(context.Context, *project.Project, string, string) ([]api.DbtExposures, error) {
			return []api.DbtExposures{{Project: "a", Path: "x.yml", Changed: true}, {Project: "b", Path: "y.yml"}, {Project: "c", Text: "version: 2\n"}}, nil
		},
		DbtCheck: func(ctx context.Context, _ *project.Project, _, _ string, o cli.DbtCheckOptions) ([]dbt.Finding, error) {
			if o.Query != nil {
				columns, rows, err := o.Query(ctx, "SELECT 1")
				return []dbt.Finding{{Code: "dbt.proven", Sync: "crm", Model: "m", Message: fmt.Sprint(len(columns), " columns, ", rows, " row")}}, err
			}
			if o.State == "" {
				return nil, nil
			}
			if !filepath.IsAbs(o.State) || !filepath.IsAbs(o.Target) {
				return nil, fmt.Errorf("the folders %q and %q hold in the project only", o.State, o.Target)
			}
			return []dbt.Finding{{Code: "dbt.column_dropped", Sync: "crm", Model: "shop.m", Column: "plan", Message: filepath.Base(o.State) + " had it, " + filepath.Base(o.Target) + " has not", Hint: "bring it back", Breaks: true}}, nil
		},
		CheckWarehouse: func(_ context.Context, p *project.Project, _ string) []api.Finding {
			return []api.Finding{{Check: "connect", Level: "ok", Detail: p.Warehouse.Kind}, {Check: "load", Level: "error", Detail: "refused", Hint: "GRANT TEMPORARY"}}
		},
	}
}

func vaultOf(w *store.Workspace, dataDir string) *vault.Vault {
	return vault.New(vault.Options{Store: w, Data: dataDir, Env: os.LookupEnv})
}

func openStore(ctx context.Context, dataDir string) (*store.Store, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	return store.Open(ctx, store.Options{Path: filepath.Join(dataDir, "control.db"), Log: slog.New(slog.DiscardHandler), Now: time.Now})
}

// offlineSecrets are those of a folder without a server.
type offlineSecrets struct{ *vault.Vault }

func (s offlineSecrets) Secrets(ctx context.Context) ([]vault.Info, error) { return s.List(ctx) }

func (s offlineSecrets) SetSecret(ctx context.Context, name string, value secret.Secret) (vault.Stored, error) {
	return s.Set(ctx, "offline", name, value)
}

func (s offlineSecrets) RemoveSecret(ctx context.Context, name string, _ bool) error {
	return s.Remove(ctx, "offline", name)
}

func (s offlineSecrets) RotateSecrets(ctx context.Context) (vault.Rotated, error) {
	return s.Rotate(ctx, "offline")
}

type simulator struct{}

func (simulator) ServeHTTP(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "crm") }
func (simulator) Records(string) map[string]tidegate.Record        { return nil }
func (simulator) Calls() (int64, int64)                            { return 0, 0 }

// hub is the fake with what the scripts look at.
type hub struct{ *apitest.Hub }

func (h hub) Query(ctx context.Context, name, sql string) (tidegate.RowReader, error) {
	if rows, err := h.Hub.Query(ctx, name, sql); err != nil {
		return rows, err
	}
	return some(), nil
}

func (h hub) Rejections(context.Context, string, int) ([]ledger.Rejection, error) {
	return []ledger.Rejection{{
		Key: `["7"]`, Op: tidegate.Added, State: "failed", Attempts: 2,
		Fault: tidegate.RunFault{Action: "reject", Code: "record.invalid", Message: "the e-mail address is malformed", Hint: "mend it in the model"},
	}}, nil
}

func serve(ctx context.Context, o cli.ServeOptions) (err error) {
	if o.Project == "" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "project.missing", Message: "there are no definitions yet", Hint: "name a project folder"}
	}
	p, err := project.LoadDir(o.Project, kinds())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return err
	}
	st, err := store.Open(ctx, store.Options{Path: filepath.Join(o.Data, "control.db"), Log: o.Log, Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	w := st.In("default")
	keeper := auth.New(w, time.Now)
	h := hub{apitest.New()}
	h.Events = []api.TailedEvent{{Offset: "0:0", Source: "web", Type: "track", ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Event: json.RawMessage(`{"event":"Signed Up"}`)}}
	c := catalog.New(catalog.Options{Store: w, Kinds: kinds(), Activate: h.Activate})
	_, err = c.Apply(ctx, p, "serve", catalog.AnyBase)
	if err := errors.Join(err, keeper.EnsureAdmin(ctx, o.Data)); err != nil {
		return err
	}
	handler, err := api.New(api.Options{Hub: h, Catalog: c, Store: w, Keeper: keeper, Vault: vaultOf(w, o.Data), Kinds: kinds(), Metrics: http.NotFoundHandler(), Version: "v0.0.0-test", Log: o.Log, Now: time.Now})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	withdraw, err := api.Announce(o.Data, api.Announcement{AdminURL: "http://" + l.Addr().String(), PID: os.Getpid(), Version: "v0.0.0-test", StartedAt: time.Now()})
	if err != nil {
		return err
	}
	o.Ready("http://127.0.0.1:8080", "http://"+l.Addr().String())
	server := api.Server(handler, slog.New(slog.DiscardHandler))
	go func() { _ = server.Serve(l) }()
	<-ctx.Done()
	return errors.Join(withdraw(), server.Close())
}

// TestScripts runs testdata/*.txtar. Beside the usual commands there are
//
//	exits CODE PROGRAM ARGUMENT…   the program must end with exactly this code
//	await FOLDER                   waits until a server has announced itself there
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TIDEGATE_DATA", filepath.Join(e.WorkDir, "data"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("%s ended with %d, want %d", strings.Join(args[1:], " "), got, want)
				}
			},
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				dir := ts.MkAbs(args[0])
				tick, late := time.NewTicker(5*time.Millisecond), time.NewTimer(10*time.Second)
				defer tick.Stop()
				for {
					select {
					case <-late.C:
						ts.Fatalf("no server announced itself in %s", dir)
					case <-tick.C:
					}
					if a, err := api.Announced(dir); err == nil && a != nil {
						return
					}
				}
			},
		},
	})
}

// TestEveryCommandSaysWhatItDoes walks the tree as a user would.
func TestEveryCommandSaysWhatItDoes(t *testing.T) {
	t.Parallel()
	e := env()
	e.Args = []string{"--help"}
	var out bytes.Buffer
	e.Stdout = &out
	if code := cli.Run(t.Context(), e); code != cli.ExitOK {
		t.Fatalf("--help ended with %d", code)
	}
	for _, verb := range []string{"serve", "check", "plan", "apply", "export", "explain", "query", "sync", "events", "exec", "simulate", "doctor", "demo", "schema", "version"} {
		if !strings.Contains(out.String(), "\n  "+verb+" ") {
			t.Errorf("--help does not name %s", verb)
		}
	}
}

// against runs one command line against a server that answers by handle.
func against(ctx context.Context, handle http.HandlerFunc, args ...string) (code int, out, errs string) {
	server := httptest.NewServer(handle)
	defer server.Close()
	var stdout, stderr strings.Builder
	code = cli.Run(ctx, cli.Env{
		Args: append(args, "--server", server.URL), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(name string) string { return map[string]string{"TIDEGATE_TOKEN": "t"}[name] },
		Now:    time.Now, HTTP: server.Client(), Local: local(),
	})
	return code, stdout.String(), stderr.String()
}

// TestARunThatNobodyWaitsForIsNamed: Ctrl-C ends the waiting and not the run, and says so.
func TestARunThatNobodyWaitsForIsNamed(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	code, out, errs := against(ctx, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			interrupt()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"run_7","sync":"crm","state":"running","created_at":"2026-01-02T03:04:05Z"}`)
	}, "sync", "run", "crm")
	if code != cli.ExitInterrupted || !strings.Contains(errs, "Run run_7 goes on") || !strings.Contains(errs, "tidegate sync cancel run_7") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
}

// TestARevertSaysWhatTheModeKept: a revert that could take nothing back has not done what was
// asked for, although its run succeeded.
func TestARevertSaysWhatTheModeKept(t *testing.T) {
	t.Parallel()
	code, out, errs := against(t.Context(), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/log") {
			_, _ = io.WriteString(w, `{"items":[]}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"run_7","sync":"crm","state":"succeeded","counts":{"removed":12,"excluded":12},"created_at":"2026-01-02T03:04:05Z"}`)
	}, "sync", "revert", "run_6")
	if code != 0 || !strings.Contains(out, "because the sync's mode does not let through what would take them back: 12 records") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
}
