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

// AppendArrow implements warehouse.ArrowTx. Where the columns of the batches
// have the types of the table's, the engine's chunks go straight into the table;
// otherwise by way of a temporary table and the engine's casts.
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
	have, err := t.s.describe(ctx, t.w.dialect, table)
	if err != nil {
		return 0, err
	}
	schema := make(tidegate.Schema, rdr.Schema().NumFields())
	for i, f := range rdr.Schema().Fields() {
		schema[i].Name = f.Name
	}
	p, err := planLoad(t.w.dialect, warehouse.Load{Table: table}, have, schema)
	if err != nil {
		return 0, err
	}
	for i, f := range rdr.Schema().Fields() {
		if !sameType(f.Type, p.columns[i]) {
			return t.castArrow(ctx, p, rdr)
		}
	}
	// In order, rows go into the table one after the other and once; in any order, several
	// threads gather them first and they are copied again.
	t.s.dirty = true
	if err := t.s.control(ctx, "SET SESSION preserve_insertion_order = true"); err != nil {
		return 0, err
	}
	return t.s.appendReader(ctx, target{schema: table.Schema, table: table.Name, columns: p.names}, rdr)
}

// sameType says whether a chunk made of type from goes into the column as it is. A
// JSON column is text by another name, and takes the caller's word that it is JSON.
func sameType(from arrow.DataType, to *column) bool {
	switch from := from.(type) {
	case *arrow.TimestampType:
		return from.Unit == arrow.Microsecond && (from.TimeZone != "" && to.id == bindings.TypeTimestampTZ ||
			from.TimeZone == "" && to.id == bindings.TypeTimestamp)
	case *arrow.Decimal128Type:
		return to.id == bindings.TypeDecimal && to.width == int(from.Precision) && to.scale == int(from.Scale)
	}
	same := map[arrow.Type]bindings.Type{
		arrow.BOOL: bindings.TypeBoolean, arrow.INT64: bindings.TypeBigInt, arrow.FLOAT64: bindings.TypeDouble,
		arrow.STRING: bindings.TypeVarchar, arrow.LARGE_STRING: bindings.TypeVarchar, arrow.STRING_VIEW: bindings.TypeVarchar,
		arrow.BINARY: bindings.TypeBlob, arrow.LARGE_BINARY: bindings.TypeBlob, arrow.DATE32: bindings.TypeDate,
	}
	id, ok := same[from.ID()]
	return ok && id == to.id
}

// appendReader feeds the batches of rdr into to, column by column in their order.
func (c *conn) appendReader(ctx context.Context, to target, rdr array.RecordReader) (int64, error) {
	converted, data := bindings.SchemaFromArrow(c.raw, rdr.Schema())
	defer bindings.DestroyArrowConvertedSchema(&converted)
	if err := arrowError(data); err != nil {
		return 0, err
	}
	a, err := newAppender(c, to, nil)
	if err != nil {
		return 0, err
	}
	var n int64
	for rdr.Next() {
		batch := rdr.RecordBatch()
		if err := a.appendBatch(ctx, batch, converted); err != nil {
			a.discard()
			return 0, err
		}
		n += batch.NumRows()
	}
	if err := rdr.Err(); err != nil && !errors.Is(err, io.EOF) {
		a.discard()
		return 0, fmt.Errorf("reading a batch: %w", err)
	}
	return n, a.close(ctx)
}

// castArrow brings batches into a table whose columns have other types: by way of a
// temporary table, so that the engine casts.
func (t *tx) castArrow(ctx context.Context, p *loadPlan, rdr array.RecordReader) (int64, error) {
	const staging = sqltext.Text(`temp.main."_tidegate_batches"`)
	defs, names, err := arrowColumns(t.w.dialect, rdr.Schema())
	if err != nil {
		return 0, err
	}
	if _, err := t.s.exec(ctx, string("CREATE TEMP TABLE _tidegate_batches ("+defs+")")); err != nil {
		return 0, fmt.Errorf("staging: %w", err)
	}
	n, err := t.s.appendReader(ctx, target{catalog: "temp", schema: "main", table: "_tidegate_batches"}, rdr)
	if err != nil {
		return 0, err
	}
	if _, err := t.s.exec(ctx, string("INSERT INTO "+p.table+" ("+sqltext.Join(p.quoted, ", ")+") SELECT "+names+" FROM "+staging)); err != nil {
		return 0, fmt.Errorf("inserting: %w", err)
	}
	if _, err := t.s.exec(ctx, string("DROP TABLE "+staging)); err != nil {
		return 0, fmt.Errorf("unstaging: %w", err)
	}
	return n, nil
}

// appendBatch hands a batch over in pieces of the engine's chunk size.
func (a *appender) appendBatch(ctx context.Context, batch arrow.RecordBatch, schema bindings.ArrowConvertedSchema) error {
	for from := int64(0); from < batch.NumRows(); from += int64(a.full) {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := batch.NewSlice(from, min(from+int64(a.full), batch.NumRows()))
		chunk, data := bindings.DataChunkFromArrow(a.c.raw, piece, schema)
		err := arrowError(data)
		if err == nil && bindings.AppendDataChunk(a.raw, chunk) == bindings.StateError {
			err = a.failure(ctx)
		}
		bindings.DestroyDataChunk(&chunk)
		piece.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// arrowColumns is the definition list of a table that holds batches of schema, and the
// list of its columns.
func arrowColumns(d sqltext.Dialect, schema *arrow.Schema) (definitions, list sqltext.Text, err error) {
	names, defs := make([]sqltext.Text, schema.NumFields()), make([]sqltext.Text, schema.NumFields())
	for i, f := range schema.Fields() {
		if names[i], err = d.Ident(f.Name); err != nil {
			return "", "", err
		}
		typ, ok := arrowType(f.Type)
		if !ok {
			return "", "", sqltext.ColumnFault(f.Name, "record batches of type "+f.Type.String()+" cannot be loaded", "convert the column to text")
		}
		defs[i] = names[i] + " " + typ
	}
	return sqltext.Join(defs, ", "), sqltext.Join(names, ", "), nil
}

func arrowType(t arrow.DataType) (sqltext.Text, bool) {
	switch t := t.(type) {
	case *arrow.TimestampType:
		if t.TimeZone != "" {
			return "TIMESTAMPTZ", t.Unit == arrow.Microsecond
		}
		return "TIMESTAMP", t.Unit == arrow.Microsecond
	case *arrow.Decimal128Type:
		return sqltext.Text(fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)), t.Precision <= 38 && t.Scale >= 0
	}
	names := map[arrow.Type]sqltext.Text{
		arrow.BOOL: "BOOLEAN",
		arrow.INT8: "TINYINT", arrow.INT16: "SMALLINT", arrow.INT32: "INTEGER", arrow.INT64: "BIGINT",
		arrow.UINT8: "UTINYINT", arrow.UINT16: "USMALLINT", arrow.UINT32: "UINTEGER", arrow.UINT64: "UBIGINT",
		arrow.FLOAT32: "FLOAT", arrow.FLOAT64: "DOUBLE",
		arrow.STRING: "VARCHAR", arrow.LARGE_STRING: "VARCHAR", arrow.STRING_VIEW: "VARCHAR",
		arrow.BINARY: "BLOB", arrow.LARGE_BINARY: "BLOB",
		arrow.DATE32: "DATE",
	}
	name, ok := names[t.ID()]
	return name, ok
}
