package project

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/ingest/transform"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/model/file"
)

// Kinds are the connectors that a project may name, each with a function that
// returns a pointer to its zero config struct.
type Kinds struct {
	Warehouses   map[string]func() any
	Destinations map[string]func() any
}

// checker finds what the schema alone cannot: references, repeats, and
// connector configuration.
type checker struct {
	*draft
	kinds    Kinds
	problems []config.Problem
	usable   transform.Libraries // what scripts may import
}

func (c *checker) add(p config.Problem) { c.problems = append(c.problems, p) }

func (c *checker) check() {
	if c.root != nil {
		c.warehouse()
		c.settings()
	}
	c.furtherWarehouses()
	c.allSources()
	c.allPlans()
	c.allLibraries()
	c.allTransforms()
	c.allDbt()
	unique(c, c.destinations, "destination", func(v tidegate.Connection) string { return v.Name })
	for _, it := range c.destinations {
		c.destination(it)
	}
	unique(c, c.models, "model", func(v tidegate.Model) string { return v.Name })
	for _, it := range c.models {
		c.model(it)
	}
	c.uses()
	unique(c, c.syncs, "sync", func(v tidegate.Sync) string { return v.Name })
	models := names(c.models, func(v tidegate.Model) string { return v.Name })
	destinations := names(c.destinations, func(v tidegate.Connection) string { return v.Name })
	for _, it := range c.syncs {
		if !c.offered() {
			c.refers(it, "model", it.value.Model, models)
		}
		c.refers(it, "destination", it.value.Destination, destinations)
		if it.doc != nil && it.value.Schedule.WebhookSecret != "" {
			hook := it.value.Schedule // secrets are resolved in place
			c.secrets(it.doc.At("schedule"), &hook)
		}
		c.mapping(it)
		c.schedule(it)
		c.guards(it)
	}
	c.oneWarehouse()
	c.followers()
	unique(c, c.forwards, "forward", func(v tidegate.Forward) string { return v.Name })
	for _, it := range c.forwards {
		c.forward(it)
	}
	unique(c, c.alerts, "alert", func(v tidegate.Alert) string { return v.Name })
	c.allStreams()
	for _, it := range c.alerts {
		c.alert(it)
	}
}

func names[T any](items []item[T], name func(T) string) []string {
	list := make([]string, len(items))
	for i, it := range items {
		list[i] = name(it.value)
	}
	return list
}

// unique reports the second and later definitions of one name.
func unique[T any](c *checker, items []item[T], kind string, name func(T) string) {
	first := map[string]string{}
	for _, it := range items {
		n := name(it.value)
		where := it.problem("name", "", "")
		if n == "" {
			continue
		}
		if before, twice := first[n]; twice {
			c.add(it.problem("name", fmt.Sprintf("there are two %s called %q", several(kind), n), "the first is in "+before))
			continue
		}
		first[n] = where.File
		if where.Line > 0 && where.File != "" {
			first[n] = fmt.Sprintf("%s:%d", where.File, where.Line)
		} else if where.File == "" {
			first[n] = where.Path
		}
	}
}

// several is the plural of a kind's name.
func several(kind string) string {
	if stem, ok := strings.CutSuffix(kind, "y"); ok {
		return stem + "ies"
	}
	return kind + "s"
}

func (c *checker) warehouse() {
	w := c.head.Warehouse
	c.connector(c.root.At("warehouse"), w.Kind, c.kinds.Warehouses, "warehouse")
}

