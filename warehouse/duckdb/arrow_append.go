//go:build duckdb_arrow

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.ArrowTx = (*tx)(nil)

// AppendArrow implements warehouse.ArrowTx: the engine reads the batches where they are,
// casts what has another type than its column, and writes it into the table.
func (t *tx) AppendArrow(ctx context.Context, table warehouse.Table, rdr array.RecordReader) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	n, err := t.appendArrow(ctx, table, rdr)
	if err != nil {
		return 0, t.Fail(fmt.Errorf("appending record batches to %s: %w", table, err))
	}
	return n, nil
}

func (t *tx) appendArrow(ctx context.Context, table warehouse.Table, rdr array.RecordReader) (int64, error) {
	in, err := t.insertInto(ctx, table, rdr.Schema())
	if err != nil {
		return 0, err
	}
	var n int64
	for rdr.Next() {
		wrote, err := in.batch(ctx, rdr.RecordBatch())
		if err != nil {
			return 0, err
		}
		n += wrote
	}
	if err := rdr.Err(); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading a batch: %w", err)
	}
	return n, nil
}

// insert is a compiled INSERT of batches of one schema into one table.
type insert struct {
	s         *session
	of        *arrow.Schema
	converted bindings.ArrowConvertedSchema
	ready     handover
	st        *stmt
}

func (in *insert) close() {
	if in.st != nil {
		in.st.close()
	}
	in.ready.destroyTypes()
	bindings.DestroyArrowConvertedSchema(&in.converted)
}

// insertInto compiles the INSERT, unless the transaction has one from before.
func (t *tx) insertInto(ctx context.Context, table warehouse.Table, schema *arrow.Schema) (*insert, error) {
	if in, ok := t.inserts[table].(*insert); ok {
		if in.of.Equal(schema) {
			return in, nil
		}
		in.close()
		delete(t.inserts, table)
	}
	have, err := t.s.describe(ctx, t.w.dialect, table)
	if err != nil {
		return nil, err
	}
	names := make(tidegate.Schema, schema.NumFields())
	for i, f := range schema.Fields() {
		names[i].Name = f.Name
	}
	p, err := planLoad(t.w.dialect, warehouse.Load{Table: table}, have, names)
	if err != nil {
		return nil, err
	}
	in := &insert{s: t.s, of: schema}
	if err := in.compile(ctx, p); err != nil {
		in.close()
		return nil, err
	}
	if t.inserts == nil {
		t.inserts = make(map[warehouse.Table]interface{ close() })
	}
	t.inserts[table] = in
	return in, nil
}

func (in *insert) compile(ctx context.Context, p *loadPlan) error {
	var data bindings.ErrorData
	in.converted, data = bindings.SchemaFromArrow(in.s.raw, in.of)
	if err := arrowError(data); err != nil {
		return err
	}
	for i, f := range in.of.Fields() {
		typ, ok := typeOf(f.Type, p.columns[i])
		if !ok {
			return sqltext.ColumnFault(f.Name, "record batches of type "+f.Type.String()+" cannot be loaded", "convert the column to text")
		}
		in.ready.names, in.ready.types = append(in.ready.names, f.Name), append(in.ready.types, typ)
	}
	// In order, rows go into the table one after the other and once; in any order, several
	// threads gather them first and they are copied again.
	in.s.dirty = true
	if err := in.s.control(ctx, "SET SESSION preserve_insertion_order = true"); err != nil {
		return err
	}
	defer in.s.offer(&in.ready)() // compiling asks for the columns
	var err error
	in.st, err = in.s.prepare(ctx, string("INSERT INTO "+p.table+" ("+sqltext.Join(p.quoted, ", ")+") SELECT * FROM "+rowsFunction+"()"))
	return err
}

// maxOffer bounds the rows of one statement: each cell of text takes 16 bytes more
// while they wait for it.
const maxOffer = 1 << 15

func (in *insert) batch(ctx context.Context, batch arrow.RecordBatch) (int64, error) {
	var n int64
	for from := int64(0); from < batch.NumRows(); from += maxOffer {
		piece := batch.NewSlice(from, min(from+maxOffer, batch.NumRows()))
		wrote, err := in.piece(ctx, piece)
		piece.Release()
		if err != nil {
			return 0, err
		}
		n += wrote
	}
	return n, nil
}

func (in *insert) piece(ctx context.Context, piece arrow.RecordBatch) (int64, error) {
	defer in.ready.destroyChunks()
	size := int64(bindings.VectorSize())
	for from := int64(0); from < piece.NumRows(); from += size {
		part := piece.NewSlice(from, min(from+size, piece.NumRows()))
		chunk, data := bindings.DataChunkFromArrow(in.s.raw, part, in.converted)
		err := arrowError(data)
		part.Release()
		if err != nil {
			return 0, err
		}
		in.ready.chunks = append(in.ready.chunks, chunk)
	}
	defer in.s.offer(&in.ready)()
	res, err := in.st.run(ctx, false, nil)
	if err != nil {
		return 0, err
	}
	defer bindings.DestroyResult(&res)
	wrote := int64(bindings.RowsChanged(&res))
	if wrote != piece.NumRows() {
		return 0, fmt.Errorf("the engine wrote %d rows of %d", wrote, piece.NumRows())
	}
	return wrote, nil
}

// typeOf is the engine's type of a column of batches on its way into to.
func typeOf(from arrow.DataType, to *column) (bindings.LogicalType, bool) {
	switch from := from.(type) {
	case *arrow.TimestampType:
		if from.Unit != arrow.Microsecond {
			return bindings.LogicalType{}, false
		}
		if from.TimeZone != "" {
			return bindings.CreateLogicalType(bindings.TypeTimestampTZ), true
		}
		return bindings.CreateLogicalType(bindings.TypeTimestamp), true
	case *arrow.Decimal128Type:
		if from.Scale < 0 || from.Precision > 38 {
			return bindings.LogicalType{}, false
		}
		return bindings.CreateDecimalType(uint8(from.Precision), uint8(from.Scale)), true
	}
	id, ok := arrowTypes[from.ID()]
	if !ok {
		return bindings.LogicalType{}, false
	}
	typ := bindings.CreateLogicalType(id)
	if id == bindings.TypeVarchar && to.json { // the caller's word is taken that it is JSON
		bindings.LogicalTypeSetAlias(typ, "JSON")
	}
	return typ, true
}

var arrowTypes = map[arrow.Type]bindings.Type{
	arrow.BOOL: bindings.TypeBoolean,
	arrow.INT8: bindings.TypeTinyInt, arrow.INT16: bindings.TypeSmallInt, arrow.INT32: bindings.TypeInteger, arrow.INT64: bindings.TypeBigInt,
	arrow.UINT8: bindings.TypeUTinyInt, arrow.UINT16: bindings.TypeUSmallInt, arrow.UINT32: bindings.TypeUInteger, arrow.UINT64: bindings.TypeUBigInt,
	arrow.FLOAT32: bindings.TypeFloat, arrow.FLOAT64: bindings.TypeDouble,
	arrow.STRING: bindings.TypeVarchar, arrow.LARGE_STRING: bindings.TypeVarchar, arrow.STRING_VIEW: bindings.TypeVarchar,
	arrow.BINARY: bindings.TypeBlob, arrow.LARGE_BINARY: bindings.TypeBlob,
	arrow.DATE32: bindings.TypeDate,
}
