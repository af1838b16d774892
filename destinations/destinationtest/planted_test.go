package destinationtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/destinations/destinationtest"
	"github.com/tidegate/tidegate/destinations/hubspot"
)

// TestMain looks for leaked goroutines, as every connector's does.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bugEnv names the planted bug of a child process.
const bugEnv = "TIDEGATE_PLANTED_BUG"

// bug is something that connectors get wrong, around a good connector, and the
// part of the suite that must see it; "" is the whole suite, which must pass.
type bug struct {
	part  string
	plant func(d *wrapped)
}

var bugs = map[string]bug{
	"a rejection taken for a success": {"contacts/alignment", func(d *wrapped) {
		d.outcomes = func(_ destinations.Batch, out []destinations.Outcome) []destinations.Outcome {
			for i := range out {
				out[i] = destinations.Outcome{Disposition: destinations.Delivered}
			}
			return out
		}
	}},
	"outcomes in another order": {"contacts/alignment", func(d *wrapped) {
		d.outcomes = func(_ destinations.Batch, out []destinations.Outcome) []destinations.Outcome {
			for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
				out[i], out[j] = out[j], out[i]
			}
			return out
		}
	}},
	"an outcome too few": {"contacts/values", func(d *wrapped) {
		d.outcomes = func(_ destinations.Batch, out []destinations.Outcome) []destinations.Outcome { return out[:len(out)-1] }
	}},
	"an unknown end taken for a success": {"contacts/faults", func(d *wrapped) {
		d.failure = func(b destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error) {
			if f.Action == tidegate.Retry {
				return make([]destinations.Outcome, len(b.Items)), nil
			}
			return nil, err
		}
	}},
	"an unknown end taken for a refusal": {"contacts/faults", func(d *wrapped) { d.turn(tidegate.Retry, tidegate.Reject) }},
	"a 401 tried again for ever":         {"contacts/faults", func(d *wrapped) { d.turn(tidegate.Halt, tidegate.Retry) }},
	"a 429 without patience":             {"contacts/faults", func(d *wrapped) { d.turn(tidegate.Throttle, tidegate.Retry) }},
	"a 413 that is never split":          {"contacts/faults", func(d *wrapped) { d.turn(tidegate.Reject, tidegate.Halt) }},
	"Retry-After not read": {"contacts/faults", func(d *wrapped) {
		d.failure = func(_ destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error) {
			if f.Action == tidegate.Throttle {
				f.After = 1
			}
			return nil, err
		}
	}},
	"a halt without a hint": {"contacts/faults", func(d *wrapped) {
		d.failure = func(_ destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error) {
			f.Hint = ""
			return nil, err
		}
	}},
	"the secret in an error": {"contacts/echo", func(d *wrapped) {
		d.failure = func(_ destinations.Batch, _ *tidegate.Fault, err error) ([]destinations.Outcome, error) {
			return nil, fmt.Errorf("calling with %s: %w", destinationtest.Canary, err)
		}
	}},
	"the secret in the log": {"contacts/values", func(d *wrapped) {
		d.before = func(*destinations.Batch) error { d.log.Debug("calling", "token", destinationtest.Canary); return nil }
	}},
	"the batch changed": {"contacts/unchanged", func(d *wrapped) {
		d.before = func(b *destinations.Batch) error { b.Items[0].Record["city"] = "changed"; return nil }
	}},
	"values lost": {"contacts/values", func(d *wrapped) {
		d.before = func(b *destinations.Batch) error {
			items := append([]destinations.Item(nil), b.Items...)
			for i := range items {
				record := tidegate.Record{}
				for k, v := range items[i].Record {
					if n, ok := v.(int64); ok {
						v = float64(n)
					}
					record[k] = v
				}
				items[i].Record = record
			}
			b.Items = items
			return nil
		}
	}},
	"an absent record that cannot be removed": {"contacts/absent", func(d *wrapped) {
		d.outcomes = func(b destinations.Batch, out []destinations.Outcome) []destinations.Outcome {
			for i := range out {
				if b.Items[i].Op == tidegate.Removed && out[i].DestinationID == "" {
					out[i] = destinations.Outcome{Disposition: destinations.Rejected, Fault: &tidegate.Fault{Action: tidegate.Reject, Message: "there is none"}}
				}
			}
			return out
		}
	}},
	"cancellation ignored": {"contacts/cancel$", func(d *wrapped) { d.context = context.WithoutCancel }},
	"cancellation hidden": {"contacts/cancel$", func(d *wrapped) {
		d.failure = func(_ destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error) {
			if errors.Is(err, context.Canceled) {
				return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "x", Message: f.Message, Hint: "x"}
			}
			return nil, err
		}
	}},
	"limits that nobody keeps":  {"contacts/limits", func(d *wrapped) { d.objects = func(o *destinations.Object) { o.Limit.Records = 500 } }},
	"an object without a mode":  {"objects", func(d *wrapped) { d.objects = func(o *destinations.Object) { o.Modes = nil } }},
	"no identifier":             {"objects", func(d *wrapped) { d.objects = func(o *destinations.Object) { o.Fields = nil } }},
	"a write after the close":   {"close", func(d *wrapped) { d.neverCloses = true }},
	"every write two calls":     {"contacts/limits", func(d *wrapped) { d.twice = true }},
	"an empty batch that calls": {"contacts/empty", func(d *wrapped) { d.emptyCalls = true }},
	"a refusal that was half applied": {"contacts/faults", func(d *wrapped) {
		d.failure = func(b destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error) {
			if f.Action == tidegate.Throttle {
				_, _ = d.Destination.Write(context.Background(), b)
			}
			return nil, err
		}
	}},
	"an update that is lost": {"contacts/faults/update", func(d *wrapped) {
		d.failure = func(b destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error) {
			if f.Action == tidegate.Retry && b.Mode == tidegate.Update {
				f.Action = tidegate.Reject
			}
			return nil, err
		}
	}},
	"bytes that nobody counts":   {"contacts/bytes", func(d *wrapped) { d.objects = func(o *destinations.Object) { o.Limit.Bytes = 1 << 14 } }},
	"a check that always passes": {"check", func(d *wrapped) { d.check = func(context.Context) error { return nil } }},
	"a check that does not see the secret": {"contacts/credential", func(d *wrapped) {
		d.check = func(ctx context.Context) error { _ = d.Destination.(destinations.Checker).Check(ctx); return nil }
	}},
	"a check that writes": {"check", func(d *wrapped) {
		d.check = func(ctx context.Context) error {
			item := destinations.Item{Op: tidegate.Added, Identifier: "check@example.com", Record: tidegate.Record{"email": "check@example.com"}}
			_, err := d.Destination.Write(ctx, destinations.Batch{Object: "contacts", Mode: tidegate.Upsert, IdentifierField: "email", Items: []destinations.Item{item}})
			return err
		}
	}},
	"a listing that cannot be cancelled": {"contacts/cancel_reads", func(d *wrapped) { d.listing = context.WithoutCancel }},
	"a ticket that nobody gave":          {"poller", func(d *wrapped) { d.poll = func() error { return nil } }},
	"an unknown ticket asked for ever": {"poller", func(d *wrapped) {
		d.poll = func() error { return &tidegate.Fault{Action: tidegate.Retry, Code: "x", Message: "x"} }
	}},
	"a clearing that deletes": {"contacts/removals", func(d *wrapped) {
		d.before = func(b *destinations.Batch) error {
			if b.Removal == tidegate.Clear {
				b.Removal = tidegate.Delete
			}
			return nil
		}
	}},
	"an audience that is made again and again": {"contacts/audience", func(d *wrapped) {
		n := 0
		d.audience = func(id string) string {
			n++
			return fmt.Sprint(id, n)
		}
	}},
	"a safety that nobody knows": {"objects", func(d *wrapped) {
		d.objects = func(o *destinations.Object) {
			o.Safeties = map[tidegate.Mode]destinations.Safety{tidegate.Insert: "perhaps"}
		}
	}},
	"a goroutine left behind": {"contacts/values", func(d *wrapped) {
		d.before = func(*destinations.Batch) error { go func() { select {} }(); return nil }
	}},
	"no bug, and bytes counted": {"", func(d *wrapped) {
		d.objects = func(o *destinations.Object) { o.Limit.Bytes = 1 << 16 }
		d.before = func(b *destinations.Batch) error {
			if raw, err := json.Marshal(b); err != nil || len(raw) > 1<<16 {
				return &tidegate.Fault{Action: tidegate.Reject, Code: "too_large", Message: "the body is too large", Err: err}
			}
			return nil
		}
	}},
	"no bug": {"", func(*wrapped) {}},
}

