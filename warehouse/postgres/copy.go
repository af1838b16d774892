package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// copySource writes the rows of a reader as the bytes of a binary COPY. The
// driver reads it in a goroutine of its own, which may outlive a copy whose
// connection broke; stop keeps that one from touching the rows again.
type copySource struct {
	p        *loadPlan
	rows     tidegate.RowReader
	numbered bool // a last column numbers the rows
	// next reads the next row; it holds the context of the copy.
	next func() (tidegate.Row, error)

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
	row, err := c.next()
	switch {
	case errors.Is(err, io.EOF):
		c.buf = append(c.buf, 0xff, 0xff)
		c.err = io.EOF
		return
	case err != nil:
		c.err = fmt.Errorf("reading row %d: %w", c.n+1, err)
		return
	case len(row) != len(c.p.columns):
		c.err = fmt.Errorf("reading row %d: it has %d cells and its schema %d", c.n+1, len(row), len(c.p.columns))
		return
	}
	fields := len(row)
	if c.numbered {
		fields++
	}
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(fields))
	for i, v := range row {
		if v == nil && c.p.isKey[i] {
			err = errNullKey
		} else {
			c.buf, err = c.p.columns[i].appendCell(c.buf, v)
		}
		if err != nil {
			c.err = rowFault(c.p.columns[i].name, c.n+1, err)
			return
		}
	}
	if c.numbered {
		c.buf = binary.BigEndian.AppendUint32(c.buf, 8)
		c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(c.n))
	}
	c.n++
}

var errNullKey = errors.New("a key column is NULL")

func rowFault(column string, row int64, err error) error {
	return &tidegate.Fault{
		Action:  tidegate.Reject,
		Code:    "warehouse.value",
		Subject: fmt.Sprintf("column %q", column),
		Message: fmt.Sprintf("row %d: %s", row, err),
		Hint:    "correct the value, or widen the column with Ensure",
		Err:     err,
	}
}

// stop waits for a read under way and makes later ones err.
func (c *copySource) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
}

// copyIn sends rows into the columns of a table and returns how many there were.
func (s *session) copyIn(ctx context.Context, table sqltext.Text, names []sqltext.Text, p *loadPlan, rows tidegate.RowReader, numbered bool) (int64, error) {
	c := &copySource{p: p, rows: rows, numbered: numbered, buf: make([]byte, 0, copyBuffer+4096)}
	c.buf = append(c.buf, copyHead...)
	c.next = func() (tidegate.Row, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return rows.Next(ctx)
	}
	sql := "COPY " + table + " (" + sqltext.Join(names, ", ") + ") FROM STDIN (FORMAT binary)"
	_, err := s.pg.CopyFrom(ctx, c, string(sql))
	c.stop()
	if c.err != nil && !errors.Is(c.err, io.EOF) {
		return 0, c.err // the server only repeats it
	}
	if err != nil {
		return 0, s.loadFault(ctx, err, string(sql), p)
	}
	return c.n, nil
}
