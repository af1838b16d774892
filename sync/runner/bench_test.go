package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/ledger"
)

// BenchmarkDelivery delivers 200,000 rows to a local HTTP server, paired with a
// bare client loop that makes the same calls, and to nothing at all, which leaves
// the engine's own work per row. See B5 of the measured limits. A server with a
// latency also reports the mean of what it really waited, which is what concurrency
// × batch / latency has to be reckoned with: a timer of 50 ms takes 51 and more.
func BenchmarkDelivery(b *testing.B) {
	const rows, records = 200_000, 100
	for _, latency := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond} {
		var calls, waited atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			start := time.Now()
			_ = retry.Wait(r.Context(), latency)
			waited.Add(int64(time.Since(start)))
			calls.Add(1)
			w.WriteHeader(http.StatusNoContent)
		}))
		// within runs what is measured and reports what the server waited meanwhile.
		within := func(b *testing.B, measured func()) {
			b.Helper()
			calls.Store(0)
			waited.Store(0)
			measured()
			if latency > 0 {
				b.ReportMetric(float64(waited.Load())/float64(calls.Load())/1e6, "ms-latency")
			}
		}
		for _, workers := range []int{8, 64} {
			post := &poster{url: server.URL, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}}
			rows := rows
			if latency > 0 { // four seconds, so that how it begins and ends does not count for much
				rows = records * workers * int(4*time.Second/latency)
			}
			b.Run(fmt.Sprintf("latency=%v/workers=%d/engine", latency, workers), func(b *testing.B) {
				within(b, func() { deliver(b, rows, post, destinations.Limit{Records: records, Concurrency: workers}) })
			})
			b.Run(fmt.Sprintf("latency=%v/workers=%d/loop", latency, workers), func(b *testing.B) {
				items := make([]destinations.Item, rows)
				for i := range items {
					items[i] = itemOf(i)
				}
				within(b, func() {
					for b.Loop() {
						post.loop(b, records, workers, items)
					}
				})
				b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
			post.client.CloseIdleConnections()
		}
		server.Close()
	}
	for _, per := range []int{1, 100} {
		b.Run(fmt.Sprintf("nothing/records=%d", per), func(b *testing.B) {
			deliver(b, rows, nowhere{}, destinations.Limit{Records: per, Concurrency: 32})
		})
	}
}

func itemOf(i int) destinations.Item {
	id := fmt.Sprintf("user%d@example.com", i)
	return destinations.Item{
		Op: tidegate.Added, Key: tidegate.Key(fmt.Sprintf("[%d]", i)), Identifier: id,
		Record: tidegate.Record{"email": id, "value": int64(i)},
	}
}

// deliver runs the real Runner over a ledger that costs next to nothing.
func deliver(b *testing.B, rows int, dest destinations.Destination, limit destinations.Limit) {
	b.Helper()
	led := flatLedgerOf(rows)
	r, err := New(Options{
		Node: "bench", Runs: newMemoryRuns(), Now: time.Now, Random: rand.Uint64,
		Open: func(context.Context, string) (*Opened, error) {
			return &Opened{
				Sync: tidegate.Sync{Name: "s", Mode: tidegate.Upsert}, Ledger: led, Destination: dest, Account: "a", IdentifierField: "email",
				Object: destinations.Object{Name: "o", Safety: destinations.Idempotent, Limit: limit}, Close: func() error { return nil },
			}, nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		run, err := r.Do(b.Context(), "s", tidegate.TriggerManual)
		if err != nil || run.State != tidegate.RunSucceeded {
			b.Fatalf("the run is %s: %+v %v", run.State, run.Fault, err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(rows)/float64(b.N), "µs/row")
}

func flatLedgerOf(rows int) *flatLedger {
	led := &flatLedger{changes: make([]ledger.Planned, rows)}
	for i := range led.changes {
		item := itemOf(i)
		led.changes[i] = ledger.Planned{
			Ordinal: int64(i), Identifier: item.Identifier,
			Change: tidegate.Change{Op: item.Op, Key: item.Key, After: item.Record}, Bytes: 200,
		}
	}
	return led
}

// flatLedger plans the same changes for every run.
type flatLedger struct{ changes []ledger.Planned }

func (l *flatLedger) summary() ledger.Summary {
	return ledger.Summary{Read: int64(len(l.changes)), Added: int64(len(l.changes))}
}

func (l *flatLedger) Plan(context.Context, ledger.PlanRequest) (ledger.Summary, error) {
	return l.summary(), nil
}

func (l *flatLedger) Changes(_ context.Context, _ string, from int64) (ledger.PlannedReader, error) {
	return &planReader{changes: l.changes[from:]}, nil
}

func (l *flatLedger) Identities(ctx context.Context, runID string) (ledger.PlannedReader, error) {
	return l.Changes(ctx, runID, 0)
}

func (l *flatLedger) Intend(context.Context, string, int64, int64, int64) error    { return nil }
func (l *flatLedger) Record(context.Context, string, int64, []ledger.Result) error { return nil }
func (l *flatLedger) Finish(context.Context, string) error                         { return nil }
func (l *flatLedger) Look(context.Context, ledger.PlanRequest, int) (ledger.Look, error) {
	return ledger.Look{}, nil
}

func (l *flatLedger) PlanRevert(context.Context, ledger.RevertRequest) (ledger.Summary, error) {
	return ledger.Summary{}, nil
}

func (l *flatLedger) PlanDrift(context.Context, ledger.DriftRequest) (ledger.Summary, error) {
	return ledger.Summary{}, nil
}

func (l *flatLedger) Confirmed(context.Context, int, int64) (ledger.ConfirmedReader, error) {
	return &confirmedReader{}, nil
}

func (l *flatLedger) Progress(context.Context, string) (ledger.Progress, error) {
	return ledger.Progress{Summary: l.summary(), Settled: func(int64) bool { return false }}, nil
}

// nowhere confirms everything at once.
type nowhere struct{}

func (nowhere) Objects(context.Context) ([]destinations.Object, error) { return nil, nil }
func (nowhere) Close() error                                           { return nil }
func (nowhere) Write(_ context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	return delivered(len(b.Items)), nil
}

// poster makes one HTTP call per batch, with the records as JSON.
type poster struct {
	nowhere

	url    string
	client *http.Client
}

func (p *poster) post(ctx context.Context, items []destinations.Item) error {
	body, err := json.Marshal(items)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func (p *poster) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	if err := p.post(ctx, b.Items); err != nil {
		return nil, err
	}
	return delivered(len(b.Items)), nil
}

// loop is the bare client that the engine is measured against: the same records, of
// which nothing is remembered.
func (p *poster) loop(b *testing.B, records, workers int, items []destinations.Item) {
	b.Helper()
	next := make(chan []destinations.Item)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for call := range next {
				if err := p.post(b.Context(), call); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for call := range slices.Chunk(items, records) {
		next <- call
	}
	close(next)
	wg.Wait()
}
