// Package demo shows the whole loop on an example shop: requests of official
// SDKs come in, become rows, a model is diffed against what the CRM confirmed,
// and only changed rows leave.
//
//	first wave ─▶ loaded ─▶ run 1 (everyone is new) ─▶ second wave ─▶ loaded ─▶ run 2 (who changed) ─▶ stays up
//
// Invariants: everything goes over the real HTTP surface, journal, loader,
// ledger and runner; the CRM is a simulator behind HTTP that remembers. A demo
// that was killed and started again on the same data ends with the same CRM.
//
// It starts a hub and a simulator of its own and joins both.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/examples"
	"github.com/tidegate/tidegate/internal/obs"
)

const syncName = "customers_to_crm"

// Options say where the demo works and for whom it prints.
type Options struct {
	// Data is the folder for journal, warehouse and CRM; a temporary one when empty.
	Data string
	// Once ends the demo after the second run; otherwise it stays up until ctx ends.
	Once bool
	// Out gets the story; io.Discard for machines. Terminal says that Out can show a moving bar.
	Out       io.Writer
	Terminal  bool
	Version   string
	Log       *slog.Logger
	Now       func() time.Time
	Telemetry *obs.Telemetry
}

// Result is what the demo did.
type Result struct {
	EventsSent       int64     `json:"events_sent"`
	EventsLoaded     int64     `json:"events_loaded"`
	CustomersChanged int64     `json:"customers_changed"`
	FirstRun         RunCounts `json:"first_run"`
	SecondRun        RunCounts `json:"second_run"`
}

// RunCounts is what one run found and delivered.
type RunCounts struct {
	Added     int64 `json:"added"`
	Changed   int64 `json:"changed"`
	Removed   int64 `json:"removed"`
	Delivered int64 `json:"delivered"`
	Rejected  int64 `json:"rejected"`
}

func countsOf(r tidegate.Run) RunCounts {
	return RunCounts{Added: r.Counts.Added, Changed: r.Counts.Changed, Removed: r.Counts.Removed, Delivered: r.Counts.Delivered, Rejected: r.Counts.Rejected}
}

type demo struct {
	o       Options
	say     *teller
	app     *app.App
	crm     *crm
	project string
}

// Run shows the loop. The result is whole when the error is nil.
func Run(ctx context.Context, o Options) (res Result, err error) {
	if o.Data == "" {
		dir, mkErr := os.MkdirTemp("", "tidegate-demo-")
		if mkErr != nil {
			return res, fmt.Errorf("making a folder for the demo: %w", mkErr)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		o.Data = dir
	}
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return res, fmt.Errorf("making the demo's folder: %w", err)
	}
	d := &demo{o: o, say: newTeller(o.Out, o.Terminal)}
	if d.crm, err = startCRM(o.Data, !o.Once); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, d.crm.stop()) }()
	if err := d.writeProject(true); err != nil {
		return res, err
	}
	if err := os.Setenv("HUBSPOT_TOKEN", crmToken); err != nil { // the project names it as ${env:HUBSPOT_TOKEN}
		return res, fmt.Errorf("setting the token: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.app, err = d.serve(ctx); err != nil {
		return res, err
	}
	defer func() {
		cancel()
		err = errors.Join(err, d.app.Wait())
	}()
	if res, err = d.loop(ctx); err != nil {
		return res, err
	}
	if !o.Once {
		return res, d.stay(ctx)
	}
	return res, d.crm.dump(filepath.Join(o.Data, "crm.json"))
}

// serve starts the hub on the usual ports, or on free ones where those are taken.
func (d *demo) serve(ctx context.Context) (*app.App, error) {
	options := app.Options{
		Project: d.project, Data: filepath.Join(d.o.Data, "hub"), Version: d.o.Version, Log: d.o.Log, Now: d.o.Now, Telemetry: d.o.Telemetry,
		IngestAddr: freePort("127.0.0.1:8080", d.o.Once), AdminAddr: freePort("127.0.0.1:8081", d.o.Once),
	}
	a, err := app.Start(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("starting the hub: %w", err)
	}
	return a, nil
}

