// Package local gives the command line what works without a server: running
// one, the demo, and reading the files of a data folder that no server has open.
//
// It holds no logic of its own and no state; every function is called by one
// command and returns when that is done.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/cli"
	"github.com/tidegate/tidegate/control/demo"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/vault"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/ingest/transform"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/obs"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/sync/dbt"
)

// New returns what the command line may do in this process.
func New(version string, now func() time.Time) cli.Local {
	return cli.Local{
		Kinds:        app.Kinds(),
		Destinations: destall.All(),
		Serve: func(ctx context.Context, o cli.ServeOptions) error {
			giveSlots(os.Getenv)
			keepPrivate()
			return telling(ctx, version, func(t *obs.Telemetry) error {
				return app.Serve(ctx, app.Options{
					Project: o.Project, Data: o.Data, IngestAddr: o.IngestAddr, AdminAddr: o.AdminAddr, SDKDir: o.SDKDir, Version: version, Log: o.Log, Now: now, Telemetry: t,
					Ready: func(a app.Addresses) { o.Ready("http://"+a.Ingest, "http://"+a.Admin) },
				})
			})
		},
		Demo: func(ctx context.Context, o cli.DemoOptions) (result any, err error) {
			giveSlots(os.Getenv)
			err = telling(ctx, version, func(t *obs.Telemetry) error {
				result, err = demo.Run(ctx, demo.Options{
					Data: o.Data, Once: o.Once, Out: o.Story, Terminal: isTerminal(o.Story), Version: version, Log: o.Log, Now: now, Telemetry: t,
				})
				return err
			})
			return result, err
		},
		Explain: func(ctx context.Context, p *project.Project, dir, data, source string, event json.RawMessage) (api.Explanation, error) {
			return app.Explain(ctx, app.Options{Now: now, Project: dir, Data: data}, p, source, event)
		},
		TryTransform: app.TryTransform,
		Query: func(ctx context.Context, p *project.Project, data, warehouse, sql string) (tidegate.RowReader, func() error, error) {
			return app.QueryFile(ctx, p, data, now, warehouse, sql)
		},
		Schema: func(ctx context.Context, p *project.Project, data, by string) (cli.EventSchema, error) {
			return app.OpenSchema(ctx, p, data, now, by)
		},
		Lend: func(ctx context.Context, p *project.Project, data string, use func(ctx context.Context, path string) error) error {
			return app.LendFile(ctx, p, data, use)
		},
		Doctor: func(ctx context.Context, p *project.Project, data string) []api.Finding {
			return app.DoctorFiles(ctx, p, data, now)
		},
		Migrate: func(ctx context.Context, p *project.Project, data, from, to string, told func(api.Migrated)) error {
			return app.Migrate(ctx, p, data, from, to, now, told)
		},
		Rejoin: func(ctx context.Context, p *project.Project, data string, do bool) (api.Rejoined, error) {
			return app.Rejoin(ctx, p, data, now, do)
		},
		CheckWarehouse: func(ctx context.Context, p *project.Project, data string) []api.Finding {
			return app.CheckWarehouses(ctx, p, data, now)
		},
		Secrets: func(ctx context.Context, data string, use func(cli.Secrets) error) error {
			return app.WithSecrets(ctx, data, now, func(v *vault.Vault) error { return use(fileSecrets{v}) })
		},
		Dbt: func(ctx context.Context, p *project.Project, dir, data string) ([]api.DbtStatus, error) {
			return app.DbtFiles(ctx, p, dir, data, now)
		},
		DbtExposures: func(ctx context.Context, p *project.Project, dir, data string) ([]api.DbtExposures, error) {
			return app.DbtExposures(ctx, p, dir, data, now)
		},
		DbtCheck: func(ctx context.Context, p *project.Project, dir, data string, o cli.DbtCheckOptions) ([]dbt.Finding, error) {
			return app.CheckDbt(ctx, p, dir, now, app.DbtCheck{Data: data, Name: o.Name, Target: o.Target, State: o.State, Query: o.Query})
		},
	}
}

// fileSecrets are the secrets of a data folder, changed by whoever has the command line.
type fileSecrets struct{ v *vault.Vault }

const byHand = "command line"

func (s fileSecrets) Secrets(ctx context.Context) ([]vault.Info, error) { return s.v.List(ctx) }

func (s fileSecrets) SetSecret(ctx context.Context, name string, value secret.Secret) (vault.Stored, error) {
	return s.v.Set(ctx, byHand, name, value)
}

func (s fileSecrets) RemoveSecret(ctx context.Context, name string, _ bool) error {
	return s.v.Remove(ctx, byHand, name)
}

func (s fileSecrets) RotateSecrets(ctx context.Context) (vault.Rotated, error) {
	return s.v.Rotate(ctx, byHand)
}

// telling runs work with telemetry and flushes it, whatever came of the work.
func telling(ctx context.Context, version string, work func(*obs.Telemetry) error) error {
	if err := crashpoint.Arm(os.Getenv("TIDEGATE_CRASHPOINT")); err != nil {
		return err
	}
	t, err := obs.New(ctx, version, os.Getenv)
	if err != nil {
		return err
	}
	err = work(t)
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, t.Shutdown(flush))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Worker is the hidden command by which the process runs the scripts of
// transformations for another one, which can kill it. ok is false when args are not
// that command.
func Worker(args []string, in io.Reader, out io.Writer, now func() time.Time) (err error, ok bool) {
	if len(args) != 1 || args[0] != transform.WorkerCommand {
		return nil, false
	}
	return transform.Worker(in, out, now), true
}

// Probe is the hidden command by which the process tries a warehouse file in a
// child, because an engine may abort over a file that it cannot read. ok is
// false when args are not that command.
func Probe(ctx context.Context, args []string) (err error, ok bool) {
	if len(args) != 2 || args[0] != app.ProbeCommand {
		return nil, false
	}
	return app.ProbeFile(ctx, args[1]), true
}
