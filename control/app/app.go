// Package app wires the hub: it is the only package that knows every other.
//
//	listeners ─▶ ingest ─▶ journal ─▶ loader ─▶ warehouse ─▶ runner ─▶ destinations
//	                 (Start opens them from the left, so that events are accepted
//	                  before the warehouse is open; Stop closes them from the left,
//	                  so that what was accepted is loaded before the warehouse closes)
//
// Invariants: an event is answered only by a journal that was opened and
// recovered; when the journal's disk fails the process ends with ExitDisk and
// nothing is retried (Invariant 7); definitions are activated all or none.
//
// It decides nothing about events, rows or deliveries. Hub is safe for
// concurrent use; every goroutine started here is joined by Wait.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/browser"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/obs"
	"github.com/tidegate/tidegate/internal/vfs"
)

// ExitDisk is the exit code after a failed fsync: the supervisor must start the
// process again, and recovery reads what the disk kept.
const ExitDisk = 74

// Options say what to serve.
type Options struct {
	// Project is the folder of definitions to apply at the start; empty: those of the store.
	Project string
	// Data is the folder in which everything is kept. One process at a time.
	Data string
	// IngestAddr and AdminAddr override the project's settings.
	IngestAddr, AdminAddr string
	// SDKDir is a folder with analytics.min.js, which snippets are served instead of the one in the binary.
	SDKDir  string
	Version string
	Log     *slog.Logger
	Now     func() time.Time
	// Telemetry is where metrics and traces go; required.
	Telemetry *obs.Telemetry
	// FS is the file system of the journal, the machine's when nil.
	FS vfs.FS
	// Ready is called once, when everything answers.
	Ready func(Addresses)

	rules func(source string) *shape.Rules // of the sources, for what an event becomes
}

// Addresses are where the hub listens.
type Addresses struct {
	Ingest string `json:"ingest"` // "127.0.0.1:8080"
	Admin  string `json:"admin"`
}

// DiskError says that the journal's disk refused to make events durable.
type DiskError struct{ Err error }

// Error names the mend.
func (e *DiskError) Error() string {
	return fmt.Sprintf("the journal's disk failed: %v; look at the disk, then start again: what was acknowledged is read back", e.Err)
}

// Unwrap returns the disk's error.
func (e *DiskError) Unwrap() error { return e.Err }

// ExitCode tells the command line how to end.
func (e *DiskError) ExitCode() int { return ExitDisk }

// App is a running hub.
type App struct {
	Hub       *Hub
	Catalog   *catalog.Catalog
	Addresses Addresses

	o        Options
	store    *store.Store
	journal  *journal.Journal
	ingest   *http.Server
	admin    *http.Server
	stopAll  context.CancelCauseFunc
	group    *errgroup.Group
	starting *api.Starting
	withdraw func() error // of the announcement
	fatal    atomic.Pointer[DiskError]
}

// Serve runs the hub until ctx ends and everything in flight is finished.
func Serve(ctx context.Context, o Options) error {
	a, err := Start(ctx, o)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // it was ended while it waited for its warehouse
	}
	if err != nil {
		return err
	}
	if o.Ready != nil {
		o.Ready(a.Addresses)
	}
	return a.Wait()
}

// Start opens everything and returns when the hub is ready. While the warehouse is away
// it waits for it: events are collected, and the admin address says what is waited for.
// The hub goes on until ctx ends; the caller then calls Wait.
func Start(ctx context.Context, o Options) (_ *App, err error) {
	if err := makeData(o.Data); err != nil {
		return nil, err
	}
	a := &App{o: o}
	ctx, a.stopAll = context.WithCancelCause(ctx)
	var opened closers
	defer func() {
		if err != nil {
			a.stopAll(err)
			err = errors.Join(err, opened.close())
			if f := a.fatal.Load(); f != nil {
				err = f
			}
		}
	}()

	if a.store, err = store.Open(ctx, store.Options{Path: filepath.Join(o.Data, storeFile), Log: o.Log, Now: o.Now}); err != nil {
		return nil, fmt.Errorf("opening the control store: %w", err)
	}
	opened.add(a.store.Close)
	workspace := a.store.In(tidegate.DefaultWorkspace)
	p, err := a.definitions(ctx, workspace)
	if err != nil {
		return nil, err
	}
	a.Hub = newHub(o, a.store)
	keyed, err := a.Hub.withKeys(ctx, p.Sources)
	if err != nil {
		return nil, err
	}
	a.Hub.sources.set(keyed)
	if err := a.Hub.openPeople(ctx); err != nil {
		return nil, fmt.Errorf("reading who is suppressed: %w", err)
	}
	if err := a.openJournal(ctx, p); err != nil {
		return nil, err
	}
	opened.add(func() error { return a.journal.Close(context.WithoutCancel(ctx)) })
	ingestListener, err := listen(first(o.IngestAddr, p.Settings.IngestAddr), "ingest")
	if err != nil {
		return nil, err
	}
	opened.add(func() error { return closed(ingestListener) })
	adminListener, err := listen(first(o.AdminAddr, p.Settings.AdminAddr), "admin")
	if err != nil {
		return nil, err
	}
	opened.add(func() error { return closed(adminListener) })
	a.Addresses = Addresses{Ingest: ingestListener.Addr().String(), Admin: adminListener.Addr().String()}
	if err := a.serveIngest(p, ingestListener); err != nil {
		return nil, err
	}
	opened.add(func() error { return a.abandon(ctx) })

	a.Catalog = catalog.New(catalog.Options{Store: workspace, Kinds: Kinds(), Activate: a.Hub.Activate, Fits: a.Hub.fits})
	a.starting = &api.Starting{Stages: a.Hub.waiting, Why: a.Hub.why}
	if err := a.Hub.open(ctx, p, a.journal, func() error { return a.serveAdmin(ctx, workspace, adminListener) }); err != nil {
		return nil, err
	}
	opened.add(func() error { return a.Hub.close() })
	if _, err := a.Catalog.Apply(ctx, p, "serve", catalog.AnyBase); err != nil {
		return nil, err
	}
	return a, a.run(ctx, workspace, adminListener)
}

