//go:build linux || darwin

package chdbtest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// engine is the functions of libchdb that are used here. Handles are the
// library's pointers; each is released once.
type engine struct {
	connect       func(argc int32, argv **byte) uintptr
	closeConn     func(conn uintptr)
	query         func(conn uintptr, sql *byte, n uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
	stream        func(conn uintptr, sql *byte, n uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
	fetch         func(conn, result uintptr) uintptr
	cancel        func(conn, result uintptr)
	destroy       func(result uintptr)
	buffer        func(result uintptr) unsafe.Pointer
	length        func(result uintptr) uintptr
	resultError   func(result uintptr) unsafe.Pointer
	written       func(result uintptr) uint64
	insert        func(conn uintptr, sql *byte, n uintptr, format *byte, formatLen uintptr) uintptr
	append        func(stream uintptr, data *byte, n uintptr) int32
	done          func(stream uintptr) uintptr
	insertError   func(stream uintptr) unsafe.Pointer
	destroyInsert func(stream uintptr)
	signals       func(on bool)
}

func loadEngine(path string) (*engine, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("loading the engine: %w", err)
	}
	e := &engine{}
	for name, into := range map[string]any{
		"chdb_connect": &e.connect, "chdb_close_conn": &e.closeConn, "chdb_query_with_params_n": &e.query, "chdb_stream_query_with_params_n": &e.stream,
		"chdb_stream_fetch_result": &e.fetch, "chdb_stream_cancel_query": &e.cancel, "chdb_destroy_query_result": &e.destroy,
		"chdb_result_buffer": &e.buffer, "chdb_result_length": &e.length, "chdb_result_error": &e.resultError, "chdb_result_rows_written": &e.written,
		"chdb_stream_insert_n": &e.insert, "chdb_stream_append": &e.append, "chdb_stream_done": &e.done, "chdb_stream_insert_error": &e.insertError,
		"chdb_destroy_insert_stream": &e.destroyInsert, "chdb_set_signal_handlers_enabled": &e.signals,
	} {
		purego.RegisterLibFunc(into, lib, name)
	}
	e.signals(false) // they are Go's
	return e, nil
}

// conn is one session of the engine. It is used by one goroutine.
type conn struct {
	e      *engine
	handle uintptr // *chdb_connection
}

func (e *engine) open(path string) (*conn, error) {
	args := [][]byte{append([]byte("chdb"), 0), append([]byte("--path="+path), 0)}
	argv := make([]*byte, len(args))
	for i := range args {
		argv[i] = &args[i][0]
	}
	c := e.connect(int32(len(argv)), &argv[0])
	runtime.KeepAlive(args)
	if c == 0 {
		return nil, errors.New("connecting to the engine failed")
	}
	return &conn{e: e, handle: c}, nil
}

func (c *conn) close() { c.e.closeConn(c.handle) }

// session is what the functions take where chdb_connect returns a pointer to it.
func (c *conn) session() uintptr { return *(*uintptr)(*(*unsafe.Pointer)(unsafe.Pointer(&c.handle))) }

func text(p unsafe.Pointer) error {
	if p == nil {
		return nil
	}
	var b []byte
	for i := 0; ; i++ {
		ch := *(*byte)(unsafe.Add(p, i))
		if ch == 0 {
			return errors.New(string(b))
		}
		b = append(b, ch)
	}
}

func first(b []byte) *byte {
	if len(b) == 0 {
		return new(byte)
	}
	return &b[0]
}

// params are bound values as the engine takes them.
type params struct {
	names, values         [][]byte
	namePtrs, valuePtrs   []*byte
	nameSizes, valueSizes []uintptr
}

func bind(values map[string]string) *params {
	p := &params{}
	for name, v := range values {
		p.names, p.values = append(p.names, []byte(name)), append(p.values, []byte(v))
		p.nameSizes, p.valueSizes = append(p.nameSizes, uintptr(len(name))), append(p.valueSizes, uintptr(len(v)))
	}
	for i := range p.names {
		p.namePtrs, p.valuePtrs = append(p.namePtrs, first(p.names[i])), append(p.valuePtrs, first(p.values[i]))
	}
	// Room for taking the address of the first of none.
	p.namePtrs, p.valuePtrs = append(p.namePtrs, nil), append(p.valuePtrs, nil)
	p.nameSizes, p.valueSizes = append(p.nameSizes, 0), append(p.valueSizes, 0)
	return p
}

type runner func(conn uintptr, sql *byte, n uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr

func (c *conn) run(f runner, sql, format string, values map[string]string) (uintptr, error) {
	p, s, out := bind(values), []byte(sql), []byte(format)
	r := f(c.session(), first(s), uintptr(len(s)), first(out), uintptr(len(out)), &p.namePtrs[0], &p.nameSizes[0], &p.valuePtrs[0], &p.valueSizes[0], uintptr(len(p.names)))
	runtime.KeepAlive(p)
	if err := text(c.e.resultError(r)); err != nil {
		c.e.destroy(r)
		return 0, err
	}
	return r, nil
}

func (c *conn) bytes(r uintptr) []byte {
	n := c.e.length(r)
	if n == 0 {
		return nil
	}
	return bytes.Clone(unsafe.Slice((*byte)(c.e.buffer(r)), n))
}

// exec runs a statement and returns all of its result.
func (c *conn) exec(sql, format string, values map[string]string) ([]byte, error) {
	r, err := c.run(c.e.query, sql, format, values)
	if err != nil {
		return nil, err
	}
	defer c.e.destroy(r)
	return c.bytes(r), nil
}

// each streams a result; give returns false to stop.
func (c *conn) each(sql, format string, values map[string]string, give func([]byte) bool) error {
	r, err := c.run(c.e.stream, sql, format, values)
	if err != nil {
		return err
	}
	defer c.e.destroy(r)
	for {
		chunk := c.e.fetch(c.session(), r)
		if chunk == 0 {
			return nil
		}
		err := text(c.e.resultError(chunk))
		b := c.bytes(chunk)
		c.e.destroy(chunk)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return nil
		}
		if !give(b) {
			c.e.cancel(c.session(), r)
			return nil
		}
	}
}

// load runs an INSERT with data of a format; next returns nil at its end.
func (c *conn) load(sql, format string, next func() ([]byte, error)) (written uint64, err error) {
	s, in := []byte(sql), []byte(format)
	stream := c.e.insert(c.session(), first(s), uintptr(len(s)), first(in), uintptr(len(in)))
	defer c.e.destroyInsert(stream)
	if err := text(c.e.insertError(stream)); err != nil {
		return 0, err
	}
	for {
		b, err := next()
		if err != nil {
			return 0, err // destroying the stream gives it up
		}
		if len(b) == 0 {
			break
		}
		if c.e.append(stream, &b[0], uintptr(len(b))) != 0 {
			break // done tells why
		}
	}
	r := c.e.done(stream)
	defer c.e.destroy(r)
	if err := text(c.e.resultError(r)); err != nil {
		return 0, err
	}
	return c.e.written(r), nil
}
