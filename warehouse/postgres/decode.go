package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
)

// The server counts days and microseconds from 2000-01-01.
const (
	epochDays   = 10957
	epochMicros = epochDays * 86400 * 1_000_000
)

var errInfinite = errors.New("is infinite, which no other system understands")

// cell returns a value as the nouns carry it; raw is in the format of c.format and nil for NULL.
func (c *column) cell(raw []byte) (any, error) {
	if raw == nil {
		return nil, nil
	}
	switch c.oid {
	case oidText, oidVarchar, oidBPChar, oidName:
		return string(raw), nil
	case oidInt8, oidInt4, oidInt2, oidOID:
		return integer(c.oid, raw)
	case oidNumeric:
		text, err := appendDecimal(make([]byte, 0, 24), raw)
		return tidegate.DecimalText(text), err
	case oidJSONB:
		if len(raw) == 0 || raw[0] != 1 {
			return nil, malformed("jsonb", raw)
		}
		return tidegate.JSONText(raw[1:]), nil
	case oidJSON:
		return tidegate.JSONText(raw), nil
	case oidTimestampTZ, oidTimestamp:
		return timestamp(raw)
	case oidBool, oidFloat8, oidFloat4, oidDate, oidBytea, oidUUID:
		return fixed(c.oid, raw)
	}
	if element, ok := elements[c.oid]; ok {
		text, err := appendArray(nil, element, raw)
		return tidegate.JSONText(text), err
	}
	return string(raw), nil // as text
}

func integer(oid uint32, raw []byte) (any, error) {
	switch {
	case oid == oidInt8 && len(raw) == 8:
		return int64(binary.BigEndian.Uint64(raw)), nil
	case oid == oidInt4 && len(raw) == 4:
		return int64(int32(binary.BigEndian.Uint32(raw))), nil
	case oid == oidInt2 && len(raw) == 2:
		return int64(int16(binary.BigEndian.Uint16(raw))), nil
	case oid == oidOID && len(raw) == 4:
		return int64(binary.BigEndian.Uint32(raw)), nil
	}
	return nil, malformed("integer", raw)
}

func timestamp(raw []byte) (any, error) {
	if len(raw) != 8 {
		return nil, malformed("timestamp", raw)
	}
	micros := int64(binary.BigEndian.Uint64(raw))
	if micros == math.MaxInt64 || micros == math.MinInt64 {
		return nil, errInfinite
	}
	return time.Unix(epochMicros/1_000_000+micros/1_000_000, micros%1_000_000*1000).UTC(), nil
}

func fixed(oid uint32, raw []byte) (any, error) {
	switch {
	case oid == oidBool && len(raw) == 1:
		return raw[0] != 0, nil
	case oid == oidFloat8 && len(raw) == 8:
		return math.Float64frombits(binary.BigEndian.Uint64(raw)), nil
	case oid == oidFloat4 && len(raw) == 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(raw))), nil
	case oid == oidDate && len(raw) == 4:
		days := int32(binary.BigEndian.Uint32(raw))
		if days == math.MaxInt32 || days == math.MinInt32 {
			return nil, errInfinite
		}
		return tidegate.CalendarDate(days + epochDays), nil
	case oid == oidBytea:
		return append([]byte{}, raw...), nil
	case oid == oidUUID && len(raw) == 16:
		return uuidText(raw), nil
	}
	return nil, malformed("value of its type", raw)
}

func uuidText(raw []byte) string {
	dst := make([]byte, 0, 36)
	for i, part := range [5][]byte{raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:16]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return string(dst)
}

// maxDimensions is the server's own limit.
const maxDimensions = 6

// appendArray writes an array as JSON, arrays of arrays for more than one dimension.
func appendArray(dst []byte, element uint32, raw []byte) ([]byte, error) {
	if len(raw) < 12 {
		return dst, malformed("array", raw)
	}
	dimensions := int(binary.BigEndian.Uint32(raw))
	if dimensions == 0 {
		return append(dst, "[]"...), nil
	}
	if dimensions > maxDimensions || len(raw) < 12+8*dimensions || binary.BigEndian.Uint32(raw[8:]) != element {
		return dst, malformed("array", raw)
	}
	sizes := make([]int, dimensions)
	elements, most := 1, len(raw)/4 // each has a length of four bytes
	for i := range sizes {
		sizes[i] = int(binary.BigEndian.Uint32(raw[12+8*i:]))
		if sizes[i] < 1 || sizes[i] > most/elements {
			return dst, malformed("array", raw)
		}
		elements *= sizes[i]
	}
	a := arrayReader{column: column{oid: element}, rest: raw[12+8*dimensions:]}
	dst, err := a.append(dst, sizes)
	if err == nil && len(a.rest) > 0 {
		err = malformed("array", raw)
	}
	return dst, err
}

type arrayReader struct {
	column column // of the elements
	rest   []byte
}

func (a *arrayReader) append(dst []byte, sizes []int) ([]byte, error) {
	dst = append(dst, '[')
	for i := range sizes[0] {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if len(sizes) > 1 {
			dst, err = a.append(dst, sizes[1:])
		} else {
			dst, err = a.element(dst)
		}
		if err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (a *arrayReader) element(dst []byte) ([]byte, error) {
	if len(a.rest) < 4 {
		return dst, malformed("array", a.rest)
	}
	n := int(int32(binary.BigEndian.Uint32(a.rest)))
	a.rest = a.rest[4:]
	if n < 0 {
		return append(dst, "null"...), nil
	}
	if n > len(a.rest) {
		return dst, malformed("array", a.rest)
	}
	v, err := a.column.cell(a.rest[:n:n])
	a.rest = a.rest[n:]
	if err != nil {
		return dst, err
	}
	return pgwire.AppendJSONValue(dst, v)
}
