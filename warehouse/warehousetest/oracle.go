package warehousetest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// oracle is a table as the words of the contract have it. It knows no engine, and
// shares no code with adapters.
type oracle struct {
	columns tidegate.Schema
	rows    []tidegate.Row // as long as columns were when they came; what they lack is NULL
}

func (o *oracle) index(name string) int {
	return slices.IndexFunc(o.columns, func(c tidegate.Column) bool { return sqltext.Same(c.Name, name) })
}

// ensure adds and widens, and rewrites what is there.
func (o *oracle) ensure(asked tidegate.Schema) {
	for _, c := range asked {
		at := o.index(c.Name)
		if at < 0 {
			o.columns = append(o.columns, c)
			continue
		}
		to := oracleType(o.columns[at].Type, c.Type)
		if to == o.columns[at].Type {
			continue
		}
		for _, row := range o.rows {
			if at < len(row) {
				row[at] = oracleValue(row[at], to)
			}
		}
		o.columns[at].Type = to
	}
}

// load writes rows whose first value of asked is the key, and says how many it wrote.
func (o *oracle) load(s step) int64 {
	key := o.index(keyName)
	written := map[any]bool{}
	for _, values := range s.rows {
		row := make(tidegate.Row, len(o.columns))
		for i, c := range s.loaded {
			at := o.index(s.asked[c].Name)
			row[at] = oracleValue(values[i], o.columns[at].Type)
		}
		there := slices.IndexFunc(o.rows, func(r tidegate.Row) bool { return r[key] == row[key] })
		switch {
		case there < 0:
			o.rows = append(o.rows, row)
			written[row[key]] = true
		case s.mode == replacing:
			o.rows[there] = row
			written[row[key]] = true
		}
	}
	return int64(len(written))
}

// read returns the rows in the order of their keys, with every column.
func (o *oracle) read() []tidegate.Row {
	key := o.index(keyName)
	var rows []tidegate.Row
	for _, r := range o.rows {
		rows = append(rows, append(slices.Clone(r), make(tidegate.Row, len(o.columns)-len(r))...))
	}
	slices.SortFunc(rows, func(a, b tidegate.Row) int { return int(a[key].(int64) - b[key].(int64)) })
	return rows
}

// oracleType is the contract's rule of widening, as a table.
func oracleType(old, add tidegate.Type) tidegate.Type {
	type pair struct{ old, add tidegate.Kind }
	switch (pair{old.Kind, add.Kind}) {
	case pair{tidegate.Int, tidegate.Float}, pair{tidegate.Float, tidegate.Int}:
		return typ(tidegate.Float)
	case pair{tidegate.Date, tidegate.Timestamp}, pair{tidegate.Timestamp, tidegate.Date}:
		return typ(tidegate.Timestamp)
	case pair{tidegate.Int, tidegate.Decimal}, pair{tidegate.Decimal, tidegate.Int}, pair{tidegate.Decimal, tidegate.Decimal}:
		whole, scale := 0, 0
		for _, t := range []tidegate.Type{old, add} {
			if t.Kind == tidegate.Int {
				t = decimal(19, 0)
			}
			whole, scale = max(whole, t.Precision-t.Scale), max(scale, t.Scale)
		}
		if whole+scale <= 38 {
			return decimal(whole+scale, scale)
		}
	default:
		if old == add || old.Kind == tidegate.JSON {
			return old
		}
	}
	return typ(tidegate.String)
}

// oracleValue is a value as a column of type to holds it.
func oracleValue(v any, to tidegate.Type) any {
	if v == nil {
		return nil
	}
	switch to.Kind {
	case tidegate.Float:
		if n, ok := v.(int64); ok {
			return float64(n)
		}
	case tidegate.Decimal:
		if n, ok := v.(int64); ok {
			return tidegate.DecimalText(strconv.FormatInt(n, 10))
		}
	case tidegate.Timestamp:
		if d, ok := v.(tidegate.CalendarDate); ok {
			return d.Time()
		}
	case tidegate.String:
		return oracleText(v)
	case tidegate.JSON:
		switch v.(type) {
		case tidegate.JSONText:
		case bool, int64, float64, tidegate.DecimalText:
			return tidegate.JSONText(oracleText(v))
		default:
			text, _ := json.Marshal(oracleText(v)) // a string always can be
			return tidegate.JSONText(text)
		}
	default:
	}
	return v
}

// oracleText is a value as a string column holds it.
func oracleText(v any) string {
	switch n := v.(type) {
	case []byte:
		return base64.StdEncoding.EncodeToString(n)
	case float64:
		return strconv.FormatFloat(n, 'f', -1, 64)
	case time.Time:
		if n.Nanosecond() == 0 {
			return n.Format(time.RFC3339)
		}
		return n.Format("2006-01-02T15:04:05.000000Z07:00")
	}
	return fmt.Sprint(v)
}
