package destinationtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// values are what a mapping can put into a field of each kind.
func values() map[tidegate.Kind][]any {
	return map[tidegate.Kind][]any{
		tidegate.Bool:      {true, false, nil},
		tidegate.Int:       {int64(0), int64(-1), int64(1<<53 + 1), int64(-1 << 63), int64(1<<63 - 1), nil},
		tidegate.Float:     {0.5, -1e-7, 1e21, nil},
		tidegate.Decimal:   {"0", "-0.01", "12345678901234567890123456789.123456789", nil},
		tidegate.String:    {"plain", "", " spaced ", "naïve Ünïcödé 東京 🐟", `quotes " ' \ and <tags> & {{ braces }}`, "two\nlines\ttab", strings.Repeat("long ", 200), nil},
		tidegate.Date:      {"2024-02-29", "1970-01-01", "9999-12-31", nil},
		tidegate.Timestamp: {"2026-01-02T03:04:05.123456Z", "2026-01-02T17:04:05+14:00", "1969-12-31T23:59:59Z", nil},
		tidegate.JSON:      {map[string]any{"a": []any{int64(1), nil, "x"}, "b": map[string]any{"c": true}}, []any{"one", "two"}, nil},
	}
}

// testValues writes every value of every kind and looks at what is stored.
func testValues(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	i, written := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(values())) {
		field, ok := sample.Values[kind]
		if !ok {
			continue
		}
		for _, v := range values()[kind] {
			r := sample.Record(i)
			i++
			r[field] = v
			b.mustDeliver(sample.batch(tidegate.Added, tidegate.Upsert, 1, r))
			b.mustHold(sample, r)
			written++
		}
	}
	if written == 0 {
		t.Error("the sample names no field for values")
	}
	// A value that becomes null is cleared.
	r := sample.Record(i)
	field := sample.Values[tidegate.String]
	r[field] = "something"
	b.mustDeliver(sample.batch(tidegate.Added, tidegate.Upsert, 1, r))
	r = maps.Clone(r)
	r[field] = nil
	b.mustDeliver(sample.batch(tidegate.Changed, tidegate.Upsert, 2, r))
	b.mustHold(sample, r)
}

// testModes writes in each declared mode what the mode lets through.
func testModes(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	for _, mode := range start(t, s).object(sample.Object).Modes {
		if mode == tidegate.Audience {
			continue // testAudience
		}
		b := start(t, s)
		n := min(4, b.object(sample.Object).Limit.Records)
		records := sample.records(0, n)
		first := mode
		if mode == tidegate.Update { // updates what exists
			first = tidegate.Upsert
		}
		b.mustDeliver(sample.batch(tidegate.Added, first, 1, records...))
		for _, r := range records {
			b.mustHold(sample, r)
		}
		if mode.Lets(tidegate.Changed) {
			for _, r := range records {
				r[sample.Values[tidegate.String]] = "changed"
			}
			b.mustDeliver(sample.batch(tidegate.Changed, mode, 2, records...))
			for _, r := range records {
				b.mustHold(sample, r)
			}
		}
		if mode.Lets(tidegate.Removed) {
			b.mustDeliver(sample.batch(tidegate.Removed, mode, 3, records[:1]...))
			if b.held(sample, records[0][sample.Identifier]) != nil {
				t.Errorf("%s: the removed record is still there", mode)
			}
			if n > 1 {
				b.mustHold(sample, records[1])
			}
		}
	}
}

