package clickhouse

import (
	"time"
)

// Hurry makes w send an insert again at once.
func Hurry(w *Warehouse) { w.wait = time.Microsecond }

// Hand makes w speak as over the native protocol, by the driver's rows and batches, while they still travel over HTTP.
func Hand(w *Warehouse) {
	w.writes.native, w.writes.packed = true, false
}
