package duckdb

// #include <stdint.h>
import "C"

import "runtime/cgo"

// tidegate_start is where politely's thread comes back from C.
//
//export tidegate_start
func tidegate_start(handle C.uintptr_t) {
	if start, ok := cgo.Handle(handle).Value().(func()); ok {
		start()
	}
}
