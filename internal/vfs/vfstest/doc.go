// Package vfstest helps tests that are about the rights of files.
//
// It keeps nothing between calls. What it has only on Linux is missing elsewhere.
package vfstest
