package duckdb

/*
void tidegate_ask(void *, void *, void *);
typedef void (*tidegate_ask_t)(void *, void *, void *);
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/cgo"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate/warehouse"
)

var _ warehouse.PredicateTx = (*tx)(nil)

// What statements call: with the number of a predicate, and what it is asked about. The engine
// asks the first for each row, once; with the second it may begin, while it reads a table.
const (
	askFunction  = "tidegate_ask"
	pureFunction = "tidegate_among"
)

// kept is a value of ours that the engine is given: it keeps a pointer to handle, and its
// threads come back with it.
type kept struct {
	handle *cgo.Handle // by itself: what C holds may hold no pointer of ours
	pin    runtime.Pinner
}

func (k *kept) keep(v any) {
	k.handle = new(cgo.Handle)
	*k.handle = cgo.NewHandle(v)
	k.pin.Pin(k.handle)
}

// close is called when the engine is closed.
func (k *kept) close() {
	k.handle.Delete()
	k.pin.Unpin()
}

// predicates are those that are lent to the transactions of one instance, by number.
type predicates struct {
	kept
	mu   sync.RWMutex
	last int64
	lent map[int64]func(values []int64, answers []bool)
}

// lendPredicates makes both functions known to the engine. What it returns is closed after the engine.
func (c *conn) lendPredicates() (*predicates, error) {
	p := &predicates{lent: map[int64]func([]int64, []bool){}}
	p.keep(p)
	for _, name := range []string{askFunction, pureFunction} {
		if !c.register(name, unsafe.Pointer(p.handle)) {
			p.close()
			return nil, errors.New("opening duckdb: the engine does not take the function " + name)
		}
	}
	return p, nil
}

func (c *conn) register(name string, handle unsafe.Pointer) bool {
	f := bindings.CreateScalarFunction()
	defer bindings.DestroyScalarFunction(&f)
	number, truth := bindings.CreateLogicalType(bindings.TypeBigInt), bindings.CreateLogicalType(bindings.TypeBoolean)
	defer bindings.DestroyLogicalType(&number)
	defer bindings.DestroyLogicalType(&truth)
	bindings.ScalarFunctionSetName(f, name)
	if name == askFunction {
		bindings.ScalarFunctionSetVolatile(f)
	}
	bindings.ScalarFunctionSetSpecialHandling(f)
	bindings.ScalarFunctionAddParameter(f, number)
	bindings.ScalarFunctionAddParameter(f, number)
	bindings.ScalarFunctionSetReturnType(f, truth)
	bindings.ScalarFunctionSetExtraInfo(f, handle, nil)
	bindings.ScalarFunctionSetFunction(f, unsafe.Pointer(C.tidegate_ask_t(C.tidegate_ask)))
	return bindings.RegisterScalarFunction(c.raw, f) != bindings.StateError
}

// Predicate implements warehouse.PredicateTx.
func (t *tx) Predicate(test func(values []int64, answers []bool), pure bool) (call func(x string) string, drop func()) {
	function := askFunction
	if pure {
		function = pureFunction
	}
	p := t.s.db.predicates
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	n := p.last
	p.lent[n] = test
	call = func(x string) string { return function + "(" + strconv.FormatInt(n, 10) + ", " + x + ")" }
	return call, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.lent, n)
	}
}

// Memory implements warehouse.PredicateTx.
func (t *tx) Memory() int64 { return memoryBytes(t.w.opts.MemoryLimit) }

// memoryBytes is a memory limit as the engine takes it in bytes, 0 for another text.
func memoryBytes(limit string) int64 {
	digits := strings.TrimRight(limit, "BKMGTi")
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	unit := map[string]float64{"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[limit[len(digits):]]
	if err != nil {
		return 0
	}
	return int64(n * unit)
}

// tidegate_ask is called by the engine's threads with a chunk of rows.
//
//export tidegate_ask
func tidegate_ask(info, input, output unsafe.Pointer) {
	function := bindings.FunctionInfo{Ptr: info}
	p, _ := (*(*cgo.Handle)(bindings.ScalarFunctionGetExtraInfo(function))).Value().(*predicates)
	chunk := bindings.DataChunk{Ptr: input}
	rows := int(bindings.DataChunkGetSize(chunk))
	if rows == 0 {
		return
	}
	column := func(i bindings.IdxT) (bindings.Vector, []int64) {
		v := bindings.DataChunkGetVector(chunk, i)
		return v, unsafe.Slice((*int64)(bindings.VectorGetData(v)), rows)
	}
	_, numbers := column(0)
	p.mu.RLock()
	test := p.lent[numbers[0]]
	p.mu.RUnlock()
	if test == nil {
		bindings.ScalarFunctionSetError(function, fmt.Sprintf("nothing is lent under the number %d", numbers[0]))
		return
	}
	vector, values := column(1)
	answers := unsafe.Slice((*bool)(bindings.VectorGetData(bindings.Vector{Ptr: output})), rows)
	clear(answers)
	if valid := bindings.VectorGetValidity(vector); valid != nil {
		testValid(test, unsafe.Slice((*uint64)(valid), (rows+63)/64), values, answers)
		return
	}
	test(values, answers)
}

// testValid asks about the values that are not NULL.
func testValid(test func(values []int64, answers []bool), valid []uint64, values []int64, answers []bool) {
	at := make([]int, 0, len(values))
	some := make([]int64, 0, len(values))
	for i, v := range values {
		if valid[i/64]>>(i%64)&1 == 1 {
			at, some = append(at, i), append(some, v)
		}
	}
	if len(some) == 0 {
		return
	}
	told := make([]bool, len(some))
	test(some, told)
	for i, answer := range told {
		answers[at[i]] = answer
	}
}
