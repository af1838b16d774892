package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/sync/dbt"
)

// How often artefacts are looked at, besides after `tidegate exec` and a webhook.
const (
	dbtFolderEvery = 2 * time.Second
	dbtRemoteEvery = time.Minute
	dbtFetchLimit  = 5 * time.Minute
)

// dbtProject is one dbt project as the hub knows it.
//
//	definition ─▶ location ─▶ artefacts ─▶ state (verdicts, kept in a file)
//	                              └──────▶ declared (the last ones without a problem)
type dbtProject struct {
	def       tidegate.DbtProject
	location  dbt.Location
	secrets   string         // digest of those that location was made with
	artifacts *dbt.Artifacts // nil until a manifest was read
	state     dbt.State
	declared  []dbt.Declaration
	problems  []config.Problem
	fault     error // of the last reading
	next      time.Time
	quiet     string // the fault that was logged last
}

// dbtProjects are those of the active definitions.
type dbtProjects struct {
	reading sync.Mutex // one looks at a time; it may take minutes
	mu      sync.Mutex // guards what follows and the projects, and activating; never held while a network is waited for
	list    map[string]*dbtProject
	wake    chan struct{}
}

// openDbt finds out where a project's artefacts are; secrets are resolved here.
func openDbt(ctx context.Context, known secrets, def tidegate.DbtProject, o Options, allow []netip.Prefix) (dbt.Location, error) {
	resolved := def.Clone()
	if err := known.fill(ctx, &resolved); err != nil {
		return nil, halted("dbt.secret", "dbt "+def.Name, err)
	}
	guarded := egress.Options{
		Policy: egress.Policy{AllowPrefixes: allow}, UserAgent: "tidegate", Timeout: dbtFetchLimit, MaxResponseBytes: dbt.MaxArtifactBytes, Name: "dbt " + def.Name, Now: o.Now,
	}
	if o.Telemetry != nil { // the command line has none
		guarded.Meter = o.Telemetry.Meter("dbt")
	}
	return dbt.OpenLocation(resolved, o.Project, dbt.Access{Now: o.Now, HTTP: egress.New(guarded)})
}

// remote says whether reading the project's artefacts needs a network.
func remote(def tidegate.DbtProject) bool {
	return def.Cloud != nil || strings.Contains(def.Target, "://")
}

