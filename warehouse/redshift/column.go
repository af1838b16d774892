package redshift

import (
	"github.com/tidegate/tidegate"
)

// The server's numbers of its types.
const (
	oidBool        = 16
	oidBytea       = 17
	oidChar        = 18
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidFloat4      = 700
	oidFloat8      = 701
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTimestamp   = 1114
	oidTimestampTZ = 1184
	oidNumeric     = 1700
	oidSuper       = 4000
	oidVarbyte     = 6551
)

const (
	maxVarchar = 65_535     // bytes
	maxVarbyte = 16_777_216 // bytes
	maxSuper   = 16_000_000 // bytes of a document
)

// column is a column of a result or a table.
type column struct {
	name string
	oid  uint32
	typ  tidegate.Type
	// length is that of a VARCHAR or VARBYTE in bytes, 0 when it is not known.
	length int
	// unbounded numerics come from expressions, whose digits nobody declared.
	unbounded bool

	distKey bool
	sortKey int // its place among the sort keys, from 1; negative in an interleaved one; 0 for none
}

func newColumn(name string, oid uint32, modifier int32) column {
	c := column{name: name, oid: oid, typ: tidegate.Type{Kind: kindOf(oid)}}
	switch oid {
	case oidNumeric:
		c.typ.Precision, c.typ.Scale, c.unbounded = decimalOf(modifier)
	case oidVarchar, oidBPChar, oidVarbyte:
		c.length = max(0, int(modifier)-4)
	}
	return c
}

// kindOf maps every type to a kind; those without one of their own travel as
// the text that the server writes for them.
func kindOf(oid uint32) tidegate.Kind {
	switch oid {
	case oidBool:
		return tidegate.Bool
	case oidInt2, oidInt4, oidInt8, oidOID:
		return tidegate.Int
	case oidFloat4, oidFloat8:
		return tidegate.Float
	case oidNumeric:
		return tidegate.Decimal
	case oidVarbyte:
		return tidegate.Bytes
	case oidDate:
		return tidegate.Date
	case oidTimestamp, oidTimestampTZ:
		return tidegate.Timestamp
	case oidSuper:
		return tidegate.JSON
	}
	return tidegate.String
}

// decimalOf reads the modifier of a numeric: 0xPPPPSSSS + 4.
func decimalOf(modifier int32) (precision, scale int, unbounded bool) {
	if modifier >= 4 {
		precision, scale = int(modifier-4)>>16&0xffff, int(modifier-4)&0xffff
		if precision >= 1 && precision <= 38 && scale <= precision {
			return precision, scale, false
		}
	}
	return 38, 9, true
}

func schemaOf(columns []column) tidegate.Schema {
	s := make(tidegate.Schema, len(columns))
	for i, c := range columns {
		s[i] = tidegate.Column{Name: c.name, Type: c.typ}
	}
	return s
}
