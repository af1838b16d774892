package ledger

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidegate/tidegate"
)

const (
	// batchRows and batchBytes end a record batch of a plan.
	batchRows  = 8192
	batchBytes = 16 << 20
	// batchesAhead is how many batches wait to be stored while the next is mapped.
	batchesAhead = 2
)

// planBatches is a plan as record batches. A goroutine reads, maps and builds
// them while the engine stores the one before; close waits for its end.
type planBatches struct {
	schema  *arrow.Schema
	cancel  context.CancelFunc
	made    chan arrow.RecordBatch
	ended   chan struct{}
	failed  error // of the goroutine; read after ended
	current arrow.RecordBatch
	refs    atomic.Int64
}

func newPlanBatches(ctx context.Context, w *planWriter, next func(ctx context.Context, into *planRow) error) *planBatches {
	ctx, cancel := context.WithCancel(ctx)
	p := &planBatches{schema: arrowSchema(planSchema()), cancel: cancel, made: make(chan arrow.RecordBatch, batchesAhead), ended: make(chan struct{})}
	p.refs.Store(1)
	go func() {
		defer close(p.ended)
		defer close(p.made)
		p.failed = p.run(ctx, w, next)
	}()
	return p
}

// run builds batches until next or ctx ends.
func (p *planBatches) run(ctx context.Context, w *planWriter, next func(ctx context.Context, into *planRow) error) error {
	b := array.NewRecordBuilder(memory.DefaultAllocator, p.schema)
	defer b.Release()
	a := appenderOf(b)
	for {
		size, rows := 0, 0
		var err error
		for ; rows < batchRows && size < batchBytes; rows++ {
			var r planRow
			if err = next(ctx, &r); err != nil {
				break
			}
			a.add(&r, w.ordinal(&r))
			size += len(r.before) + len(r.after) + len(r.key) + 200
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if rows > 0 {
			select {
			case p.made <- b.NewRecordBatch():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return nil
		}
	}
}

// close ends the goroutine, waits for it and returns its error: an engine that
// stopped reading early has one of its own.
func (p *planBatches) close() error {
	p.cancel()
	for batch := range p.made {
		batch.Release()
	}
	<-p.ended
	p.drop()
	if errors.Is(p.failed, context.Canceled) {
		return nil
	}
	return p.failed
}

func (p *planBatches) drop() {
	if p.current != nil {
		p.current.Release()
		p.current = nil
	}
}

// Next implements array.RecordReader.
func (p *planBatches) Next() bool {
	p.drop()
	batch, ok := <-p.made
	if ok {
		p.current = batch
	}
	return ok
}

// Err implements array.RecordReader; it is asked for after Next returned false.
func (p *planBatches) Err() error {
	select {
	case <-p.ended:
		return p.failed
	default:
		return nil
	}
}

// Schema implements array.RecordReader.
func (p *planBatches) Schema() *arrow.Schema { return p.schema }

// RecordBatch implements array.RecordReader.
func (p *planBatches) RecordBatch() arrow.RecordBatch { return p.current }

// Record is RecordBatch by its old name.
func (p *planBatches) Record() arrow.RecordBatch { return p.current }

// Retain implements array.RecordReader.
func (p *planBatches) Retain() { p.refs.Add(1) }

// Release implements array.RecordReader; close does the work.
func (p *planBatches) Release() { p.refs.Add(-1) }

func arrowSchema(s tidegate.Schema) *arrow.Schema {
	fields := make([]arrow.Field, len(s))
	for i, c := range s {
		var typ arrow.DataType = arrow.BinaryTypes.String
		switch c.Type.Kind {
		case tidegate.Int:
			typ = arrow.PrimitiveTypes.Int64
		case tidegate.Bool:
			typ = arrow.FixedWidthTypes.Boolean
		case tidegate.Timestamp:
			typ = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
		default:
		}
		fields[i] = arrow.Field{Name: c.Name, Type: typ, Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}

// planAppender writes rows of __plan in the order of planSchema.
type planAppender struct {
	b  *array.RecordBuilder
	at int
}

func appenderOf(b *array.RecordBuilder) *planAppender { return &planAppender{b: b} }

func (a *planAppender) field() array.Builder {
	f := a.b.Field(a.at)
	a.at++
	return f
}

func (a *planAppender) int(v int64)   { a.field().(*array.Int64Builder).Append(v) }
func (a *planAppender) bool(v bool)   { a.field().(*array.BooleanBuilder).Append(v) }
func (a *planAppender) null()         { a.field().AppendNull() }
func (a *planAppender) must(v string) { a.field().(*array.StringBuilder).Append(v) }

func (a *planAppender) text(v string) {
	if v == "" {
		a.null()
		return
	}
	a.must(v)
}

func (a *planAppender) time(v time.Time) {
	if v.IsZero() {
		a.null()
		return
	}
	a.field().(*array.TimestampBuilder).Append(arrow.Timestamp(v.UnixMicro()))
}

func (a *planAppender) add(r *planRow, ordinal int64) {
	a.at = 0
	a.int(ordinal)
	a.must(r.op)
	a.int(r.hash)
	a.int(r.check)
	a.int(r.fingerprint)
	a.must(r.key)
	a.text(r.before)
	a.text(r.after)
	if r.afterHash == 0 {
		a.null()
	} else {
		a.int(r.afterHash)
	}
	a.text(r.identifier)
	a.text(r.destinationID)
	a.bool(r.known)
	a.int(r.attempts)
	a.time(r.firstFailed)
	a.text(r.idempotencyKey)
	a.bool(r.retry)
	if f := r.fault; f != nil {
		for _, v := range []string{f.Action.String(), f.Code, f.Subject, f.Message, f.Hint, f.Cluster()} {
			a.text(v)
		}
		return
	}
	for range faultColumns() {
		a.null()
	}
}
