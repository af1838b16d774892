package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	bq "cloud.google.com/go/bigquery"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

// source is the body of a load job: rows as lines of JSON, made as they are read.
// An error of the rows ends the upload before BigQuery makes a job of it. They are not
// packed: that an upload without a name may be is not documented.
type source struct {
	next     func(use func(i int, text []byte) error) error // the next row; an io.Reader is given no context
	cells    *celltext.Cells
	names    [][]byte // of the columns, as JSON strings with a colon
	plain    []bool   // columns whose values stand without quotes
	numbered bool     // rows carry their number as "n"
	empty    bool
	line     []byte // the row that was made last
	left     []byte // of it, not handed on yet
	err      error  // why reading ended; io.EOF when all rows are in
}

// newSource reads the first row, so that it is known whether there is one.
func newSource(ctx context.Context, p *loadPlan, names []string, rows tidegate.RowReader, numbered bool) (*source, error) {
	read := p.cells(rows)
	next := func(use func(i int, text []byte) error) error { return read.Next(ctx, use) }
	s := &source{next: next, cells: &read, numbered: numbered, names: make([][]byte, len(names)), plain: make([]bool, len(names))}
	for i, name := range names {
		quoted, err := celltext.AppendQuoted(nil, []byte(name))
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", name, err)
		}
		s.names[i] = append(quoted, ':')
		s.plain[i] = !numbered && (p.columns[i].engine == "INT64" || p.columns[i].engine == "BOOL") // staged columns are texts
	}
	switch err := s.encode(); {
	case errors.Is(err, io.EOF):
		s.empty = true
		return s, nil
	case err != nil:
		return nil, err
	}
	return s, nil
}

// body is the source as the client takes it. Without a schema the columns are the table's.
func (s *source) body(schema bq.Schema) *bq.ReaderSource {
	r := bq.NewReaderSource(s)
	r.SourceFormat, r.Schema = bq.JSON, schema
	return r
}

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	if len(s.left) == 0 && s.err == nil {
		s.err = s.encode()
	}
	if len(s.left) == 0 {
		return 0, s.err
	}
	n := copy(b, s.left)
	s.left = s.left[n:]
	return n, nil
}

// encode writes one row.
func (s *source) encode() error {
	s.line = append(s.line[:0], '{')
	err := s.next(func(i int, text []byte) error {
		if len(s.line) > 1 {
			s.line = append(s.line, ',')
		}
		s.line = append(s.line, s.names[i]...)
		if s.plain[i] {
			s.line = append(s.line, text...)
			return nil
		}
		var err error
		s.line, err = celltext.AppendQuoted(s.line, text)
		return err
	})
	if err != nil {
		return err
	}
	if s.numbered {
		if len(s.line) > 1 {
			s.line = append(s.line, ',')
		}
		s.line = append(s.line, `"n":`...)
		s.line = strconv.AppendInt(s.line, s.cells.Read, 10)
	}
	s.line = append(s.line, '}', '\n')
	s.left = s.line
	return nil
}
