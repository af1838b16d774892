// Package destinationtest is the conformance suite of destinations: the words
// of package destinations as tests. A connector calls Run once, with a
// simulator that remembers; the suite stands between the two, records every
// call and injects faults at every request of a write.
//
// It does not know any vendor. What only a connector can know - which value its
// simulator refuses, what a stored value looks like - the Suite says. Leaked
// goroutines are found by goleak in the connector's TestMain.
//
// Run uses the test's own goroutines; a Suite is read only.
package destinationtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/egress"
)

// Canary is the secret that the suite plants; Suite.Config puts it where the
// connector's secrets go.
const Canary = "canary-5e9b41c7d2f8a603"

// Suite is what a connector brings to the suite.
type Suite struct {
	Kind destinations.Kind
	// Simulator returns a fresh simulator that lets Canary in, and no other secret.
	Simulator func() (destinations.Simulator, error)
	// Config is the connector's configuration for a simulator at baseURL, with Canary as its secret.
	Config func(baseURL string) json.RawMessage
	// Prepare, when set, readies a fresh account: creates the fields that samples use.
	Prepare func(ctx context.Context, d destinations.Destination) error
	// Samples are the objects to be written.
	Samples []Sample
}

// Sample is an object with records that can be written to it.
type Sample struct {
	Object     string
	Identifier string
	// Record is the i-th record; the suite adds the fields of Values to it. It
	// holds its identifier, a different one for each i.
	Record func(i int) tidegate.Record
	// Poison is a record like r that the simulator refuses; nil when it refuses none.
	Poison func(r tidegate.Record) tidegate.Record
	// Values names a field for values of each kind; kinds that are absent are not written.
	Values map[tidegate.Kind]string
	// Stored is what the simulator holds after value was written to a field;
	// nil when nothing is held. A nil Stored means the value itself.
	Stored func(field string, value any) any
}

// now is the clock that connectors are lent; the suite's dates hang on it.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Run holds a connector to the contract.
func Run(t *testing.T, s Suite) {
	t.Helper()
	t.Run("config", func(t *testing.T) { t.Parallel(); testConfig(t, s) })
	t.Run("objects", func(t *testing.T) { t.Parallel(); testObjects(t, s) })
	t.Run("close", func(t *testing.T) { t.Parallel(); testClose(t, s) })
	t.Run("check", func(t *testing.T) { t.Parallel(); testCheck(t, s) })
	t.Run("poller", func(t *testing.T) { t.Parallel(); testPoller(t, s) })
	for _, sample := range s.Samples {
		t.Run(sample.Object, func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]func(*testing.T, Suite, Sample){
				"values": testValues, "modes": testModes, "idempotence": testIdempotence, "alignment": testAlignment,
				"absent": testAbsent, "limits": testLimits, "unchanged": testUnchanged, "removals": testRemovals, "audience": testAudience, "concurrent": testConcurrent,
				"faults": testFaults, "cancel": testCancel, "cancel reads": testCancelReads, "bytes": testBytes, "credential": testCredential, "echo": testEcho, "reader": testReader, "empty": testEmpty,
			} {
				t.Run(name, func(t *testing.T) { t.Parallel(); test(t, s, sample) })
			}
		})
	}
}

// bench is one connector on one fresh simulator, with the proxy between.
type bench struct {
	t      *testing.T
	suite  Suite
	dest   destinations.Destination
	sim    destinations.Simulator
	proxy  *proxy
	client *http.Client
	log    *buffer
}

// start opens the connector and prepares the account.
func start(t *testing.T, s Suite) *bench {
	t.Helper()
	b := unprepared(t, s)
	if s.Prepare != nil {
		if err := s.Prepare(t.Context(), b.dest); err != nil {
			t.Fatalf("preparing: %v", err)
		}
	}
	return b
}

func unprepared(t *testing.T, s Suite) *bench {
	t.Helper()
	sim, err := s.Simulator()
	if err != nil {
		t.Fatalf("making the simulator: %v", err)
	}
	b := &bench{t: t, suite: s, sim: sim, log: &buffer{}}
	b.proxy = newProxy(t, sim)
	b.client = egress.New(egress.Options{Policy: egress.Policy{AllowPrivate: true}, Timeout: patience})
	t.Cleanup(func() { // after the close
		b.client.CloseIdleConnections()
		b.noSecrets("the log", b.log.String())
		for _, u := range b.proxy.urls() {
			b.noSecrets("a URL", u)
		}
	})
	b.dest = b.open(s.Config(b.proxy.url()))
	return b
}

// open opens the connector by a configuration; the test's end closes it.
func (b *bench) open(raw json.RawMessage) destinations.Destination {
	b.t.Helper()
	cfg := b.suite.Kind.NewConfig()
	if err := config.DecodeJSON("config", raw, cfg); err != nil {
		b.t.Fatalf("decoding the configuration: %v", err)
	}
	d, err := b.suite.Kind.Open(b.t.Context(), cfg, destinations.Env{
		Log: slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})), HTTP: b.client, Now: func() time.Time { return now },
	})
	if err != nil {
		b.t.Fatalf("opening: %v", err)
	}
	b.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.t.Errorf("closing: %v", err)
		}
	})
	return d
}

// How long the lent client waits for one call: long enough for a busy machine,
// and short where the fault is that no answer comes.
const (
	patience   = 20 * time.Second
	impatience = 300 * time.Millisecond
)

func (b *bench) noSecrets(where, text string) {
	b.t.Helper()
	if strings.Contains(text, Canary) { // Invariant 9
		b.t.Errorf("%s holds the secret: %s", where, strings.ReplaceAll(text, Canary, "[SECRET]"))
	}
}