// TestPlantedBugs runs the suite on each bug in a process of its own, which
// must fail in its part; and on none, which must pass.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	if os.Getenv(bugEnv) != "" {
		t.Skip("this is a child")
	}
	if testing.Short() {
		t.Skip("it starts a process per bug")
	}
	gate := make(chan struct{}, 6) // they mostly wait
	for name, b := range bugs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate <- struct{}{}
			defer func() { <-gate }()
			run := "^TestSubject$"
			if b.part != "" {
				run += "/" + b.part
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+run, "-test.timeout=60s")
			cmd.Env = append(os.Environ(), bugEnv+"="+name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if ran := strings.Contains(string(out), "FAIL: TestSubject/") || strings.Contains(string(out), "PASS"); !ran {
				t.Fatalf("the suite did not run:\n%.2000s", out)
			}
			if failed := err != nil; failed != (b.part != "") {
				t.Errorf("the suite failed: %v\n%.2000s", failed, out)
			}
		})
	}
}

// TestSubject is the child: the suite on one wrapped connector.
func TestSubject(t *testing.T) {
	b, ok := bugs[os.Getenv(bugEnv)]
	if !ok {
		t.Skip("run by TestPlantedBugs")
	}
	good := hubspot.Kind()
	kind := good
	kind.Open = func(ctx context.Context, cfg any, env destinations.Env) (destinations.Destination, error) {
		inner, err := good.Open(ctx, cfg, env)
		if err != nil {
			return nil, err
		}
		d := &wrapped{Destination: inner, log: env.Log}
		b.plant(d)
		if d.poll != nil {
			return polled{d}, nil
		}
		return d, nil
	}
	t.Chdir("../hubspot") // for its testdata
	destinationtest.Run(t, destinationtest.Suite{
		Kind: kind,
		Simulator: func() (destinations.Simulator, error) {
			return hubspot.NewSimulator(json.RawMessage(`{"token":"` + destinationtest.Canary + `","poison":"poisoned","calls_per_ten_seconds":100000}`))
		},
		Config: func(baseURL string) json.RawMessage {
			return json.RawMessage(`{"token":"` + destinationtest.Canary + `","base_url":"` + baseURL + `"}`)
		},
		Samples: []destinationtest.Sample{{
			Object: "contacts", Identifier: "email",
			Record: func(i int) tidegate.Record {
				return tidegate.Record{"email": fmt.Sprintf("user%d@example.com", i), "city": "C"}
			},
			Poison: func(r tidegate.Record) tidegate.Record {
				return tidegate.Record{"email": r["email"], "city": "poisoned"}
			},
			Values: map[tidegate.Kind]string{tidegate.String: "firstname", tidegate.Int: "jobtitle"},
			Stored: func(_ string, v any) any {
				if s := strings.TrimSpace(fmt.Sprint(v)); v != nil && s != "" {
					return s
				}
				return nil
			},
		}},
	})
}

