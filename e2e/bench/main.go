// Command bench measures what docs/benchmarks.md promises, on the built binary
// and on the packages' own benchmarks, prints a table and writes JSON.
//
// Every figure of ours stands beside a baseline of the same run, since machines
// are noisy: read the ratios. A throughput counts only when afterwards, with
// the server killed by SIGKILL and started again, every acknowledged event is
// in the warehouse exactly once.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one line of the table.
type Row struct {
	ID       string  `json:"id"`
	Workload string  `json:"workload"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline,omitempty"` // of the paired baseline, same unit
	Against  string  `json:"against,omitempty"`  // what the baseline is
	Ratio    float64 `json:"ratio,omitempty"`
	// Beside are further baselines of the same run.
	Beside []Beside `json:"beside,omitempty"`
	Goal   string   `json:"goal,omitempty"`
	Met    *bool    `json:"met,omitempty"`
	Note   string   `json:"note,omitempty"`
}

// Beside is a baseline in the unit of its row. Ratio is above 1 where ours is the better.
type Beside struct {
	Against string  `json:"against"`
	Value   float64 `json:"value"`
	Ratio   float64 `json:"ratio"`
}

type report struct {
	At      time.Time `json:"at"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Pairs   int       `json:"pairs"`
	Seconds float64   `json:"seconds"`
	Rows    []Row     `json:"rows"`
}

type bench struct {
	bin     string
	pairs   int
	seconds time.Duration
	// workload chooses among the workloads of ingest by a part of their names.
	workload string
	rows     []Row
	log      io.Writer
}

// baselines are the servers that this program can be, called by name with an
// address and, where they keep something, a folder.
var baselines = map[string]func(args []string) error{
	"discard": func(args []string) error { return serveDiscard(args[0]) },
	"bare":    func(args []string) error { return serveBare(args[0], args[1]) },
}

func main() {
	if len(os.Args) > 2 {
		if baseline, ok := baselines[os.Args[1]]; ok {
			if err := baseline(os.Args[2:]); err != nil {
				_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
				os.Exit(1)
			}
			return
		}
	}
	out := flag.String("out", "bench.json", "where the JSON goes")
	pairs := flag.Int("pairs", 3, "pairs of ours and baseline per workload; the median counts")
	seconds := flag.Duration("for", 4*time.Second, "length of one measurement")
	only := flag.String("only", "", "comma-separated parts: start,ingest,load,fresh,diffing,packages,warehouses (default: all)")
	workload := flag.String("workload", "", "of the parts ingest and diffing only the workloads whose name contains this")
	rows := flag.Int("rows", 10_000_000, "rows of the large diff")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := &bench{bin: os.Getenv("TIDEGATE_BIN"), pairs: *pairs, seconds: *seconds, workload: *workload, log: os.Stderr}
	if b.bin == "" {
		b.bin = "../bin/tidegate"
	}
	parts := []struct {
		name string
		run  func(context.Context) error
	}{
		{"start", b.start},
		{"ingest", b.ingest},
		{"load", b.load},
		{"fresh", b.fresh},
		{"diffing", func(ctx context.Context) error { return b.diffing(ctx, *rows) }},
		{"packages", func(ctx context.Context) error { return b.packages(ctx, *rows) }},
		{"warehouses", b.warehouses},
	}
	failed := false
	for _, part := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), part.name) {
			continue
		}
		_, _ = fmt.Fprintf(b.log, "measuring %s\n", part.name)
		if err := part.run(ctx); err != nil {
			_, _ = fmt.Fprintf(os.Stderr, "bench: %s: %v\n", part.name, err)
			failed = true
		}
	}
	b.print(os.Stdout)
	if err := b.write(*out); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		failed = true
	}
	if failed {
		os.Exit(1)
	}
}

// add appends a row and judges it against its goal.
func (b *bench) add(r Row, met func(Row) bool) {
	if r.Baseline != 0 {
		r.Ratio = r.Value / r.Baseline
	}
	if met != nil {
		ok := met(r)
		r.Met = &ok
	}
	b.rows = append(b.rows, r)
}

func (b *bench) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "id\tworkload\tours\tbaseline\tratio\tgoal\tmet\t")
	for _, r := range b.rows {
		base, ratio, met := "", "", ""
		if r.Baseline != 0 {
			base, ratio = fmt.Sprintf("%s %s", number(r.Baseline), r.Against), fmt.Sprintf("%.2f", r.Ratio)
		}
		for i, other := range r.Beside {
			if i > 0 || base != "" {
				base, ratio = base+", ", ratio+", "
			}
			base, ratio = base+fmt.Sprintf("%s %s", number(other.Value), other.Against), ratio+number(other.Ratio)
		}
		if r.Met != nil {
			met = map[bool]string{true: "yes", false: "NO"}[*r.Met]
		}
		note := r.Note
		if note != "" {
			note = " (" + note + ")"
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s %s%s\t%s\t%s\t%s\t%s\t\n", r.ID, r.Workload, number(r.Value), r.Unit, note, base, ratio, r.Goal, met)
	}
	_ = tw.Flush()
}

func number(v float64) string {
	switch {
	case v >= 1000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func (b *bench) write(path string) error {
	data, err := json.MarshalIndent(report{
		At: time.Now().UTC(), CPUs: runtime.NumCPU(), Go: runtime.Version(), Pairs: b.pairs, Seconds: b.seconds.Seconds(), Rows: b.rows,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}
