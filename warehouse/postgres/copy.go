package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// feed encodes one row of a binary COPY after another: it appends the row's
// fields to dst, io.EOF after the last row.
type feed func(dst []byte) ([]byte, error)

// feedRows encodes the rows of a reader.
func feedRows(ctx context.Context, p *loadPlan, rows tidegate.RowReader) feed {
	n := int64(0)
	return func(dst []byte) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return dst, fmt.Errorf("reading row %d: %w", n+1, err)
		}
		row, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return dst, io.EOF
		}
		n++
		if err != nil {
			return dst, fmt.Errorf("reading row %d: %w", n, err)
		}
		if len(row) != len(p.columns) {
			return dst, fmt.Errorf("reading row %d: it has %d cells and its schema %d", n, len(row), len(p.columns))
		}
		for i, v := range row {
			if v == nil && p.isKey[i] {
				err = celltext.ErrNullKey
			} else {
				dst, err = p.columns[i].appendCell(dst, v)
			}
			if err != nil {
				return dst, celltext.Misfit(p.columns[i].name, n, err)
			}
		}
		return dst, nil
	}
}

// copySource is what the driver reads a binary COPY from. It does so in a
// goroutine of its own, which may outlive a copy whose connection broke; stop
// keeps that one from touching the rows again.
type copySource struct {
	next     feed
	fields   int  // of a row
	numbered bool // a last column numbers the rows

	mu      sync.Mutex
	stopped bool
	buf     []byte // encoded and not read yet, from off
	off     int
	n       int64 // rows encoded
	err     error // io.EOF at the end of the rows
}

// copyHead begins every binary COPY: signature, flags, no extension.
const copyHead = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// copyBuffer is how much is encoded at a time.
const copyBuffer = 1 << 16

var errStopped = errors.New("the copy is over")

func (c *copySource) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return 0, errStopped
	}
	if c.off == len(c.buf) {
		c.off, c.buf = 0, c.buf[:0]
		for len(c.buf) < copyBuffer-1024 && c.err == nil {
			c.encode()
		}
		if c.err != nil && !errors.Is(c.err, io.EOF) {
			return 0, c.err
		}
		if len(c.buf) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, c.buf[c.off:])
	c.off += n
	return n, nil
}

// encode adds one row to the buffer, or the end.
func (c *copySource) encode() {
	start := len(c.buf)
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(c.fields))
	if c.buf, c.err = c.next(c.buf); c.err != nil {
		c.buf = append(c.buf[:start], 0xff, 0xff)
		return
	}
	if c.numbered {
		c.buf = binary.BigEndian.AppendUint32(c.buf, 8)
		c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(c.n))
	}
	c.n++
}

// stop waits for a read under way and makes later ones err.
func (c *copySource) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
}

// copyIn sends rows into the columns of a table and returns how many there were.
func (s *session) copyIn(ctx context.Context, table sqltext.Text, names []sqltext.Text, p *loadPlan, rows feed, numbered bool) (int64, error) {
	c := &copySource{next: rows, fields: len(names), numbered: numbered, buf: make([]byte, 0, copyBuffer+4096)}
	c.buf = append(c.buf, copyHead...)
	sql := "COPY " + table + " (" + sqltext.Join(names, ", ") + ") FROM STDIN (FORMAT binary)"
	_, err := s.PG.CopyFrom(ctx, c, string(sql))
	c.stop()
	if c.err != nil && !errors.Is(c.err, io.EOF) {
		return 0, c.err // the server only repeats it
	}
	if err != nil {
		return 0, s.loadFault(ctx, err, string(sql), p)
	}
	return c.n, nil
}