// connector checks a connection's kind and configuration; doc is the connection.
func (c *checker) connector(doc *config.Document, kind string, known map[string]func() any, what string) {
	if doc == nil {
		return // said by the schema
	}
	if kind == "" {
		c.nameKinds(doc, known)
		return
	}
	newConfig, ok := known[kind]
	if !ok {
		c.add(doc.Problem("kind", fmt.Sprintf("there is no %s kind %q", what, kind), config.DidYouMean(kind, slices.Sorted(maps.Keys(known)))))
		return
	}
	cfg := newConfig()
	at := doc.At("config")
	if at == nil { // an absent configuration is an empty one: required fields are missed at the connection
		empty, err := config.ParseJSON("", []byte("{}"))
		if err == nil {
			err = empty.Decode(cfg)
		}
		if e, ok := err.(*config.Error); ok { //nolint:errorlint // Decode's own error
			for _, p := range e.Problems {
				c.add(doc.Problem("config."+p.Path, p.Message, "below `config:` "+p.Hint))
			}
		}
		return
	}
	if err := at.Decode(cfg); err != nil {
		c.errs = append(c.errs, err)
		return
	}
	c.secrets(at, cfg)
}

// nameKinds says at a kind that the schema misses which there are.
func (c *checker) nameKinds(doc *config.Document, known map[string]func() any) {
	kinds := slices.Sorted(maps.Keys(known))
	said := doc.Problem("kind", "", "")
	for _, err := range c.errs {
		e, ok := err.(*config.Error) //nolint:errorlint // Decode's own error
		for i := 0; ok && i < len(e.Problems); i++ {
			if p := &e.Problems[i]; p.File == said.File && p.Path == said.Path && p.Line == said.Line {
				p.Hint = "write `kind: KIND`, one of " + strings.Join(kinds, ", ")
			}
		}
	}
}

// secrets refuses secrets that are written out: a project is stored, exported
// and kept in version control (Invariant 9).
func (c *checker) secrets(at *config.Document, cfg any) {
	found := func(scheme, name string) (string, error) {
		if scheme == "secret" && !vault.ValidName(name) {
			return "", fmt.Errorf("%q cannot be the name of a secret", name)
		}
		return "present", nil
	}
	plaintext := func(path string) {
		c.add(at.Problem(path, "the secret is written out", config.SecretHint("${secret:NAME}")))
	}
	if err := config.Resolve(cfg, found, plaintext); err != nil {
		f := tidegate.FaultOf(err)
		c.add(at.Problem(strings.TrimPrefix(f.Subject, "field "), f.Message, ""))
	}
}

var originPattern = regexp.MustCompile(`^https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$`)

var reservedSchemas = []string{"information_schema", "pg_catalog", "temp"}

func (c *checker) allSources() {
	unique(c, c.sources, "source", func(v tidegate.Source) string { return v.Name })
	byKey := map[string]string{}
	for _, it := range c.sources {
		s := it.value
		if slices.Contains(reservedSchemas, s.Name) {
			c.add(it.problem("name", fmt.Sprintf("%q is a schema of the warehouse itself", s.Name), "a source's tables live in the schema of its name: choose another"))
		}
		for i, origin := range s.AllowedOrigins {
			if !originPattern.MatchString(origin) {
				c.add(it.problem(fmt.Sprintf("allowed_origins[%d]", i), fmt.Sprintf("%q is no origin", origin), "write https://shop.example.com, or https://*.example.com for its subdomains"))
			}
		}
		c.sourceWebhook(it)
		c.sourceTables(it)
		if s.WriteKey == "" {
			continue
		}
		if key := (struct {
			Key string `json:"write_key" secret:"true"`
		}{s.WriteKey}); strings.Contains(s.WriteKey, "${") && it.doc != nil { // what it leads to is checked when it is used
			c.secrets(it.doc, &key)
		} else if BadWriteKey(s.WriteKey) {
			c.add(it.problem("write_key", "a write key has no spaces and none of : / ? #", "SDKs send it as a user name and in paths"))
		}
		if other, twice := byKey[s.WriteKey]; twice {
			c.add(it.problem("write_key", fmt.Sprintf("the sources %q and %q have the same write key", other, s.Name), "give each source a key of its own"))
		}
		byKey[s.WriteKey] = s.Name
	}
}

// BadWriteKey says whether key cannot be a write key: SDKs send it as a user name and in paths.
func BadWriteKey(key string) bool { return strings.ContainsAny(key, " \t\r\n:/?#") }

