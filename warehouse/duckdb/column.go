package duckdb

import (
	"fmt"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
)

// column is the shape of one result column or of a part of a nested one: what
// is known before the first row.
type column struct {
	name     string
	id       bindings.Type
	json     bool
	width    int // decimal digits
	scale    int
	storage  bindings.Type // of decimals and enums
	labels   []string      // of enums
	size     int           // of arrays
	children []*column     // of lists, arrays, maps (key, value), structs and unions
}

// newColumn reads the shape of typ; the caller still destroys typ.
func newColumn(name string, typ bindings.LogicalType) *column {
	c := &column{name: name, id: bindings.GetTypeId(typ)}
	switch c.id {
	case bindings.TypeVarchar:
		c.json = bindings.LogicalTypeGetAlias(typ) == "JSON"
	case bindings.TypeDecimal:
		c.width, c.scale = int(bindings.DecimalWidth(typ)), int(bindings.DecimalScale(typ))
		c.storage = bindings.DecimalInternalType(typ)
	case bindings.TypeEnum:
		c.storage = bindings.EnumInternalType(typ)
		for i := range bindings.EnumDictionarySize(typ) {
			c.labels = append(c.labels, bindings.EnumDictionaryValue(typ, bindings.IdxT(i)))
		}
	case bindings.TypeList:
		c.adopt("", bindings.ListTypeChildType(typ))
	case bindings.TypeArray:
		c.size = int(bindings.ArrayTypeArraySize(typ))
		c.adopt("", bindings.ArrayTypeChildType(typ))
	case bindings.TypeMap:
		c.adopt("key", bindings.MapTypeKeyType(typ))
		c.adopt("value", bindings.MapTypeValueType(typ))
	case bindings.TypeStruct:
		for i := range bindings.StructTypeChildCount(typ) {
			c.adopt(bindings.StructTypeChildName(typ, i), bindings.StructTypeChildType(typ, i))
		}
	case bindings.TypeUnion:
		for i := range bindings.UnionTypeMemberCount(typ) {
			c.adopt(bindings.UnionTypeMemberName(typ, i), bindings.UnionTypeMemberType(typ, i))
		}
	}
	return c
}

func (c *column) adopt(name string, typ bindings.LogicalType) {
	c.children = append(c.children, newColumn(name, typ))
	bindings.DestroyLogicalType(&typ)
}

// typ is the column's type among the nouns; ok is false when there is none.
func (c *column) typ() (t tidegate.Type, ok bool) {
	switch c.id {
	case bindings.TypeBoolean:
		return tidegate.Type{Kind: tidegate.Bool}, true
	case bindings.TypeTinyInt, bindings.TypeSmallInt, bindings.TypeInteger, bindings.TypeBigInt,
		bindings.TypeUTinyInt, bindings.TypeUSmallInt, bindings.TypeUInteger:
		return tidegate.Type{Kind: tidegate.Int}, true
	case bindings.TypeUBigInt, bindings.TypeHugeInt, bindings.TypeUHugeInt:
		return tidegate.Type{Kind: tidegate.Decimal, Precision: 38}, true
	case bindings.TypeDecimal:
		return tidegate.Type{Kind: tidegate.Decimal, Precision: c.width, Scale: c.scale}, true
	case bindings.TypeFloat, bindings.TypeDouble:
		return tidegate.Type{Kind: tidegate.Float}, true
	case bindings.TypeVarchar:
		if c.json {
			return tidegate.Type{Kind: tidegate.JSON}, true
		}
		return tidegate.Type{Kind: tidegate.String}, true
	case bindings.TypeEnum, bindings.TypeUUID, bindings.TypeInterval, bindings.TypeBit, bindings.TypeBigNum,
		bindings.TypeTime, bindings.TypeTimeTZ, bindings.TypeTimeNS, bindings.TypeSQLNull:
		return tidegate.Type{Kind: tidegate.String}, true
	case bindings.TypeBlob:
		return tidegate.Type{Kind: tidegate.Bytes}, true
	case bindings.TypeDate:
		return tidegate.Type{Kind: tidegate.Date}, true
	case bindings.TypeTimestamp, bindings.TypeTimestampTZ, bindings.TypeTimestampS, bindings.TypeTimestampMS, bindings.TypeTimestampNS:
		return tidegate.Type{Kind: tidegate.Timestamp}, true
	case bindings.TypeList, bindings.TypeArray, bindings.TypeMap, bindings.TypeStruct, bindings.TypeUnion:
		for _, child := range c.children {
			if _, ok := child.typ(); !ok {
				return tidegate.Type{}, false
			}
		}
		return tidegate.Type{Kind: tidegate.JSON}, true
	}
	return tidegate.Type{}, false
}

