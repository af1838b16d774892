//go:build !linux

package cli

import "runtime/debug"

// settle gives back what only the start needed.
func settle() { debug.FreeOSMemory() }
