package sftest

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/duckdb/duckdb-go/v2"
)

// rowType is a column of a result as the API describes it.
type rowType struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Length    int64  `json:"length"`
	Precision int64  `json:"precision"`
	Scale     int64  `json:"scale"`
	Nullable  bool   `json:"nullable"`
}

// chunk is a part of a result that is fetched by itself.
type chunk struct {
	URL              string `json:"url"`
	RowCount         int    `json:"rowCount"`
	UncompressedSize int    `json:"uncompressedSize"`
	CompressedSize   int    `json:"compressedSize"`
}

// outcome is what a statement gave. Parts of large results are files.
type outcome struct {
	kind    int64 // the statement's type
	columns []rowType
	rows    [][]*string // of JSON
	arrow   []byte      // the first part
	json    bool
	chunks  []chunk
	files   []string
	total   int64
	extra   map[string]any
}

const (
	firstRows = 1000
	chunkRows = 20_000
)

// counts is the answer to a statement that writes.
func counts(kind int64, pairs ...any) *outcome {
	o := &outcome{kind: kind, json: true, total: 1}
	var row []*string
	for i := 0; i < len(pairs); i += 2 {
		o.columns = append(o.columns, rowType{Name: pairs[i].(string), Type: "fixed", Precision: 19})
		v := fmt.Sprint(pairs[i+1])
		row = append(row, &v)
	}
	o.rows = [][]*string{row}
	return o
}

// says is the answer to a statement with a message.
func says(message string) *outcome {
	return &outcome{kind: 0x6000, json: true, total: 1, columns: []rowType{{Name: "status", Type: "text", Length: longest}}, rows: [][]*string{{&message}}}
}

const longest = 16_777_216

var decimalType = regexp.MustCompile(`^DECIMAL\((\d+),(\d+)\)$`)

// typeOf is a column of DuckDB as Snowflake describes it.
func typeOf(name, typ string) rowType {
	t := rowType{Name: name, Type: "text", Length: longest, Nullable: true}
	switch typ {
	case "BOOLEAN":
		t.Type = "boolean"
	case "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UINTEGER", "UBIGINT":
		t.Type, t.Precision = "fixed", 19
	case "HUGEINT":
		t.Type, t.Precision = "fixed", 38
	case "DOUBLE", "FLOAT":
		t.Type = "real"
	case "BLOB":
		t.Type = "binary"
	case "DATE":
		t.Type = "date"
	case "TIME":
		t.Type, t.Scale = "time", 9
	case "TIMESTAMP WITH TIME ZONE":
		t.Type, t.Scale = "timestamp_tz", 9
	case "TIMESTAMP":
		t.Type, t.Scale = "timestamp_ntz", 9
	case "JSON":
		t.Type = "variant"
	}
	if m := decimalType.FindStringSubmatch(typ); m != nil {
		t.Type = "fixed"
		t.Precision, _ = strconv.ParseInt(m[1], 10, 64)
		t.Scale, _ = strconv.ParseInt(m[2], 10, 64)
	}
	return t
}

