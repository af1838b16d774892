//go:build !linux

package duckdb

// politely calls start; elsewhere than on Linux a priority belongs to the whole process.
func politely(start func()) { start() }