// testRemovals removes a record in each declared way: deleted and archived ones
// are out of sight, cleared ones stay without their fields. What is not there is
// removed already.
func testRemovals(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	o := start(t, s).object(sample.Object)
	if !slices.Contains(o.Modes, tidegate.Mirror) {
		t.Skip("the object has no mode mirror")
	}
	for _, removal := range o.Removals {
		b := start(t, s)
		records := sample.records(0, min(2, o.Limit.Records))
		for _, r := range records {
			r[sample.Values[tidegate.String]] = "to be removed"
		}
		absent := sample.Record(77)
		for _, r := range records {
			b.mustDeliver(sample.batch(tidegate.Added, tidegate.Mirror, 1, r))
		}
		for i, r := range []tidegate.Record{records[0], absent} {
			batch := sample.batch(tidegate.Removed, tidegate.Mirror, 2+i, r)
			batch.Removal = removal
			b.mustDeliver(batch)
		}
		have := b.held(sample, records[0][sample.Identifier])
		switch {
		case removal != tidegate.Clear && have != nil:
			t.Errorf("%s: the record is still there", removal)
		case removal == tidegate.Clear && have == nil:
			t.Errorf("%s: the record is gone", removal)
		case removal == tidegate.Clear && have[sample.Values[tidegate.String]] != nil:
			t.Errorf("%s: the field holds %v", removal, have[sample.Values[tidegate.String]])
		}
		if b.held(sample, absent[sample.Identifier]) != nil {
			t.Errorf("%s: removing what is not there made it", removal)
		}
		for _, r := range records[1:] {
			b.mustHold(sample, r)
		}
	}
}

// testAudience finds an audience by its name, and lets records join and leave
// it, twice each.
func testAudience(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	o := b.object(sample.Object)
	a, ok := b.dest.(destinations.Audiencer)
	if !slices.Contains(o.Modes, tidegate.Audience) {
		t.Skip("the object has no mode audience")
	}
	if !ok {
		t.Fatal("the object has the mode audience, and the connector is no Audiencer")
	}
	id, err := a.EnsureAudience(t.Context(), sample.Object, "Big spenders")
	again, err2 := a.EnsureAudience(t.Context(), sample.Object, "Big spenders")
	if err != nil || err2 != nil || id == "" || id != again {
		t.Fatalf("the audience is %q and then %q: %v %v", id, again, err, err2)
	}
	records := sample.records(0, min(3, o.Limit.Records))
	for version, op := range []tidegate.Op{tidegate.Added, tidegate.Added, tidegate.Removed, tidegate.Removed} {
		batch := sample.batch(op, tidegate.Audience, version, records...)
		batch.Audience = id
		b.mustDeliver(batch)
	}
}

// testIdempotence delivers the same batch twice.
func testIdempotence(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	if b.object(sample.Object).Safety == destinations.Unsafe {
		t.Skip("the object is declared unsafe")
	}
	batch := sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.records(0, 5)...)
	first := b.mustDeliver(batch)
	before := b.sim.Records(sample.Object)
	again := b.mustDeliver(batch)
	after := b.sim.Records(sample.Object)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after))); diff != "" {
		t.Errorf("the same batch again made other records:\n%s", diff)
	}
	for i := range batch.Items {
		b.mustHold(sample, batch.Items[i].Record)
		if first[i].DestinationID != again[i].DestinationID {
			t.Errorf("item %d: id %q, then %q", i, first[i].DestinationID, again[i].DestinationID)
		}
	}
}

// testAlignment poisons the k-th record: it alone is rejected.
func testAlignment(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	if sample.Poison == nil {
		t.Skip("the simulator refuses no record")
	}
	const n = 7
	for name, bad := range map[string][]int{"first": {0}, "middle": {3}, "last": {n - 1}, "two": {1, 4}, "all": {0, 1, 2, 3, 4, 5, 6}} {
		b := start(t, s)
		records := sample.records(0, n)
		for _, k := range bad {
			records[k] = sample.Poison(records[k])
		}
		for i, o := range b.deliver(sample.batch(tidegate.Added, tidegate.Upsert, 1, records...)) {
			want := destinations.Delivered
			if slices.Contains(bad, i) {
				want = destinations.Rejected
			}
			if o.Disposition != want {
				t.Errorf("%s: item %d is %s (%v), want %s", name, i, o.Disposition, o.Fault, want)
			}
			if want == destinations.Delivered {
				b.mustHold(sample, records[i])
			} else if b.held(sample, records[i][sample.Identifier]) != nil {
				t.Errorf("%s: item %d was rejected and is there", name, i)
			}
		}
	}
}

