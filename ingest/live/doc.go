// Package live shows events as they are: what the journal holds from some offset on,
// filtered, and what each event became.
//
//	journal ─▶ frames ─▶ suppression ─▶ fields ─▶ expression ─▶ judges ─▶ one reader's pace
//	                                                              ▲
//	loader ── after each commit ─▶ Ring (the last fates) ─────────┘ for those who ask what became of it
//
// Invariants: a reader reads the journal's files at its own pace, so that however slow
// it is nobody waits for it; of a person who is suppressed or erased nothing is shown;
// the offset that comes with an event is where a reader goes on after it, also after
// hours without a match.
//
// It writes nothing and keeps no place: whoever reads remembers where it was. A Ring
// and a Filter are safe for concurrent use; a Reading belongs to one goroutine.
package live