// resultColumns reads the shape of a result, refusing columns of a type that
// has no place among the nouns.
func resultColumns(res *bindings.Result) ([]*column, tidegate.Schema, error) {
	count := bindings.ColumnCount(res)
	columns := make([]*column, 0, count)
	schema := make(tidegate.Schema, 0, count)
	for i := range count {
		logical := bindings.ColumnLogicalType(res, i)
		c := newColumn(bindings.ColumnName(res, i), logical)
		bindings.DestroyLogicalType(&logical)
		typ, ok := c.typ()
		if !ok {
			return nil, nil, &tidegate.Fault{
				Action:  tidegate.Halt,
				Code:    "warehouse.type",
				Subject: fmt.Sprintf("column %q", c.name),
				Message: fmt.Sprintf("the column has a type (number %d of DuckDB) that cannot be read", c.id),
				Hint:    "cast it to VARCHAR in the query",
			}
		}
		columns = append(columns, c)
		schema = append(schema, tidegate.Column{Name: c.name, Type: typ})
	}
	return columns, schema, nil
}

// vector is one column of one chunk: pointers into the engine's memory that
// live as long as the chunk.
type vector struct {
	*column
	data     unsafe.Pointer
	validity unsafe.Pointer
	children []vector
}

// attach points v at raw.
func (v *vector) attach(raw bindings.Vector) {
	v.data = bindings.VectorGetData(raw)
	v.validity = bindings.VectorGetValidity(raw)
	if len(v.column.children) == 0 {
		return
	}
	if v.children == nil {
		v.children = make([]vector, len(v.column.children))
		for i, child := range v.column.children {
			v.children[i].column = child
		}
	}
	switch v.id {
	case bindings.TypeList:
		v.children[0].attach(bindings.ListVectorGetChild(raw))
	case bindings.TypeArray:
		v.children[0].attach(bindings.ArrayVectorGetChild(raw))
	case bindings.TypeMap: // a list of pairs
		pairs := bindings.ListVectorGetChild(raw)
		v.children[0].attach(bindings.StructVectorGetChild(pairs, 0))
		v.children[1].attach(bindings.StructVectorGetChild(pairs, 1))
	case bindings.TypeStruct:
		for i := range v.children {
			v.children[i].attach(bindings.StructVectorGetChild(raw, bindings.IdxT(i)))
		}
	case bindings.TypeUnion: // a struct whose first field is the tag
		tag := bindings.StructVectorGetChild(raw, 0)
		v.data = bindings.VectorGetData(tag)
		for i := range v.children {
			v.children[i].attach(bindings.StructVectorGetChild(raw, bindings.IdxT(i+1)))
		}
	}
}

// null says whether row holds no value.
func (v *vector) null(row int) bool {
	if v.id == bindings.TypeSQLNull {
		return true
	}
	if v.validity == nil {
		return false
	}
	return load[uint64](v.validity, row/64)&(1<<(row%64)) == 0
}

// load reads the i-th T of an array of the engine.
func load[T any](array unsafe.Pointer, i int) T {
	var t T
	return *(*T)(unsafe.Add(array, uintptr(i)*unsafe.Sizeof(t)))
}

// stringHead is how the engine keeps a string: up to 12 bytes in place, longer
// ones behind a pointer.
type stringHead struct {
	size   uint32
	inline [4]byte
	rest   uint64
}

const inlineString = 12

// bytesAt returns the bytes of a string or blob cell; they are the engine's.
func (v *vector) bytesAt(row int) []byte {
	head := (*stringHead)(unsafe.Add(v.data, uintptr(row)*unsafe.Sizeof(stringHead{})))
	if head.size <= inlineString {
		return unsafe.Slice((*byte)(unsafe.Pointer(&head.inline)), head.size)
	}
	long := *(*unsafe.Pointer)(unsafe.Pointer(&head.rest))
	return unsafe.Slice((*byte)(long), head.size)
}
