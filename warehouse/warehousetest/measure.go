package warehousetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// Measured is an adapter under measurement, beside the fastest way that its engine has.
type Measured struct {
	Open func(tb testing.TB) warehouse.Warehouse
	// Bulk says how the engine itself takes rows at its fastest, and does it: prepare is called
	// once for a shape of rows, load is measured and fills the table, which is there with their columns.
	Bulk func(tb testing.TB, w warehouse.Warehouse, rows func() tidegate.RowReader) (load func(table warehouse.Table))
	// Read reads a table by the plain driver into Go values and returns how many rows there were.
	// nil: reads are not measured.
	Read func(tb testing.TB, w warehouse.Warehouse, table warehouse.Table, columns int) (read func() int)
	// The two by name, without spaces: COPY, pgx.
	BulkName, ReadName string
}

// shapes of rows: an event table's own columns, and one with many properties.
const (
	narrowColumns = 13
	wideColumns   = 60
)

// Measure runs the benchmarks that every adapter has. Ours and the engine's own take turns,
// so that what else the machine does meets both; a metric is the median of its turns. MB are
// those of the rows as NDJSON.
func Measure(b *testing.B, m Measured) {
	b.Helper()
	for _, columns := range []int{narrowColumns, wideColumns} {
		for _, n := range []int{10_000, 100_000} {
			b.Run(fmt.Sprintf("load/columns=%d/rows=%d", columns, n), func(b *testing.B) { m.measureLoad(b, columns, n) })
		}
		if m.Read == nil {
			continue
		}
		b.Run(fmt.Sprintf("read/columns=%d/rows=100000", columns), func(b *testing.B) { m.measureRead(b, columns, 100_000) })
	}
}

func (m Measured) measureLoad(b *testing.B, columns, n int) {
	b.Helper()
	w := m.Open(b)
	defer closed(b, w)
	source := newRowSource(columns)
	own := m.Bulk(b, w, func() tidegate.RowReader { return source.reader(n) })
	var ours, theirs []spent
	for i := range b.N {
		tables := [2]warehouse.Table{{Schema: "bench", Name: fmt.Sprint("ours", i)}, {Schema: "bench", Name: fmt.Sprint("own", i)}}
		for _, table := range tables {
			if _, err := w.Ensure(b.Context(), table, source.schema); err != nil {
				b.Fatal(err)
			}
		}
		ours = append(ours, timed(b, func() {
			got, err := w.Load(b.Context(), warehouse.Load{ID: "bench", Table: tables[0]}, source.reader(n))
			if err != nil || got != int64(n) {
				b.Fatal(got, err)
			}
		}))
		theirs = append(theirs, timed(b, func() { own(tables[1]) }))
	}
	report(b, n, source.size(n), ours, theirs, m.BulkName)
}

func (m Measured) measureRead(b *testing.B, columns, n int) {
	b.Helper()
	w := m.Open(b)
	defer closed(b, w)
	source := newRowSource(columns)
	table := warehouse.Table{Schema: "bench", Name: "read"}
	if _, err := w.Ensure(b.Context(), table, source.schema); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Load(b.Context(), warehouse.Load{ID: "bench", Table: table}, source.reader(n)); err != nil {
		b.Fatal(err)
	}
	own := m.Read(b, w, table, columns)
	var ours, theirs []spent
	for range b.N {
		ours = append(ours, timed(b, func() {
			if got := drain(b, w, "SELECT * FROM bench.read", 0, nil); got != n {
				b.Fatal(got)
			}
		}))
		theirs = append(theirs, timed(b, func() {
			if got := own(); got != n {
				b.Fatal(got)
			}
		}))
	}
	report(b, n, source.size(n), ours, theirs, m.ReadName)
}

// spent is what something took, in seconds: by the clock, and of processors in this process.
type spent struct{ clock, processor float64 }

func timed(b *testing.B, do func()) spent {
	b.Helper()
	runtime.GC() // each begins with a heap of its own
	begin, before := b.Elapsed(), processorTime()
	do()
	return spent{(b.Elapsed() - begin).Seconds(), (processorTime() - before).Seconds()}
}

