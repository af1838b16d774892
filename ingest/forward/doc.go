// Package forward sends events of the journal to destinations within seconds.
//
// One Forward is one reader of the journal with a durable cursor of its own. It
// shares nothing with others but the destination account's quota, so that a
// destination that is slow or down holds up nobody else.
//
//	journal ─▶ intake: judges, consent, filter, mapping ─▶ lanes ─▶ calls ─▶ destination
//	   ▲                                                     │  ▲      │
//	   │ cursor: the first event that is                     ▼  │      ▼
//	   │ neither settled nor in the store                    store: waiting and dead letters
//	   └─────────────────────────────────────────────────────┘
//
// An event goes through these states; what stands in the second line is on disk:
//
//	queued ──▶ ready ──▶ flying ──▶ delivered
//	  ▲  ▲                 │ │
//	  │  └─── failed ◀─────┘ └─────▶ dead
//	  │          │ again, while others go on
//	  └─ due ─ waiting ── older than the window ──▶ dead
//
// An event stands in the lane of its user and in that of its record, and leaves
// only as the first of all its lanes: at most one event of a user and one of a
// record is on its way, and a failing one is waited for by those behind it.
//
// Invariants:
//
//   - no gap: the cursor passes an event only when it was delivered, left out by a
//     rule, or is durable in the store;
//   - per lane no event is sent before an earlier one was delivered or is dead
//     (Invariant 5); a dead letter that a person retries goes behind what waits;
//   - an event is dead only after the destination or the mapping refused it, or
//     when it waited longer, or held more of the journal, than its forward allows;
//     a dead letter keeps the event and the reason;
//   - memory is bounded by Limits, whatever the destination does: where they are
//     reached the reader stops and the journal keeps the events;
//   - a delivery is repeated only after a crash or when its answer is unknown, and
//     then with the same idempotency key.
//
// It does not know definitions, mapping languages or the control store: they are
// handed in (Opened, Mapper, Store). A Forward is safe for concurrent use; its
// goroutines belong to Run, which waits for them.
package forward
