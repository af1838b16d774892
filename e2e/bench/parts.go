package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/loadgen"
)

// workload is one shape of traffic with its goals.
type workload struct {
	name   string
	conns  int
	batch  int
	ratio  float64 // goal against read-and-discard; 0: none
	atRate float64 // goal in events/s; 0: none
}

var workloads = []workload{
	{"single, 1 connection", 1, 1, 0, 0},
	{"single, 32 connections", 32, 1, 0, 9_000},
	{"single, 256 connections", 256, 1, 0, 15_000},
	{"single, 512 connections", 512, 1, 0.7, 0},
	{"batches of 20, 32 connections", 32, 20, 0, 120_000},
	{"batches of 20, 128 connections", 128, 20, 0.45, 0},
	{"batches of 100, 32 connections", 32, 100, 0.30, 200_000},
}

// ingestNames is how many different events are sent while the door is measured; what is
// loaded beside it then goes into one table more.
const ingestNames = 4

// ingest is B1 and B8: acknowledged events per second with fsync on, first while
// the warehouse is lent (nothing is loaded), then while the loader works beside it.
func (b *bench) ingest(ctx context.Context) error {
	for i, w := range workloads {
		if !strings.Contains(w.name, b.workload) {
			continue
		}
		var ours, base, bare, loading, p50, p99, cpu, rss, syncs []float64
		for pair := range b.pairs {
			discard, err := b.baseline(ctx, w, "discard")
			if err != nil {
				return err
			}
			least, err := b.bare(ctx, w)
			if err != nil {
				return err
			}
			base, bare = append(base, discard), append(bare, least)
			m, err := b.durable(ctx, w, fmt.Sprintf("%d%d", i, pair))
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			ours, loading = append(ours, m.solo.EventsPerSecond()), append(loading, m.loading.EventsPerSecond())
			p50, p99 = append(p50, ms(m.solo.P50)), append(p99, ms(m.solo.P99))
			cpu, rss = append(cpu, m.cpu), append(rss, m.rss)
			if w.conns == 1 {
				raw, err := rawSync()
				if err != nil {
					return fmt.Errorf("measuring a bare write and fdatasync: %w", err)
				}
				syncs = append(syncs, ms(raw))
			}
		}
		goal, met := "", (func(Row) bool)(nil)
		switch {
		case w.ratio > 0:
			goal, met = fmt.Sprintf("≥ %.2f×", w.ratio), func(r Row) bool { return r.Ratio >= w.ratio }
		case w.atRate > 0:
			goal, met = "≥ "+number(w.atRate), func(r Row) bool { return r.Value >= w.atRate }
		}
		note := fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, %.1f CPU s/M, RSS %.0f MiB", median(p50), median(p99), median(cpu), median(rss))
		b.add(Row{
			ID: "B1", Workload: w.name, Value: median(ours), Unit: "events/s", Baseline: median(base), Against: "read and discard", Goal: goal, Note: note,
			Beside: []Beside{{Against: "bare: scan, group commit, fdatasync", Value: median(bare), Ratio: median(ours) / median(bare)}},
		}, met)
		b.add(Row{ID: "B8", Workload: w.name + ", while loading", Value: median(loading), Unit: "events/s", Baseline: median(ours), Against: "alone", Goal: "≥ 0.60×"},
			func(r Row) bool { return r.Ratio >= 0.6 })
		switch {
		case w.conns == 1:
			b.add(Row{ID: "B1", Workload: w.name + ", p50", Value: median(p50), Unit: "ms", Baseline: median(syncs), Against: "write and fdatasync of as much", Goal: "≤ 2.5×"},
				func(r Row) bool { return r.Ratio <= 2.5 })
		case w.conns == 32 && w.batch == 1:
			b.add(Row{ID: "B1", Workload: w.name + ", p99", Value: median(p99), Unit: "ms", Goal: "≤ 10 ms"}, func(r Row) bool { return r.Value <= 10 })
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// baseline measures a server that is no hub of ours.
func (b *bench) baseline(ctx context.Context, w workload, name string, args ...string) (float64, error) {
	cmd, addr, err := startBaseline(name, args...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	r, err := loadgen.Run(ctx, loadgen.Options{Address: addr, WriteKey: "WK", Conns: w.conns, Batch: w.batch, Names: ingestNames, Run: "d", Duration: b.seconds, Now: time.Now})
	if err != nil {
		return 0, err
	}
	if r.Errors+r.Refused > 0 {
		return 0, fmt.Errorf("the baseline %s failed %d requests: %w", name, r.Errors+r.Refused, r.LastError)
	}
	return r.EventsPerSecond(), nil
}

// bare measures the least that a durable server can be (bare.go), which writes
// where ours writes.
func (b *bench) bare(ctx context.Context, w workload) (float64, error) {
	dir, err := os.MkdirTemp("", "tidegate-bare-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return b.baseline(ctx, w, "bare", dir)
}

type measured struct {
	solo, loading *loadgen.Report
	cpu, rss      float64
}

func (b *bench) durable(ctx context.Context, w workload, run string) (m measured, err error) {
	s, err := b.newServer()
	if err != nil {
		return m, err
	}
	defer s.remove()
	if err := s.start(); err != nil {
		return m, err
	}
	if err := s.ready(); err != nil {
		return m, fmt.Errorf("%w\n%s", err, s.log.String())
	}
	giveBack, err := s.lend(ctx)
	if err != nil {
		return m, err
	}
	o := loadgen.Options{Address: s.ingest, WriteKey: "WK", Conns: w.conns, Batch: w.batch, Names: ingestNames, Run: "s" + run, Duration: b.seconds, Now: time.Now}
	before := use(s.cmd.Process.Pid)
	m.solo, err = loadgen.Run(ctx, o)
	if err != nil {
		return m, err
	}
	after := use(s.cmd.Process.Pid)
	m.cpu = (after.cpu - before.cpu).Seconds() / float64(m.solo.Events) * 1e6
	m.rss = after.rss
	if err := giveBack(); err != nil {
		return m, err
	}
	o.Run = "l" + run
	if m.loading, err = loadgen.Run(ctx, o); err != nil {
		return m, err
	}
	if m.solo.Errors+m.solo.Refused+m.loading.Errors+m.loading.Refused > 0 {
		return m, errors.Join(fmt.Errorf("%d requests were refused or failed", m.solo.Errors+m.solo.Refused+m.loading.Errors+m.loading.Refused), m.solo.LastError)
	}
	return m, s.verify(ctx, m.solo.Acked, m.loading.Acked)
}

// load is B2: how fast the loader empties a journal that was filled while the
// warehouse was lent.
func (b *bench) load(ctx context.Context) error {
	const events = 1_000_000
	var rates, cpus, both, base []float64
	for pair := range b.pairs {
		baseline, err := readJSON(ctx, events/4)
		if err != nil {
			return err
		}
		base = append(base, baseline)
		rate, cpu, whole, err := b.drain(ctx, events, strconv.Itoa(pair))
		if err != nil {
			return err
		}
		rates, cpus, both = append(rates, rate), append(cpus, cpu), append(both, whole)
	}
	b.add(Row{ID: "B2", Workload: "journal → DuckDB, 1 M events, two tables each", Value: median(rates), Unit: "events/s", Baseline: median(base), Against: "read_json", Goal: "≥ 60,000 and ≥ 0.60×", Note: fmt.Sprintf("%.1f CPU s/M", median(cpus))},
		func(r Row) bool { return r.Value >= 60_000 && r.Ratio >= 0.6 })
	b.add(Row{ID: "B2", Workload: "ingest (batches of 100) and load, CPU seconds per million events", Value: median(both), Unit: "s", Goal: "≤ 15"},
		func(r Row) bool { return r.Value <= 15 })
	return nil
}

// drain fills a journal and lets the loader empty it. cpu is what loading took a million
// events, whole what ingest and loading did.
func (b *bench) drain(ctx context.Context, events int64, run string) (rate, cpu, whole float64, err error) {
	s, err := b.newServer()
	if err != nil {
		return 0, 0, 0, err
	}
	defer s.remove()
	if err := s.start(); err != nil {
		return 0, 0, 0, err
	}
	if err := s.ready(); err != nil {
		return 0, 0, 0, err
	}
	giveBack, err := s.lend(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	first := use(s.cmd.Process.Pid)
	r, err := loadgen.Run(ctx, loadgen.Options{Address: s.ingest, WriteKey: "WK", Conns: 16, Batch: 100, Run: "b" + run, Events: events, Now: time.Now})
	if err != nil {
		return 0, 0, 0, err
	}
	before := use(s.cmd.Process.Pid)
	start := time.Now()
	if err := giveBack(); err != nil {
		return 0, 0, 0, err
	}
	if err := s.caughtUp(ctx, 5*time.Minute); err != nil {
		return 0, 0, 0, fmt.Errorf("the loader did not catch up: %w\n%s", err, s.log.String())
	}
	took := time.Since(start)
	after := use(s.cmd.Process.Pid)
	if err := s.verify(ctx, r.Acked); err != nil {
		return 0, 0, 0, err
	}
	million := float64(r.Events) / 1e6
	return float64(r.Events) / took.Seconds(), (after.cpu - before.cpu).Seconds() / million, (after.cpu - first.cpu).Seconds() / million, nil
}

// fresh is B3: the time from a 200 to a row that a query sees, at 5,000 events/s.
func (b *bench) fresh(ctx context.Context) error {
	s, err := b.newServer()
	if err != nil {
		return err
	}
	defer s.remove()
	if err := s.start(); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	ctx2, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		_, err := loadgen.Run(ctx2, loadgen.Options{Address: s.ingest, WriteKey: "WK", Conns: 32, Batch: 20, Run: "f", Rate: 5000, Duration: 30 * time.Second, Now: time.Now})
		done <- err
	}()
	var ages []float64
	deadline := time.Now().Add(12 * time.Second)
	for time.Now().Before(deadline) {
		resp := s.stageAge("loader")
		ages = append(ages, resp)
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	p95 := percentile(ages, 0.95)
	b.add(Row{ID: "B3", Workload: "200 → queryable at 5,000 events/s, p95", Value: p95, Unit: "s", Goal: "≤ 2 s"}, func(r Row) bool { return r.Value <= 2 })
	return nil
}
