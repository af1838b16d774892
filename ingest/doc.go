// Package ingest is the HTTP surface through which events come in. It speaks
// the protocol of the Segment and RudderStack SDKs, so that both can be pointed
// at it unchanged.
//
//	request ─ key in a header? ─ body (limits, gzip) ─ scan ─ key in the body? ─ rate ─ judge ─┬─ none is valid: 400
//	             │ unknown: 401      │ 413, 408, 503     │ 400      │ unknown: 401   │ 429        └─ envelope ─ Append ─ 200
//	             │ disabled: 404                                                                                │ 503
//
// Invariants: 200 is written only after Appender.Append has returned without an
// error, which is after the events are on disk (Invariant 1); one request is one
// Append. The events of an answered request are kept as the client's own bytes,
// valid or refused: of a partial batch every item is in the envelope, the
// refused ones under a stable code, and the answer names them. Three things are
// done to them here, because afterwards it would be too late (treat.go): of
// suppressed people and, where a source says so, of bots only the id is kept,
// and addresses are cut down. Their senders are answered as ever. Of a request that
// is refused as a whole nothing is kept, because the client was told. A
// stranger's bytes give an answer, never a panic (Invariant 7). No answer holds
// a write key that the client did not send (Invariant 9).
//
// It does not correct timestamps (ingest/clock), judge by tracking plans, drop
// repeats or decode events: readers of the journal do that. It reads no cookie.
//
// Answers, as SDKs need them: 200 and nothing else for success, since
// analytics-python takes any other 2xx for a failure; errors as
// {"success":false,"code":…,"message":…}, which it reads; Retry-After in whole
// seconds, since browsers parse nothing else; 4xx only for what a retry cannot
// mend, since SDKs drop the events then (408 and 429 apart).
//
// Concurrency: the handler serves any number of requests at once; it starts no
// goroutine and holds no lock while it waits.
package ingest