// definitions are the project's, or those that the store has.
func (a *App) definitions(ctx context.Context, w *store.Workspace) (*project.Project, error) {
	if a.o.Project != "" {
		return project.LoadDir(a.o.Project, Kinds())
	}
	p, _, err := catalog.New(catalog.Options{Store: w, Kinds: Kinds()}).Current(ctx)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "project.missing", Subject: "data folder " + a.o.Data,
			Message: "there are no definitions yet", Hint: "name a project folder: tidegate serve --project DIR",
		}
	}
	return p, nil
}

func (a *App) openJournal(ctx context.Context, p *project.Project) (err error) {
	a.journal, err = journal.Open(ctx, journal.Options{
		Dir: filepath.Join(a.o.Data, journalDir), FS: a.o.FS, Log: a.o.Log, Now: a.o.Now, ReserveBytes: journal.ReserveDefault,
		Retain: retention(p), Begin: begins(a.store),
		Fatal: func(err error) {
			failed := &DiskError{Err: err}
			a.fatal.Store(failed)
			a.stopAll(failed)
		},
	})
	if vfs.Refused(err) {
		return notOurs(a.o.Data, err)
	}
	if err != nil {
		return err
	}
	a.Hub.books = newBooks(a.journal)
	a.Hub.events.throttled.now = a.o.Now
	a.Hub.forwards.begin = a.journal.Durable()
	return nil
}

// begins says where a journal begins that takes the place of one that was lost: far above
// every place in the journal that the store remembers. Positions that were given out are
// not given out again, or letters, erased people and counts would speak of other events.
func begins(s *store.Store) func(context.Context) (int64, error) {
	const far = 10_000_000_000 // and such a one is told by its looks
	return func(ctx context.Context) (int64, error) {
		known, err := s.In(tidegate.DefaultWorkspace).JournalEnd(ctx)
		if err != nil || known == 0 {
			return 0, err
		}
		return ((known+far/10)/far + 1) * far, nil // what came since the store was told is less than a tenth
	}
}

func (a *App) serveIngest(p *project.Project, l net.Listener) error {
	limits := p.Settings.Limits
	script, err := browserSDK(a.o.SDKDir)
	if err != nil {
		return err
	}
	handler, err := ingest.New(ingest.Options{
		Journal: a.Hub.books, Sources: &a.Hub.sources, Log: a.o.Log, Now: a.o.Now, NewID: uuid.NewString,
		Limits: ingest.Limits{EventBytes: int(limits.EventBytes), BodyBytes: int(limits.BatchBytes), Events: limits.BatchEvents, EventsPerSecond: limits.EventsPerSecond},
		Script: script, PublicURL: p.Settings.PublicURL,
		Mode: ingest.Mode(p.Settings.UnknownKeys), TrustedProxies: prefixes(p.Settings.TrustedProxies), Secret: a.Hub.secrets.resolve, Suppression: &a.Hub.events.people, Throttled: a.Hub.events.throttled.add, Meter: a.o.Telemetry.Meter("ingest"),
	})
	if err != nil {
		return fmt.Errorf("building the collection API: %w", err)
	}
	a.ingest = ingest.Server(a.o.Telemetry.Traced("ingest", handler), a.o.Log)
	a.group = &errgroup.Group{}
	a.group.Go(func() error { return served(a.ingest.Serve(ingest.Listen(l, limits.Connections))) })
	return nil
}

