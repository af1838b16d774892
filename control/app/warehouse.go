package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/vfs"
	"github.com/tidegate/tidegate/warehouse"
	whall "github.com/tidegate/tidegate/warehouse/all"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// ProbeCommand is the hidden argument by which this binary tries a warehouse
// file in a process of its own.
const ProbeCommand = "_probe-warehouse"

// ProbeFile opens the file as its engine would and closes it again.
func ProbeFile(ctx context.Context, path string) error { return duckdb.Probe(ctx, path) }

// openWarehouse opens the project's warehouse; secrets are resolved here.
func openWarehouse(ctx context.Context, known secrets, data string, w project.Warehouse, log *slog.Logger, now func() time.Time) (loader.Warehouse, error) {
	kind, ok := whall.Find(w.Kind)
	if !ok {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.kind", Subject: "tidegate.yaml: warehouse.kind", Message: fmt.Sprintf("there is no kind %q", w.Kind)}
	}
	cfg := kind.NewConfig()
	raw := w.Config
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	if err := config.DecodeJSON("tidegate.yaml: warehouse.config", raw, cfg); err != nil {
		return nil, halted("warehouse.config", "tidegate.yaml: warehouse.config", err)
	}
	if err := known.fill(ctx, cfg); err != nil {
		return nil, halted("warehouse.secret", "tidegate.yaml: warehouse.config", err)
	}
	opened, err := kind.Open(ctx, cfg, warehouse.Env{Dir: data, Log: log, Now: now, Probe: probe})
	if err != nil {
		return nil, err // each says "opening the warehouse" itself
	}
	wh, ok := opened.(loader.Warehouse)
	if !ok {
		return nil, errors.Join(&tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.kind", Subject: "tidegate.yaml: warehouse.kind",
			Message: fmt.Sprintf("a warehouse of kind %s cannot take events: it has no transactions", w.Kind),
		}, opened.Close())
	}
	return wh, nil
}

// probe is the command that runs ProbeFile in a child.
func probe(ctx context.Context, path string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		return nil // then the file is opened directly
	}
	return exec.CommandContext(ctx, self, ProbeCommand, path)
}

// QueryFile opens the warehouse of p called name in the data folder by itself; nobody
// else may have its file open. The caller closes the reader, then calls done.
func QueryFile(ctx context.Context, p *project.Project, data string, now func() time.Time, name, sql string) (tidegate.RowReader, func() error, error) {
	if err := usedBefore(p, data); err != nil {
		return nil, nil, err
	}
	wh, err := openNamed(ctx, fileSecrets(data, now), p, data, name, slog.New(slog.DiscardHandler), now)
	if err != nil {
		return nil, nil, err
	}
	rows, err := wh.Query(ctx, sql)
	if err != nil {
		return nil, nil, errors.Join(err, wh.Close())
	}
	return rows, wh.Close, nil
}

// usedBefore refuses a data folder that is not there, where the embedded warehouse would
// have to be made to be looked at.
func usedBefore(p *project.Project, data string) error {
	if p.Warehouse.Kind != duckdb.Kind().Name {
		return nil
	}
	if _, err := os.Stat(data); err != nil {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "data.not_found", Subject: "data folder " + data, Message: "there is no such folder, so no server has loaded anything there",
			Hint: "name the data folder of the server with --data", Err: err,
		}
	}
	return nil
}

// LendFile calls use with the warehouse's file while no server has it open.
func LendFile(ctx context.Context, p *project.Project, data string, use func(ctx context.Context, path string) error) error {
	wh, err := openWarehouse(ctx, fileSecrets(data, time.Now), data, p.Warehouse, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		return err
	}
	y, ok := wh.(warehouse.Yielder)
	if !ok {
		return errors.Join(notLendable(), wh.Close())
	}
	return errors.Join(y.Yield(ctx, fromAnywhere(use)), wh.Close())
}

// fromAnywhere gives use a path that holds in every folder: a data folder is often named
// from where the server was started.
func fromAnywhere(use func(ctx context.Context, path string) error) func(ctx context.Context, path string) error {
	return func(ctx context.Context, path string) error {
		path, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("naming the warehouse's file: %w", err)
		}
		return use(ctx, path)
	}
}

func notLendable() error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.not_lendable", Message: "this warehouse is no file that could be lent",
		Hint: "connect to it directly; nothing has to be given up",
	}
}

// DoctorFiles examines a project and a data folder that no server uses.
func DoctorFiles(ctx context.Context, p *project.Project, data string, now func() time.Time) []api.Finding {
	findings := []api.Finding{{Check: "server", Level: "warning", Detail: "no server runs on " + data, Hint: "start one with `tidegate serve`"}}
	if _, err := os.Stat(data); err != nil {
		return append(findings, api.Finding{Check: "data folder", Level: "warning", Detail: err.Error(), Hint: "the first `tidegate serve` makes it"})
	}
	findings = append(findings, fsyncFinding(data, now), checkStore(ctx, data), checkJournal(ctx, data))
	wh, err := openWarehouse(ctx, fileSecrets(data, now), data, p.Warehouse, slog.New(slog.DiscardHandler), now)
	if err != nil {
		f := tidegate.FaultOf(err)
		return append(findings, api.Finding{Check: "warehouse.open", Level: "error", Detail: f.Error(), Hint: f.Hint})
	}
	findings = append(findings, api.Finding{Check: "warehouse.open", Level: "ok", Detail: "it opens"})
	if err := wh.Close(); err != nil {
		findings = append(findings, api.Finding{Check: "warehouse.close", Level: "error", Detail: err.Error()})
	}
	return findings
}

// fsyncFinding times one write that must reach the disk.
func fsyncFinding(data string, now func() time.Time) api.Finding {
	path := filepath.Join(data, "doctor.tmp")
	begin := now()
	f, err := os.Create(path)
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		err = errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
	}
	took := now().Sub(begin)
	switch {
	case vfs.Refused(err):
		return api.Finding{Check: "disk.fsync", Level: "error", Detail: err.Error(), Hint: vfs.Mend(err, data)}
	case err != nil:
		return api.Finding{Check: "disk.fsync", Level: "error", Detail: err.Error(), Hint: "look at the disk that holds the data folder"}
	case took > 50*time.Millisecond:
		return api.Finding{Check: "disk.fsync", Level: "warning", Detail: fmt.Sprintf("one fsync took %v", took.Round(time.Millisecond)), Hint: "every answer waits for one; use a faster disk"}
	}
	return api.Finding{Check: "disk.fsync", Level: "ok", Detail: fmt.Sprintf("one fsync took %v", took.Round(10*time.Microsecond))}
}
