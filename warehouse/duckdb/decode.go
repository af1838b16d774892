package duckdb

import (
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"strconv"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
)

var errInfinite = errors.New("is infinite, which no other system understands")

// cell returns the value of row as the nouns carry it, nil for NULL.
func (v *vector) cell(row int) (any, error) {
	if v.null(row) {
		return nil, nil
	}
	switch v.id {
	case bindings.TypeBoolean:
		return load[bool](v.data, row), nil
	case bindings.TypeBigInt:
		return load[int64](v.data, row), nil
	case bindings.TypeTinyInt, bindings.TypeSmallInt, bindings.TypeInteger,
		bindings.TypeUTinyInt, bindings.TypeUSmallInt, bindings.TypeUInteger:
		return v.integer(row), nil
	case bindings.TypeDouble:
		return load[float64](v.data, row), nil
	case bindings.TypeFloat:
		return float64(load[float32](v.data, row)), nil
	case bindings.TypeVarchar:
		if v.json {
			return tidegate.JSONText(v.bytesAt(row)), nil
		}
		return string(v.bytesAt(row)), nil
	case bindings.TypeBlob:
		return append([]byte{}, v.bytesAt(row)...), nil
	case bindings.TypeDate:
		days := load[int32](v.data, row)
		if days == math.MaxInt32 || days == -math.MaxInt32 {
			return nil, errInfinite
		}
		return tidegate.CalendarDate(days), nil
	case bindings.TypeTimestamp, bindings.TypeTimestampTZ, bindings.TypeTimestampS, bindings.TypeTimestampMS, bindings.TypeTimestampNS:
		return v.timestamp(row)
	case bindings.TypeDecimal, bindings.TypeHugeInt, bindings.TypeUHugeInt, bindings.TypeUBigInt:
		return tidegate.DecimalText(v.appendNumber(nil, row)), nil
	case bindings.TypeList, bindings.TypeArray, bindings.TypeMap, bindings.TypeStruct, bindings.TypeUnion:
		text, err := v.appendJSON(nil, row)
		return tidegate.JSONText(text), err
	}
	text, err := v.appendText(nil, row)
	return string(text), err
}

func (v *vector) integer(row int) int64 {
	switch v.id {
	case bindings.TypeTinyInt:
		return int64(load[int8](v.data, row))
	case bindings.TypeSmallInt:
		return int64(load[int16](v.data, row))
	case bindings.TypeInteger:
		return int64(load[int32](v.data, row))
	case bindings.TypeUTinyInt:
		return int64(load[uint8](v.data, row))
	case bindings.TypeUSmallInt:
		return int64(load[uint16](v.data, row))
	case bindings.TypeUInteger:
		return int64(load[uint32](v.data, row))
	}
	return load[int64](v.data, row)
}

// timestamp reads any of the five timestamp types; those without a zone are UTC.
func (v *vector) timestamp(row int) (time.Time, error) {
	n := load[int64](v.data, row)
	if n == math.MaxInt64 || n == -math.MaxInt64 {
		return time.Time{}, errInfinite
	}
	switch v.id {
	case bindings.TypeTimestampS:
		return time.Unix(n, 0).UTC(), nil
	case bindings.TypeTimestampMS:
		return time.UnixMilli(n).UTC(), nil
	case bindings.TypeTimestampNS:
		return time.Unix(0, n).UTC().Truncate(time.Microsecond), nil
	}
	return time.UnixMicro(n).UTC(), nil
}

// appendNumber appends the canonical text of an integer or decimal cell.
func (v *vector) appendNumber(dst []byte, row int) []byte {
	switch v.id {
	case bindings.TypeUBigInt:
		return strconv.AppendUint(dst, load[uint64](v.data, row), 10)
	case bindings.TypeHugeInt:
		n := load[[2]uint64](v.data, row)
		return appendHuge(dst, n, true)
	case bindings.TypeUHugeInt:
		return appendHuge(dst, load[[2]uint64](v.data, row), false)
	case bindings.TypeDecimal:
		var n int128
		switch v.storage {
		case bindings.TypeSmallInt:
			n = wide(int64(load[int16](v.data, row)))
		case bindings.TypeInteger:
			n = wide(int64(load[int32](v.data, row)))
		case bindings.TypeBigInt:
			n = wide(load[int64](v.data, row))
		default:
			parts := load[[2]uint64](v.data, row)
			n = int128{lo: parts[0], hi: parts[1]}
		}
		return appendDecimal(dst, n, v.scale)
	}
	return strconv.AppendInt(dst, v.integer(row), 10)
}

func wide(n int64) int128 { return int128{lo: uint64(n), hi: uint64(n >> 63)} }

func appendHuge(dst []byte, n [2]uint64, signed bool) []byte {
	hi := new(big.Int).SetUint64(n[1])
	if signed {
		hi.SetInt64(int64(n[1]))
	}
	hi.Lsh(hi, 64)
	return hi.Add(hi, new(big.Int).SetUint64(n[0])).Append(dst, 10)
}

