package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// batchOf builds one batch of one column per builder.
func batchOf(names []string, builders ...array.Builder) (arrow.RecordBatch, *arrow.Schema) {
	var fields []arrow.Field
	var arrays []arrow.Array
	for i, b := range builders {
		a := b.NewArray()
		fields = append(fields, arrow.Field{Name: names[i], Type: a.DataType(), Nullable: true})
		arrays = append(arrays, a)
	}
	schema := arrow.NewSchema(fields, nil)
	return array.NewRecordBatch(schema, arrays, int64(arrays[0].Len())), schema
}

func appendBatch(t *testing.T, w warehouse.Execer, table warehouse.Table, batch arrow.RecordBatch, schema *arrow.Schema) error {
	t.Helper()
	tx, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	rdr, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch})
	if err != nil {
		t.Fatal(err)
	}
	defer rdr.Release()
	if _, err := tx.(warehouse.ArrowTx).AppendArrow(t.Context(), table, rdr); err != nil {
		return err
	}
	return tx.Commit()
}

// TestAppendArrowCarriesEveryType: in its own type, and cast into another.
func TestAppendArrowCarriesEveryType(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	mem := memory.DefaultAllocator
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	number, err := decimal128.FromString("12.50", 10, 2)
	if err != nil {
		t.Fatal(err)
	}
	text := func(values ...string) array.Builder {
		b := array.NewStringBuilder(mem)
		b.AppendValues(values, nil)
		b.AppendNull()
		return b
	}
	one := func(typ arrow.DataType, add func(b array.Builder)) array.Builder {
		b := array.NewBuilder(mem, typ)
		add(b)
		b.AppendNull()
		return b
	}
	micros := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	millis := &arrow.TimestampType{Unit: arrow.Millisecond}
	cases := []struct {
		column string // its type in the table
		from   array.Builder
		want   any
	}{
		{"boolean", one(arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).Append(true) }), true},
		{"bigint", one(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(-7) }), int64(-7)},
		{"integer", one(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(7) }), int64(7)},
		{"bigint", one(arrow.PrimitiveTypes.Int16, func(b array.Builder) { b.(*array.Int16Builder).Append(7) }), int64(7)},
		{"double precision", one(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(7) }), 7.0},
		{"numeric(10,2)", one(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(7) }), tidegate.DecimalText("7")},
		{"text", one(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(7) }), "7"},
		{"jsonb", one(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(7) }), tidegate.JSONText("7")},
		{"double precision", one(arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(0.5) }), 0.5},
		{"text", text("plain ü"), "plain ü"},
		{"jsonb", text(`{"a": 1}`), tidegate.JSONText(`{"a": 1}`)},
		{"numeric(38,9)", text("12.5"), tidegate.DecimalText("12.5")},
		{"bigint", text("-12"), int64(-12)},
		{"timestamptz", text("2026-01-02 03:04:05.678901Z"), at},
		{"boolean", text("true"), true},
		{"date", one(arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).Append(1) }), tidegate.CalendarDate(1)},
		{"timestamptz", one(micros, func(b array.Builder) { b.(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMicro())) }), at},
		{"timestamptz", one(millis, func(b array.Builder) { b.(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMilli())) }), at.Truncate(time.Millisecond)},
		{"bytea", one(arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0, 255}) }), []byte{0, 255}},
		{"numeric(10,2)", one(&arrow.Decimal128Type{Precision: 10, Scale: 2}, func(b array.Builder) { b.(*array.Decimal128Builder).Append(number) }), tidegate.DecimalText("12.5")},
	}
	for i, c := range cases {
		name := fmt.Sprint("t", i)
		exec(t, w, "CREATE TABLE "+name+" (v "+c.column+")")
		batch, schema := batchOf([]string{"V"}, c.from)
		if err := appendBatch(t, w, warehouse.Table{Schema: "public", Name: name}, batch, schema); err != nil {
			t.Errorf("%s from %s: %v", c.column, schema.Field(0).Type, err)
			continue
		}
		if d := cmp.Diff([]tidegate.Row{{c.want}, {nil}}, warehousetest.Rows(t, w, "SELECT v FROM "+name)); d != "" {
			t.Errorf("%s from %s: %s", c.column, schema.Field(0).Type, d)
		}
	}
}

// TestAppendArrowSaysWhatDoesNotFit names row and column, and appends nothing.
func TestAppendArrowSaysWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	exec(t, w, "CREATE TABLE t (v text, n smallint, d numeric(4,2), j jsonb, f bytea)")
	bad := func(v string) array.Builder {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.AppendValues([]string{"1", v}, nil)
		return b
	}
	numbers := array.NewInt64Builder(memory.DefaultAllocator)
	numbers.AppendValues([]int64{1, 40_000}, nil)
	structs := array.NewStructBuilder(memory.DefaultAllocator, arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64}))
	structs.AppendNull()
	structs.Append(true)
	structs.FieldBuilder(0).(*array.Int64Builder).Append(1)
	for column, b := range map[string]array.Builder{"v": bad("\xff"), "d": bad("100"), "j": bad("{"), "n": numbers, "f": structs} {
		batch, schema := batchOf([]string{column}, b)
		err := appendBatch(t, w, warehouse.Table{Schema: "public", Name: "t"}, batch, schema)
		f := tidegate.FaultOf(err)
		if f == nil || f.Action != tidegate.Reject || f.Subject != fmt.Sprintf("column %q", column) {
			t.Errorf("%s: got %v", column, err)
		}
	}
	if got := warehousetest.Rows(t, w, "SELECT count(*) FROM t"); got[0][0] != int64(0) {
		t.Errorf("got %v", got)
	}
}

// TestOldLoadsAreForgotten: after three months the ID of a load can be used again.
func TestOldLoadsAreForgotten(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		days int
		want int64
	}{{0, 1}, {89, 0}, {91, 1}} {
		w := openAt(t, cfg, now.AddDate(0, 0, step.days))
		if _, err := w.Ensure(t.Context(), table, s); err != nil {
			t.Fatal(err)
		}
		if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(s, ints(1)...)); n != step.want || err != nil {
			t.Errorf("after %d days: %d rows, %v", step.days, n, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}
