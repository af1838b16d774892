package loader

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidegate/tidegate/warehouse"
)

// writeRows writes everything of ld inside tx but the cursor.
func (l *Loader) writeRows(ctx context.Context, tx warehouse.Tx, ld *load) error {
	for _, r := range ld.sheetsOut {
		if err := l.writeRecord(ctx, tx, ld.once, r); err != nil {
			return err
		}
	}
	for t, u := range ld.users {
		if err := l.mergeUsers(ctx, tx, ld.once, u); err != nil {
			return fmt.Errorf("merging into %s: %w", t.Name, err)
		}
	}
	if len(ld.prints) > 0 {
		if err := l.writeRecord(ctx, tx, ld.once, rows{l.own(seenName), printsRecord(ld.prints), seenSchema()}); err != nil {
			return err
		}
	}
	if err := l.history().RecordCollisions(ctx, tx, ld.once, ld.at, ld.met); err != nil {
		return err
	}
	if err := l.writeHourly(ctx, tx, ld); err != nil {
		return err
	}
	return l.count(ctx, tx, ld.once, ld.perSource(), ld.at)
}

func printsRecord(prints []fingerprint) arrow.RecordBatch {
	hi, lo := array.NewInt64Builder(memory.DefaultAllocator), array.NewInt64Builder(memory.DefaultAllocator)
	hi.Reserve(len(prints))
	lo.Reserve(len(prints))
	for _, p := range prints {
		hi.Append(p.hi)
		lo.Append(p.lo)
	}
	h, w := hi.NewArray(), lo.NewArray()
	defer h.Release()
	defer w.Release()
	fields := []arrow.Field{{Name: "hi", Type: h.DataType()}, {Name: "lo", Type: w.DataType()}}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), []arrow.Array{h, w}, int64(len(prints)))
}

// writeRecord appends the rows of record to a table: as a whole where the engine
// scans Arrow, otherwise row by row.
func (l *Loader) writeRecord(ctx context.Context, tx warehouse.Tx, id string, r rows) error {
	table, record, schema := r.table, r.record, r.schema
	rdr, err := array.NewRecordReader(record.Schema(), []arrow.RecordBatch{record})
	if err != nil {
		return fmt.Errorf("reading rows for %s: %w", table, err)
	}
	defer rdr.Release()
	if at, ok := tx.(warehouse.ArrowTx); ok {
		_, err = at.AppendArrow(ctx, table, rdr)
	} else {
		_, err = tx.Load(ctx, warehouse.Load{ID: id, Table: table}, &recordRows{record: record, schema: schema})
	}
	if err != nil {
		return fmt.Errorf("loading rows into %s: %w", table, err)
	}
	return nil
}
