package duckdb

import (
	"fmt"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// bind gives s its parameters, by position.
func (s *stmt) bind(args []any) error {
	if want := int(bindings.NParams(s.raw)); want != len(args) {
		return sqlcheck.Arguments(want, len(args))
	}
	for i, arg := range args {
		v, err := value(arg)
		if err != nil {
			return fmt.Errorf("binding parameter %d: %w", i+1, err)
		}
		state := bindings.BindValue(s.raw, bindings.IdxT(i+1), v)
		bindings.DestroyValue(&v)
		if state == bindings.StateError {
			return fmt.Errorf("binding parameter %d: %w", i+1, fault(bindings.PrepareError(s.raw)))
		}
	}
	return nil
}

// value makes the engine's value of one cell or Go scalar; slices of strings
// and integers become lists.
func value(arg any) (bindings.Value, error) {
	switch v := arg.(type) {
	case nil:
		return bindings.CreateNullValue(), nil
	case bool:
		return bindings.CreateBool(v), nil
	case int:
		return bindings.CreateInt64(int64(v)), nil
	case int32:
		return bindings.CreateInt64(int64(v)), nil
	case int64:
		return bindings.CreateInt64(v), nil
	case uint32:
		return bindings.CreateInt64(int64(v)), nil
	case uint64:
		return bindings.CreateUInt64(v), nil
	case float64:
		return bindings.CreateDouble(v), nil
	case string:
		return bindings.CreateVarcharLength(v, bindings.IdxT(len(v))), nil
	case tidegate.JSONText:
		return bindings.CreateVarcharLength(string(v), bindings.IdxT(len(v))), nil
	case []byte:
		return bindings.CreateBlob(v), nil
	case tidegate.CalendarDate:
		return bindings.CreateDate(bindings.NewDate(int32(v))), nil
	case time.Time:
		return bindings.CreateTimestampTZ(bindings.NewTimestamp(v.UnixMicro())), nil
	case tidegate.DecimalText:
		return decimalValue(v)
	case []string:
		return listValue(bindings.TypeVarchar, v)
	case []int64:
		return listValue(bindings.TypeBigInt, v)
	}
	return bindings.Value{}, fmt.Errorf("a %T cannot be a parameter", arg)
}

func decimalValue(text tidegate.DecimalText) (bindings.Value, error) {
	scale := decimalScale(string(text))
	d, err := parseDecimal(string(text), 38, scale)
	if err != nil {
		return bindings.Value{}, err
	}
	return bindings.CreateDecimal(bindings.NewDecimal(38, uint8(scale), bindings.NewHugeInt(d.lo, int64(d.hi)))), nil
}

func listValue[E any](of bindings.Type, elements []E) (bindings.Value, error) {
	child := bindings.CreateLogicalType(of)
	defer bindings.DestroyLogicalType(&child)
	values := make([]bindings.Value, 0, len(elements))
	defer func() {
		for i := range values {
			bindings.DestroyValue(&values[i])
		}
	}()
	for _, e := range elements {
		v, err := value(e)
		if err != nil {
			return bindings.Value{}, err
		}
		values = append(values, v)
	}
	return bindings.CreateListValue(child, values), nil
}
