package loader

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// fingerprint stands for (source, message id). It is 128 bits of SHA-256, so that
// nobody can choose a message id that hides another one's event.
type fingerprint struct{ hi, lo int64 }

func fingerprintOf(buf []byte, source, id string) (fingerprint, []byte) {
	buf = append(append(append(buf[:0], source...), 0), id...)
	sum := sha256.Sum256(buf)
	return fingerprint{int64(binary.LittleEndian.Uint64(sum[:8])), int64(binary.LittleEndian.Uint64(sum[8:16]))}, buf
}

// filter answers "certainly never loaded" or "perhaps loaded" for a fingerprint,
// without a look into the warehouse. It is a row of Bloom filters, each twice as
// large as the one before, 12 bits and 8 probes for each entry: about one in 300 new
// ids needs a look.
//
// Nil means that every answer is "perhaps".
type filter struct {
	layers []bloom
	count  int
	max    int
}

type bloom struct {
	bits     []uint64
	room     int
	sizeMask uint64
}

const firstLayer = 1 << 17 // entries

func newBloom(room int) bloom {
	words := 1
	for words*64 < room*12 {
		words *= 2
	}
	return bloom{bits: make([]uint64, words), room: words * 64 / 12, sizeMask: uint64(words*64 - 1)}
}

func (b *bloom) probe(f fingerprint, set bool) bool {
	at, step := uint64(f.hi), uint64(f.lo)|1
	found := true
	for range 8 {
		word, bit := (at&b.sizeMask)>>6, uint64(1)<<(at&63)
		if b.bits[word]&bit == 0 {
			found = false
			if !set {
				return false
			}
			b.bits[word] |= bit
		}
		at += step
	}
	return found
}

func (f *filter) perhaps(p fingerprint) bool {
	if f == nil {
		return true
	}
	for i := range f.layers {
		if f.layers[i].probe(p, false) {
			return true
		}
	}
	return false
}

// add returns the filter with p in it, nil when it would become too large.
func (f *filter) add(p fingerprint) *filter {
	if f == nil || f.count >= f.max {
		return nil
	}
	if n := len(f.layers); n == 0 || f.layers[n-1].room == 0 {
		f.layers = append(f.layers, newBloom(firstLayer<<min(n, 30)))
	}
	last := &f.layers[len(f.layers)-1]
	last.probe(p, true)
	last.room--
	f.count++
	return f
}

func seenSchema() tidegate.Schema {
	return tidegate.Schema{{Name: "hi", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: "lo", Type: tidegate.Type{Kind: tidegate.Int}}}
}

// buildFilter reads all fingerprints, unless the filter that is there holds them
// already: after a recovery it may hold more than the warehouse, which is harmless.
func (l *Loader) buildFilter(ctx context.Context) error {
	count, err := l.queryInt(ctx, "SELECT count(*) FROM "+l.table(l.own(seenName)))
	if err != nil {
		return fmt.Errorf("counting the message ids: %w", err)
	}
	if l.filter != nil && int64(l.inFilter) >= count {
		return nil
	}
	l.filter = nil
	if count >= int64(l.opts.MaxFilter) {
		return nil
	}
	f := &filter{max: l.opts.MaxFilter}
	for room := firstLayer; room < int(count); room *= 2 {
		// One large layer instead of many small ones.
		f.layers = []bloom{newBloom(room * 2)}
	}
	err = l.eachSeen(ctx, func(p fingerprint) { f = f.add(p) })
	if err != nil {
		return fmt.Errorf("reading the message ids: %w", err)
	}
	l.filter, l.inFilter = f, int(count)
	return nil
}

// eachSeen calls use for every fingerprint in the warehouse.
func (l *Loader) eachSeen(ctx context.Context, use func(fingerprint)) error {
	sql := "SELECT hi, lo FROM " + l.table(l.own(seenName))
	if q, ok := l.opts.Warehouse.(warehouse.ArrowQuerier); ok {
		rdr, done, err := q.QueryArrow(ctx, string(sql))
		if err != nil {
			return err
		}
		for rdr.Next() {
			hi, ok1 := rdr.RecordBatch().Column(0).(*array.Int64)
			lo, ok2 := rdr.RecordBatch().Column(1).(*array.Int64)
			if !ok1 || !ok2 {
				err = errors.New("the columns are no integers")
				break
			}
			for i := range hi.Len() {
				use(fingerprint{hi.Value(i), lo.Value(i)})
			}
		}
		err = errors.Join(err, rdr.Err())
		rdr.Release()
		return errors.Join(err, done())
	}
	return warehouse.Each(ctx, l.opts.Warehouse, string(sql), nil, func(row tidegate.Row) error {
		use(fingerprint{asInt(row[0]), asInt(row[1])})
		return nil
	})
}

// known returns those of the fingerprints that were loaded before.
func (l *Loader) known(ctx context.Context, asked []fingerprint) (map[fingerprint]bool, error) {
	found := make(map[fingerprint]bool)
	const atOnce = 1000
	for len(asked) > 0 {
		part := asked[:min(atOnce, len(asked))]
		asked = asked[len(part):]
		marks := make([]sqltext.Text, len(part))
		args := make([]any, len(part))
		for i, p := range part {
			marks[i], args[i] = l.dialect.Placeholder(i+1), p.hi
		}
		sql := "SELECT hi, lo FROM " + l.table(l.own(seenName)) + " WHERE hi IN (" + sqltext.Join(marks, ", ") + ")"
		err := warehouse.Each(ctx, l.opts.Warehouse, string(sql), args, func(row tidegate.Row) error {
			found[fingerprint{asInt(row[0]), asInt(row[1])}] = true
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("looking message ids up: %w", err)
		}
	}
	return found, nil
}

func (l *Loader) queryInt(ctx context.Context, sql sqltext.Text) (n int64, err error) {
	err = warehouse.Each(ctx, l.opts.Warehouse, string(sql), nil, func(row tidegate.Row) error {
		n = asInt(row[0])
		return nil
	})
	return n, err
}

func asInt(v any) int64 {
	n, _ := v.(int64)
	return n
}

// table quotes one of the loader's own table names, which every dialect takes.
func (l *Loader) table(t warehouse.Table) sqltext.Text {
	quoted, err := l.dialect.Table(t.Schema, t.Name)
	if err != nil {
		// Names of events' tables are made of [a-z0-9_] by package shape.
		panic(fmt.Sprintf("quoting table %s: %v", t, err))
	}
	return quoted
}
