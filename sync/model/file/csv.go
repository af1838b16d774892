package file

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
)

// inspectCSV reads a file whose first line names the columns. An empty cell is
// NULL. The separator is the one of comma, semicolon, tab and bar that the first
// line holds most often.
func inspectCSV(in, again io.Reader, tabs bool, rewind func() error) (*source, error) {
	r, err := newCSV(in, tabs)
	if err != nil {
		return nil, err
	}
	guesses := make([]guess, len(r.names))
	for {
		record, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for i, text := range record {
			if text == "" {
				continue
			}
			if err := usable(text); err != nil {
				return nil, fmt.Errorf("line %d, column %q: %w", r.line(i), r.names[i], err)
			}
			guesses[i].observe(text)
		}
	}
	schema, err := columns(r.names, func(i int) tidegate.Type { return guesses[i].kind() })
	if err != nil {
		return nil, err
	}
	return &source{schema: schema, rows: func(context.Context) (tidegate.RowReader, error) {
		if err := rewind(); err != nil {
			return nil, err
		}
		r, err := newCSV(io.LimitReader(again, MaxBytes), tabs)
		if err != nil {
			return nil, err
		}
		return &csvRows{schema: schema, in: r, row: make(tidegate.Row, len(schema))}, nil
	}}, nil
}

// csvFile reads the records behind the header.
type csvFile struct {
	in    *csv.Reader
	guard *guard
	names []string
}

func newCSV(in io.Reader, tabs bool) (*csvFile, error) {
	g := &guard{in: in, left: guardSize}
	buffered := bufio.NewReaderSize(g, 64<<10)
	if mark, err := buffered.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3)
	}
	comma := '\t'
	if !tabs {
		head, _ := buffered.Peek(buffered.Size()) // an error comes again when it is read
		line, _, _ := bytes.Cut(head, []byte("\n"))
		comma = separator(line)
	}
	f := &csvFile{in: csv.NewReader(buffered), guard: g}
	f.in.Comma, f.in.ReuseRecord = comma, true
	header, err := f.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: its first line names the columns")
	}
	if err != nil {
		return nil, err
	}
	for _, name := range header {
		f.names = append(f.names, strings.TrimSpace(name))
	}
	return f, nil
}

func separator(line []byte) rune {
	best := ','
	for _, c := range ";\t|" {
		if bytes.Count(line, []byte(string(c))) > bytes.Count(line, []byte(string(best))) {
			best = c
		}
	}
	return best
}

func (f *csvFile) next() ([]string, error) {
	f.guard.left = guardSize
	record, err := f.in.Read()
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe) && errors.Is(pe.Err, csv.ErrFieldCount):
		return nil, fmt.Errorf("line %d has %d cells, the first line has %d", pe.StartLine, len(record), len(f.names))
	case errors.As(err, &pe):
		return nil, fmt.Errorf("line %d: %w", pe.Line, pe.Err)
	}
	return record, err
}

func (f *csvFile) line(field int) int {
	line, _ := f.in.FieldPos(field)
	return line
}

// guardSize bounds one record, with what the readers above buffer.
const guardSize = model.MaxRowBytes + 128<<10

// guard ends a record that does not end: one quote too many makes the rest of a
// file one cell.
type guard struct {
	in   io.Reader
	left int
}

func (g *guard) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, fmt.Errorf("a record is longer than %d bytes: a quote is probably not closed", model.MaxRowBytes)
	}
	n, err := g.in.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// csvRows is the second pass.
type csvRows struct {
	schema tidegate.Schema
	in     *csvFile
	row    tidegate.Row
}

func (r *csvRows) Schema() tidegate.Schema { return r.schema }

func (r *csvRows) Close() error { return nil }

func (r *csvRows) Next(ctx context.Context) (tidegate.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	record, err := r.in.next()
	if err != nil {
		return nil, err
	}
	if len(record) != len(r.schema) {
		return nil, errors.New("the first line has changed")
	}
	for i, text := range record {
		r.row[i] = nil
		if text == "" {
			continue
		}
		if r.row[i], err = cell(r.schema[i].Type.Kind, text); err != nil {
			return nil, fmt.Errorf("line %d, column %q: %w", r.in.line(i), r.schema[i].Name, err)
		}
	}
	return r.row, nil
}
