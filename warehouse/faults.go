package warehouse

import (
	"fmt"

	"github.com/tidegate/tidegate"
)

// NoTable is the fault of a table that does not exist; it wraps ErrNoTable.
func NoTable(t Table) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.no_table", Subject: "table " + t.String(), Message: "the table does not exist",
		Hint: "correct the name, or create it", Err: ErrNoTable,
	}
}

// maxLoadID is the longest ID of a load, which is part of an index.
const maxLoadID = 1024

// CheckID refuses IDs that no book of loads takes.
func (l Load) CheckID() error {
	if l.ID == "" || len(l.ID) > maxLoadID {
		return fmt.Errorf("the load's ID has %d bytes, and between 1 and %d are allowed", len(l.ID), maxLoadID)
	}
	return nil
}
