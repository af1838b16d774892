// Package clock turns the times that a client wrote into an event, by a clock
// that may be wrong, into times by the server's clock.
//
// The rule is that of the tracking protocol: the client's clock is wrong by
// (received − sentAt), network time included, so
//
//	timestamp = received − (sentAt − original)
//
// where original is the event's originalTimestamp or, when there is none, its
// timestamp. An event that was queued for a day keeps its day; a device whose
// clock is a year ahead is put right; a historical import (old timestamp, fresh
// sentAt) keeps its history.
//
// Invariants: Correct never fails, always gives four usable times in UTC and
// microseconds, and says by a Flag whenever it had to guess. It is pure: no
// clock of its own, no state, safe for concurrent use.
package clock

import (
	"strings"
	"time"
)

// FutureLimit is how far after its arrival an event may lie. Beyond it the
// client's times contradict each other and the arrival is taken instead.
const FutureLimit = 5 * time.Minute

// Times are the four times of an event as they are stored. All are UTC.
type Times struct {
	// Timestamp is when the event happened, by the server's clock.
	Timestamp time.Time
	// SentAt is when the client says that it sent the event, by the client's clock.
	SentAt time.Time
	// OriginalTimestamp is when the client says that it happened, by the client's clock.
	OriginalTimestamp time.Time
	// ReceivedAt is when the server received it.
	ReceivedAt time.Time
}

// Flag says what Correct had to guess; flags add up.
type Flag uint8

// The flags. A time that the client did not send is ordinary and raises none.
const (
	// BadOriginal: originalTimestamp or timestamp was there but could not be read.
	BadOriginal Flag = 1 << iota
	// BadSentAt: sentAt was there but could not be read, or lies out of all reason.
	BadSentAt
	// Future: the result lay more than FutureLimit after the arrival and was set to the arrival.
	Future
	// OutOfRange: the result lay outside the years 1 to 9999 and was set to the arrival.
	OutOfRange
)

// Has says whether all of want are raised in f.
func (f Flag) Has(want Flag) bool { return f&want == want }

// String returns the names of the raised flags with "|" between them, "" for none.
func (f Flag) String() string {
	var names []string
	for _, n := range []struct {
		flag Flag
		name string
	}{{BadOriginal, "bad_original"}, {BadSentAt, "bad_sent_at"}, {Future, "future"}, {OutOfRange, "out_of_range"}} {
		if f.Has(n.flag) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "|")
}

// Correct computes the times of an event from what its client wrote. The three
// strings are the event's fields as text, empty when absent; sentAt is the
// event's own or, failing that, its batch's.
func Correct(received time.Time, sentAt, originalTimestamp, timestamp string) (Times, Flag) {
	received = received.UTC().Truncate(time.Microsecond)
	t := Times{ReceivedAt: received, Timestamp: received, SentAt: received, OriginalTimestamp: received}
	var flag Flag

	sent, sentOK := Parse(sentAt)
	if sentOK {
		t.SentAt = sent
	} else if sentAt != "" {
		flag |= BadSentAt
	}

	original, ok := Parse(originalTimestamp)
	if !ok && originalTimestamp != "" {
		flag |= BadOriginal
	}
	if !ok {
		original, ok = Parse(timestamp)
		if !ok && timestamp != "" {
			flag |= BadOriginal
		}
	}
	if !ok {
		// Without a time of its own an event happened when it was sent, which by
		// the rule is when it was received.
		if sentOK {
			t.OriginalTimestamp = sent
		}
		return t, flag
	}
	t.OriginalTimestamp = original

	skew := received.Sub(t.SentAt)
	if skew == maxDuration || skew == minDuration { // Sub saturates after 292 years
		flag |= BadSentAt
		skew = 0
	}
	corrected := original.Add(skew)
	switch {
	case corrected.After(received.Add(FutureLimit)):
		flag |= Future
	case corrected.Year() < 1 || corrected.Year() > 9999:
		flag |= OutOfRange
	default:
		t.Timestamp = corrected
	}
	return t, flag
}

const (
	maxDuration = time.Duration(1<<63 - 1)
	minDuration = time.Duration(-1 << 63)
)
