package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// A request may have ten megabytes, its parameters included. Rows of a
// transaction travel in one parameter.
const (
	inlineBytes = 6 << 20
	inlineMost  = 9 << 20
)

// inlineRows names the rows that travel with a statement: one text, an array of
// arrays of texts, so that every value is read by SQL and none by a guess.
const inlineRows sqltext.Text = "UNNEST(JSON_QUERY_ARRAY(PARSE_JSON(@rows))) AS r WITH OFFSET AS o"

// inline is the statement by which the rows of p's load are written.
func (p *loadPlan) inline() sqltext.Text {
	values := p.values(func(i int) sqltext.Text { return sqltext.Text(fmt.Sprintf("JSON_VALUE(r, '$[%d]')", i)) })
	return p.write(values, inlineRows, "o")
}

// chunks cuts rows into parameters of a size that BigQuery takes.
type chunks struct {
	cells   celltext.Cells
	pending []byte // a row that was too much for the chunk before
	rows    int64  // of the last chunk
	done    bool
}

func newChunks(p *loadPlan, rows tidegate.RowReader) *chunks {
	return &chunks{cells: p.cells(rows)}
}

// next returns the next chunk; io.EOF after the last.
func (c *chunks) next(ctx context.Context) (argument, error) {
	if c.done && c.pending == nil {
		return argument{}, io.EOF
	}
	chunk := append([]byte{'['}, c.pending...)
	size := sent(c.pending)
	c.rows = 0
	if c.pending != nil {
		c.rows = 1
	}
	c.pending = nil
	for !c.done {
		start := len(chunk)
		if c.rows > 0 {
			chunk = append(chunk, ',')
		}
		row := len(chunk)
		var err error
		if chunk, err = c.row(ctx, chunk); errors.Is(err, io.EOF) {
			c.done = true
			chunk = chunk[:start]
			break
		} else if err != nil {
			return argument{}, err
		}
		n := sent(chunk[row:])
		if n > inlineMost {
			return argument{}, &tidegate.Fault{
				Action: tidegate.Reject, Code: "warehouse.value", Subject: fmt.Sprintf("row %d", c.cells.Read), Message: fmt.Sprintf("row %d: it has %d bytes, and BigQuery takes %d in a statement", c.cells.Read, n, inlineMost),
				Hint: "make the row smaller",
			}
		}
		if c.rows > 0 && size+n > inlineBytes {
			c.pending = append([]byte(nil), chunk[row:]...)
			chunk = chunk[:start]
			break
		}
		size += n
		c.rows++
	}
	if c.rows == 0 {
		return argument{}, io.EOF
	}
	return argument{"rows", "STRING", string(append(chunk, ']'))}, nil
}

// row appends one row as an array of texts.
func (c *chunks) row(ctx context.Context, dst []byte) ([]byte, error) {
	dst = append(dst, '[')
	at := 0
	null := func(until int) {
		for ; at < until; at++ {
			if at > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, "null"...)
		}
	}
	err := c.cells.Next(ctx, func(i int, text []byte) (err error) {
		null(i)
		if at > 0 {
			dst = append(dst, ',')
		}
		at++
		dst, err = celltext.AppendQuoted(dst, text)
		return err
	})
	if err != nil {
		return dst, err
	}
	null(len(c.cells.Columns))
	return append(dst, ']'), nil
}

// sent is how many bytes a text has inside of a request, which is JSON again.
func sent(text []byte) int {
	n := len(text)
	for _, b := range text {
		switch b {
		case '"', '\\':
			n++
		case '<', '>', '&':
			n += 5
		}
	}
	return n
}
