package duckdb

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// appendJSON appends the cell as JSON: lists and arrays as arrays, structs and
// maps as objects, unions as the value they hold, numbers exactly, bytes in
// base64, times as RFC 3339.
func (v *vector) appendJSON(dst []byte, row int) ([]byte, error) {
	if v.null(row) {
		return append(dst, "null"...), nil
	}
	switch v.id {
	case bindings.TypeBoolean:
		return strconv.AppendBool(dst, load[bool](v.data, row)), nil
	case bindings.TypeTinyInt, bindings.TypeSmallInt, bindings.TypeInteger, bindings.TypeBigInt,
		bindings.TypeUTinyInt, bindings.TypeUSmallInt, bindings.TypeUInteger, bindings.TypeUBigInt,
		bindings.TypeHugeInt, bindings.TypeUHugeInt, bindings.TypeDecimal:
		return v.appendNumber(dst, row), nil
	case bindings.TypeDouble:
		return appendJSONFloat(dst, load[float64](v.data, row), 64), nil
	case bindings.TypeFloat:
		return appendJSONFloat(dst, float64(load[float32](v.data, row)), 32), nil
	case bindings.TypeBlob:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.bytesAt(row))
		return append(dst, '"'), nil
	case bindings.TypeDate, bindings.TypeTimestamp, bindings.TypeTimestampTZ, bindings.TypeTimestampS, bindings.TypeTimestampMS, bindings.TypeTimestampNS:
		return v.appendJSONTime(dst, row)
	case bindings.TypeVarchar:
		if v.json {
			return append(dst, v.bytesAt(row)...), nil
		}
		return appendJSONString(dst, string(v.bytesAt(row)))
	case bindings.TypeList:
		entry := load[listEntry](v.data, row)
		return v.appendJSONList(dst, int(entry.offset), int(entry.size))
	case bindings.TypeArray:
		return v.appendJSONList(dst, row*v.size, v.size)
	case bindings.TypeMap:
		return v.appendJSONMap(dst, row)
	case bindings.TypeStruct:
		return v.appendJSONStruct(dst, row)
	case bindings.TypeUnion:
		tag := int(load[uint8](v.data, row))
		if tag >= len(v.children) {
			return dst, errors.New("holds a union without a member")
		}
		return v.children[tag].appendJSON(dst, row)
	}
	text, err := v.appendText(nil, row)
	if err != nil {
		return dst, err
	}
	return appendJSONString(dst, string(text))
}

// listEntry is where the elements of one list lie in its child.
type listEntry struct{ offset, size uint64 }

func (v *vector) appendJSONList(dst []byte, offset, size int) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i := range size {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = v.children[0].appendJSON(dst, offset+i); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (v *vector) appendJSONMap(dst []byte, row int) ([]byte, error) {
	entry := load[listEntry](v.data, row)
	dst = append(dst, '{')
	for i := range int(entry.size) {
		if i > 0 {
			dst = append(dst, ',')
		}
		at := int(entry.offset) + i
		key, err := v.children[0].appendJSON(nil, at)
		if err != nil {
			return dst, err
		}
		if key[0] == '"' {
			dst = append(dst, key...)
		} else if dst, err = appendJSONString(dst, string(key)); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		if dst, err = v.children[1].appendJSON(dst, at); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (v *vector) appendJSONStruct(dst []byte, row int) ([]byte, error) {
	var err error
	dst = append(dst, '{')
	for i := range v.children {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSONString(dst, v.children[i].name); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		if dst, err = v.children[i].appendJSON(dst, row); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (v *vector) appendJSONTime(dst []byte, row int) ([]byte, error) {
	value, err := v.cell(row)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '"')
	if t, ok := value.(time.Time); ok {
		dst = t.AppendFormat(dst, time.RFC3339Nano)
	} else if d, ok := value.(interface{ String() string }); ok {
		dst = append(dst, d.String()...)
	}
	return append(dst, '"'), nil
}

// appendJSONFloat writes the numbers that JSON has no word for as strings.
func appendJSONFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

func appendJSONString(dst []byte, s string) ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return dst, err
	}
	return append(dst, text...), nil
}