func (c *checker) destination(it item[tidegate.Connection]) {
	c.connector(it.doc, it.value.Kind, c.kinds.Destinations, "destination")
}

func (c *checker) model(it item[tidegate.Model]) {
	m := it.value
	if it.doc == nil && !namePattern.MatchString(m.Name) {
		c.add(it.problem("name", fmt.Sprintf("%q cannot be a name", m.Name), "rename the file: lower case letters, digits and _, starting with a letter, at most 63"))
	}
	if m.Dbt != "" {
		c.dbtModel(it)
		return
	}
	c.modelSource(it)
	c.modelWarehouse(it)
	if it.doc == nil && len(m.PrimaryKey) == 0 {
		c.add(it.problem("primary_key", "is missing", "write `-- primary_key: COLUMN` at the top of the file"))
	}
	if it.doc != nil && m.PrimaryKey != nil && len(m.PrimaryKey) == 0 {
		c.add(it.problem("primary_key", "must name at least one column", "write `primary_key: [COLUMN]`: the columns by which its rows are told apart"))
	}
	for i, column := range m.PrimaryKey {
		if slices.Index(m.PrimaryKey, column) < i {
			c.add(it.problem(fmt.Sprintf("primary_key[%d]", i), fmt.Sprintf("the column %q stands twice", column), "keep one"))
		}
	}
}

// modelSource checks where a model's rows come from.
func (c *checker) modelSource(it item[tidegate.Model]) {
	m := it.value
	switch {
	case m.SQL == "" && m.Table == "" && m.File == "":
		c.add(it.problem("", "the model has none of sql, table, file and dbt", "write `sql:`, `table: schema.table`, `file: people.csv`, or put the query into models/"+m.Name+".sql"))
	case m.SQL != "" && m.Table != "":
		c.add(it.problem("table", "the model has both sql and table", "keep one"))
	case m.File != "" && (m.SQL != "" || m.Table != ""):
		c.add(it.problem("file", "the model has a file and a query or a table", "keep one"))
	case len(m.SQL) > maxSQLBytes:
		c.add(it.problem("sql", fmt.Sprintf("the query has %d bytes, %d are allowed", len(m.SQL), maxSQLBytes), "make a view or a dbt model of its larger part"))
	case m.SQL != "" && strings.TrimSpace(withoutComments(m.SQL)) == "":
		c.add(it.problem("sql", "the query is empty", "write a SELECT"))
	}
	if m.File != "" {
		c.modelFile(it)
	}
	for _, p := range append(model.CheckParams(m), model.CheckQuery(m.SQL)...) {
		c.add(it.problem(p.Path, p.Message, p.Hint))
	}
	if m.FullEvery != "" && m.Incremental == "" {
		c.add(it.problem("full_every", "only an incremental model is read in part", "name the column that grows with every change as incremental, or remove it"))
	}
	if len(m.Uses) > 0 && m.SQL == "" {
		c.add(it.problem("uses", "only a model of SQL uses others", "remove uses, or write sql"))
	}
}

func (c *checker) modelFile(it item[tidegate.Model]) {
	name := path.Clean(strings.TrimPrefix(it.value.File, "./"))
	if !fs.ValidPath(name) {
		c.add(it.problem("file", "the path leads out of the project folder", "put the file beside tidegate.yaml, and write its path from there"))
		return
	}
	if ext := strings.ToLower(path.Ext(name)); !slices.Contains(file.Formats(), ext) {
		c.add(it.problem("file", fmt.Sprintf("files ending in %q cannot be read", ext), "use one of "+strings.Join(file.Formats(), ", ")))
	}
	if c.fsys == nil {
		return
	}
	if info, err := fs.Stat(c.fsys, name); errors.Is(err, fs.ErrNotExist) {
		c.add(it.problem("file", fmt.Sprintf("there is no file %q", it.value.File), "write its path from the folder of tidegate.yaml"))
	} else if err == nil && info.Size() > file.MaxBytes {
		c.add(it.problem("file", fmt.Sprintf("the file has %d bytes, %d are allowed", info.Size(), file.MaxBytes), "load it into the warehouse yourself, and name the table"))
	}
}

