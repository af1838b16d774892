// Package api is the admin surface: one table of routes from which come the
// mux, the permission of every route, the OpenAPI document and the Go client
// that the CLI speaks.
//
// Invariants: a route without a declared permission does not exist (a test
// walks the mux); errors are RFC 9457 problems with the fault's code and hint;
// no answer holds a secret (Invariant 9: definitions carry references); every
// list, body and stream has a limit.
//
// It does no work of its own: definitions are control/catalog's, everything
// that runs is behind Hub. Handlers are safe for concurrent use; the package
// starts no goroutine.
package api
