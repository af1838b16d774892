package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBaselinesStandBeside(t *testing.T) {
	t.Parallel()
	const out = `goos: linux
BenchmarkAppend/producers=1/size=600-2   100  400000 ns/op  1.50 MB/s
BenchmarkSync/written/size=640-2   100  200000 ns/op  3.20 MB/s
BenchmarkPlan/rows=10/changed=1%-2  1  9 ns/op  2.0 plan-s  0.5 state-s  3.5 cold-s  5.0 except-s  200 lookup-s  1200 peak-MiB  2.0 x-except
BenchmarkDelivery/latency=50ms/workers=8/engine-2  3  9 ns/op  51.2 ms-latency  15400 rows/s
BenchmarkDelivery/latency=50ms/workers=8/loop-2  3  9 ns/op  51.0 ms-latency  15800 rows/s
BenchmarkDelivery/nothing/records=100-2  3  9 ns/op  200000 rows/s
BenchmarkAdapter/read/columns=13/rows=100000-2  5  69.55 MB/s  400 pgx-rows/s  224.8 peak-MiB  1.5 ratio  600 rows/s
PASS`
	var lines []benchLine
	for line := range strings.Lines(out) {
		if l, ok := parseBenchLine(strings.TrimSpace(line)); ok {
			lines = append(lines, l)
		}
	}
	var got []Row
	for i, id := range map[int]string{0: "B1", 2: "B4", 3: "B5", 6: "B9"} {
		to := map[int]int{0: 2, 2: 3, 3: 6, 6: 7}[i]
		got = append(got, benchRows(id, lines[i:to])...)
	}
	want := map[string]Row{
		"BenchmarkAppend/producers=1/size=600": {ID: "B1", Value: 400000, Unit: "ns/op", Beside: []Beside{{"write and fdatasync", 200000, 0.5}}},
		"BenchmarkPlan/rows=10/changed=1%":     {ID: "B4", Value: 2.5, Unit: "s", Note: "first time after a start 3.50 s, peak 1200 MiB", Beside: []Beside{{"except", 5, 2}, {"lookup", 200, 80}}},
		"BenchmarkDelivery/latency=50ms/workers=8": {ID: "B5", Value: 15400, Unit: "rows/s", Beside: []Beside{
			{"bare loop", 15800, 15400.0 / 15800}, {"concurrency × batch / latency", 15625, 15400.0 / 15625},
		}},
		"read/columns=13/rows=100000":           {ID: "B9", Value: 600, Unit: "rows/s", Baseline: 400, Against: "pgx", Goal: "≥ 0.80×", Note: "70 MB/s, the process at most 225 MiB"},
		"BenchmarkDelivery/nothing/records=100": {ID: "B5", Value: 200000, Unit: "rows/s"},
	}
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d: %+v", len(got), len(want), got)
	}
	for _, r := range got {
		name := r.Workload
		r.Workload = ""
		if diff := cmp.Diff(want[name], r); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