// freePort returns addr when nobody listens there, and otherwise, or when any
// will do, one that the system chooses.
func freePort(addr string, anyWillDo bool) string {
	if !anyWillDo {
		if l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	return "127.0.0.1:0"
}

// writeProject puts the example project into the data folder, pointed at the
// simulator. While the story is told its sync is paused, so that the two runs
// are the story's own; afterwards it runs after each load, as the example says.
func (d *demo) writeProject(paused bool) error {
	d.project = filepath.Join(d.o.Data, "project")
	return fs.WalkDir(examples.FS, "shop", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(d.project, strings.TrimPrefix(path, "shop"))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := fs.ReadFile(examples.FS, path)
		if err != nil {
			return err
		}
		edited := strings.ReplaceAll(string(text), "http://127.0.0.1:8082", d.crm.url)
		if paused && strings.HasPrefix(path, "shop/syncs/") {
			edited += "paused: true\n"
		}
		return os.WriteFile(target, []byte(edited), 0o644)
	})
}

// loop tells the story.
func (d *demo) loop(ctx context.Context) (res Result, err error) {
	start, err := d.startedAt()
	if err != nil {
		return res, err
	}
	s := newShop(start)
	d.say.title("1. The shop's history comes in, as analytics.js and the Node SDK send it")
	sent, err := d.send(ctx, s.firstWave())
	if err != nil {
		return res, err
	}
	res.EventsSent += sent
	if err := d.loaded(ctx, &res); err != nil {
		return res, err
	}
	if err := d.showTables(ctx); err != nil {
		return res, err
	}
	d.say.title("2. The model `customers` goes to the CRM: everyone is new there")
	run, err := d.sync(ctx)
	if err != nil {
		return res, err
	}
	res.FirstRun = countsOf(run)
	d.say.run(run, d.crm)

	d.say.title("3. An hour later: some customers changed, most only looked around")
	wave, changed := s.secondWave()
	res.CustomersChanged = int64(changed)
	if sent, err = d.send(ctx, wave); err != nil {
		return res, err
	}
	res.EventsSent += sent
	if err := d.loaded(ctx, &res); err != nil {
		return res, err
	}
	d.say.line("%d customers changed their plan or ordered again.", changed)
	if err := d.showPlan(ctx); err != nil {
		return res, err
	}
	d.say.title("4. The same sync again: only they leave")
	if run, err = d.sync(ctx); err != nil {
		return res, err
	}
	res.SecondRun = countsOf(run)
	d.say.run(run, d.crm)
	return res, nil
}

// startedAt is kept in the data folder, so that a demo that was killed sends
// the same events again.
func (d *demo) startedAt() (time.Time, error) {
	path := filepath.Join(d.o.Data, "started")
	if text, err := os.ReadFile(path); err == nil {
		return time.Parse(time.RFC3339, strings.TrimSpace(string(text)))
	}
	now := d.o.Now().UTC().Truncate(time.Second)
	if err := os.WriteFile(path, []byte(now.Format(time.RFC3339)), 0o644); err != nil {
		return now, fmt.Errorf("noting the demo's start: %w", err)
	}
	return now, nil
}

// sync runs the sync by hand and waits for its end. After a restart a run of
// the killed process may still be going on; it is waited for first.
func (d *demo) sync(ctx context.Context) (tidegate.Run, error) {
	hub := d.app.Hub
	if st, err := hub.Sync(ctx, syncName); err != nil {
		return tidegate.Run{}, err
	} else if st.Current != nil {
		if _, err := d.finished(ctx, st.Current.ID); err != nil {
			return tidegate.Run{}, err
		}
	}
	run, err := hub.SyncRun(ctx, syncName)
	if err != nil {
		return run, fmt.Errorf("starting the sync: %w", err)
	}
	if run, err = d.finished(ctx, run.ID); err != nil {
		return run, err
	}
	if run.State != tidegate.RunSucceeded {
		return run, fmt.Errorf("run %s ended as %s: %+v", run.ID, run.State, run.Fault)
	}
	return run, nil
}

func (d *demo) finished(ctx context.Context, id string) (tidegate.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		run, err := d.app.Hub.Run(ctx, id)
		if err != nil || run.State.Finished() || run.State == tidegate.RunHeld {
			return run, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return run, fmt.Errorf("waiting for run %s: %w", id, ctx.Err())
		}
	}
}

