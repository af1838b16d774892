// Package hubspot writes contacts, companies and deals of a HubSpot account
// through the CRM v3 batch endpoints.
//
// Facts of the API, verified 2026-11-21 against developers.hubspot.com/docs
// (api-reference/legacy/crm/objects/contacts/batch, api-reference/error-handling,
// api-reference/legacy/crm/properties, developer-tooling/platform/usage-guidelines)
// and, where these are silent, against reports of its users:
//   - batch/upsert, batch/update, batch/create, batch/archive and batch/read take
//     100 inputs a call; upsert matches by a property with unique values
//     (`idProperty`), for contacts also by email.
//   - batch/update matches by record id or by a property with unique values, and
//     refuses the e-mail address (HubSpot/hubspot-api-nodejs issue 548), so that
//     ids are read first.
//   - an input may carry an objectWriteTraceId; results repeat it, errors do in
//     context.objectWriteTraceId, a list, and then the errors of single records
//     come in a 207 beside the results of the others, a property that does not
//     exist (PROPERTY_DOESNT_EXIST) among them. Without it one bad record fails the call with a 400.
//   - a private app has 100 calls in ten seconds (190 on the larger plans); a 429
//     names the policy that was hit: TEN_SECONDLY_ROLLING or DAILY.
//   - two inputs with one id fail the whole call.
//   - 423 is a lock of two seconds, 477 an account that is being moved, with a
//     Retry-After of up to a day; neither is about a record.
//   - batch/read answers 207 when some records are not there (OBJECT_NOT_FOUND,
//     HubSpot/hubspot-api-php issue 619); an answer's status is PENDING,
//     PROCESSING, CANCELED or COMPLETE.
//   - lists are found by name under /crm/v3/lists/object-type-id/ID/name/NAME and
//     made by POST /crm/v3/lists; memberships/add and memberships/remove of a
//     MANUAL or SNAPSHOT list take an array of record ids, ignore members that are
//     there already, and list ids without a record as recordIdsMissing.
//   - X-HubSpot-RateLimit-Max, -Remaining and -Interval-Milliseconds tell the
//     limit of the ten seconds, X-HubSpot-RateLimit-Daily and -Daily-Remaining that
//     of the day (250,000, 625,000 or 1,000,000 calls of the whole account), which
//     the calls of OAuth apps do not have.
//   - the search takes 5 calls a second of an account, 3,000 characters a call, 100
//     values after IN, 5 groups of 6 filters; it gives 200 records a page and
//     10,000 in all, no limits in its answers, and lags behind what was written.
//   - a company's domain is not unique: batch endpoints refuse to match by it.
//   - account-info/v3/details names the portal (portalId) to tokens with the scope oauth, which
//     private apps have.
//   - a property is cleared by the empty text; all values travel as text.
//
// Invariants: an outcome is Delivered only when a result of the answer names
// the record; what the answer does not name is in doubt. A record is taken for
// absent only by a read that was complete and met no other error. The token appears in
// the Authorization header and nowhere else (Invariant 9).
//
// A property that is not unique finds records to be updated, never to be created
// or removed, and what it finds twice is rejected.
//
// It does not retry, wait (save before a search) or split batches: the runner does. A Destination is
// safe for concurrent use and starts no goroutine.
package hubspot
