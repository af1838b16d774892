package sqltext

import (
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
)

// Matched is where the columns of rows are in a table that they are loaded into.
type Matched struct {
	At    []int  // per column of the rows: its column of the table
	Lack  []int  // columns of the table that the rows have not
	Keys  []int  // columns of the rows that are the key
	IsKey []bool // per column of the rows
}

// Match finds the columns of rows, and of their key, by their names.
func Match(table, rows tidegate.Schema, key []string) (Matched, error) {
	if err := CheckDistinct(rows); err != nil {
		return Matched{}, err
	}
	if len(rows) == 0 {
		return Matched{}, errors.New("the rows have no columns")
	}
	m := Matched{At: make([]int, len(rows)), IsKey: make([]bool, len(rows))}
	written := make([]bool, len(table))
	for i, c := range rows {
		at := IndexFold(table, c.Name)
		if at < 0 {
			return Matched{}, ColumnFault(c.Name, "the table has no such column", "call Ensure with the schema of the rows first")
		}
		m.At[i], written[at] = at, true
	}
	for at, is := range written {
		if !is {
			m.Lack = append(m.Lack, at)
		}
	}
	for _, k := range key {
		i := IndexFold(rows, k)
		if i < 0 {
			return Matched{}, ColumnFault(k, "the rows have no such key column", "add it to the rows or take it out of the key")
		}
		m.IsKey[i] = true
		m.Keys = append(m.Keys, i)
	}
	return m, nil
}

// ColumnFault is the fault of a column that is not there, or cannot be used as it is wanted to.
func ColumnFault(name, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.columns", Subject: fmt.Sprintf("column %q", name), Message: message, Hint: hint}
}