// wrapped is a good connector with a bug around it.
type wrapped struct {
	destinations.Destination
	log         *slog.Logger
	before      func(b *destinations.Batch) error
	outcomes    func(b destinations.Batch, out []destinations.Outcome) []destinations.Outcome
	failure     func(b destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error)
	context     func(context.Context) context.Context
	objects     func(o *destinations.Object)
	check       func(context.Context) error
	listing     func(context.Context) context.Context
	poll        func() error
	audience    func(id string) string
	neverCloses bool
	twice       bool
	emptyCalls  bool
}

func (d *wrapped) turn(from, to tidegate.Action) {
	d.failure = func(_ destinations.Batch, f *tidegate.Fault, err error) ([]destinations.Outcome, error) {
		if f.Action == from {
			f.Action = to
		}
		return nil, err
	}
}

func (d *wrapped) Close() error {
	if d.neverCloses {
		return nil
	}
	return d.Destination.Close()
}

func (d *wrapped) Objects(ctx context.Context) ([]destinations.Object, error) {
	if d.listing != nil {
		ctx = d.listing(ctx)
	}
	list, err := d.Destination.Objects(ctx)
	out := append([]destinations.Object(nil), list...)
	for i := range out {
		if d.objects != nil {
			d.objects(&out[i])
		}
	}
	return out, err
}

func (d *wrapped) Check(ctx context.Context) error {
	if d.check != nil {
		return d.check(ctx)
	}
	return d.Destination.(destinations.Checker).Check(ctx)
}

func (d *wrapped) EnsureAudience(ctx context.Context, object, name string) (string, error) {
	id, err := d.Destination.(destinations.Audiencer).EnsureAudience(ctx, object, name)
	if d.audience != nil {
		id = d.audience(id)
	}
	return id, err
}

// polled is a connector whose writes finish later.
type polled struct{ *wrapped }

func (p polled) Poll(context.Context, destinations.Ticket, destinations.Batch) ([]destinations.Outcome, bool, error) {
	return nil, true, p.poll()
}

func (d *wrapped) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	if len(b.Items) == 0 && d.emptyCalls {
		_, err := d.Destination.(destinations.Reader).Read(ctx, b.Object, b.IdentifierField, []any{"x"}, nil)
		return nil, err
	}
	if len(b.Items) > 0 && d.before != nil {
		if err := d.before(&b); err != nil {
			return nil, err
		}
	}
	if d.context != nil {
		ctx = d.context(ctx)
	}
	out, err := d.Destination.Write(ctx, b)
	if d.twice && err == nil {
		out, err = d.Destination.Write(ctx, b)
	}
	if err != nil && d.failure != nil {
		var f *tidegate.Fault
		if !errors.As(err, &f) {
			f = tidegate.FaultOf(err)
		}
		return d.failure(b, f, err)
	}
	if err == nil && len(out) > 0 && d.outcomes != nil {
		out = d.outcomes(b, out)
	}
	return out, err
}
