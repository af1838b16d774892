package clickhouse

import (
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
)

// shape is how the values of a type lie in a block.
type shape uint8

const (
	shapeNone    shape = iota // a type that is not read as it is
	shapeBool                 // a byte, 0 or 1
	shapeInt                  // width bytes, signed
	shapeUint                 // width bytes
	shapeFloat                // width bytes, IEEE 754
	shapeDecimal              // width bytes, signed, scaled by ten to the power of scale
	shapeString               // a length and bytes
	shapeDate                 // width bytes: days since 1970, unsigned where there are two
	shapeTime                 // width bytes: ticks of ten to the power of -scale seconds since 1970
	shapeNothing              // a byte of no meaning: the column holds NULL only
)

// column is a column of a table or a result.
type column struct {
	name     string
	typ      tidegate.Type
	engine   string // the type as the engine writes it
	shape    shape
	width    int
	scale    int
	nullable bool
	low      bool // LowCardinality: values are sent as places in a list of those that there are
	// convert is the function that makes values of a foreign type readable; empty for the others.
	convert string
}

// The names under which bytes and JSON lie in the engine's texts; see sqltext.ClickHouse.
const (
	bytesTag = "any_respect_nulls"
	jsonTag  = "anyLast_respect_nulls"
)

// parseColumn reads a type as the engine writes it.
func parseColumn(name, engine string) column {
	c := column{name: name, engine: engine}
	rest := engine
	kind := tidegate.Unknown
	for { // wrappers, outermost first; each is shorter than the one before
		if inner, ok := wrapped(rest, "LowCardinality"); ok {
			rest, c.low = inner, true
		} else if inner, ok := wrapped(rest, "Nullable"); ok {
			rest, c.nullable = inner, true
		} else if inner, ok := wrapped(rest, "SimpleAggregateFunction"); ok {
			function, of, _ := strings.Cut(inner, ", ")
			switch function {
			case bytesTag:
				kind = tidegate.Bytes
			case jsonTag:
				kind = tidegate.JSON
			}
			rest = of
		} else {
			break
		}
	}
	c.base(rest)
	if kind != tidegate.Unknown && c.shape == shapeString {
		c.typ.Kind = kind
	}
	return c
}

// wrapped returns what stands inside name(…).
func wrapped(engine, name string) (string, bool) {
	inner, ok := strings.CutPrefix(engine, name+"(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return "", false
	}
	return inner[:len(inner)-1], true
}

// base reads a type without wrappers.
func (c *column) base(engine string) {
	set := func(kind tidegate.Kind, s shape, width int) { c.typ.Kind, c.shape, c.width = kind, s, width }
	name, args, _ := strings.Cut(strings.TrimSuffix(engine, ")"), "(")
	switch name {
	case "Bool":
		set(tidegate.Bool, shapeBool, 1)
	case "Int8", "Int16", "Int32", "Int64":
		bits, _ := strconv.Atoi(name[3:])
		set(tidegate.Int, shapeInt, bits/8)
	case "UInt8", "UInt16", "UInt32", "UInt64": // counts are the last; what an int64 cannot hold is refused when it comes
		bits, _ := strconv.Atoi(name[4:])
		set(tidegate.Int, shapeUint, bits/8)
	case "Float32", "Float64":
		bits, _ := strconv.Atoi(name[5:])
		set(tidegate.Float, shapeFloat, bits/8)
	case "Decimal":
		c.decimal(args)
	case "String":
		set(tidegate.String, shapeString, 0)
	case "Date":
		set(tidegate.Date, shapeDate, 2)
	case "Date32":
		set(tidegate.Date, shapeDate, 4)
	case "DateTime":
		set(tidegate.Timestamp, shapeTime, 4)
	case "DateTime64":
		set(tidegate.Timestamp, shapeTime, 8)
		scale, _, _ := strings.Cut(args, ",")
		c.scale, _ = strconv.Atoi(scale)
	case "Nothing":
		set(tidegate.String, shapeNothing, 1)
	case "Array", "Tuple", "Map", "Nested", "JSON", "Object", "Variant", "Dynamic", "Point", "Ring", "Polygon", "MultiPolygon", "LineString", "MultiLineString", "Geometry":
		c.typ.Kind, c.convert = tidegate.JSON, "toJSONString"
	default: // UUID, Enum8, IPv4, FixedString, Interval …
		c.typ.Kind, c.convert = tidegate.String, "toString"
	}
}

func (c *column) decimal(args string) {
	p, s, _ := strings.Cut(args, ",")
	precision, err := strconv.Atoi(strings.TrimSpace(p))
	scale, err2 := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || err2 != nil || precision > 38 {
		c.typ.Kind, c.convert = tidegate.String, "toString"
		return
	}
	c.typ = tidegate.Type{Kind: tidegate.Decimal, Precision: precision, Scale: scale}
	c.shape, c.scale, c.width = shapeDecimal, scale, decimalWidth(precision)
}

func decimalWidth(precision int) int {
	switch {
	case precision <= 9:
		return 4
	case precision <= 18:
		return 8
	}
	return 16
}

// wire is the type under which values of c are sent: without what only concerns storage.
func (c *column) wire() string {
	t := c.engine
	if inner, ok := wrapped(t, "LowCardinality"); ok {
		t = inner
	}
	if inner, ok := wrapped(t, "SimpleAggregateFunction"); ok {
		_, t, _ = strings.Cut(inner, ", ")
	}
	return t
}

// writable says whether rows can be sent to the column.
func (c *column) writable() bool { return c.shape != shapeNone && c.shape != shapeNothing }

func schemaOf(columns []column) tidegate.Schema {
	s := make(tidegate.Schema, len(columns))
	for i, c := range columns {
		s[i] = tidegate.Column{Name: c.name, Type: c.typ}
	}
	return s
}