// browserSDK reads the script that snippets are served.
func browserSDK(dir string) ([]byte, error) {
	if dir == "" {
		return browser.Script(), nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "analytics.min.js"))
	if err != nil {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "sdk.unreadable", Subject: "SDK folder " + dir, Message: err.Error(),
			Hint: "--sdk-dir names a folder that holds analytics.min.js, such as sdk-js/dist after `make sdk-js`", Err: err,
		}
	}
	return text, nil
}

// serveAdmin begins to answer at the admin address, and tells programs on this machine of it.
func (a *App) serveAdmin(ctx context.Context, w *store.Workspace, l net.Listener) error {
	if err := auth.New(w, a.o.Now).EnsureAdmin(ctx, a.o.Data); err != nil {
		return fmt.Errorf("making the admin token: %w", err)
	}
	a.admin = api.Server(a.o.Telemetry.Traced("api", a.starting), a.o.Log)
	a.group.Go(func() error { return served(a.admin.Serve(l)) })
	withdraw, err := api.Announce(a.o.Data, api.Announcement{
		AdminURL: "http://" + a.Addresses.Admin, IngestURL: "http://" + a.Addresses.Ingest, PID: os.Getpid(), Version: a.o.Version, StartedAt: a.o.Now().UTC(),
	})
	a.withdraw = withdraw
	if errors.Is(err, syscall.ENOSPC) { // what waits is loaded, which may be what frees the disk
		a.o.Log.WarnContext(ctx, "the disk is full: commands on this machine find the server by --server only", "server", "http://"+a.Addresses.Admin, "error", err)
		a.withdraw, err = func() error { return nil }, nil
	}
	return err
}

// abandon ends what answers already where the rest cannot be opened.
func (a *App) abandon(ctx context.Context) error {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	err := a.ingest.Shutdown(patient)
	if a.admin != nil {
		err = errors.Join(err, a.admin.Close())
	}
	if a.withdraw != nil {
		err = errors.Join(err, a.withdraw())
	}
	return errors.Join(err, a.group.Wait())
}

// closed closes l, unless the server that had it did.
func closed(l net.Listener) error {
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// run starts what works until the end.
func (a *App) run(ctx context.Context, w *store.Workspace, admin net.Listener) error {
	handler, err := api.New(api.Options{
		Hub: a.Hub, Catalog: a.Catalog, Store: w, Keeper: auth.New(w, a.o.Now), Vault: a.Hub.vault, Kinds: Kinds(), Metrics: a.o.Telemetry.Handler(), Version: a.o.Version, Log: a.o.Log, Now: a.o.Now,
		Meter: a.o.Telemetry.Meter("control"),
	})
	if err != nil {
		return fmt.Errorf("building the admin API: %w", err)
	}
	a.starting.Open(handler)
	if a.admin == nil {
		if err := a.serveAdmin(ctx, w, admin); err != nil {
			return err
		}
	}
	a.Hub.run(ctx, a.group, a.stopAll)
	a.group.Go(func() error { <-ctx.Done(); return a.shutdown(ctx) })
	return nil
}

// shutdown stops from the left: no more requests, no more runs, what was
// accepted is loaded, and only then the files close.
func (a *App) shutdown(ctx context.Context) error {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	a.Hub.events.watchers.end() // they would be waited for, and have no end of their own
	errs := []error{a.ingest.Shutdown(patient)}
	if a.fatal.Load() != nil {
		_ = a.ingest.Close() // nobody in flight will be answered
	}
	if a.admin.Shutdown(patient) != nil {
		_ = a.admin.Close()
	}
	a.Hub.stop()
	return errors.Join(append(errs, a.withdraw())...)
}

// Wait returns when the hub has stopped: nil after a polite end.
func (a *App) Wait() error {
	err := a.group.Wait()
	err = errors.Join(err, a.Hub.close(), a.journal.Close(context.Background()), a.store.Close())
	if f := a.fatal.Load(); f != nil {
		return f
	}
	return err
}

// Stop ends the hub; Wait returns when it has.
func (a *App) Stop() { a.stopAll(nil) }

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving: %w", err)
}

func listen(addr, name string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	flag := "--" + name + "-addr"
	hint := "give an address of this machine as HOST:PORT with " + flag
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "stop what listens there, or choose another address with " + flag
	case errors.Is(err, os.ErrPermission):
		hint = "a port below 1024 needs a right of its own (CAP_NET_BIND_SERVICE); choose a higher one with " + flag
	}
	return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "listen.failed", Subject: name + " address " + addr, Message: err.Error(), Hint: hint, Err: err}
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// closers are closed in the reverse order of their opening.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c closers) close() error {
	var errs []error
	for i := len(c) - 1; i >= 0; i-- {
		errs = append(errs, c[i]())
	}
	return errors.Join(errs...)
}
