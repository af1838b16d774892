package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/destinations"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/egress"
	whall "github.com/tidegate/tidegate/warehouse/all"
)

// Kinds are the connectors that this binary has, for checking projects.
func Kinds() project.Kinds {
	k := project.Kinds{Warehouses: map[string]func() any{}, Destinations: map[string]func() any{}}
	for _, w := range whall.All() {
		k.Warehouses[w.Name] = w.NewConfig
	}
	for _, d := range destall.All() {
		k.Destinations[d.Name] = d.NewConfig
	}
	return k
}

// connections opens destinations once per configuration and keeps them open,
// because the syncs of one account share its client and its limits.
type connections struct {
	secrets secrets

	log   *slog.Logger
	now   func() time.Time
	meter metric.Meter

	mu    sync.Mutex
	open  map[string]*connection                         // by name
	allow func(account string, a destinations.Allowance) // what answers say about limits; may be nil
}

type connection struct {
	config  string // what the opened one was made of: kind, raw config, digest of its secrets
	dest    destinations.Destination
	client  *http.Client
	kind    string
	name    string
	users   int
	retired bool // replaced by another configuration; closed when its last user leaves
	// account is the vendor's id of it: nil before anybody asked, empty when nobody can tell.
	account atomic.Pointer[string]
}

// limits names what shares the rate limits of the connection: the account where it is
// known, because two destinations of a project may lead to one.
func (c *connection) limits() string {
	if id := c.account.Load(); id != nil && *id != "" {
		return c.kind + "/account " + *id
	}
	return c.kind + "/" + c.name
}

// identify asks the destination once which account it writes to, and returns it in
// words: empty where it cannot tell.
func (c *connection) identify(ctx context.Context) (string, error) {
	id := c.account.Load()
	if id == nil {
		var told string
		if a, ok := c.dest.(destinations.Accounter); ok {
			var err error
			if told, err = a.Account(ctx); err != nil {
				return "", fmt.Errorf("asking destination %s for its account: %w", c.name, err)
			}
		}
		id = &told
		c.account.Store(id) // who asked at the same time was told the same
	}
	if *id == "" {
		return "", nil
	}
	return c.kind + " " + *id, nil
}

func newConnections(secrets secrets, log *slog.Logger, now func() time.Time, meter metric.Meter) *connections {
	return &connections{secrets: secrets, log: log, now: now, meter: meter, open: map[string]*connection{}}
}

// learn has what answers say about the limits of accounts told to allow.
func (cs *connections) learn(allow func(account string, a destinations.Allowance)) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.allow = allow
}

// use returns the destination of c, opening it when it is not open yet with
// this configuration. The caller calls release once.
func (cs *connections) use(ctx context.Context, c tidegate.Connection, allow []netip.Prefix) (destinations.Destination, func() error, error) {
	have, release, err := cs.hold(ctx, c, allow)
	if err != nil {
		return nil, nil, err
	}
	return have.dest, release, nil
}

// account is what identify said of the open connection called name; empty before.
func (cs *connections) account(name string) string {
	cs.mu.Lock()
	have := cs.open[name]
	cs.mu.Unlock()
	if have == nil {
		return ""
	}
	if id := have.account.Load(); id != nil && *id != "" {
		return have.kind + " " + *id
	}
	return ""
}

// hold is use for who wants to know the connection too.
func (cs *connections) hold(ctx context.Context, c tidegate.Connection, allow []netip.Prefix) (*connection, func() error, error) {
	kind, cfg, digest, err := cs.configure(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	fingerprint := fmt.Sprintf("%s %s %s %v", c.Kind, c.Config, digest, allow)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	have := cs.open[c.Name]
	if have == nil || have.config != fingerprint {
		fresh, err := cs.connect(ctx, c, kind, cfg, allow)
		if err != nil {
			return nil, nil, err
		}
		fresh.config = fingerprint
		if have != nil {
			have.retired = true
			if have.users == 0 {
				_ = have.close() // nobody uses it, and nobody can do anything about its last words
			}
		}
		cs.open[c.Name], have = fresh, fresh
	}
	have.users++
	return have, sync.OnceValue(func() error { return cs.release(have) }), nil
}

func (cs *connections) release(c *connection) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.users--
	if c.users == 0 && c.retired {
		return c.close()
	}
	return nil
}

func (c *connection) close() error {
	err := c.dest.Close()
	c.client.CloseIdleConnections()
	return err
}

// configure reads the configuration of c; secrets are resolved here and nowhere else. The
// digest tells whether they are those of the last time: one that was replaced makes a new connection.
func (cs *connections) configure(ctx context.Context, c tidegate.Connection) (kind destinations.Kind, cfg any, digest string, err error) {
	kind, ok := destall.Find(c.Kind)
	if !ok {
		return kind, nil, "", &tidegate.Fault{Action: tidegate.Halt, Code: "destination.kind", Subject: "destination " + c.Name, Message: fmt.Sprintf("there is no kind %q", c.Kind)}
	}
	cfg = kind.NewConfig()
	raw := c.Config
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	if err := config.DecodeJSON("destination "+c.Name, raw, cfg); err != nil {
		return kind, nil, "", halted("destination.config", "destination "+c.Name, err)
	}
	if digest, err = cs.secrets.fillNoting(ctx, cfg); err != nil {
		return kind, nil, "", halted("destination.secret", "destination "+c.Name, err)
	}
	return kind, cfg, digest, nil
}

func (cs *connections) connect(ctx context.Context, c tidegate.Connection, kind destinations.Kind, cfg any, allow []netip.Prefix) (*connection, error) {
	client := egress.New(egress.Options{
		Policy: egress.Policy{AllowPrefixes: allow}, UserAgent: "tidegate", Name: "destination " + c.Name, Meter: cs.meter, Now: cs.now,
	})
	fresh := &connection{client: client, kind: c.Kind, name: c.Name}
	env := destinations.Env{Log: cs.log.With("destination", c.Name), HTTP: client, Now: cs.now}
	if allow := cs.allow; allow != nil {
		env.Allow = func(a destinations.Allowance) { allow(fresh.limits(), a) }
	}
	dest, err := kind.Open(ctx, cfg, env)
	if err != nil {
		client.CloseIdleConnections()
		return nil, fmt.Errorf("opening destination %s: %w", c.Name, err)
	}
	fresh.dest = dest
	return fresh, nil
}

func (cs *connections) closeAll() error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var first error
	for name, c := range cs.open {
		if err := c.close(); err != nil && first == nil {
			first = fmt.Errorf("closing destination %s: %w", name, err)
		}
	}
	cs.open = map[string]*connection{}
	return first
}

// halted makes a Halt of an error whose text names place and mend already. A secret that is not
// where a definition says is no mistake of the definition.
func halted(code, subject string, err error) error {
	var f *tidegate.Fault
	if errors.As(err, &f) && strings.HasPrefix(f.Code, "secret.") {
		out := *f
		out.Subject = subject + ": " + f.Subject
		return &out
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: code, Subject: subject, Message: err.Error(), Hint: "mend the definition and apply it again", Err: err}
}

func prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil { // project.Check has refused others
			out = append(out, p)
		}
	}
	return out
}
