// Package pgwire is what warehouses that speak PostgreSQL's protocol have in
// common: connections (TLS, an SSH tunnel, a pool), cancellation that reaches the
// server, results that stream, the lexer that tells words from texts, and values
// as text.
//
// Invariants: an error in the middle of a result is returned as such and never as
// the end of the rows (Invariant 6); a statement that is given up is cancelled at
// the server until it ends; nothing is taken from the environment of the process.
//
// It knows neither types nor error codes of an engine: those are the adapters'.
// A Session and a Reader belong to one goroutine, a Reader's Close excepted. The
// goroutines are the pool's, and those of a request to cancel, which is waited for.
package pgwire
