package destinationtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// testCredential opens the connector with a secret that the simulator does not
// know: everything halts with a hint, and nothing is written.
func testCredential(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	before, _ := b.sim.Calls()
	d := b.open(json.RawMessage(bytes.ReplaceAll(s.Config(b.proxy.url()), []byte(Canary), []byte("stranger-5e9b41c7d2f8"))))
	tries := map[string]func() error{"Write": func() error {
		_, err := d.Write(t.Context(), sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.Record(0)))
		return err
	}}
	if c, ok := d.(destinations.Checker); ok {
		tries["Check"] = func() error { return c.Check(t.Context()) }
	}
	for name, try := range tries {
		err := try()
		if err == nil {
			t.Errorf("%s with a wrong secret succeeds", name)
			continue
		}
		if f := faultOf(t, err); f.Action != tidegate.Halt || f.Hint == "" {
			t.Errorf("%s with a wrong secret: %s, hint %q", name, f.Action, f.Hint)
		}
	}
	if after, _ := b.sim.Calls(); after != before || len(b.sim.Records(sample.Object)) != 0 {
		t.Error("a wrong secret wrote something")
	}
}

// testBytes writes a record that alone is above the object's limit of bytes.
func testBytes(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	limit := b.object(sample.Object).Limit.Bytes
	if limit == 0 {
		t.Skip("the object has no limit of bytes")
	}
	b.mustDeliver(sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.Record(0)))
	r := sample.Record(1)
	r[sample.Values[tidegate.String]] = strings.Repeat("x", limit)
	calls, _ := b.sim.Calls()
	_, err := b.write(t.Context(), sample.batch(tidegate.Added, tidegate.Upsert, 1, r))
	if err == nil || faultOf(t, err).Action != tidegate.Reject {
		t.Errorf("a batch above the limit of bytes: %v, want a Reject", err)
	}
	if after, _ := b.sim.Calls(); after != calls || b.proxy.heaviest() > limit {
		t.Errorf("a body of %d bytes was sent, the limit is %d", b.proxy.heaviest(), limit)
	}
}

// testCancelReads cancels at each request of what only reads.
func testCancelReads(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	reads := map[string]func(ctx context.Context, d destinations.Destination) error{
		"Objects": func(ctx context.Context, d destinations.Destination) error { _, err := d.Objects(ctx); return err },
		"Check": func(ctx context.Context, d destinations.Destination) error {
			if c, ok := d.(destinations.Checker); ok {
				return c.Check(ctx)
			}
			return nil
		},
		"Read": func(ctx context.Context, d destinations.Destination) error {
			r, ok := d.(destinations.Reader)
			if !ok {
				return nil
			}
			_, err := r.Read(ctx, sample.Object, sample.Identifier, []any{sample.Record(0)[sample.Identifier]}, []string{sample.Identifier})
			return err
		},
	}
	const most = 16 // requests of one read
	for name, read := range reads {
		for at := range most {
			b := unprepared(t, s) // remembers nothing
			ctx, cancel := context.WithCancel(t.Context())
			b.proxy.arm(at, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
				drain(r)
				cancel()
				<-r.Context().Done() // ends when the client hangs up
			})
			b.client.Timeout = deaf
			began := time.Now() //nolint:forbidigo // the test measures how long a call takes
			err := read(ctx, b.dest)
			cancel()
			if _, fired, _ := b.proxy.tally(); fired == 0 {
				break
			}
			if took := time.Since(began); took > atOnce {
				t.Fatalf("%s, request %d: returned after %s", name, at, took)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s, request %d: %v, want the context's error", name, at, err)
			}
		}
	}
}

// mostPolls is how often the suite asks for one ticket.
const mostPolls = 50

