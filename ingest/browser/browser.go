// Package browser carries the build of our own JavaScript SDK inside the binary,
// for the snippet that asks for `analytics.min.js`.
//
// The build is not in the repository: `make build` puts it into the folder bundle
// when Node is there. Without it everything compiles as well, and the script is
// simply absent; Go alone is all that the hub needs. The package does nothing
// else and has no state.
package browser

import "embed"

//go:embed bundle
var bundle embed.FS

// Script returns analytics.min.js, nil when the binary was built without it.
func Script() []byte {
	text, err := bundle.ReadFile("bundle/analytics.min.js")
	if err != nil {
		return nil
	}
	return text
}
