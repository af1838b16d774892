package duckdb

/*
#include <stdlib.h>

void tidegate_rows_bind(void *);
void tidegate_rows_init(void *);
void tidegate_rows_next(void *, void *);
typedef void (*tidegate_info_t)(void *);
typedef void (*tidegate_next_t)(void *, void *);
*/
import "C"

import (
	"errors"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// rowsFunction is what an INSERT selects from: the chunks that its own connection holds
// ready. No other connection sees them.
const rowsFunction = "tidegate_rows"

// handover is the chunks that one connection holds ready for one statement.
type handover struct {
	names  []string
	types  []bindings.LogicalType
	chunks []bindings.DataChunk
	next   atomic.Int64 // of chunks
}

func (r *handover) destroyTypes() {
	for i := range r.types {
		bindings.DestroyLogicalType(&r.types[i])
	}
}

func (r *handover) destroyChunks() {
	for i := range r.chunks {
		bindings.DestroyDataChunk(&r.chunks[i])
	}
	r.chunks = r.chunks[:0]
	r.next.Store(0)
}

// handovers are those of one instance, by the engine's number of their connection.
type handovers struct {
	kept
	mu    sync.RWMutex
	ready map[bindings.IdxT]*handover
}

// handOver makes rowsFunction known to the engine. What it returns is closed after the engine.
func (c *conn) handOver() (*handovers, error) {
	h := &handovers{ready: map[bindings.IdxT]*handover{}}
	h.keep(h)
	f := bindings.CreateTableFunction()
	defer bindings.DestroyTableFunction(&f)
	bindings.TableFunctionSetName(f, rowsFunction)
	bindings.TableFunctionSetExtraInfo(f, unsafe.Pointer(h.handle), nil)
	bindings.TableFunctionSetBind(f, unsafe.Pointer(C.tidegate_info_t(C.tidegate_rows_bind)))
	bindings.TableFunctionSetInit(f, unsafe.Pointer(C.tidegate_info_t(C.tidegate_rows_init)))
	bindings.TableFunctionSetFunction(f, unsafe.Pointer(C.tidegate_next_t(C.tidegate_rows_next)))
	if bindings.RegisterTableFunction(c.raw, f) == bindings.StateError {
		h.close()
		return nil, errors.New("opening duckdb: the engine does not take the function " + rowsFunction)
	}
	return h, nil
}

func (h *handovers) of(connection bindings.IdxT) *handover {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.ready[connection]
}

// number is what the engine calls the connection.
func (c *conn) number() bindings.IdxT {
	var about bindings.ClientContext
	bindings.ConnectionGetClientContext(c.raw, &about)
	defer bindings.DestroyClientContext(&about)
	return bindings.ClientContextGetConnectionId(about)
}

// offer lets statements of the session read what ready holds, until withdraw is called.
func (s *session) offer(ready *handover) (withdraw func()) {
	me, to := s.number(), s.db.handovers
	to.mu.Lock()
	defer to.mu.Unlock()
	to.ready[me] = ready
	return func() {
		to.mu.Lock()
		defer to.mu.Unlock()
		delete(to.ready, me)
	}
}

func handoversOf(extra unsafe.Pointer) *handovers {
	h, _ := (*(*cgo.Handle)(extra)).Value().(*handovers)
	return h
}

// tidegate_rows_bind names the columns of what the statement's connection holds ready.
//
//export tidegate_rows_bind
func tidegate_rows_bind(raw unsafe.Pointer) {
	info := bindings.BindInfo{Ptr: raw}
	var about bindings.ClientContext
	bindings.TableFunctionGetClientContext(info, &about)
	defer bindings.DestroyClientContext(&about)
	number := bindings.ClientContextGetConnectionId(about)
	ready := handoversOf(bindings.BindGetExtraInfo(info)).of(number)
	if ready == nil {
		bindings.BindSetError(info, rowsFunction+" has rows only while the program itself loads them")
		return
	}
	for i, name := range ready.names {
		bindings.BindAddResultColumn(info, name, ready.types[i])
	}
	data := C.malloc(C.size_t(unsafe.Sizeof(number)))
	*(*bindings.IdxT)(data) = number
	bindings.BindSetBindData(info, data, C.free)
}

// tidegate_rows_init has nothing to make ready, but the engine wants it. One thread reads
// the rows, in their order.
//
//export tidegate_rows_init
func tidegate_rows_init(raw unsafe.Pointer) {
	bindings.InitSetMaxThreads(bindings.InitInfo{Ptr: raw}, 1)
}

// tidegate_rows_next is called by one of the engine's threads for the next chunk; an
// empty one ends the rows. Nothing is copied.
//
//export tidegate_rows_next
func tidegate_rows_next(raw, output unsafe.Pointer) {
	info, out := bindings.FunctionInfo{Ptr: raw}, bindings.DataChunk{Ptr: output}
	ready := handoversOf(bindings.FunctionGetExtraInfo(info)).of(*(*bindings.IdxT)(bindings.FunctionGetBindData(info)))
	if ready == nil {
		bindings.FunctionSetError(info, rowsFunction+" has no rows any more")
		return
	}
	at := ready.next.Add(1) - 1
	if at >= int64(len(ready.chunks)) {
		bindings.DataChunkSetSize(out, 0)
		return
	}
	from := ready.chunks[at]
	for i := range ready.names {
		bindings.VectorReferenceVector(bindings.DataChunkGetVector(out, bindings.IdxT(i)), bindings.DataChunkGetVector(from, bindings.IdxT(i)))
	}
	bindings.DataChunkSetSize(out, bindings.DataChunkGetSize(from))
}
