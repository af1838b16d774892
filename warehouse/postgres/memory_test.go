package postgres_test

import (
	"testing"

	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestMemoryIsFlat runs alone, for it looks at the memory of the whole process.
func TestMemoryIsFlat(t *testing.T) {
	w := open(t, config(t))
	defer w.Close()
	warehousetest.Memory(t, w)
}
