package ledger

import (
	"context"
	"errors"
	"io"
	"sync"
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
	batchBytes = 4 << 20
	// batchesAhead is how many batches wait to be stored while the next is made: about as many as the engine
	// compresses at a time, a group of 122,880 rows, and takes none meanwhile.
	batchesAhead = 15
	// pagedRows and pagedBytes end a page: rows that are mapped before they are counted and put into a batch.
	pagedRows  = 512
	pagedBytes = 4 << 20
)

// planBatches is a plan as record batches. One goroutine reads and maps rows, another
// counts them and builds batches, while the engine stores the batch before; close waits for their end.
type planBatches struct {
	schema  *arrow.Schema
	cancel  context.CancelCauseFunc
	mapped  chan rowPage
	spare   chan []planRow // pages whose rows are in a batch
	made    chan arrow.RecordBatch
	ended   chan struct{}
	failed  error // of the goroutines; read after ended
	current arrow.RecordBatch
	refs    atomic.Int64
}

// errStopped is why the goroutines end when the engine wants no more batches.
var errStopped = errors.New("the engine takes no more of the plan")

// rowPage is rows of a plan and why there are no more, if there are none.
type rowPage struct {
	rows []planRow
	err  error
}

func newPlanBatches(ctx context.Context, w *planWriter, next func(ctx context.Context, into *planRow) error) *planBatches {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &planBatches{
		schema: arrowSchema(planSchema()), cancel: cancel, ended: make(chan struct{}),
		mapped: make(chan rowPage, 1), spare: make(chan []planRow, 3), made: make(chan arrow.RecordBatch, batchesAhead),
	}
	p.refs.Store(1)
	var both sync.WaitGroup
	both.Go(func() { p.read(ctx, next) })
	both.Go(func() {
		defer close(p.made)
		p.failed = p.build(ctx, w)
	})
	go func() {
		defer close(p.ended)
		both.Wait()
	}()
	return p
}

// read maps rows page by page until next or ctx ends. Its last page says which error that was.
func (p *planBatches) read(ctx context.Context, next func(ctx context.Context, into *planRow) error) {
	defer close(p.mapped)
	for {
		var page rowPage
		select {
		case page.rows = <-p.spare:
		default:
			page.rows = make([]planRow, 0, pagedRows)
		}
		page.rows = page.rows[:0]
		for size := 0; page.err == nil && len(page.rows) < pagedRows && size < pagedBytes; {
			var r planRow
			if page.err = next(ctx, &r); page.err == nil {
				page.rows = append(page.rows, r)
				size += r.size()
			}
		}
		if cause := context.Cause(ctx); errors.Is(cause, errStopped) {
			page.err = cause // whatever the reading made of it
		}
		select {
		case p.mapped <- page:
		case <-ctx.Done():
			return
		}
		if page.err != nil {
			return
		}
	}
}

// build makes batches of what read mapped.
func (p *planBatches) build(ctx context.Context, w *planWriter) error {
	b := array.NewRecordBuilder(memory.DefaultAllocator, p.schema)
	defer b.Release()
	a := appenderOf(b)
	size, rows := 0, 0
	for page := range p.mapped {
		for i := range page.rows {
			r := &page.rows[i]
			w.count(r)
			a.add(r, w.ordinal(r))
			rows++
			size += r.size()
			if rows < batchRows && size < batchBytes {
				continue
			}
			if err := p.hand(ctx, b.NewRecordBatch()); err != nil {
				return err
			}
			size, rows = 0, 0
		}
		switch {
		case errors.Is(page.err, io.EOF):
			if rows == 0 {
				return nil
			}
			return p.hand(ctx, b.NewRecordBatch())
		case page.err != nil:
			return page.err
		}
		select {
		case p.spare <- page.rows:
		default:
		}
	}
	return context.Cause(ctx) // read gave up
}

// hand passes a batch on to the engine.
func (p *planBatches) hand(ctx context.Context, batch arrow.RecordBatch) error {
	select {
	case p.made <- batch:
		return nil
	case <-ctx.Done():
		batch.Release()
		return context.Cause(ctx)
	}
}

// size is about how many bytes r takes.
func (r *planRow) size() int { return len(r.before) + len(r.after) + len(r.key) + 200 }

// close ends the goroutines, waits for them and returns their error: an engine that
// stopped reading early has one of its own.
func (p *planBatches) close() error {
	p.cancel(errStopped)
	for batch := range p.made {
		batch.Release()
	}
	<-p.ended
	p.drop()
	if errors.Is(p.failed, errStopped) {
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