// collect reads rows into the parts of a result.
func (s *Server) collect(rows *sql.Rows, columns []rowType, asJSON bool) (*outcome, error) {
	o := &outcome{kind: 0x1000, columns: columns, json: asJSON}
	cells, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	most := firstRows
	var part [][]any
	flush := func() error {
		if len(part) == 0 {
			return nil
		}
		body, err := encode(columns, part, asJSON)
		if err != nil {
			return err
		}
		n := len(part)
		part = part[:0]
		if most == firstRows { // comes with the answer
			most = chunkRows
			if asJSON {
				o.rows, err = texts(columns, nil, body)
				return err
			}
			o.arrow = body
			return nil
		}
		return s.keep(o, body, n)
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		part = append(part, append([]any{}, cells...))
		if o.total++; len(part) == most {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if err := flush(); err != nil {
		return nil, err
	}
	if !asJSON && o.arrow == nil { // an empty result has its schema
		var err error
		o.arrow, err = encode(columns, nil, false)
		return o, err
	}
	return o, nil
}

// texts reads back what encode wrote as JSON.
func texts(_ []rowType, rows [][]*string, body []byte) ([][]*string, error) {
	err := json.Unmarshal(append(append([]byte{'['}, body...), ']'), &rows)
	return rows, err
}

// keep writes a part into a file.
func (s *Server) keep(o *outcome, body []byte, rows int) error {
	s.mu.Lock()
	s.births++
	path := filepath.Join(s.dir, fmt.Sprintf("chunk_%d", s.births))
	url := fmt.Sprintf("%s/chunks/%d", s.URL, s.births)
	s.mu.Unlock()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(body)
	_ = z.Close()
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		return err
	}
	o.files = append(o.files, path)
	o.chunks = append(o.chunks, chunk{URL: url, RowCount: rows, UncompressedSize: len(body), CompressedSize: packed.Len()})
	return nil
}

func encode(columns []rowType, rows [][]any, asJSON bool) ([]byte, error) {
	if asJSON {
		var b bytes.Buffer
		for i, row := range rows {
			line := make([]*string, len(row))
			for k, v := range row {
				if v != nil {
					text := jsonCell(columns[k], v)
					line[k] = &text
				}
			}
			encoded, err := json.Marshal(line)
			if err != nil {
				return nil, err
			}
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(encoded)
		}
		return b.Bytes(), nil
	}
	arrays, fields := make([]arrow.Array, len(columns)), make([]arrow.Field, len(columns))
	for i, c := range columns {
		arrays[i] = arrowColumn(c, rows, i)
		defer arrays[i].Release()
		fields[i] = arrow.Field{Name: c.Name, Type: arrays[i].DataType(), Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(schema))
	if len(rows) > 0 {
		record := array.NewRecordBatch(schema, arrays, int64(len(rows)))
		defer record.Release()
		if err := w.Write(record); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// scaled is a number in units of the column's scale.
func scaled(v any, scale int64) *big.Int {
	switch n := v.(type) {
	case duckdb.Decimal:
		units := new(big.Int).Set(n.Value)
		for range scale - int64(n.Scale) {
			units.Mul(units, big.NewInt(10))
		}
		return units
	case *big.Int:
		return n
	}
	n, _ := new(big.Int).SetString(fmt.Sprint(v), 10)
	return n
}

// arrowColumn is a column as Snowflake sends it: whole numbers in the smallest type
// that holds them all, times as seconds, nanoseconds and zone.
func arrowColumn(c rowType, rows [][]any, at int) arrow.Array {
	pool := memory.DefaultAllocator
	switch c.Type {
	case "fixed":
		return numbers(c, rows, at)
	case "real":
		b := array.NewFloat64Builder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(v.(float64)) })
		return b.NewArray()
	case "boolean":
		b := array.NewBooleanBuilder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(v.(bool)) })
		return b.NewArray()
	case "binary":
		b := array.NewBinaryBuilder(pool, arrow.BinaryTypes.Binary)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(v.([]byte)) })
		return b.NewArray()
	case "date":
		b := array.NewDate32Builder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(arrow.Date32FromTime(v.(time.Time))) })
		return b.NewArray()
	case "timestamp_tz", "timestamp_ntz":
		fields := []arrow.Field{{Name: "epoch", Type: arrow.PrimitiveTypes.Int64}, {Name: "fraction", Type: arrow.PrimitiveTypes.Int32}}
		if c.Type == "timestamp_tz" {
			fields = append(fields, arrow.Field{Name: "timezone", Type: arrow.PrimitiveTypes.Int32})
		}
		b := array.NewStructBuilder(pool, arrow.StructOf(fields...))
		defer b.Release()
		each(b, rows, at, func(v any) {
			t := v.(time.Time)
			b.Append(true)
			b.FieldBuilder(0).(*array.Int64Builder).Append(t.Unix())
			b.FieldBuilder(1).(*array.Int32Builder).Append(int32(t.Nanosecond()))
			if len(fields) > 2 {
				b.FieldBuilder(2).(*array.Int32Builder).Append(1440 + 14*60) // how it is shown says nothing of when it is
			}
		})
		return b.NewArray()
	case "time":
		b := array.NewInt64Builder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(int64(v.(time.Time).Sub(v.(time.Time).Truncate(24 * time.Hour)))) })
		return b.NewArray()
	}
	b := array.NewStringBuilder(pool)
	defer b.Release()
	each(b, rows, at, func(v any) { b.Append(jsonCell(c, v)) })
	return b.NewArray()
}

