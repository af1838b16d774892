// Package webhook delivers rows to any HTTP endpoint.
//
// Purpose: turn the changes of a sync into HTTP calls - one record a call, or
// many records in one body - authenticate or sign them, and turn the answers
// back into one outcome per record.
//
//	Item ──▶ body (envelope or Liquid template) ──▶ URL, headers, signature ──▶ call
//	Outcome ◀── results in the answer, if configured ◀── status code ◀──────────┘
//
// Invariants:
//
//   - A record is delivered only when the endpoint said so: by a status code of
//     the delivered class, a body that was read to its end, and, where results
//     are configured and the answer is not 204, a result that names the record
//     and says yes. A record that the results do not name is in doubt (Invariant 4).
//   - One Write is one call.
//   - What a record holds never chooses the host that is called: placeholders
//     stand behind the host, are always escaped and never empty, "." or "..", so
//     that no record's value can turn one path into another.
//   - No fault and no log line holds a URL, a body or a secret; text that an
//     endpoint sends back is cut short and searched for our secrets (Invariant 9).
//   - The same batch again has the same body and the same idempotency key.
//
// It does not batch, wait, retry or limit rates; the runner does, by the limits
// that Objects declares. It cannot know whether an endpoint drops repeats: the
// configuration says so (safety). What an endpoint takes with a 202 is followed, and
// records are read back, where the configuration says how.
//
// A Destination is immutable after Open and safe for concurrent use; it starts
// no goroutine.
package webhook
