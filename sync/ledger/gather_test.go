package ledger

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// feed adds values by two goroutines, in chunks as an engine would.
func feed(g *gathered, values []int64, chunk int) {
	var all sync.WaitGroup
	for w := range 2 {
		all.Go(func() {
			for at := w * chunk; at < len(values); at += 2 * chunk {
				g.add(values[at:min(at+chunk, len(values))], nil)
			}
		})
	}
	all.Wait()
}

// TestPairIsTheDifference holds pair to the difference of two bags.
func TestPairIsTheDifference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Int64Range(0, 40), rapid.Int64Range(0, math.MaxInt64), rapid.SampledFrom([]int64{0, math.MaxInt64, math.MaxInt64 - 1}))
		known, now := rapid.SliceOf(value).Draw(t, "ledger"), rapid.SliceOf(value).Draw(t, "model")
		expected := rapid.Int64Range(1, 10_000_000).Draw(t, "expected")
		chunk := rapid.IntRange(1, 7).Draw(t, "chunk")
		model, ledger := gather(expected, 1000), gather(expected, 1000)
		feed(ledger, known, chunk)
		feed(model, now, chunk)
		listed := ledger.list()
		slices.Sort(listed)
		if diff := cmp.Diff(slices.Sorted(slices.Values(known)), listed, equalEmpty); diff != "" {
			t.Fatal("what was gathered (-want +got):", diff)
		}
		got := pair(model, ledger)
		sameWide(t, known, now, got)
		slices.Sort(got.added)
		slices.Sort(got.gone)
		var want pairs
		inKnown, inNow := counts(known), counts(now)
		for v, n := range inNow {
			if inKnown[v] == 0 {
				want.added = append(want.added, slices.Repeat([]int64{v}, n)...)
			}
			want.twins = want.twins || inKnown[v] > 0 && n > 1
		}
		for v, n := range inKnown {
			if inNow[v] == 0 {
				want.gone = append(want.gone, v)
			}
			want.twins = want.twins || n > 1
		}
		slices.Sort(want.added)
		slices.Sort(want.gone)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(pairs{}), equalEmpty); diff != "" {
			t.Fatal("pairs (-want +got):", diff)
		}
		is, answers := among(known), make([]bool, len(now))
		is(now, answers)
		for i, v := range now {
			if answers[i] != (inKnown[v] > 0) {
				t.Fatalf("%d is among %v: %t", v, known, answers[i])
			}
		}
	})
}

// sameWide: numbers that go with fingerprints come out with those that are added, and change nothing else.
func sameWide(t *rapid.T, known, now []int64, want pairs) {
	numbers := make([]int64, len(now))
	for i, v := range now {
		numbers[i] = ^v
	}
	model, ledger := gather(1, 1000), gather(1, 1000)
	model.wide = true
	ledger.add(known, nil)
	model.addWide(now[:len(now)/2], numbers)
	model.addWide(now[len(now)/2:], numbers[len(now)/2:])
	got := pair(model, ledger)
	if len(got.numbers) != len(got.added) {
		t.Fatalf("%d numbers of %d", len(got.numbers), len(got.added))
	}
	for i, v := range got.added {
		if got.numbers[i] != ^v {
			t.Fatalf("the number of %d is %d", v, got.numbers[i])
		}
	}
	sorted := cmp.Transformer("sorted", func(list []int64) []int64 { return slices.Sorted(slices.Values(list)) })
	got.numbers = nil
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(pairs{}), sorted); diff != "" {
		t.Fatal("wide pairs (-want +got):", diff)
	}
}

var equalEmpty = cmp.Transformer("empty", func(list []int64) []int64 {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
})

func counts(values []int64) map[int64]int {
	n := map[int64]int{}
	for _, v := range values {
		n[v]++
	}
	return n
}

// TestGatherStopsAtItsLimit: more rows than the limit are not kept, and that is known.
func TestGatherStopsAtItsLimit(t *testing.T) {
	t.Parallel()
	g := gather(10, 10)
	g.add(make([]int64, 10), nil)
	if g.over || len(g.list()) != 10 {
		t.Fatal("ten rows are as many as the limit")
	}
	g.add([]int64{1}, nil)
	g.add([]int64{1}, nil)
	if !g.over || g.all != nil || g.rows != 12 {
		t.Fatalf("over %t, %d kept, %d rows", g.over, len(g.all), g.rows)
	}
}

// BenchmarkPair is what pairing costs beside the engine, in processor seconds.
func BenchmarkPair(b *testing.B) {
	const rows, chunk = 10_000_000, 2048
	known, now := make([]int64, rows), make([]int64, rows)
	for i := range known {
		known[i] = rand.Int64()
		now[i] = known[i]
		if i%100 == 0 {
			now[i] = rand.Int64()
		}
	}
	var gathering, pairing float64
	for range b.N {
		start := processors()
		model, ledger := gather(rows, rows), gather(rows, rows)
		feed(ledger, known, chunk)
		feed(model, now, chunk)
		mid := processors()
		found := pair(model, ledger)
		if len(found.added) != rows/100 || len(found.gone) != rows/100 || found.twins {
			b.Fatal(len(found.added), len(found.gone), found.twins)
		}
		gathering += float64((mid - start).Nanoseconds()) / 2 / rows
		pairing += float64((processors() - mid).Nanoseconds()) / 2 / rows
	}
	b.ReportMetric(gathering/float64(b.N), "gather-cpu-ns/row")
	b.ReportMetric(pairing/float64(b.N), "pair-cpu-ns/row")
}
