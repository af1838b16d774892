package replay

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Columns of one name may be of two types: a column widens when it meets what it cannot hold, and a
// shadow has met other events, or the same under other rules.

// widths are the types that a column widens through.
var widths = map[tidegate.Kind]int{tidegate.Int: 1, tidegate.Decimal: 2, tidegate.Float: 3, tidegate.String: 4}

// meet makes the shadow's columns as wide as the live ones, which the engine does as for a row that is loaded
// later, so that equal values look alike; and tells the columns that were of different types. A live table
// is left alone: where the shadow's column is the wider, alike does what words of SQL can.
func (c *comparer) meet(ctx context.Context, name string, compared []string, diff *TableDiff) error {
	var wider tidegate.Schema
	c.mixed = map[string][2]tidegate.Type{}
	for _, col := range compared {
		l, s := c.kinds["l"][col], c.kinds["s"][col]
		if l == s {
			continue
		}
		if diff.Types == nil {
			diff.Types = map[string][2]string{}
		}
		diff.Types[col] = [2]string{l.String(), s.String()}
		c.mixed[col] = [2]tidegate.Type{l, s}
		if l.Kind == tidegate.String || widths[s.Kind] > 0 && widths[l.Kind] >= widths[s.Kind] {
			wider = append(wider, tidegate.Column{Name: col, Type: l})
		}
	}
	if len(wider) == 0 {
		return nil
	}
	if _, err := c.wh.Ensure(ctx, warehouse.Table{Schema: c.shadow, Name: name}, wider); err != nil {
		return fmt.Errorf("widening columns of the shadow: %w", err)
	}
	_, err := c.describe(ctx, c.shadow, name)
	return err
}

// alike is what a column of type t says as a text that can be held against that of a column of type other.
func (c *comparer) alike(column sqltext.Text, t, other tidegate.Type) string {
	numeric := func(t tidegate.Type) bool { return widths[t.Kind] > 0 && t.Kind != tidegate.String }
	switch {
	case t == other:
	case numeric(t) && numeric(other):
		as := t
		if widths[other.Kind] > widths[t.Kind] || t.Kind == other.Kind && other.Scale > t.Scale {
			as = other
		}
		if name, err := c.d.Type(as); err == nil {
			return string(c.d.AsText("CAST("+column+" AS "+name+")", as))
		}
	case numeric(t) && t.Kind != tidegate.Int && other.Kind == tidegate.String: // without the zeros that say nothing
		text := string(c.d.AsText(column, t))
		return "CASE WHEN " + text + " LIKE '%.%' AND " + text + " NOT LIKE '%e%' THEN rtrim(rtrim(" + text + ", '0'), '.') ELSE " + text + " END"
	}
	return string(c.d.AsText(column, t))
}

// differ says that a column's two sides are not the same. A number and a text may be the same number in other words:
// engines write floats as texts each in its own way, and an event in its sender's. Digits beyond those of a float count unless a
// side has been one, which its type or an exponent tells.
func (c *comparer) differ(column string) string {
	l, s := c.text("l", column), c.text("s", column)
	apart := differs(l, s)
	was, mixed := c.mixed[column]
	if !mixed || widths[was[0].Kind] == 0 || widths[was[1].Kind] == 0 || was[0].Kind != tidegate.String && was[1].Kind != tidegate.String {
		return apart
	}
	same := string(c.d.Number(sqltext.Text(l))) + " = " + string(c.d.Number(sqltext.Text(s)))
	if was[0].Kind != tidegate.Float && was[1].Kind != tidegate.Float {
		same = "(lower(" + l + ") LIKE '%e%' OR lower(" + s + ") LIKE '%e%') AND " + same
	}
	return "(" + apart + " AND CASE WHEN " + same + " THEN 0 ELSE 1 END = 1)"
}

// merged says of users when their rows may hold what events before the range, or left out, have said.
func (c *comparer) merged(table string) bool {
	return table == shape.UsersTable && (!c.whole || c.of.From.Position > 0)
}

// comparable limits a join to rows that say the same events: a row of users is made of all that a user's
// events said, so it is compared where the last of them is in the range; when events were left out, where it is
// the last on both sides.
func (c *comparer) comparable(table string) string {
	switch {
	case table != shape.UsersTable:
		return ""
	case c.whole:
		return " AND " + c.inRange()
	}
	return " AND l." + shape.OffsetColumn + " = s." + shape.OffsetColumn
}
