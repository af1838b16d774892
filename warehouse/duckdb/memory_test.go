package duckdb_test

import (
	"testing"

	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestMemoryIsFlat runs alone, for it looks at the memory of the whole process. What the
// engine takes is not on the heap and has a limit of its own (memory_limit).
func TestMemoryIsFlat(t *testing.T) { warehousetest.Memory(t, open(t)) }
