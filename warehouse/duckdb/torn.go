package duckdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The engine's log (storage version 2, read from a log of DuckDB 1.5.5 and its source on
// 2026-11-21): a version entry, then entries of
//
//	8 bytes  length of the payload
//	8 bytes  checksum of the payload
//	payload  0x64 0x00, the kind of the entry as a varint, fields, 0xff 0xff
//
// A transaction's entries are followed by one of the kind flush, which is synced before
// the commit returns. Numbers are little endian.
const (
	logVersion    = 98 // kinds
	logFlush      = 100
	fieldKind     = 100 // fields
	fieldVersion  = 101
	fieldDatabase = 102
	fieldRound    = 103
	fieldEnd      = 0xffff
	logReadable   = 2 // the version with lengths and checksums; 3 is encrypted
	maxIdentifier = 64
)

// cutTornLogs cuts off what the log of the file at path holds behind its last whole
// transaction: a process died while it committed. The engine leaves that out by itself,
// but for rows that fill a whole row group of a table: those it keeps, until it is
// closed, while the rest of their transaction is gone. Ids of events would then be known
// whose rows are not there. Invariants 2 and 3.
//
// The log that takes the commits during a checkpoint is a second file of the same form.
// What cannot be followed here is left to the engine.
func cutTornLogs(path string) error {
	for _, suffix := range []string{".wal", ".wal.checkpoint"} {
		if err := cutTornLog(path + suffix); err != nil {
			return fmt.Errorf("cutting off what was not committed: %w", err)
		}
	}
	return nil
}

func cutTornLog(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	whole, torn, err := wholeLog(f, info.Size())
	if err != nil || !torn {
		return err
	}
	if err := f.Truncate(whole); err != nil {
		return err
	}
	return f.Sync()
}

// wholeLog says where the last whole transaction of a log ends, and whether the log goes
// on behind it with what is not whole. It is false for what is no log that it knows.
func wholeLog(f io.ReaderAt, size int64) (end int64, torn bool, err error) {
	head, ok, err := logHead(io.NewSectionReader(f, 0, size))
	if err != nil || !ok {
		return 0, false, err
	}
	at := head
	var b [16 + 4]byte // an entry's lengths, and of its payload what tells the kind
	for at < size {
		n, err := f.ReadAt(b[:min(int64(len(b)), size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, false, err
		}
		length := binary.LittleEndian.Uint64(b[:8])
		if n < len(b) || length > uint64(size-at-16) {
			return end, true, nil
		}
		kind, field := int(b[18]), int(binary.LittleEndian.Uint16(b[16:18]))
		if field != fieldKind || length < 5 {
			return 0, false, nil // damage, which the engine tells of
		}
		at += 16 + int64(length)
		if kind == logFlush {
			end = at
		}
	}
	return end, at > max(end, head), nil
}

// logHead reads the version entry and says where it ends, and whether it is one.
func logHead(log *io.SectionReader) (end int64, ok bool, err error) {
	head := bufio.NewReaderSize(log, 512)
	read := 0
	field := func() int {
		var b [2]byte
		n, readErr := io.ReadFull(head, b[:])
		read += n
		if readErr != nil {
			err = readErr
		}
		return int(binary.LittleEndian.Uint16(b[:]))
	}
	number := func() uint64 {
		counted := &countingBytes{r: head}
		n, readErr := binary.ReadUvarint(counted)
		read += counted.n
		if readErr != nil {
			err = readErr
		}
		return n
	}
	known := field() == fieldKind && number() == logVersion && field() == fieldVersion && number() == logReadable
	next := field()
	if known && next == fieldDatabase {
		n := number()
		known = n <= maxIdentifier
		for i := uint64(0); known && i < n; i++ {
			_ = number()
		}
		next = field()
	}
	if known && next == fieldRound {
		_ = number()
		next = field()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, false, nil // an empty log, or one that ends in its first bytes: nothing was committed
	}
	return int64(read), err == nil && known && next == fieldEnd, err
}

// countingBytes counts the bytes that were read.
type countingBytes struct {
	r io.ByteReader
	n int
}

func (c *countingBytes) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}
