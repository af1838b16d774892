package evolve

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// maxEvidence bounds the different values that a proposal looks at.
const maxEvidence = 100_000

// maxExactInt is the largest whole number up to which a double holds every one.
const maxExactInt = 1 << 53

// evidence is what the values that were set aside need.
type evidence struct {
	any     bool
	numbers bool // all are numbers
	doubles bool // and a double holds each as it was written
	times   bool // all are dates or times
	json    bool // some are objects or arrays kept as JSON
	digits  shape.Digits
}

func (e *evidence) add(kind, text string) {
	if !e.any {
		*e = evidence{any: true, numbers: true, doubles: true, times: true}
	}
	switch kind {
	case tidegate.Int.String(), tidegate.Float.String(), "number":
		d, ok := shape.DigitsOf(text)
		e.numbers, e.doubles = e.numbers && ok, e.doubles && d.Float
		e.digits.Whole, e.digits.Scale = max(e.digits.Whole, d.Whole), max(e.digits.Scale, d.Scale)
		e.times = false
	case tidegate.Timestamp.String(), tidegate.Date.String():
		e.numbers = false
	case tidegate.JSON.String():
		e.json, e.numbers, e.times = true, false, false
	default:
		e.numbers, e.times = false, false
	}
}

// wider is the narrowest type that holds a column's own values and what was set aside:
//
//	int ──fractions──▶ float, or decimal where a double would round a value on either side
//	decimal ──▶ more digits, up to 38        date ──times──▶ timestamp
//	anything ──objects──▶ json               anything else ──▶ string
func (e evidence) wider(have tidegate.Type, exactInts bool) tidegate.Type {
	if !e.any || have.Kind == tidegate.String || have.Kind == tidegate.JSON {
		return have
	}
	whole, scale := e.digits.Whole, e.digits.Scale
	switch have.Kind {
	case tidegate.Int:
		whole = max(whole, 19)
		if e.numbers && e.doubles && exactInts {
			return tidegate.Type{Kind: tidegate.Float}
		}
	case tidegate.Decimal:
		whole, scale = max(whole, have.Precision-have.Scale), max(scale, have.Scale)
	case tidegate.Date:
		if e.times {
			return tidegate.Type{Kind: tidegate.Timestamp}
		}
	default:
	}
	switch {
	case e.numbers && (have.Kind == tidegate.Int || have.Kind == tidegate.Decimal) && whole+scale <= 38:
		return tidegate.Type{Kind: tidegate.Decimal, Precision: whole + scale, Scale: scale}
	case e.json:
		return tidegate.Type{Kind: tidegate.JSON}
	}
	return tidegate.Type{Kind: tidegate.String}
}

// propose computes the type that a column of t should get from what was set aside.
func propose(ctx context.Context, q Warehouse, t warehouse.Table, c tidegate.Column) (tidegate.Type, error) {
	d, err := dialectOf(q)
	if err != nil {
		return c.Type, err
	}
	from, err := d.Table(t.Schema, shape.DiscardsTable)
	if err != nil {
		return c.Type, err
	}
	var e evidence
	// The first value that is set aside of a source makes the table.
	if _, err := q.Describe(ctx, warehouse.Table{Schema: t.Schema, Name: shape.DiscardsTable}); errors.Is(err, warehouse.ErrNoTable) {
		return c.Type, nil
	}
	err = warehouse.Each(ctx, q, string("SELECT DISTINCT value_type, CASE WHEN value_type IN ('int', 'float', 'number') THEN column_value ELSE '' END FROM "+from+
		" WHERE table_name = "+d.Placeholder(1)+" AND column_name = "+d.Placeholder(2)+" AND reason IN "+bothReasons+
		" LIMIT "+number(maxEvidence)), []any{t.Name, c.Name}, func(row tidegate.Row) error {
		e.add(str(row[0]), str(row[1]))
		return nil
	})
	if err != nil {
		return c.Type, fmt.Errorf("looking at what was set aside of %s.%s: %w", t, c.Name, err)
	}
	exact := true
	if c.Type.Kind == tidegate.Int && e.numbers && e.doubles {
		if exact, err = exactInts(ctx, q, d, t, c.Name); err != nil {
			return c.Type, err
		}
	}
	to := e.wider(c.Type, exact)
	users, merged, err := usersColumn(ctx, q, t, c.Name)
	if err == nil && merged {
		to = both(to, users.Type)
	}
	return to, err
}

// usersColumn is the column of users into which a column of t is merged, if any.
func usersColumn(ctx context.Context, wh Warehouse, t warehouse.Table, name string) (tidegate.Column, bool, error) {
	if t.Name != shape.IdentifiesTable && t.Name != shape.EventsTable {
		return tidegate.Column{}, false, nil
	}
	c, err := columnOf(ctx, wh, warehouse.Table{Schema: t.Schema, Name: shape.UsersTable}, name)
	if err != nil {
		if code := tidegate.FaultOf(err).Code; code == "table.not_found" || code == "column.not_found" {
			err = nil
		}
		return c, false, err
	}
	return c, true, nil
}

// both is a type that holds what either does.
func both(a, b tidegate.Type) tidegate.Type {
	switch {
	case warehouse.Holds(a, b):
		return a
	case warehouse.Holds(b, a):
		return b
	}
	return tidegate.Type{Kind: tidegate.String}
}

// exactInts says whether doubles hold the whole numbers of a column as they are.
func exactInts(ctx context.Context, q warehouse.Querier, d sqltext.Dialect, t warehouse.Table, column string) (bool, error) {
	from, err := d.Table(t.Schema, t.Name)
	if err != nil {
		return false, err
	}
	name, err := d.Ident(column)
	if err != nil {
		return false, err
	}
	exact := true
	err = warehouse.Each(ctx, q, string("SELECT min("+name+"), max("+name+") FROM "+from), nil, func(row tidegate.Row) error {
		for _, v := range row {
			if n, ok := v.(int64); ok && (n > maxExactInt || n < -maxExactInt) {
				exact = false
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("looking at the values of %s.%s: %w", t, column, err)
	}
	return exact, nil
}

// ParseType reads a type as Type.String writes it: "float", "decimal(38,9)".
func ParseType(text string) (tidegate.Type, error) {
	var t tidegate.Type
	if _, err := fmt.Sscanf(text, "decimal(%d,%d)", &t.Precision, &t.Scale); err == nil {
		t.Kind = tidegate.Decimal
		if t.Precision >= 1 && t.Precision <= 38 && t.Scale >= 0 && t.Scale <= t.Precision && t.String() == text {
			return t, nil
		}
		return tidegate.Type{}, badType(text)
	}
	for k := tidegate.Bool; k <= tidegate.JSON; k++ {
		if k != tidegate.Decimal && k.String() == text {
			return tidegate.Type{Kind: k}, nil
		}
	}
	return tidegate.Type{}, badType(text)
}

func badType(text string) error {
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: "schema.type.invalid", Subject: fmt.Sprintf("type %q", text), Message: "there is no such type",
		Hint: "bool, int, float, decimal(38,9), string, date, timestamp or json",
	}
}
