package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// packages runs the Go benchmarks of the parts that need no server: the journal
// (against raw fdatasync), the diff (against EXCEPT and a lookup per row) and the
// delivery (against a bare client loop). Their baselines are measured beside them, in
// the same benchmark or in one of the same name that ends otherwise.
func (b *bench) packages(ctx context.Context, rows int) error {
	for _, p := range []struct{ id, pkg, run, time, env string }{
		{"B1", "./ingest/journal", "BenchmarkAppend|BenchmarkSync", "1s", ""},
		{"B4", "./sync/ledger", "BenchmarkPlan", "1x", "TIDEGATE_BENCH_ROWS=" + strconv.Itoa(rows)},
		{"B5", "./sync/runner", "BenchmarkDelivery", "1s", ""},
	} {
		lines, peak, err := runBenchmarks(ctx, p.pkg, p.run, p.time, p.env)
		if err != nil {
			return err
		}
		for _, r := range benchRows(p.id, lines) {
			if p.id == "B4" && !strings.Contains(r.Note, "MiB") {
				r.Note = join(r.Note, fmt.Sprintf("the whole process at most %.0f MiB", peak))
			}
			b.add(r, nil)
		}
	}
	return nil
}

// warehouses runs the adapters' benchmarks, each against its engine's own bulk path and
// driver. An engine that is not there has no rows.
func (b *bench) warehouses(ctx context.Context) error {
	for _, name := range []string{"duckdb", "postgres", "clickhouse", "bigquery", "redshift", "snowflake"} {
		lines, _, err := runBenchmarks(ctx, "./warehouse/"+name, "BenchmarkAdapter", "5x", "")
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			_, _ = fmt.Fprintf(b.log, "WITHOUT %s: its engine is not there\n", name)
		}
		for _, r := range benchRows("B9", lines) {
			r.Workload = name + " " + r.Workload
			b.add(r, func(r Row) bool { return r.Ratio >= adapterGoals[r.Goal] })
		}
	}
	return nil
}

// adapterGoals are the least ratios to an engine's own way in and out, by how they are written.
var adapterGoals = map[string]float64{"≥ 0.50×": 0.5, "≥ 0.80×": 0.8}

// runBenchmarks builds a package's test binary and runs it alone, so that the peak of
// its memory (in MiB) is its own and not the compiler's.
func runBenchmarks(ctx context.Context, pkg, run, benchtime, env string) (lines []benchLine, peak float64, err error) {
	dir, err := os.MkdirTemp("", "tidegate-bench-")
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err := testBinary(ctx, dir, pkg)
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", run, "-test.benchtime", benchtime, "-test.timeout", "30m")
	cmd.Dir = filepath.Join("..", pkg)
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: %w\n%s", pkg, run, err, out)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		peak = float64(usage.Maxrss) / 1024 // KiB on Linux
	}
	for line := range strings.Lines(string(out)) {
		if l, ok := parseBenchLine(strings.TrimSpace(line)); ok {
			lines = append(lines, l)
		}
	}
	return lines, peak, nil
}

// testBinary builds a package's test binary in dir.
func testBinary(ctx context.Context, dir, pkg string) (string, error) {
	binary := filepath.Join(dir, "bench.test")
	build := exec.CommandContext(ctx, "go", "test", "-tags", "duckdb_arrow,minicore_disabled", "-c", "-o", binary, pkg)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(build.Args, " "), err, out)
	}
	return binary, nil
}

// benchLine is one line of `go test -bench`.
type benchLine struct {
	name    string
	metrics []metric
}

type metric struct {
	value float64
	unit  string
}