func each(b array.Builder, rows [][]any, at int, appends func(v any)) {
	for _, row := range rows {
		if row[at] == nil {
			b.AppendNull()
		} else {
			appends(row[at])
		}
	}
}

func numbers(c rowType, rows [][]any, at int) arrow.Array {
	bits := 0
	for _, row := range rows {
		if row[at] != nil {
			n := scaled(row[at], c.Scale)
			if n.Sign() < 0 {
				n = new(big.Int).Not(n)
			}
			bits = max(bits, n.BitLen())
		}
	}
	pool := memory.DefaultAllocator
	switch {
	case bits < 8:
		b := array.NewInt8Builder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(int8(scaled(v, c.Scale).Int64())) })
		return b.NewArray()
	case bits < 16:
		b := array.NewInt16Builder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(int16(scaled(v, c.Scale).Int64())) })
		return b.NewArray()
	case bits < 32:
		b := array.NewInt32Builder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(int32(scaled(v, c.Scale).Int64())) })
		return b.NewArray()
	case bits < 64:
		b := array.NewInt64Builder(pool)
		defer b.Release()
		each(b, rows, at, func(v any) { b.Append(scaled(v, c.Scale).Int64()) })
		return b.NewArray()
	}
	b := array.NewDecimal128Builder(pool, &arrow.Decimal128Type{Precision: 38, Scale: int32(c.Scale)})
	defer b.Release()
	each(b, rows, at, func(v any) { b.Append(decimal128.FromBigInt(scaled(v, c.Scale))) })
	return b.NewArray()
}

// jsonCell is a value as a JSON result has it.
func jsonCell(c rowType, v any) string {
	switch n := v.(type) {
	case bool:
		if n {
			return "1"
		}
		return "0"
	case []byte:
		return strings.ToUpper(hex.EncodeToString(n))
	case float64:
		return strings.ToLower(strings.Replace(strconv.FormatFloat(n, 'g', -1, 64), "Inf", "inf", 1))
	case duckdb.Decimal:
		return n.String()
	case time.Time:
		switch c.Type {
		case "date":
			return strconv.Itoa(int(arrow.Date32FromTime(n)))
		case "time":
			n = time.Unix(0, 0).UTC().Add(n.Sub(n.Truncate(24 * time.Hour)))
		}
		sign, seconds, nanos := "", n.Unix(), int64(n.Nanosecond())
		if seconds < 0 && nanos > 0 { // -0.5 is written as such
			seconds, nanos = seconds+1, 1_000_000_000-nanos
			if seconds == 0 {
				sign = "-"
			}
		}
		text := fmt.Sprintf("%s%d.%09d", sign, seconds, nanos)
		if c.Type == "timestamp_tz" {
			text += " 2280"
		}
		return text
	case string:
		return n
	}
	if c.Type == "variant" || c.Type == "array" {
		if b, err := json.Marshal(v); err == nil {
			return string(b)
		}
	}
	return fmt.Sprint(v)
}

// data is the outcome as the API answers it.
func (o *outcome) data(id string) map[string]any {
	d := map[string]any{
		"queryId": id, "statementTypeId": o.kind, "rowtype": o.columns, "total": o.total, "returned": o.total,
		"finalDatabaseName": Database, "finalSchemaName": "PUBLIC", "finalWarehouseName": "COMPUTE", "finalRoleName": "LOADER", "sqlState": "00000",
		"parameters": []any{}, "version": 1, "databaseProvider": nil,
	}
	if o.json {
		d["queryResultFormat"], d["rowset"] = "json", o.rows
	} else {
		d["queryResultFormat"], d["rowsetBase64"] = "arrow", base64.StdEncoding.EncodeToString(o.arrow)
	}
	if len(o.chunks) > 0 {
		d["chunks"], d["qrmk"], d["chunkHeaders"] = o.chunks, "", map[string]string{"x-test": "1"}
	}
	return d
}
