package clock

import (
	"strconv"
	"strings"
	"time"
)

// longestTime bounds the text that Parse looks at: no form below is longer.
const longestTime = 64

// layouts are the forms that clients send besides RFC 3339, most frequent
// first. A fraction of a second is accepted after the seconds of each.
var layouts = [...]string{
	time.RFC3339,
	"2006-01-02T15:04:05",       // a clock without a zone means UTC
	"2006-01-02T15:04:05Z0700",  // +0000
	"2006-01-02T15:04:05Z07",    // +00
	"2006-01-02 15:04:05Z07:00", // SQL and Python's str()
	"2006-01-02 15:04:05",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05 Z0700",
	"2006-01-02 15:04:05 MST",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02",
	"20060102T150405Z0700",
	time.RFC1123,
	time.RFC1123Z,
}

// Parse reads a time as tracking clients write it: ISO 8601 in its usual
// shapes, or digits that count seconds, milliseconds, microseconds or
// nanoseconds since 1970 (told apart by their number). The result is UTC in
// microseconds. ok is false for anything else, for zones other than UTC that
// are named and not numbered, and for years outside 1 to 9999.
func Parse(s string) (t time.Time, ok bool) {
	if s == "" || len(s) > longestTime {
		return time.Time{}, false
	}
	if t, ok := parseZulu(s); ok {
		return t, true
	}
	if t, ok := parseDigits(s); ok {
		return t, true
	}
	return parseLayout(strings.TrimSpace(s))
}

func parseLayout(s string) (time.Time, bool) {
	for _, layout := range layouts {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if name, offset := t.Zone(); offset == 0 && name != "" && name != "UTC" && name != "GMT" {
			return time.Time{}, false // time.Parse takes an unknown zone's name for UTC
		}
		t = t.UTC().Truncate(time.Microsecond)
		if t.Year() < 1 || t.Year() > 9999 {
			return time.Time{}, false
		}
		return t, true
	}
	return time.Time{}, false
}

// parseZulu reads the form that nearly all clients send, 2006-01-02T15:04:05.000Z with
// up to nine digits of a fraction or without one. What it does not take is not refused:
// the layouts decide.
func parseZulu(s string) (time.Time, bool) {
	if len(s) < 20 || len(s) > 30 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return time.Time{}, false
	}
	bad := false
	two := func(i int) int {
		tens, ones := s[i]-'0', s[i+1]-'0'
		bad = bad || tens > 9 || ones > 9
		return int(tens)*10 + int(ones)
	}
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	micros, unit := 0, 100_000
	if fraction := s[19 : len(s)-1]; fraction != "" {
		if fraction[0] != '.' || len(fraction) == 1 {
			return time.Time{}, false
		}
		for _, c := range []byte(fraction[1:]) {
			bad = bad || c < '0' || c > '9'
			micros += int(c-'0') * unit // beyond the sixth digit the unit is 0
			unit /= 10
		}
	}
	// The last days of a month are left to those who know the calendar.
	if bad || year < 1 || month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, micros*1000, time.UTC), true
}

// parseDigits reads a count since 1970. The number of digits tells the unit:
// 9-10 seconds (1973 to 2286), 12-13 milliseconds, 15-16 microseconds, 18-19
// nanoseconds. Other lengths are no time.
func parseDigits(s string) (time.Time, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return time.Time{}, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	switch len(s) {
	case 9, 10:
		return time.Unix(n, 0).UTC(), true
	case 12, 13:
		return time.UnixMilli(n).UTC(), true
	case 15, 16:
		return time.UnixMicro(n).UTC(), true
	case 18, 19:
		return time.Unix(0, n).UTC().Truncate(time.Microsecond), true
	}
	return time.Time{}, false
}
