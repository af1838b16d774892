package bqtest

import (
	"database/sql/driver"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// accepted are the kinds of fields that a column takes.
var accepted = map[string][]protoreflect.Kind{
	"BOOLEAN": {protoreflect.BoolKind, protoreflect.Int32Kind, protoreflect.Int64Kind}, "INTEGER": {protoreflect.Int64Kind, protoreflect.Int32Kind}, "FLOAT": {protoreflect.DoubleKind, protoreflect.FloatKind},
	"NUMERIC": {protoreflect.StringKind}, "BIGNUMERIC": {protoreflect.StringKind}, "STRING": {protoreflect.StringKind}, "JSON": {protoreflect.StringKind},
	"BYTES": {protoreflect.BytesKind, protoreflect.StringKind}, "DATE": {protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.StringKind}, "TIMESTAMP": {protoreflect.Int64Kind}, "DATETIME": {protoreflect.StringKind},
}

// rowReader reads rows by the descriptor that came with them.
type rowReader struct {
	message protoreflect.MessageDescriptor
	fields  []*bq.TableFieldSchema
	column  map[protoreflect.FieldNumber]int
}

func newRowReader(d *descriptorpb.DescriptorProto, fields []*bq.TableFieldSchema) (*rowReader, error) {
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{Name: proto.String("rows.proto"), Syntax: proto.String("proto2"), MessageType: []*descriptorpb.DescriptorProto{d}}, nil)
	if err != nil {
		return nil, fmt.Errorf("invalid proto schema: %w", err)
	}
	r := &rowReader{message: file.Messages().Get(0), fields: fields, column: map[protoreflect.FieldNumber]int{}}
	for i := range r.message.Fields().Len() {
		f := r.message.Fields().Get(i)
		at := slices.IndexFunc(fields, func(c *bq.TableFieldSchema) bool { return strings.EqualFold(c.Name, string(f.Name())) })
		if at < 0 {
			return nil, fmt.Errorf("schema mismatch: the input has a field %q and the table has none", f.Name())
		}
		if f.IsList() || !slices.Contains(accepted[fields[at].Type], f.Kind()) {
			return nil, fmt.Errorf("the proto field mismatched with BigQuery field at %s.%s, the proto field type %s, BigQuery field type %s", r.message.Name(), f.Name(), f.Kind(), fields[at].Type)
		}
		r.column[f.Number()] = at
	}
	return r, nil
}

// read appends a row to l as texts.
func (r *rowReader) read(row []byte, l *lineLoader) error {
	m := dynamicpb.NewMessage(r.message)
	if err := proto.Unmarshal(row, m); err != nil {
		return fmt.Errorf("cannot parse row: %w", err)
	}
	if len(m.GetUnknown()) > 0 {
		return errors.New("the row has unknown fields")
	}
	from := len(l.cells)
	l.cells = append(l.cells, make([]driver.Value, len(r.fields))...)
	var bad error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := r.column[f.Number()]
		text, err := cellText(r.fields[at], f.Kind(), v)
		if err != nil {
			bad = fmt.Errorf("field %s: %w", r.fields[at].Name, err)
			return false
		}
		l.cells[from+at] = text
		return true
	})
	if bad != nil {
		l.cells = l.cells[:from]
		return bad
	}
	l.rows++
	return nil
}

// days and micros are the spans of DATE and TIMESTAMP.
const (
	firstDay, lastDay = -719162, 2932896
	aDay              = 86_400_000_000
)

func cellText(c *bq.TableFieldSchema, kind protoreflect.Kind, v protoreflect.Value) (string, error) {
	switch c.Type {
	case "BOOLEAN":
		if kind == protoreflect.BoolKind {
			return strconv.FormatBool(v.Bool()), nil
		}
		return strconv.FormatBool(v.Int() != 0), nil
	case "INTEGER":
		return strconv.FormatInt(v.Int(), 10), nil
	case "FLOAT":
		switch f := v.Float(); {
		case math.IsNaN(f):
			return "NaN", nil
		case math.IsInf(f, 0):
			return strings.TrimPrefix(fmt.Sprint(f), "+"), nil
		default:
			return strconv.FormatFloat(f, 'g', -1, 64), nil
		}
	case "BYTES":
		if kind == protoreflect.StringKind {
			return base64.StdEncoding.EncodeToString([]byte(v.String())), nil
		}
		return base64.StdEncoding.EncodeToString(v.Bytes()), nil
	case "DATE":
		if kind == protoreflect.StringKind {
			return v.String(), nil
		}
		if v.Int() < firstDay || v.Int() > lastDay {
			return "", fmt.Errorf("the value %d is out of range for DATE", v.Int())
		}
		return time.Unix(v.Int()*86400, 0).UTC().Format(time.DateOnly), nil
	case "TIMESTAMP":
		if v.Int() < firstDay*aDay || v.Int() >= (lastDay+1)*aDay {
			return "", fmt.Errorf("the value %d is out of range for TIMESTAMP", v.Int())
		}
		return time.UnixMicro(v.Int()).UTC().Format("2006-01-02 15:04:05.000000+00"), nil
	case "NUMERIC":
		whole, fraction, _ := strings.Cut(strings.TrimPrefix(v.String(), "-"), ".")
		if len(whole) > 29 || len(fraction) > 9 || strings.Trim(whole+fraction, "0123456789") != "" || whole+fraction == "" {
			return "", fmt.Errorf("invalid NUMERIC value: %s", v.String())
		}
	}
	return v.String(), nil
}
