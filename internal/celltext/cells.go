package celltext

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
)

// ErrNullKey is why a row does not fit whose key is not known.
var ErrNullKey = errors.New("a key column is NULL")

// Column is one that Cells makes texts for.
type Column struct {
	Name string
	Key  bool
	// Append writes a cell as the text that the column is read from, or says why the value does
	// not fit; v is not nil.
	Append func(dst []byte, v any) ([]byte, error)
}

// Cells reads the rows of a load one by one and checks them. One goroutine uses it.
type Cells struct {
	Rows    tidegate.RowReader
	Columns []Column
	Read    int64 // rows

	text []byte
}

// Next reads a row and hands each value that is not NULL over as text, which is valid until use
// returns; io.EOF after the last row.
func (c *Cells) Next(ctx context.Context, use func(i int, text []byte) error) error {
	row, err := c.Rows.Next(ctx)
	if err != nil {
		return err
	}
	c.Read++
	if len(row) != len(c.Columns) {
		return fmt.Errorf("row %d has %d cells and the schema %d columns", c.Read, len(row), len(c.Columns))
	}
	for i, v := range row {
		if v == nil {
			if c.Columns[i].Key {
				return Misfit(c.Columns[i].Name, c.Read, ErrNullKey)
			}
			continue
		}
		if c.text, err = c.Columns[i].Append(c.text[:0], v); err == nil {
			err = use(i, c.text)
		}
		if err != nil {
			return Misfit(c.Columns[i].Name, c.Read, err)
		}
	}
	return nil
}

// Misfit is the fault of a value that a column does not take: its row (from 1) is rejected.
func Misfit(column string, row int64, err error) error {
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: "warehouse.value", Subject: fmt.Sprintf("column %q", column), Message: fmt.Sprintf("row %d: %s", row, err),
		Hint: "correct the value, or widen the column with Ensure", Err: err,
	}
}

// Unreadable is the fault of a value in the result of a query that no cell holds.
func Unreadable(column string, row int64, err error) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.value", Subject: fmt.Sprintf("column %q", column), Message: fmt.Sprintf("the value in row %d %s", row, err),
		Hint: "correct it, or turn it into NULL or text in the query", Err: err,
	}
}

// AppendQuoted writes a text as a JSON string.
func AppendQuoted(dst, text []byte) ([]byte, error) {
	dst, err := jsontext.AppendQuote(dst, text)
	if err != nil {
		return dst, ErrNotUTF8
	}
	return dst, nil
}
