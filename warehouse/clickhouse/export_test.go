package clickhouse

import "time"

// Hurry makes w send an insert again at once.
func Hurry(w *Warehouse) { w.wait = time.Microsecond }