// await asks for the ticket of a write that is decided later, until it is.
func (b *bench) await(batch destinations.Batch, out []destinations.Outcome) []destinations.Outcome {
	b.t.Helper()
	if len(out) == 0 || out[0].Disposition != destinations.Pending {
		return out
	}
	p, ok := b.dest.(destinations.Poller)
	if !ok {
		b.t.Error("an outcome is pending, and the connector is no Poller")
		return out
	}
	for range mostPolls {
		decided, done, err := p.Poll(b.t.Context(), out[0].Ticket, batch)
		if err != nil {
			b.noSecrets("an error", err.Error())
			b.t.Errorf("asking for a ticket: %v", err)
			return out
		}
		if !done {
			continue
		}
		if len(decided) != len(batch.Items) {
			b.t.Errorf("%d outcomes of a ticket for %d items", len(decided), len(batch.Items))
			return out
		}
		for i, o := range decided {
			b.noSecrets("an outcome", fmt.Sprintf("%+v %v", o, o.Fault))
			if o.Disposition == destinations.Pending {
				b.t.Errorf("item %d is pending although the ticket is done", i)
			}
		}
		return decided
	}
	b.t.Errorf("the ticket is not done after %d questions", mostPolls)
	return out
}

// testPoller holds writes that finish later to the contract: an unknown ticket
// is told apart, a failed question leaves the ticket good, and another connection
// to the account can ask for it, as a restarted process does.
func testPoller(t *testing.T, s Suite) {
	t.Helper()
	b := start(t, s)
	p, ok := b.dest.(destinations.Poller)
	if !ok {
		t.Skip("the connector's writes finish at once")
	}
	out, done, err := p.Poll(t.Context(), "never-given", destinations.Batch{Object: s.Samples[0].Object})
	if err == nil {
		t.Fatalf("an unknown ticket: %d outcomes, done %v, no error", len(out), done)
	}
	if f := faultOf(t, err); f.Action != tidegate.Reject || f.Code != "ticket.unknown" {
		t.Errorf("an unknown ticket: %s %s, want the Reject ticket.unknown", f.Action, f.Code)
	}
	for _, sample := range s.Samples {
		n := min(3, b.object(sample.Object).Limit.Records)
		records := sample.records(0, n)
		poisoned := -1
		if sample.Poison != nil {
			poisoned = n - 1
			records[poisoned] = sample.Poison(records[poisoned])
		}
		batch := sample.batch(tidegate.Added, tidegate.Upsert, 1, records...)
		first, err := b.write(t.Context(), batch)
		if err != nil || first[0].Disposition != destinations.Pending {
			t.Skip("the account's writes finish at once")
		}
		for _, f := range faults() {
			// The HTTP client itself repeats a GET whose connection breaks.
			if !f.silent && !strings.HasPrefix(f.name, "reset") {
				b.pollWith(f, first[0].Ticket, batch)
			}
		}
		b.proxy.arm(-1, nil)
		b.dest = b.open(s.Config(b.proxy.url()))
		for i, o := range b.await(batch, first) {
			if want := map[bool]destinations.Disposition{true: destinations.Rejected, false: destinations.Delivered}[i == poisoned]; o.Disposition != want {
				t.Errorf("item %d is %s (%v), want %s", i, o.Disposition, o.Fault, want)
			}
		}
	}
}

// pollWith asks for a ticket while a fault strikes: nothing is decided by it.
func (b *bench) pollWith(f fault, ticket destinations.Ticket, batch destinations.Batch) {
	b.t.Helper()
	p, ok := b.dest.(destinations.Poller)
	if !ok {
		return
	}
	b.proxy.arm(0, f.inject)
	out, done, err := p.Poll(b.t.Context(), ticket, batch)
	if err == nil {
		b.t.Errorf("%s: %d outcomes, done %v, no error", f.name, len(out), done)
		return
	}
	b.noSecrets("an error", err.Error())
	got := faultOf(b.t, err)
	if got.Action == tidegate.Reject || (f.action == tidegate.Throttle || f.action == tidegate.Halt) && got.Action != f.action {
		b.t.Errorf("%s: %s %s, and a question that fails says nothing about the ticket", f.name, got.Action, got.Code)
	}
}
