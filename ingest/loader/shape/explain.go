package shape

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// Explained is one row that an event becomes.
type Explained struct {
	Table   string            `json:"table"` // "web.tracks"
	Columns []ExplainedColumn `json:"columns"`
}

// ExplainedColumn is one column of the row that has a value.
type ExplainedColumn struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value any    `json:"value"`
	// New: the table does not have the column yet (or is not there itself).
	New bool `json:"new"`
}

// Explain tells what the loader would make of ev, by the loader's own code.
// describe returns the columns that a table has in the warehouse, or nil when there
// is no such table; it may be nil itself, and then no table is there.
func Explain(ev tidegate.Event, opts Options, at time.Time, describe func(warehouse.Table) (tidegate.Schema, error)) ([]Explained, error) {
	tables := make(map[warehouse.Table]*Table)
	lookup := func(_ context.Context, name warehouse.Table) (*Table, error) {
		if t, ok := tables[name]; ok {
			return t, nil
		}
		var existing tidegate.Schema
		if describe != nil {
			var err error
			if existing, err = describe(name); err != nil {
				return nil, fmt.Errorf("describing %s: %w", name, err)
			}
		}
		tables[name] = NewTable(name, existing)
		return tables[name], nil
	}
	var rows []Explained
	emit := func(row Row) error {
		rows = append(rows, explain(row))
		return nil
	}
	s := New(opts, lookup)
	ctx := context.Background() // nothing below waits for anything but describe, which has its own
	batch := Batch{LoadID: ev.Offset.String(), LoadedAt: at}
	id, kind, err := Peek(&ev)
	if err == nil && ev.Refusal == "" {
		err = s.Shape(ctx, &ev, id, kind, batch, emit)
	}
	switch code := DeadCode(err); {
	case ev.Refusal != "":
		err = s.Dead(ctx, &ev, id, ev.Refusal, "refused on arrival", batch, emit)
	case code != "":
		err = s.Dead(ctx, &ev, id, code, err.Error(), batch, emit)
	}
	return rows, err
}

func explain(row Row) Explained {
	e := Explained{Table: row.Table.Name.String()}
	for _, c := range row.Cells {
		column := row.Table.Columns[c.Column]
		e.Columns = append(e.Columns, ExplainedColumn{
			Name: column.Name, Type: column.Type.String(), Value: c.Value.Any(), New: c.Column >= row.Table.Known,
		})
	}
	return e
}
