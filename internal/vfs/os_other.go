//go:build unix && !linux

package vfs

// Sync is the full fsync; on darwin package os asks for F_FULLFSYNC, without
// which the drive may keep the bytes in its cache.
func (f osFile) Sync() error { return f.File.Sync() }

// Preallocate does nothing here: the file grows as it is written.
func (osFile) Preallocate(int64) error { return nil }

// WriteZeros goes through the cache.
func (f osFile) WriteZeros(off, n int64) error { return f.zeroCached(off, n) }
