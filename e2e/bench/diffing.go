package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/loadgen"
)

// diffingProject compares a large table, whose changes follow from an event, with a ledger that
// holds all of it; nothing is sent, so that it is the comparison alone that stands in the way.
const diffingProject = `warehouse: {kind: duckdb, config: {attach: [{name: shop, path: FILE}]}}
sources: [{name: web, write_key: WK}]
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: hook, kind: webhook, config: {url: "URL", batch: true}}
models:
  - name: people
    sql: SELECT p.*, CASE WHEN id % 100 = 3 THEN (SELECT count(*) FROM web.flipped) ELSE 0 END AS flips FROM shop.main.people AS p
    primary_key: [id]
syncs:
  - name: people
    model: people
    destination: hook
    object: records
    first_run: baseline
    mapping:
      identifier: email
      fields: [{field: email, column: email}, {field: fn, column: fn}, {field: ln, column: ln}, {field: age, column: age}, {field: flips, column: flips}]
`

// diffing is the other half of B8: acknowledged events per second while a sync of so many
// rows, 1 % of them changed, is planned again and again, beside those of the same hub
// that plans nothing. The loader works in both.
func (b *bench) diffing(ctx context.Context, rows int) error {
	hook := httptest.NewServer(http.NotFoundHandler())
	defer hook.Close()
	s, err := b.newServer()
	if err != nil {
		return err
	}
	defer s.remove()
	table := filepath.Join(s.dir, "shop.duckdb")
	if err := people(ctx, table, rows); err != nil {
		return fmt.Errorf("making the table: %w", err)
	}
	definitions := strings.NewReplacer("FILE", table, "URL", hook.URL+"/records").Replace(diffingProject)
	if err := os.WriteFile(filepath.Join(s.dir, "project", "tidegate.yaml"), []byte(definitions), 0o644); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return fmt.Errorf("%w\n%s", err, s.log.String())
	}
	if err := s.flip(ctx, 1); err != nil {
		return err
	}
	if err := s.sync(ctx, "run", "people"); err != nil {
		return err
	}
	if err := s.flip(ctx, 2); err != nil {
		return err
	}
	for i, w := range workloads {
		if !strings.Contains(w.name, b.workload) || w.ratio == 0 {
			continue
		}
		var alone, beside []float64
		plans := 0
		for pair := range b.pairs {
			o := loadgen.Options{
				Address: s.ingest, WriteKey: "WK", Conns: w.conns, Batch: w.batch, Names: ingestNames, Run: fmt.Sprintf("p%d%d", i, pair), Duration: b.seconds, Now: time.Now,
			}
			solo, err := loadgen.Run(ctx, o)
			if err != nil {
				return err
			}
			if err := s.caughtUp(ctx, 5*time.Minute); err != nil {
				return err
			}
			o.Run += "d"
			planning, stop := context.WithCancel(ctx)
			planned := make(chan error, 1)
			go func() {
				for planning.Err() == nil {
					if err := s.sync(planning, "plan", "people"); err != nil && planning.Err() == nil {
						planned <- err
						return
					}
					plans++
				}
				planned <- nil
			}()
			both, err := loadgen.Run(ctx, o)
			stop()
			if err := errors.Join(err, <-planned); err != nil {
				return err
			}
			if n := solo.Errors + solo.Refused + both.Errors + both.Refused; n > 0 {
				return fmt.Errorf("%d requests were refused or failed", n)
			}
			alone, beside = append(alone, solo.EventsPerSecond()), append(beside, both.EventsPerSecond())
			if err := s.caughtUp(ctx, 5*time.Minute); err != nil {
				return err
			}
		}
		b.add(Row{
			ID: "B8", Workload: fmt.Sprintf("%s, while %d M rows are compared", w.name, rows/1_000_000), Value: median(beside), Unit: "events/s", Baseline: median(alone), Against: "without",
			Goal: "≥ 0.60×", Note: fmt.Sprintf("%d plans", plans),
		}, func(r Row) bool { return r.Ratio >= 0.6 })
	}
	return nil
}

// people makes the table that is compared.
func people(ctx context.Context, path string, rows int) error {
	db, err := sql.Open("duckdb", path)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, fmt.Sprintf(`CREATE TABLE people AS SELECT range AS id, 'user' || range || '@example.com' AS email, 'First' || (range %% 1000) AS fn, 'Last' || (range %% 5000) AS ln,
		(range %% 100)::INTEGER AS age, (range * 1.25)::DECIMAL(18,2) AS ltv, TIMESTAMP '2024-01-01' + to_seconds(range %% 1000000) AS seen, 'plan' || (range %% 5) AS plan FROM range(%d)`, rows))
	return err
}

// flip changes what the model says of one row in a hundred, and waits until it is so.
func (s *server) flip(ctx context.Context, times int64) error {
	body := fmt.Sprintf(`{"userId":"u1","event":"Flipped","messageId":"flip-%d"}`, times)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.ingest+"/v1/track", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth("WK", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	return poll(30*time.Second, func() bool {
		n, err := s.count(ctx, "SELECT count(*) FROM web.flipped")
		return err == nil && n == times
	})
}

// sync runs a verb of `tidegate sync`.
func (s *server) sync(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.bin, append([]string{"sync"}, append(args, "--data", s.data())...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tidegate sync %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
