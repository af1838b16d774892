//go:build !unix

package duckdb

// fileLock does nothing where the engine opens its file exclusively.
type fileLock struct{}

func lockFile(string) (*fileLock, error) { return &fileLock{}, nil }

func (l *fileLock) release() error { return nil }