var benchPattern = regexp.MustCompile(`^(Benchmark\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func parseBenchLine(line string) (l benchLine, ok bool) {
	m := benchPattern.FindStringSubmatch(line)
	if m == nil {
		return l, false
	}
	l.name = m[1]
	fields := strings.Fields(m[2])
	for i := 0; i+1 < len(fields); i += 2 {
		if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
			l.metrics = append(l.metrics, metric{v, fields[i+1]})
		}
	}
	return l, len(l.metrics) > 0
}

func (l benchLine) metric(unit string) (float64, bool) {
	for _, m := range l.metrics {
		if m.unit == unit {
			return m.value, true
		}
	}
	return 0, false
}

// benchRows turns lines into rows of the table, a baseline never being a row of its own.
func benchRows(id string, lines []benchLine) []Row {
	var rows []Row
	for _, l := range lines {
		switch {
		case id == "B4":
			rows = append(rows, planRow(l))
		case id == "B9":
			rows = append(rows, adapterRow(l))
		case id == "B5" && strings.HasSuffix(l.name, "/loop"): // beside its engine
		case id == "B5":
			rows = append(rows, deliveryRow(l, lines))
		case strings.HasPrefix(l.name, "BenchmarkSync/"): // beside the journal's appends
		default:
			rows = append(rows, appendRow(l, lines))
		}
	}
	return rows
}

// adapterRow puts the engine's own way beside the adapter's.
func adapterRow(l benchLine) Row {
	r := Row{ID: "B9", Workload: strings.TrimPrefix(strings.TrimPrefix(l.name, "BenchmarkAdapter"), "/"), Unit: "rows/s", Goal: "≥ 0.50×"}
	if strings.HasPrefix(r.Workload, "read/") {
		r.Goal = "≥ 0.80×"
	}
	for _, m := range l.metrics {
		switch own, is := strings.CutSuffix(m.unit, "-rows/s"); {
		case is:
			r.Baseline, r.Against = m.value, own
		case m.unit == "rows/s":
			r.Value = m.value
		case m.unit == "MB/s":
			r.Note = join(r.Note, fmt.Sprintf("%.0f MB/s", m.value))
		case m.unit == "CPU-µs/row":
			r.Note = join(r.Note, fmt.Sprintf("%.1f µs of processors in the process a row", m.value))
		case strings.HasSuffix(m.unit, "-CPU-µs/row"):
			r.Note = join(r.Note, fmt.Sprintf("%s %.1f", strings.TrimSuffix(m.unit, "-CPU-µs/row"), m.value))
		case m.unit == "peak-MiB":
			r.Note = join(r.Note, fmt.Sprintf("the process at most %.0f MiB", m.value))
		}
	}
	return r
}

// appendRow puts a bare write and fdatasync beside the appends of a lone producer.
func appendRow(l benchLine, all []benchLine) Row {
	r := Row{ID: "B1", Workload: l.name, Value: l.metrics[0].value, Unit: l.metrics[0].unit}
	if l.name != "BenchmarkAppend/producers=1/size=600" {
		return r
	}
	for _, other := range all {
		if v, ok := other.metric(r.Unit); ok && other.name == "BenchmarkSync/written/size=640" {
			r.Beside = append(r.Beside, Beside{Against: "write and fdatasync", Value: v, Ratio: v / r.Value})
		}
	}
	return r
}

// planRow puts the other ways to find the changes beside the plan with the ledger's new
// state: seconds each, and the ratio says how many times faster ours is.
func planRow(l benchLine) Row {
	r := Row{ID: "B4", Workload: l.name, Unit: "s"}
	for _, m := range l.metrics {
		what, seconds := strings.CutSuffix(m.unit, "-s")
		switch {
		case what == "plan" || what == "state":
			r.Value += m.value
		case what == "cold":
			r.Note = join(r.Note, fmt.Sprintf("first time after a start %.2f s", m.value))
		case seconds:
			r.Beside = append(r.Beside, Beside{Against: what, Value: m.value})
		case strings.HasSuffix(m.unit, "MiB"):
			r.Note = join(r.Note, fmt.Sprintf("%s %.0f MiB", strings.Trim(strings.TrimSuffix(m.unit, "MiB"), "-/_"), m.value))
		}
	}
	for i := range r.Beside {
		if r.Value > 0 {
			r.Beside[i].Ratio = r.Beside[i].Value / r.Value
		}
	}
	return r
}

// deliveryBatch is the records a call of BenchmarkDelivery.
const deliveryBatch = 100

var shape = regexp.MustCompile(`latency=([^/]+)/workers=(\d+)`)

// deliveryRow puts the bare client loop beside the engine, and with a latency also what
// concurrency × batch / latency gives, with the latency that the server measured of
// itself: rows a second, and the ratio is ours to theirs.
func deliveryRow(l benchLine, all []benchLine) Row {
	r := Row{ID: "B5", Workload: strings.TrimSuffix(l.name, "/engine"), Unit: "rows/s"}
	r.Value, _ = l.metric("rows/s")
	for _, other := range all {
		if other.name == strings.TrimSuffix(l.name, "/engine")+"/loop" {
			if v, ok := other.metric("rows/s"); ok {
				r.Beside = append(r.Beside, Beside{Against: "bare loop", Value: v})
			}
		}
	}
	if m := shape.FindStringSubmatch(l.name); m != nil {
		workers, _ := strconv.Atoi(m[2])
		if ms, ok := l.metric("ms-latency"); ok {
			r.Beside = append(r.Beside, Beside{Against: "concurrency × batch / latency", Value: float64(workers) * deliveryBatch / (ms / 1000)})
		}
	}
	for i := range r.Beside {
		r.Beside[i].Ratio = r.Value / r.Beside[i].Value
	}
	return r
}

func join(parts ...string) string {
	var all []string
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, ", ")
}
