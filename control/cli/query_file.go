package cli

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/tidegate/tidegate/control/api"
)

// resultWriter takes the result of a query.
type resultWriter interface {
	columns(cols []api.ColumnInfo) error
	row(cells []json.RawMessage) error
	// finish is called after the last row.
	finish(end api.End) error
}

// fileWriter writes a result into a file that gets its name when it is whole, so that
// half a result is never taken for one.
type fileWriter struct {
	c    *command
	path string
	temp *os.File
	into rowEncoder
	rows int64
}

// rowEncoder is one format of files.
type rowEncoder interface {
	row(cells []json.RawMessage) error
	close() error
}

// fileFormats are told by the ends of names.
const fileFormats = ".parquet, .csv or .ndjson"

func (c *command) fileWriter(path string) (*fileWriter, error) {
	switch filepath.Ext(path) {
	case ".parquet", ".csv", ".ndjson":
	default:
		return nil, usage(fmt.Errorf("--out %s: the name of the file ends in %s", path, fileFormats))
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("making the file: %w", err)
	}
	return &fileWriter{c: c, path: path, temp: temp}, nil
}

func (f *fileWriter) columns(cols []api.ColumnInfo) (err error) {
	switch filepath.Ext(f.path) {
	case ".parquet":
		f.into, err = newParquet(f.temp, cols)
	case ".csv":
		f.into, err = newCSV(f.temp, cols)
	default:
		f.into, err = &ndjson{out: f.temp, cols: cols}, nil
	}
	return err
}

func (f *fileWriter) row(cells []json.RawMessage) error {
	f.rows++
	return f.into.row(cells)
}

func (f *fileWriter) finish(end api.End) error {
	err := f.into.close()
	f.into = nil
	if err == nil {
		err = f.temp.Sync()
	}
	if err = errors.Join(err, f.temp.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	if err := os.Rename(f.temp.Name(), f.path); err != nil {
		return fmt.Errorf("naming the file: %w", err)
	}
	f.temp = nil
	if f.c.json {
		return f.c.printJSON(map[string]any{"file": f.path, "rows": f.rows, "truncated": end.Truncated})
	}
	f.c.say("%s in %s.", plural(f.rows, "row"), f.path)
	return nil
}

// discard removes what is not whole; after finish there is nothing to do.
func (f *fileWriter) discard() {
	if f.temp != nil {
		_ = f.temp.Close()
		_ = os.Remove(f.temp.Name()) // nothing better can be done with it
	}
}

type ndjson struct {
	out  io.Writer
	cols []api.ColumnInfo
}

func (n *ndjson) row(cells []json.RawMessage) error { return writeObject(n.out, n.cols, cells) }
func (*ndjson) close() error                        { return nil }

// csvFile writes texts as they are, nothing for NULL, JSON as JSON.
type csvFile struct {
	w    *csv.Writer
	line []string
}

func newCSV(out io.Writer, cols []api.ColumnInfo) (*csvFile, error) {
	f := &csvFile{csv.NewWriter(out), make([]string, len(cols))}
	for i, c := range cols {
		f.line[i] = c.Name
	}
	return f, f.w.Write(f.line)
}

func (f *csvFile) row(cells []json.RawMessage) error {
	for i, v := range cells {
		if f.line[i] = ""; string(v) != "null" {
			f.line[i] = plainText(v)
		}
	}
	return f.w.Write(f.line)
}

func (f *csvFile) close() error {
	f.w.Flush()
	return f.w.Error()
}

// plainText is a JSON text without its quotes, and anything else as JSON has it.
func plainText(v json.RawMessage) string {
	if len(v) > 0 && v[0] == '"' {
		var s string
		if json.Unmarshal(v, &s) == nil {
			return s
		}
	}
	return string(v)
}

// groupRows are the rows of a group in a Parquet file, which is what is held in memory.
const groupRows = 122_880

type parquetFile struct {
	cols []api.ColumnInfo
	b    *array.RecordBuilder
	w    *pqarrow.FileWriter
	rows int
}

func newParquet(out io.Writer, cols []api.ColumnInfo) (*parquetFile, error) {
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		typ, err := arrowType(c.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		fields[i] = arrow.Field{Name: c.Name, Type: typ, Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	w, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{out}, // closing the file is not its business
		parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithMaxRowGroupLength(groupRows)), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("beginning a Parquet file: %w", err)
	}
	return &parquetFile{cols: cols, b: array.NewRecordBuilder(memory.DefaultAllocator, schema), w: w}, nil
}

func arrowType(name string) (arrow.DataType, error) {
	switch name {
	case "bool":
		return arrow.FixedWidthTypes.Boolean, nil
	case "int":
		return arrow.PrimitiveTypes.Int64, nil
	case "float":
		return arrow.PrimitiveTypes.Float64, nil
	case "date":
		return arrow.FixedWidthTypes.Date32, nil
	case "timestamp":
		return arrow.FixedWidthTypes.Timestamp_us, nil // in UTC
	case "bytes":
		return arrow.BinaryTypes.Binary, nil
	case "string", "json", "unknown":
		return arrow.BinaryTypes.String, nil
	}
	var precision, scale int32
	if n, err := fmt.Sscanf(name, "decimal(%d,%d)", &precision, &scale); err != nil || n != 2 {
		return nil, fmt.Errorf("no Parquet type is known for %q", name)
	}
	return &arrow.Decimal128Type{Precision: precision, Scale: scale}, nil
}

func (f *parquetFile) row(cells []json.RawMessage) error {
	for i, v := range cells {
		if err := appendCell(f.b.Field(i), v); err != nil {
			return fmt.Errorf("column %s: %w", f.cols[i].Name, err)
		}
	}
	if f.rows++; f.rows < groupRows {
		return nil
	}
	return f.flush()
}

func (f *parquetFile) flush() error {
	if f.rows == 0 {
		return nil
	}
	f.rows = 0
	record := f.b.NewRecordBatch()
	defer record.Release()
	if err := f.w.WriteBuffered(record); err != nil {
		return fmt.Errorf("writing rows: %w", err)
	}
	return nil
}

func (f *parquetFile) close() error {
	defer f.b.Release()
	return errors.Join(f.flush(), f.w.Close())
}

func appendCell(b array.Builder, v json.RawMessage) error {
	if string(v) == "null" {
		b.AppendNull()
		return nil
	}
	text := plainText(v)
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append(text)
	case *array.Int64Builder:
		n, err := strconv.ParseInt(text, 10, 64)
		b.Append(n)
		return err
	case *array.Float64Builder:
		n, err := strconv.ParseFloat(text, 64)
		b.Append(n)
		return err
	case *array.BooleanBuilder:
		b.Append(text == "true")
	case *array.BinaryBuilder:
		raw, err := base64.StdEncoding.DecodeString(text)
		b.Append(raw)
		return err
	case *array.Date32Builder:
		day, err := time.Parse(time.DateOnly, text)
		b.Append(arrow.Date32FromTime(day))
		return err
	case *array.TimestampBuilder:
		at, err := time.Parse(time.RFC3339Nano, text)
		b.Append(arrow.Timestamp(at.UnixMicro()))
		return err
	case *array.Decimal128Builder:
		typ := b.Type().(*arrow.Decimal128Type) //nolint:forcetypeassert // the builder's own
		n, err := decimal128.FromString(strings.TrimPrefix(text, "+"), typ.Precision, typ.Scale)
		b.Append(n)
		return err
	default:
		return fmt.Errorf("no way to write %s", b.Type())
	}
	return nil
}