func (b *bench) object(name string) destinations.Object {
	b.t.Helper()
	list, err := b.dest.Objects(b.t.Context())
	if err != nil {
		b.t.Fatalf("listing objects: %v", err)
	}
	for _, o := range list {
		if o.Name == name {
			return o
		}
	}
	b.t.Fatalf("there is no object %s", name)
	return destinations.Object{}
}

// batch makes a batch of records; version tells idempotency keys apart.
func (s Sample) batch(op tidegate.Op, mode tidegate.Mode, version int, records ...tidegate.Record) destinations.Batch {
	b := destinations.Batch{Object: s.Object, Mode: mode, IdentifierField: s.Identifier}
	if op == tidegate.Removed && mode == tidegate.Mirror {
		b.Removal = tidegate.Delete
	}
	for _, r := range records {
		key, err := json.Marshal([]any{r[s.Identifier]})
		if err != nil {
			panic(fmt.Sprintf("destinationtest: the identifier is no JSON value: %v", err))
		}
		b.Items = append(b.Items, destinations.Item{
			Op: op, Key: tidegate.Key(key), Identifier: r[s.Identifier], Record: r, IdempotencyKey: fmt.Sprintf("%s-%d-%s", op, version, key),
		})
	}
	return b
}

func (s Sample) records(from, n int) []tidegate.Record {
	out := make([]tidegate.Record, n)
	for i := range out {
		out[i] = s.Record(from + i)
	}
	return out
}

// write calls Write and holds the answer to the contract.
func (b *bench) write(ctx context.Context, batch destinations.Batch) ([]destinations.Outcome, error) {
	b.t.Helper()
	out, err := b.dest.Write(ctx, batch)
	if err != nil {
		b.noSecrets("an error", fmt.Sprintf("%v %+v %#v", err, err, tidegate.StoredFault(err)))
		if out != nil {
			b.t.Error("Write returned outcomes and an error")
		}
		return nil, err
	}
	if len(out) != len(batch.Items) {
		b.t.Fatalf("%d outcomes for %d items", len(out), len(batch.Items))
	}
	for i, o := range out {
		b.noSecrets("an outcome", fmt.Sprintf("%+v %v", o, o.Fault))
		ok := false
		switch o.Disposition {
		case destinations.Delivered:
			ok = o.Fault == nil
		case destinations.Rejected:
			ok = o.Fault != nil && o.Fault.Action == tidegate.Reject && o.Fault.Message != ""
		case destinations.Deferred:
			ok = o.Fault != nil && (o.Fault.Action == tidegate.Retry || o.Fault.Action == tidegate.Throttle)
		case destinations.InDoubt:
			ok = true
		case destinations.Pending:
			ok = o.Fault == nil && o.Ticket != "" && o.Ticket == out[0].Ticket
		}
		if !ok {
			b.t.Errorf("outcome %d is not of the contract: %+v %v", i, o, o.Fault)
		}
	}
	return out, nil
}

// deliver writes as the runner does: within the object's limit, splitting what
// is refused as a whole until the bad record stands alone.
func (b *bench) deliver(batch destinations.Batch) []destinations.Outcome {
	b.t.Helper()
	limit := b.object(batch.Object).Limit.Records
	var out []destinations.Outcome
	for part := range slices.Chunk(batch.Items, limit) {
		out = append(out, b.split(batch, part)...)
	}
	return out
}

func (b *bench) split(batch destinations.Batch, items []destinations.Item) []destinations.Outcome {
	b.t.Helper()
	batch.Items = items
	out, err := b.write(b.t.Context(), batch)
	if err == nil {
		return b.await(batch, out)
	}
	f := tidegate.FaultOf(err)
	if f.Action != tidegate.Reject {
		b.t.Fatalf("writing %d %s: %v", len(items), batch.Object, err)
	}
	if len(items) == 1 {
		return []destinations.Outcome{{Disposition: destinations.Rejected, Fault: f}}
	}
	half := len(items) / 2
	return append(b.split(batch, items[:half]), b.split(batch, items[half:])...)
}

// mustDeliver fails the test unless everything was delivered.
func (b *bench) mustDeliver(batch destinations.Batch) []destinations.Outcome {
	b.t.Helper()
	out := b.deliver(batch)
	for i, o := range out {
		if o.Disposition != destinations.Delivered {
			b.t.Fatalf("item %d (%v): %s %v", i, batch.Items[i].Record, o.Disposition, o.Fault)
		}
	}
	return out
}

// held returns the record with the identifier, or nil.
func (b *bench) held(s Sample, identifier any) tidegate.Record {
	want := fmt.Sprint(s.stored(s.Identifier, identifier))
	all := b.sim.Records(s.Object)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if fmt.Sprint(all[id][s.Identifier]) == want {
			return all[id]
		}
	}
	return nil
}

func (s Sample) stored(field string, value any) any {
	if s.Stored == nil {
		return value
	}
	return s.Stored(field, value)
}

// mustHold fails the test unless the simulator holds the record's fields.
func (b *bench) mustHold(s Sample, r tidegate.Record) {
	b.t.Helper()
	have := b.held(s, r[s.Identifier])
	if have == nil {
		b.t.Errorf("%v is not there", r[s.Identifier])
		return
	}
	for field, v := range r {
		want, got := canonical(s.stored(field, v)), canonical(have[field])
		if want != got {
			b.t.Errorf("%v: %s holds %s, want %s", r[s.Identifier], field, got, want)
		}
	}
}

// canonical makes values comparable that crossed JSON.
func canonical(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

func faultOf(t *testing.T, err error) *tidegate.Fault {
	t.Helper()
	var f *tidegate.Fault
	if !errors.As(err, &f) {
		t.Errorf("not a fault: %v", err)
		return tidegate.FaultOf(err)
	}
	return f
}

// buffer is a writer for concurrent loggers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