// uses checks what models say of each other.
func (c *checker) uses() {
	known := map[string]tidegate.Model{}
	for _, it := range c.models {
		known[it.value.Name] = it.value
	}
	all := slices.Sorted(maps.Keys(known))
	for _, it := range c.models {
		for i, name := range it.value.Uses {
			at := fmt.Sprintf("uses[%d]", i)
			switch _, ok := known[name]; {
			case slices.Index(it.value.Uses, name) < i:
				c.add(it.problem(at, fmt.Sprintf("the model %q stands twice", name), "keep one"))
			case !ok:
				if !c.offered() {
					c.add(it.problem(at, fmt.Sprintf("there is no model %q", name), config.DidYouMean(name, all)))
				}
			default:
				if circle := circleTo(it.value.Name, name, known, map[string]bool{}); circle != nil {
					c.add(it.problem(at, "the models use each other in a circle: "+strings.Join(append([]string{it.value.Name}, circle...), " → "), "take one of them out of uses"))
				}
			}
		}
	}
}

// circleTo is a way from a model back to goal; nil when there is none. No model
// is walked through twice.
func circleTo(goal, from string, known map[string]tidegate.Model, walked map[string]bool) []string {
	if from == goal {
		return []string{from}
	}
	if walked[from] {
		return nil
	}
	walked[from] = true
	for _, next := range known[from].Uses {
		if way := circleTo(goal, next, known, walked); way != nil {
			return append([]string{from}, way...)
		}
	}
	return nil
}

func (c *checker) refers(it item[tidegate.Sync], field, name string, known []string) {
	if name == "" || slices.Contains(known, name) {
		return
	}
	kind := field[strings.LastIndexByte(field, '.')+1:]
	hint := config.DidYouMean(name, known)
	if len(known) == 0 {
		hint = "the project has no " + kind + "s"
	}
	c.add(it.problem(field, fmt.Sprintf("there is no %s %q", kind, name), hint))
}

func (c *checker) settings() {
	s := c.head.Settings
	at := func(path, message, hint string) { c.add(c.root.Problem("settings."+path, message, hint)) }
	for field, addr := range map[string]string{"ingest_addr": s.IngestAddr, "admin_addr": s.AdminAddr} {
		if addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			at(field, fmt.Sprintf("%q is no HOST:PORT", addr), "write 127.0.0.1:8080, or :8080 for every address of the machine")
		}
	}
	settings := s // secrets are resolved in place
	if doc := c.root.At("settings"); doc != nil {
		c.secrets(doc, &settings)
	}
	if s.IngestAddr != "" && s.IngestAddr == s.AdminAddr && !strings.HasSuffix(s.IngestAddr, ":0") {
		at("admin_addr", "ingest and admin have the same address", "they are separate on purpose: give them two ports")
	}
	for field, list := range map[string][]string{"trusted_proxies": s.TrustedProxies, "allow_private": s.AllowPrivate} {
		for i, cidr := range list {
			if _, err := netip.ParsePrefix(cidr); err != nil {
				at(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is no address range", cidr), "write 10.0.0.0/8, or 10.1.2.3/32 for one address")
			}
		}
	}
	if u, err := url.Parse(s.PublicURL); s.PublicURL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil) {
		at("public_url", fmt.Sprintf("%q is no http or https address", s.PublicURL), "write https://events.example.com")
	}
	if d, err := time.ParseDuration(s.Retention.Runs); err == nil && d < time.Hour {
		at("retention.runs", "runs are kept for at least one hour", "")
	}
	if s.Limits.EventBytes > s.Limits.BatchBytes {
		at("limits.event_bytes", "an event may not be larger than a batch", "")
	}
}