// loaded waits until everything sent is queryable and counts it there.
func (d *demo) loaded(ctx context.Context, res *Result) error {
	begin := d.o.Now()
	if err := d.app.Hub.WaitLoaded(ctx); err != nil {
		return fmt.Errorf("waiting for the loader: %w", err)
	}
	var loaded int64
	for _, table := range []string{"web.identifies", "web.pages", "orders.tracks"} {
		n, err := d.number(ctx, "select count(*) from "+table)
		if err != nil {
			return err
		}
		loaded += n
	}
	res.EventsLoaded = loaded
	d.say.line("%d events are queryable in DuckDB, %v after the last 200.", loaded, d.o.Now().Sub(begin).Round(time.Millisecond))
	return nil
}

func (d *demo) number(ctx context.Context, sql string) (n int64, err error) {
	rows, err := d.app.Hub.Query(ctx, "", sql)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row, err := rows.Next(ctx)
	if err != nil {
		return 0, fmt.Errorf("counting: %w", err)
	}
	n, _ = row[0].(int64)
	return n, nil
}

// crm is the simulated HubSpot behind a real port.
type crm struct {
	sim    destinations.Simulator
	server *http.Server
	url    string
	done   chan error
}

const crmToken = "pat-demo-token" // any token opens the simulator

func startCRM(data string, usualPort bool) (*crm, error) {
	kind, ok := all.Find("hubspot")
	if !ok {
		return nil, errors.New("starting the CRM: this binary has no hubspot")
	}
	options, err := json.Marshal(map[string]any{"path": filepath.Join(data, "hubspot.jsonl")})
	if err != nil {
		return nil, fmt.Errorf("starting the CRM: %w", err)
	}
	sim, err := kind.Simulate(options)
	if err != nil {
		return nil, fmt.Errorf("starting the CRM: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", freePort("127.0.0.1:8082", !usualPort))
	if err != nil {
		return nil, fmt.Errorf("starting the CRM: %w", err)
	}
	c := &crm{sim: sim, url: "http://" + l.Addr().String(), done: make(chan error, 1)}
	c.server = &http.Server{Handler: sim, ReadHeaderTimeout: 5 * time.Second}
	go func() { c.done <- c.server.Serve(l) }()
	return c, c.addProperties()
}

// addProperties does what a HubSpot admin would do: the shop's own fields.
func (c *crm) addProperties() error {
	for _, p := range []struct{ name, label, typ, field string }{
		{"plan", "Plan", "string", "text"},
		{"shop_orders", "Orders", "number", "number"},
		{"lifetime_value", "Lifetime value", "number", "number"},
		{"last_order_at", "Last order", "datetime", "date"},
	} {
		body, err := json.Marshal(map[string]string{"name": p.name, "label": p.label, "type": p.typ, "fieldType": p.field, "groupName": "contactinformation"})
		if err != nil {
			return fmt.Errorf("adding property %s: %w", p.name, err)
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.url+"/crm/v3/properties/contacts", strings.NewReader(string(body)))
		if err != nil {
			return fmt.Errorf("adding property %s: %w", p.name, err)
		}
		req.Header.Set("Authorization", "Bearer "+crmToken)
		req.Header.Set("Content-Type", "application/json")
		// The simulator stands in for the vendor inside this process's own ports.
		resp, err := localClient().Do(req)
		if err != nil {
			return fmt.Errorf("adding property %s: %w", p.name, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode >= 300 && resp.StatusCode != http.StatusConflict {
			return fmt.Errorf("adding property %s: the simulator answered %s", p.name, resp.Status)
		}
	}
	return nil
}

// dump writes what the CRM holds, for those who want to compare.
func (c *crm) dump(path string) error {
	text, err := json.MarshalIndent(c.sim.Records("contacts"), "", "  ")
	if err != nil {
		return fmt.Errorf("writing what the CRM holds: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func (c *crm) stop() error {
	err := c.server.Close()
	if served := <-c.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if closer, ok := c.sim.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	return err
}