func report(b *testing.B, n, size int, ours, theirs []spent, name string) {
	b.Helper()
	middle := func(all []spent, of func(spent) float64) float64 {
		v := make([]float64, len(all))
		for i, s := range all {
			v[i] = of(s)
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	clock, processor := func(s spent) float64 { return s.clock }, func(s spent) float64 { return s.processor * 1e6 / float64(n) }
	a, o := middle(ours, clock), middle(theirs, clock)
	b.ReportMetric(0, "ns/op") // of both, so of nothing
	b.ReportMetric(float64(n)/a, "rows/s")
	b.ReportMetric(float64(size)/1e6/a, "MB/s")
	b.ReportMetric(float64(n)/o, name+"-rows/s")
	b.ReportMetric(o/a, "ratio")
	b.ReportMetric(middle(ours, processor), "CPU-µs/row")
	b.ReportMetric(middle(theirs, processor), name+"-CPU-µs/row")
	b.ReportMetric(peak(), "peak-MiB")
}

// peak is the most memory that the process ever had, in MiB, where the system tells (Linux).
func peak() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return kib / 1024
}

// drain reads a query to its end and returns how many rows there were; look is called
// every so many rows, or never.
func drain(tb testing.TB, w warehouse.Warehouse, sql string, every int, look func()) int {
	tb.Helper()
	r, err := w.Query(tb.Context(), sql)
	if err != nil {
		tb.Fatal(err)
	}
	defer closed(tb, r)
	for n := 0; ; n++ {
		if _, err := r.Next(tb.Context()); errors.Is(err, io.EOF) {
			return n
		} else if err != nil {
			tb.Fatal(err)
		}
		if every > 0 && n%every == every-1 {
			look()
		}
	}
}

// rowSource gives rows without making them: a thousand that differ, over and over, each
// with an id of its own.
type rowSource struct {
	schema tidegate.Schema
	rows   []tidegate.Row
	bytes  int // of the rows as NDJSON
}

func newRowSource(columns int) *rowSource {
	s := &rowSource{schema: tidegate.Schema{{Name: "id", Type: typ(tidegate.Int)}, {Name: "message_id", Type: typ(tidegate.String)}}}
	kinds := []tidegate.Kind{tidegate.String, tidegate.Timestamp, tidegate.String, tidegate.Float, tidegate.String, tidegate.Int, tidegate.Bool, tidegate.String}
	for i := 2; i < columns; i++ {
		s.schema = append(s.schema, tidegate.Column{Name: fmt.Sprint("c", i), Type: typ(kinds[i%len(kinds)])})
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1000 {
		row := make(tidegate.Row, columns)
		named := map[string]any{"id": i}
		for c, col := range s.schema {
			switch {
			case c > 10 && (i+c)%4 == 0: // properties that an event lacks
				continue
			case c == 1:
				row[c] = fmt.Sprintf("ajs-next-17952296%05d-b812cc77-%04d", i, c)
			case col.Type.Kind == tidegate.Int:
				row[c] = int64(i * c)
			case col.Type.Kind == tidegate.Float:
				row[c] = float64(i) + 0.25
			case col.Type.Kind == tidegate.Timestamp:
				row[c] = at.Add(time.Duration(i*c) * time.Second)
			case col.Type.Kind == tidegate.Bool:
				row[c] = (i+c)%3 == 0
			default:
				row[c] = fmt.Sprintf("value %d of column %d", i, c)
			}
			named[col.Name] = row[c]
		}
		line, _ := json.Marshal(named) // plain values always can be
		s.bytes += len(line) + 1
		s.rows = append(s.rows, row)
	}
	return s
}

// size is about how many bytes n rows are as NDJSON.
func (s *rowSource) size(n int) int { return s.bytes / len(s.rows) * n }

func (s *rowSource) reader(n int) *sourceReader { return &sourceReader{rowSource: s, n: n} }

type sourceReader struct {
	*rowSource
	at, n int
	row   tidegate.Row
	every int // look is called every so many rows, or never
	look  func()
}

func (r *sourceReader) Schema() tidegate.Schema { return r.schema }
func (r *sourceReader) Close() error            { return nil }

func (r *sourceReader) Next(context.Context) (tidegate.Row, error) {
	if r.at == r.n {
		return nil, io.EOF
	}
	if r.every > 0 && r.at%r.every == r.every-1 {
		r.look()
	}
	r.row = append(r.row[:0], r.rows[r.at%len(r.rows)]...)
	r.row[0] = int64(r.at)
	r.at++
	return r.row, nil
}

func closed(tb testing.TB, c io.Closer) {
	tb.Helper()
	if err := c.Close(); err != nil {
		tb.Errorf("closing: %v", err)
	}
}

// WriteNDJSON writes rows as newline-delimited JSON, for engines that read files.
func WriteNDJSON(tb testing.TB, path string, rows tidegate.RowReader) {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer closed(tb, f)
	names := rows.Schema().Names()
	for {
		row, err := rows.Next(tb.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			tb.Fatal(err)
		}
		named := make(map[string]any, len(row))
		for i, v := range row {
			if v != nil {
				named[names[i]] = v
			}
		}
		line, err := json.Marshal(named)
		if err == nil {
			_, err = f.Write(append(line, '\n'))
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}
