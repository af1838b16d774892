package evolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// EventTable is one event table with what does not fit it.
type EventTable struct {
	Schema    string           `json:"schema"`
	Table     string           `json:"table"`
	Columns   []ColumnState    `json:"columns"`
	Conflicts []ColumnConflict `json:"conflicts"`
}

// ColumnState is one column.
type ColumnState struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// ColumnConflict is the values of one name that found no place in a table.
type ColumnConflict struct {
	// Column is the column, or the path of a property that has none of its own.
	Column string     `json:"column"`
	Type   string     `json:"type,omitempty" doc:"The type that the column has."`
	Reason string     `json:"reason" enum:"type_conflict,needs_widening,name_collision,reserved_name,no_name,bad_time"`
	Values int64      `json:"values" doc:"How many values were set aside."`
	Since  time.Time  `json:"since"`
	Last   time.Time  `json:"last"`
	Found  []SetAside `json:"found"`
	// Proposal is the type that holds what the column holds and what was set aside; empty
	// when no type would help.
	Proposal string `json:"proposal,omitempty"`
}

// SetAside is the values of one type among those of a conflict.
type SetAside struct {
	Type    string `json:"type" doc:"What the client sent: number is a whole number beyond 64 bits."`
	Values  int64  `json:"values"`
	Example string `json:"example"`
}

// maxExample bounds how much of an example is shown.
const maxExample = 80

// Survey looks at the event tables of the schemas; with table at that one only.
func Survey(ctx context.Context, wh Warehouse, schemas []string, table string) ([]EventTable, error) {
	lister, ok := wh.(warehouse.Lister)
	if !ok {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.not_listable", Message: "this warehouse cannot list its tables"}
	}
	tables, err := lister.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	var all []EventTable
	for _, schema := range schemas {
		conflicts := map[string][]ColumnConflict{}
		if slices.Contains(tables, warehouse.Table{Schema: schema, Name: shape.DiscardsTable}) {
			if conflicts, err = conflictsOf(ctx, wh, schema, table); err != nil {
				return nil, err
			}
		}
		for _, t := range tables {
			if t.Schema != schema || table != "" && t.Name != table || strings.HasPrefix(t.Name, "tidegate_") {
				continue
			}
			state, err := stateOf(ctx, wh, t, conflicts[t.Name])
			if err != nil {
				return nil, err
			}
			all = append(all, state)
		}
	}
	return all, nil
}

func stateOf(ctx context.Context, wh Warehouse, t warehouse.Table, conflicts []ColumnConflict) (EventTable, error) {
	state := EventTable{Schema: t.Schema, Table: t.Name, Columns: []ColumnState{}, Conflicts: conflicts}
	if conflicts == nil {
		state.Conflicts = []ColumnConflict{}
	}
	columns, err := wh.Describe(ctx, t)
	if errors.Is(err, warehouse.ErrNoTable) { // dropped since
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("describing %s: %w", t, err)
	}
	for _, c := range columns {
		state.Columns = append(state.Columns, ColumnState{c.Name, c.Type.String()})
	}
	for i := range conflicts {
		c := &conflicts[i]
		at := columns.Index(c.Column)
		if at < 0 || !widens(c.Reason) || shape.Own(c.Column) {
			continue
		}
		c.Type = columns[at].Type.String()
		to, err := propose(ctx, wh, t, columns[at])
		if err != nil {
			return state, err
		}
		c.Proposal = to.String()
	}
	return state, nil
}

// widens says whether a wider column would have room for what was set aside for reason.
func widens(reason string) bool { return reason == shape.TypeConflict || reason == shape.NeedsWidening }

// bothReasons are those of widens, for SQL.
const bothReasons sqltext.Text = "('" + shape.TypeConflict + "', '" + shape.NeedsWidening + "')"

// conflictsOf reads what was set aside in a schema, by table.
func conflictsOf(ctx context.Context, wh Warehouse, schema, table string) (map[string][]ColumnConflict, error) {
	d, err := dialectOf(wh)
	if err != nil {
		return nil, err
	}
	from, err := d.Table(schema, shape.DiscardsTable)
	if err != nil {
		return nil, err
	}
	where, args := sqltext.Text(""), []any{}
	if table != "" {
		where, args = " WHERE table_name = "+d.Placeholder(1), append(args, table)
	}
	// Both reasons that a wider type mends are one conflict of the column.
	all := make(map[string][]ColumnConflict)
	err = warehouse.Each(ctx, wh, string("SELECT table_name, column_name, CASE WHEN reason IN "+bothReasons+" THEN 'type_conflict' ELSE reason END, value_type, max(column_type), "+
		"count(*), min(received_at), max(received_at), min(column_value) FROM "+from+where+" GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"), args, func(row tidegate.Row) error {
		name := str(row[0])
		list := all[name]
		c := ColumnConflict{Column: str(row[1]), Reason: str(row[2]), Type: str(row[4])}
		n, _ := row[5].(int64)
		first, _ := row[6].(time.Time)
		last, _ := row[7].(time.Time)
		if k := len(list) - 1; k >= 0 && list[k].Column == c.Column && list[k].Reason == c.Reason {
			c = list[k]
			list = list[:k]
		} else {
			c.Since, c.Last = first, last
		}
		if first.Before(c.Since) {
			c.Since = first
		}
		if last.After(c.Last) {
			c.Last = last
		}
		c.Values += n
		c.Found = append(c.Found, SetAside{str(row[3]), n, cut(str(row[8]))})
		all[name] = append(list, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the discards of %s: %w", schema, err)
	}
	return all, nil
}

func cut(s string) string {
	if len(s) <= maxExample {
		return s
	}
	return strings.ToValidUTF8(s[:maxExample], "") + "…"
}
