package postgres

import (
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
)

// The server's numbers of its built-in types.
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
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTimestamp   = 1114
	oidTimestampTZ = 1184
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// elements are the array types that are read, by the types of their elements.
var elements = map[uint32]uint32{
	1000: oidBool, 1001: oidBytea, 1003: oidName, 1005: oidInt2, 1007: oidInt4, 1016: oidInt8, 1009: oidText, 1028: oidOID, 199: oidJSON,
	1021: oidFloat4, 1022: oidFloat8, 1014: oidBPChar, 1015: oidVarchar, 1182: oidDate, 1115: oidTimestamp, 1185: oidTimestampTZ,
	1231: oidNumeric, 2951: oidUUID, 3807: oidJSONB,
}

// column is a column of a result or a table.
type column struct {
	name string
	oid  uint32
	typ  tidegate.Type
	// unbounded numerics hold any number of digits on either side of the point;
	// they are described as decimal(38,9), and their values come whole.
	unbounded bool
	// asText columns are sent as text, for the server to cast.
	asText bool
}

func newColumn(f pgconn.FieldDescription) column {
	c := column{name: f.Name, oid: f.DataTypeOID}
	c.typ.Kind = kindOf(f.DataTypeOID)
	if c.typ.Kind == tidegate.Decimal {
		c.typ.Precision, c.typ.Scale, c.unbounded = decimalOf(f.TypeModifier)
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
	case oidBytea:
		return tidegate.Bytes
	case oidDate:
		return tidegate.Date
	case oidTimestamp, oidTimestampTZ:
		return tidegate.Timestamp
	case oidJSON, oidJSONB:
		return tidegate.JSON
	}
	if _, ok := elements[oid]; ok {
		return tidegate.JSON
	}
	return tidegate.String
}

// decimalOf reads the modifier of a numeric: 0xPPPPSSSS + 4, with a scale of eleven signed bits.
func decimalOf(modifier int32) (precision, scale int, unbounded bool) {
	if modifier >= 4 {
		precision = int(modifier-4) >> 16 & 0xffff
		scale = int(modifier-4) & 0x7ff
		if scale&0x400 != 0 {
			scale -= 0x800
		}
		if precision <= 38 && scale >= 0 && scale <= precision {
			return precision, scale, false
		}
	}
	return 38, 9, true
}

// format is 1 where the server sends this column in binary, 0 for text.
func (c *column) format() int16 {
	switch c.typ.Kind {
	case tidegate.String:
		switch c.oid {
		case oidText, oidVarchar, oidBPChar, oidName, oidUUID:
			return 1
		}
		return 0
	default:
		return 1
	}
}

// columnsOf describes the columns of a result.
func columnsOf(fields []pgconn.FieldDescription) []column {
	columns := make([]column, len(fields))
	for i, f := range fields {
		columns[i] = newColumn(f)
	}
	return columns
}

func schemaOf(columns []column) tidegate.Schema {
	s := make(tidegate.Schema, len(columns))
	for i, c := range columns {
		s[i] = tidegate.Column{Name: c.name, Type: c.typ}
	}
	return s
}
