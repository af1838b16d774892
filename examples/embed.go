// Package examples holds projects that a newcomer can run. They are embedded so
// that `tidegate demo` needs nothing but the binary. It has no code and no state.
package examples

import "embed"

// FS holds one folder per example project.
//
//go:embed shop
var FS embed.FS
