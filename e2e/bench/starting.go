package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/loadgen"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
)

// starts measures hubs that start with a project each: milliseconds to the first durable answer and
// to everything ready, and the memory when nothing happens.
func (b *bench) starts(ctx context.Context, of func() (project string, end func(), err error)) (first, whole, idle []float64, err error) {
	one := func() error {
		project, end, err := of()
		if err != nil {
			return err
		}
		defer end()
		s, err := b.newServerOf(project)
		if err != nil {
			return err
		}
		defer s.remove()
		begin := time.Now()
		if err := s.start(); err != nil {
			return err
		}
		if err := poll(20*time.Second, func() bool { return post(s.ingest) == 200 }); err != nil {
			return fmt.Errorf("%w\n%s", err, s.log.String())
		}
		first = append(first, ms(time.Since(begin)))
		if err := s.ready(); err != nil {
			return fmt.Errorf("%w\n%s", err, s.log.String())
		}
		whole = append(whole, ms(time.Since(begin)))
		if err := s.caughtUp(ctx, time.Minute); err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // idle is what is left when nothing happens
		idle = append(idle, use(s.cmd.Process.Pid).rss)
		return nil
	}
	for range max(b.pairs, 3) {
		if err := one(); err != nil {
			return nil, nil, nil, err
		}
	}
	return first, whole, idle, nil
}

// behind measures a hub that was killed with a gigabyte of events in its journal that are not in the
// warehouse yet: milliseconds to the first durable answer and to everything ready.
func (b *bench) behind(ctx context.Context) (first, whole []float64, err error) {
	s, err := b.newServer()
	if err != nil {
		return nil, nil, err
	}
	defer s.remove()
	if err := s.start(); err != nil {
		return nil, nil, err
	}
	if err := s.ready(); err != nil {
		return nil, nil, err
	}
	giveBack, err := s.lend(ctx)
	if err != nil {
		return nil, nil, err
	}
	const events = 1 << 30 / 780
	if _, err := loadgen.Run(ctx, loadgen.Options{Address: s.ingest, WriteKey: "WK", Conns: 16, Batch: 100, Run: "s", Events: events, Now: time.Now}); err != nil {
		return nil, nil, err
	}
	s.kill()
	_ = giveBack()              // to nobody, which it says
	for range max(b.pairs, 3) { // a start loads a little of it
		s.kill()
		begin := time.Now()
		if err := s.start(); err != nil {
			return nil, nil, err
		}
		if err := poll(20*time.Second, func() bool { return post(s.ingest) == 200 }); err != nil {
			return nil, nil, fmt.Errorf("%w\n%s", err, s.log.String())
		}
		first = append(first, ms(time.Since(begin)))
		if err := s.ready(); err != nil {
			return nil, nil, fmt.Errorf("%w\n%s", err, s.log.String())
		}
		whole = append(whole, ms(time.Since(begin)))
	}
	return first, whole, nil
}

// onSnowflake is a project whose warehouse is a double of Snowflake's in another process: the test
// binary that serves it.
func onSnowflake(dir, binary string) (project string, end func(), err error) {
	cmd := exec.Command(binary, "-test.run", "^TestServe$")
	cmd.Env = append(os.Environ(), "TIDEGATE_TEST_SERVE=1", "TMPDIR="+dir)
	cmd.Dir = dir
	hold, err := cmd.StdinPipe() // it serves until its input ends
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = hold.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return "", nil, fmt.Errorf("starting the double of Snowflake: %w", err)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(sftest.Password+"\n"), 0o600); err != nil {
		end()
		return "", nil, err
	}
	return "warehouse:\n  kind: snowflake\n  config: {account: acme-test, user: " + sftest.User + `, password: "${file:` + password + `}", database: analytics, warehouse: compute, role: loader, endpoint: "` +
		strings.TrimSpace(address) + "\"}\nsources:\n  - name: web\n    write_key: WK\n", end, nil
}

// start is B7: cold start, idle memory, size.
func (b *bench) start(ctx context.Context) error {
	first, whole, idle, err := b.starts(ctx, func() (string, func(), error) { return project, func() {}, nil })
	if err != nil {
		return err
	}
	b.add(Row{ID: "B7", Workload: "start → first durable answer", Value: median(first), Unit: "ms", Goal: "≤ 150 ms"}, func(r Row) bool { return r.Value <= 150 })
	b.add(Row{ID: "B7", Workload: "start → everything ready", Value: median(whole), Unit: "ms", Goal: "≤ 300 ms"}, func(r Row) bool { return r.Value <= 300 })
	b.add(Row{ID: "B7", Workload: "idle memory", Value: median(idle), Unit: "MiB", Goal: "≤ 64 MiB"}, func(r Row) bool { return r.Value <= 64 })
	if first, whole, err = b.behind(ctx); err != nil {
		return err
	}
	b.add(Row{ID: "B7", Workload: "start → first durable answer, 1 GiB of events not loaded", Value: median(first), Unit: "ms", Goal: "≤ 1,000 ms", Note: fmt.Sprintf("everything ready %.0f ms", median(whole))},
		func(r Row) bool { return r.Value <= 1000 })
	dir, err := os.MkdirTemp("", "tidegate-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	double, err := testBinary(ctx, dir, "./warehouse/snowflake")
	if err != nil {
		return err
	}
	_, _, away, err := b.starts(ctx, func() (string, func(), error) { return onSnowflake(dir, double) })
	if err != nil {
		return err
	}
	b.add(Row{ID: "B7", Workload: "idle memory, the warehouse on Snowflake's double", Value: median(away), Unit: "MiB", Goal: "≤ 64 MiB"}, func(r Row) bool { return r.Value <= 64 })
	info, err := os.Stat(b.bin)
	if err != nil {
		return err
	}
	b.add(Row{ID: "B7", Workload: "size of the binary, not stripped", Value: float64(info.Size()) / (1 << 20), Unit: "MiB"}, nil)
	return nil
}
