// Package privacy keeps people out who do not want to be kept: the list of those who
// are suppressed, the judge that applies it to what the journal still holds, the
// deletion of what a warehouse holds of a person, and the search for personal data
// where nobody expects it.
//
//	                        ┌▶ the door: journaled without a word of what it says
//	suppressed person ──────┤
//	                        └▶ every reader: neither loaded, forwarded, shown nor replayed
//
//	erased person ─────────▶ every reader, for events below the offset at which it was asked;
//	                         later events of the same person come in again unless he is suppressed too
//
// Invariants: whoever asks the Set sees a list as a whole, never one half changed; the
// Set says the same of an event at the door and in every reader; a receipt says only
// what was looked up afterwards; no report holds a value that was found.
//
// It opens no warehouse, no journal and no destination: those are lent to it. It does
// not know control's jobs. A Set is safe for concurrent use; the rest belongs to its
// caller.
package privacy
