// Package egress builds the HTTP clients by which Tidegate talks to the outside
// world. Nothing else in the product may open a connection to an address that
// a user can name.
//
// A client checks the resolved address of every connection attempt, after DNS
// and for each redirect, so that neither a redirect nor a name that changes its
// answer reaches an address that Policy refuses. Private, loopback, link-local,
// shared, translated, documentation, multicast and reserved addresses are refused; the
// operator may allow private ones or name prefixes.
//
// A client ignores proxy variables of the environment, follows few redirects and none that
// could turn a write into a read or carry credentials to another host, never
// repeats a write by itself (not even one with an Idempotency-Key), and ends a
// response body that exceeds its limit with an error.
//
// It does not retry, limit rates or know any API; connectors classify answers
// themselves. Clients are safe for concurrent use. Idle connections are closed
// by the client's CloseIdleConnections, which the owner calls when it is done.
package egress
