// Package hook turns the calls of other services' webhooks into events.
//
//	call ─ signature (the service's own scheme) ─ body (JSON or a form) ─ expressions ─▶ one track event
//
// A Receiver is compiled once per source, and wrong expressions are told then.
//
// Invariants: nothing of a body is looked at before its signature was verified,
// in constant time; the event's messageId is the service's own id of the
// delivery where it has one, so that a repeated delivery is one row; the
// properties are the body as it came unless an expression makes them.
//
// It does not speak HTTP, find sources or keep anything. A Receiver is immutable
// and safe for concurrent use.
package hook