// set makes the projects those of p. One that keeps its definition keeps what
// was read of it; folders are read at once, the rest by the watcher.
func (d *dbtProjects) set(ctx context.Context, h *Hub, p *project.Project) error {
	next := map[string]*dbtProject{}
	allow := prefixes(p.Settings.AllowPrivate)
	for _, def := range p.Dbt {
		resolved := def.Clone()
		digest, err := h.secrets.fillNoting(ctx, &resolved)
		if err != nil {
			return halted("dbt.secret", "dbt "+def.Name, err)
		}
		if have := d.list[def.Name]; have != nil && have.secrets == digest && equalJSON(have.def, def) {
			next[def.Name] = have
			continue
		}
		location, err := openDbt(ctx, h.secrets, def, h.o, allow)
		if err != nil {
			return err
		}
		fresh := &dbtProject{def: def, location: location, secrets: digest}
		if fresh.state, err = readDbtState(h.o.Data, def); err != nil {
			return err
		}
		if !remote(def) {
			fetched, err := dbt.Load(ctx, location, nil, dbt.Options{})
			fresh.take(h, fetched, err)
		}
		next[def.Name] = fresh
	}
	d.list = next
	return nil
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// take takes in what a reading brought. changed says that it is other than
// before; touched are the models about which a new invocation decided.
func (p *dbtProject) take(h *Hub, fetched *dbt.Artifacts, err error) (changed bool, touched []string) {
	every := dbtFolderEvery
	if remote(p.def) {
		every = dbtRemoteEvery
	}
	p.next = h.o.Now().Add(every)
	p.report(h, err)
	if err != nil || fetched == p.artifacts {
		return false, nil
	}
	p.artifacts = fetched
	state, touched := p.state.Update(fetched.Manifest, fetched.Results)
	if !state.Equal(p.state) {
		if err := writeDbtState(h.o.Data, p.def, state); err != nil {
			p.report(h, err)
			return true, nil // not taken in: it is tried again with the next reading
		}
		p.state = state
	}
	return true, touched
}

// report keeps why a reading failed and says it once.
func (p *dbtProject) report(h *Hub, err error) {
	p.fault = err
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != p.quiet && tidegate.FaultOf(err).Code != "dbt.absent" { // dbt has not run yet
		h.o.Log.Warn("reading dbt artefacts failed", "dbt", p.def.Name, "code", tidegate.FaultOf(err).Code, "error", err)
	}
	p.quiet = text
}

// find returns the project and the model that a reference names.
func (d *dbtProjects) find(reference string) (*dbtProject, *dbt.Model, error) {
	var failed error
	var inProject *dbtProject
	var found *dbt.Model
	for _, name := range sortedNames(d.list) {
		p := d.list[name]
		if p.artifacts == nil {
			failed = p.fault
			if failed == nil {
				failed = &tidegate.Fault{Action: tidegate.Retry, Code: "dbt.absent", Subject: "dbt " + name, Message: "its manifest has not been read yet"}
			}
			continue
		}
		m, err := p.artifacts.Manifest.Find(reference)
		switch {
		case err == nil && found != nil:
			return nil, nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "dbt.model", Subject: "dbt model " + reference, Message: "two dbt projects have such a model",
				Hint: "name one of them: " + found.String() + ", " + m.String(),
			}
		case err == nil:
			inProject, found = p, m
		case failed == nil:
			failed = err
		}
	}
	if found == nil {
		return nil, nil, failed
	}
	return inProject, found, nil
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// dbtStateFile is what a project's verdicts are kept in: dbt itself keeps only
// the results of its last invocation. A lost file blocks until the next one.
type dbtStateFile struct {
	Target string    `json:"target"` // whose verdicts these are
	State  dbt.State `json:"state"`
}

func dbtStatePath(data, name string) string { return filepath.Join(data, "dbt", name+".json") }

func dbtTarget(def tidegate.DbtProject) string {
	if def.Cloud != nil {
		return fmt.Sprintf("%s %d/%d", def.Cloud.URL, def.Cloud.AccountID, def.Cloud.JobID)
	}
	return def.Target
}

func readDbtState(data string, def tidegate.DbtProject) (dbt.State, error) {
	raw, err := os.ReadFile(dbtStatePath(data, def.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return dbt.State{}, nil
	}
	if err != nil {
		return dbt.State{}, fmt.Errorf("reading what dbt's invocations said: %w", err)
	}
	var file dbtStateFile
	if json.Unmarshal(raw, &file) != nil || file.Target != dbtTarget(def) {
		return dbt.State{}, nil //nolint:nilerr // of another target, or damaged: it knows nothing, and blocks
	}
	return file.State, nil
}

// writeDbtState replaces the file whole or not at all.
func writeDbtState(data string, def tidegate.DbtProject, state dbt.State) error {
	path := dbtStatePath(data, def.Name)
	raw, err := json.Marshal(dbtStateFile{Target: dbtTarget(def), State: state})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	var temp *os.File
	if err == nil {
		temp, err = os.CreateTemp(filepath.Dir(path), "."+def.Name+"-*")
	}
	if err != nil {
		return fmt.Errorf("keeping what dbt's invocations said: %w", err)
	}
	_, err = temp.Write(raw)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping what dbt's invocations said: %w", err), os.Remove(temp.Name()))
	}
	return nil
}

// Dbt lists the dbt projects with their models.
func (h *Hub) Dbt(context.Context) ([]api.DbtStatus, error) {
	h.dbt.mu.Lock()
	defer h.dbt.mu.Unlock()
	a := h.active.Load()
	list := []api.DbtStatus{}
	for _, name := range sortedNames(h.dbt.list) {
		list = append(list, h.dbt.list[name].describe(a.syncsOfDbt()))
	}
	return list, nil
}

// describe shows the project; syncs are the names of syncs by unique_id.
func (p *dbtProject) describe(syncs map[string][]string) api.DbtStatus {
	out := api.DbtStatus{Name: p.def.Name, Models: []api.DbtModelStatus{}, Problems: p.problems}
	if p.fault != nil {
		out.Fault = p.fault.Error()
		if hint := tidegate.FaultOf(p.fault).Hint; hint != "" {
			out.Fault += "; " + hint
		}
	}
	if p.artifacts == nil {
		return out
	}
	m := p.artifacts.Manifest
	out.Version, out.Invocation = m.Meta.DbtVersion, p.state.Invocation
	if r := p.artifacts.Results; r != nil && r.Executed() {
		out.At = r.At()
	}
	for _, id := range sortedNames(m.Models) {
		model := m.Models[id]
		one := api.DbtModelStatus{
			ID: id, Name: model.Name, Table: model.Table(), Materialized: model.Materialized, Tags: model.Tags, Group: model.Group,
			PrimaryKey: model.PrimaryKey, KeyFrom: model.KeyFrom, Tests: len(model.Tests), Passed: true, Syncs: syncs[id],
		}
		if err := p.blocked(model); err != nil {
			one.Passed, one.Reason = false, tidegate.FaultOf(err).Message
		}
		out.Models = append(out.Models, one)
	}
	return out
}

// blocked returns why no sync may read the model now.
func (p *dbtProject) blocked(m *dbt.Model) error {
	if err := m.Readable(); err != nil {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "dbt.model", Subject: "dbt model " + m.String(), Message: err.Error(), Hint: "materialize it as a table, a view or incrementally"}
	}
	if p.def.Gate == "none" {
		return nil
	}
	return p.state.Blocked(m)
}