// appendText appends the text of a cell of a type that the nouns carry as a string.
func (v *vector) appendText(dst []byte, row int) ([]byte, error) {
	switch v.id {
	case bindings.TypeEnum:
		var n uint32
		switch v.storage {
		case bindings.TypeUTinyInt:
			n = uint32(load[uint8](v.data, row))
		case bindings.TypeUSmallInt:
			n = uint32(load[uint16](v.data, row))
		default:
			n = load[uint32](v.data, row)
		}
		if int(n) >= len(v.labels) {
			return dst, errors.New("holds an enum value without a label")
		}
		return append(dst, v.labels[n]...), nil
	case bindings.TypeUUID:
		parts := load[[2]uint64](v.data, row)
		return appendUUID(dst, parts[1]^(1<<63), parts[0]), nil
	case bindings.TypeTime:
		return appendClock(dst, load[int64](v.data, row)), nil
	case bindings.TypeTimeNS:
		return appendClock(dst, load[int64](v.data, row)/1000), nil
	case bindings.TypeTimeTZ:
		bits := load[uint64](v.data, row)
		return appendOffset(appendClock(dst, int64(bits>>24)), maxTimeOffset-int(bits&0xffffff)), nil
	case bindings.TypeInterval:
		n := load[interval](v.data, row)
		return n.append(dst), nil
	case bindings.TypeBit:
		return appendBits(dst, v.bytesAt(row)), nil
	case bindings.TypeBigNum:
		return appendBigNum(dst, v.bytesAt(row)), nil
	case bindings.TypeVarchar:
		return append(dst, v.bytesAt(row)...), nil
	}
	return dst, errors.New("has a type without a text")
}

func appendUUID(dst []byte, hi, lo uint64) []byte {
	var raw [16]byte
	for i := range 8 {
		raw[i] = byte(hi >> (56 - 8*i))
		raw[8+i] = byte(lo >> (56 - 8*i))
	}
	for i, part := range [5][]byte{raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// maxTimeOffset is what the engine subtracts a zone offset from before it keeps it.
const maxTimeOffset = 16*60*60 - 1

func appendClock(dst []byte, micros int64) []byte {
	seconds := micros / 1e6
	dst = appendPadded(dst, seconds/3600)
	dst = appendPadded(append(dst, ':'), seconds/60%60)
	dst = appendPadded(append(dst, ':'), seconds%60)
	if rest := micros % 1e6; rest != 0 {
		text := strconv.FormatInt(1e6+rest, 10)[1:]
		for text[len(text)-1] == '0' {
			text = text[:len(text)-1]
		}
		dst = append(append(dst, '.'), text...)
	}
	return dst
}

func appendPadded(dst []byte, n int64) []byte {
	if n < 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, n, 10)
}

func appendOffset(dst []byte, seconds int) []byte {
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	dst = appendPadded(append(dst, sign), int64(seconds/3600))
	if seconds%3600 != 0 {
		dst = appendPadded(append(dst, ':'), int64(seconds/60%60))
	}
	return dst
}

// interval is how the engine keeps an INTERVAL.
type interval struct {
	months, days int32
	micros       int64
}

func (n interval) append(dst []byte) []byte {
	start := len(dst)
	part := func(count int32, unit string) {
		if count == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(append(strconv.AppendInt(dst, int64(count), 10), ' '), unit...)
		if count != 1 && count != -1 {
			dst = append(dst, 's')
		}
	}
	part(n.months/12, "year")
	part(n.months%12, "month")
	part(n.days, "day")
	if n.micros == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	if n.micros < 0 {
		return appendClock(append(dst, '-'), -n.micros)
	}
	return appendClock(dst, n.micros)
}

// appendBits writes a BIT: its first byte says how many bits of the next are padding.
func appendBits(dst, raw []byte) []byte {
	if len(raw) == 0 {
		return dst
	}
	padding := int(raw[0])
	for i := padding; i < (len(raw)-1)*8; i++ {
		dst = append(dst, '0'+raw[1+i/8]>>(7-i%8)&1)
	}
	return dst
}

// appendBigNum writes a BIGNUM: three bytes of header whose top bit is set for
// positive numbers, then the magnitude, big endian; negative ones complemented.
func appendBigNum(dst, raw []byte) []byte {
	if len(raw) < 3 {
		return append(dst, '0')
	}
	negative := raw[0]&0x80 == 0
	magnitude := append([]byte{}, raw[3:]...)
	if negative {
		for i := range magnitude {
			magnitude[i] = ^magnitude[i]
		}
	}
	n := new(big.Int).SetBytes(magnitude)
	if negative {
		n.Neg(n)
	}
	return n.Append(dst, 10)
}