// testAbsent removes what is not there: delivered.
func testAbsent(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	if !slices.Contains(b.object(sample.Object).Modes, tidegate.Mirror) {
		t.Skip("the object has no mode mirror")
	}
	records := sample.records(0, min(3, b.object(sample.Object).Limit.Records))
	b.mustDeliver(sample.batch(tidegate.Removed, tidegate.Mirror, 1, records...))
	out := b.mustDeliver(sample.batch(tidegate.Added, tidegate.Mirror, 2, records...))
	gone := sample.batch(tidegate.Removed, tidegate.Mirror, 3, records...)
	for i := range gone.Items { // by the destination's own ids, twice
		gone.Items[i].DestinationID = out[i].DestinationID
	}
	b.mustDeliver(gone)
	b.mustDeliver(gone)
	if n := len(b.sim.Records(sample.Object)); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// testLimits fills a batch to the limit, and beyond it.
func testLimits(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	limit := b.object(sample.Object).Limit.Records
	if limit > 1000 {
		t.Skipf("a batch of %d records is too long for this test", limit)
	}
	calls, carried := b.sim.Calls()
	out, err := b.write(t.Context(), sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.records(0, limit)...))
	if err != nil || len(out) != limit {
		t.Fatalf("a full batch of %d: %v", limit, err)
	}
	afterCalls, afterCarried := b.sim.Calls()
	if afterCarried-carried != int64(limit) || afterCalls-calls != 1 {
		t.Errorf("%d records went in %d calls, want %d in one", afterCarried-carried, afterCalls-calls, limit)
	}
	_, err = b.write(t.Context(), sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.records(0, limit+1)...))
	if err == nil || faultOf(t, err).Action != tidegate.Reject {
		t.Errorf("a batch above the limit: %v, want a Reject", err)
	}
	if now, _ := b.sim.Calls(); now != afterCalls {
		t.Error("a batch above the limit reached the API")
	}
}

// testUnchanged looks whether Write leaves its batch alone.
func testUnchanged(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	n := min(3, b.object(sample.Object).Limit.Records)
	for _, op := range []tidegate.Op{tidegate.Added, tidegate.Changed, tidegate.Removed} {
		mode := tidegate.Upsert
		if op == tidegate.Removed {
			mode = tidegate.Mirror
		}
		given, kept := sample.batch(op, mode, 1, sample.records(0, n)...), sample.batch(op, mode, 1, sample.records(0, n)...)
		if _, err := b.write(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(kept, given); diff != "" {
			t.Errorf("Write changed the batch of %s:\n%s", op, diff)
		}
	}
}

// testConcurrent writes as many batches at once as the object allows.
func testConcurrent(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	limit := b.object(sample.Object).Limit
	workers := min(limit.Concurrency, 8)
	n := min(limit.Records, 10)
	b.proxy.arm(-1, nil)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			batch := sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.records(w*n, n)...)
			out, err := b.dest.Write(t.Context(), batch)
			if err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
			for i, o := range b.await(batch, out) {
				if o.Disposition != destinations.Delivered {
					t.Errorf("writer %d, item %d: %s %v", w, i, o.Disposition, o.Fault)
				}
			}
		})
	}
	wg.Wait()
	if _, _, peak := b.proxy.tally(); peak > workers {
		t.Errorf("%d calls at once by %d writers", peak, workers)
	}
	for i := range workers * n {
		b.mustHold(sample, sample.Record(i))
	}
}

// testReader reads back what was written.
func testReader(t *testing.T, s Suite, sample Sample) {
	t.Helper()
	b := start(t, s)
	reader, ok := b.dest.(destinations.Reader)
	if !ok {
		t.Skip("the connector reads nothing back")
	}
	records := sample.records(0, 3)
	b.mustDeliver(sample.batch(tidegate.Added, tidegate.Upsert, 1, records[0], records[2]))
	var ids []any
	for _, r := range records {
		ids = append(ids, r[sample.Identifier])
	}
	fields := slices.Sorted(maps.Keys(records[0]))
	got, err := reader.Read(t.Context(), sample.Object, sample.Identifier, ids, fields)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	if got[1] != nil {
		t.Errorf("a record that is not there was read: %v", got[1])
	}
	for _, i := range []int{0, 2} {
		for _, f := range fields {
			if want, have := fmt.Sprint(sample.stored(f, records[i][f])), fmt.Sprint(got[i][f]); want != have {
				t.Errorf("record %d: %s is %q, want %q", i, f, have, want)
			}
		}
	}
}
