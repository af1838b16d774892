package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"sync"
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

// secretLookup resolves `${env:NAME}` and `${file:PATH}` at the moment a
// connection is opened, so that a rotated secret needs no restart.
func secretLookup() config.Lookup { return config.LookupFrom(os.LookupEnv, os.ReadFile) }

// resolveSecret resolves one reference.
func resolveSecret(reference string) (string, error) {
	v := struct {
		Secret string `json:"secret" secret:"true"`
	}{reference}
	err := config.Resolve(&v, secretLookup(), nil)
	return v.Secret, err
}

// connections opens destinations once per configuration and keeps them open,
// because the syncs of one account share its client and its limits.
type connections struct {
	log   *slog.Logger
	now   func() time.Time
	meter metric.Meter

	mu    sync.Mutex
	open  map[string]*connection                         // by name
	allow func(account string, a destinations.Allowance) // what answers say about limits; may be nil
}

type connection struct {
	config  string // kind and raw config: what the opened one was made of
	dest    destinations.Destination
	client  *http.Client
	users   int
	retired bool // replaced by another configuration; closed when its last user leaves
}

func newConnections(log *slog.Logger, now func() time.Time, meter metric.Meter) *connections {
	return &connections{log: log, now: now, meter: meter, open: map[string]*connection{}}
}

// learn has what answers say about the limits of accounts told to allow.
func (cs *connections) learn(allow func(account string, a destinations.Allowance)) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.allow = allow
}

// accountOf names what shares the limits of a connection.
func accountOf(c tidegate.Connection) string { return c.Kind + "/" + c.Name }

// use returns the destination of c, opening it when it is not open yet with
// this configuration. The caller calls release once.
func (cs *connections) use(ctx context.Context, c tidegate.Connection, allow []netip.Prefix) (destinations.Destination, func() error, error) {
	fingerprint := fmt.Sprintf("%s %s %v", c.Kind, c.Config, allow)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	have := cs.open[c.Name]
	if have == nil || have.config != fingerprint {
		fresh, err := cs.connect(ctx, c, allow)
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
	return have.dest, sync.OnceValue(func() error { return cs.release(have) }), nil
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

// connect opens one destination; secrets are resolved here and nowhere else.
func (cs *connections) connect(ctx context.Context, c tidegate.Connection, allow []netip.Prefix) (*connection, error) {
	kind, ok := destall.Find(c.Kind)
	if !ok {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "destination.kind", Subject: "destination " + c.Name, Message: fmt.Sprintf("there is no kind %q", c.Kind)}
	}
	cfg := kind.NewConfig()
	raw := c.Config
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	if err := config.DecodeJSON("destination "+c.Name, raw, cfg); err != nil {
		return nil, halted("destination.config", "destination "+c.Name, err)
	}
	if err := config.Resolve(cfg, secretLookup(), nil); err != nil {
		return nil, halted("destination.secret", "destination "+c.Name, err)
	}
	client := egress.New(egress.Options{
		Policy: egress.Policy{AllowPrefixes: allow}, UserAgent: "tidegate", Name: "destination " + c.Name, Meter: cs.meter, Now: cs.now,
	})
	env := destinations.Env{Log: cs.log.With("destination", c.Name), HTTP: client, Now: cs.now}
	if allow := cs.allow; allow != nil {
		env.Allow = func(a destinations.Allowance) { allow(accountOf(c), a) }
	}
	dest, err := kind.Open(ctx, cfg, env)
	if err != nil {
		client.CloseIdleConnections()
		return nil, fmt.Errorf("opening destination %s: %w", c.Name, err)
	}
	return &connection{dest: dest, client: client}, nil
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

// halted makes a Halt of an error whose text names place and mend already.
func halted(code, subject string, err error) error {
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
