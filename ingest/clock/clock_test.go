package clock

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func TestCorrect(t *testing.T) {
	t.Parallel()
	const received = "2026-11-21T12:00:00Z"
	for _, c := range []struct {
		name                      string
		sentAt, original, stamped string
		want                      Times
		flag                      Flag
	}{
		{
			name: "an honest clock", sentAt: "2026-11-21T12:00:00Z", stamped: "2026-11-21T11:59:58.250Z",
			want: Times{Timestamp: at("2026-11-21T11:59:58.25Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-21T11:59:58.25Z")},
		},
		{
			name: "a clock one hour ahead", sentAt: "2026-11-21T13:00:00Z", stamped: "2026-11-21T12:59:50Z",
			want: Times{Timestamp: at("2026-11-21T11:59:50Z"), SentAt: at("2026-11-21T13:00:00Z"), OriginalTimestamp: at("2026-11-21T12:59:50Z")},
		},
		{
			name: "a device that woke up in 1970", sentAt: "1970-01-01T00:05:00Z", stamped: "1970-01-01T00:04:00Z",
			want: Times{Timestamp: at("2026-11-21T11:59:00Z"), SentAt: at("1970-01-01T00:05:00Z"), OriginalTimestamp: at("1970-01-01T00:04:00Z")},
		},
		{
			name: "an event queued for a day", sentAt: "2026-11-21T12:00:00Z", stamped: "2026-11-20T12:00:00Z",
			want: Times{Timestamp: at("2026-11-20T12:00:00Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-20T12:00:00Z")},
		},
		{
			name: "an import of history", sentAt: "2026-11-21T12:00:00Z", stamped: "1999-12-31T23:59:59Z",
			want: Times{Timestamp: at("1999-12-31T23:59:59Z"), SentAt: at(received), OriginalTimestamp: at("1999-12-31T23:59:59Z")},
		},
		{
			name: "originalTimestamp goes before timestamp", sentAt: "2026-11-21T12:00:00Z", original: "2026-11-21T11:00:00Z", stamped: "2026-11-21T10:00:00Z",
			want: Times{Timestamp: at("2026-11-21T11:00:00Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-21T11:00:00Z")},
		},
		{
			name: "no sentAt", stamped: "2026-11-21T11:30:00Z",
			want: Times{Timestamp: at("2026-11-21T11:30:00Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-21T11:30:00Z")},
		},
		{
			name: "no time at all",
			want: Times{Timestamp: at(received), SentAt: at(received), OriginalTimestamp: at(received)},
		},
		{
			name: "sentAt only", sentAt: "2026-11-21T13:00:00Z",
			want: Times{Timestamp: at(received), SentAt: at("2026-11-21T13:00:00Z"), OriginalTimestamp: at("2026-11-21T13:00:00Z")},
		},
		{
			name: "unreadable timestamp", sentAt: "2026-11-21T12:00:00Z", stamped: "yesterday",
			want: Times{Timestamp: at(received), SentAt: at(received), OriginalTimestamp: at(received)}, flag: BadOriginal,
		},
		{
			name: "unreadable originalTimestamp falls back to timestamp", sentAt: "2026-11-21T12:00:00Z", original: "soon", stamped: "2026-11-21T11:00:00Z",
			want: Times{Timestamp: at("2026-11-21T11:00:00Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-21T11:00:00Z")}, flag: BadOriginal,
		},
		{
			name: "unreadable sentAt", sentAt: "{}", stamped: "2026-11-21T11:00:00Z",
			want: Times{Timestamp: at("2026-11-21T11:00:00Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-21T11:00:00Z")}, flag: BadSentAt,
		},
		{
			name: "sentAt out of all reason", sentAt: "0001-01-01T00:00:00Z", stamped: "2026-11-21T11:00:00Z",
			want: Times{Timestamp: at("2026-11-21T11:00:00Z"), SentAt: at("0001-01-01T00:00:00Z"), OriginalTimestamp: at("2026-11-21T11:00:00Z")}, flag: BadSentAt,
		},
		{
			name: "slightly in the future is kept", sentAt: "2026-11-21T12:00:00Z", stamped: "2026-11-21T12:05:00Z",
			want: Times{Timestamp: at("2026-11-21T12:05:00Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-21T12:05:00Z")},
		},
		{
			name: "far in the future is set to the arrival", sentAt: "2026-11-21T12:00:00Z", stamped: "2026-11-21T12:05:00.000001Z",
			want: Times{Timestamp: at(received), SentAt: at(received), OriginalTimestamp: at("2026-11-21T12:05:00.000001Z")}, flag: Future,
		},
		{
			name: "before the year 1", sentAt: "2026-11-22T12:00:00Z", stamped: "0001-01-01T00:00:00Z",
			want: Times{Timestamp: at(received), SentAt: at("2026-11-22T12:00:00Z"), OriginalTimestamp: at("0001-01-01T00:00:00Z")}, flag: OutOfRange,
		},
		{
			name: "zones", sentAt: "2026-11-21T13:00:00+01:00", stamped: "2026-11-21T06:59:00-05:00",
			want: Times{Timestamp: at("2026-11-21T11:59:00Z"), SentAt: at(received), OriginalTimestamp: at("2026-11-21T11:59:00Z")},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.want.ReceivedAt = at(received)
			got, flag := Correct(at(received), c.sentAt, c.original, c.stamped)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("times differ (-want +got):\n%s", diff)
			}
			if flag != c.flag {
				t.Errorf("flag %q, want %q", flag, c.flag)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-11-21T02:57:43.428417692Z":   "2026-11-21T02:57:43.428417Z",
		"2026-11-21T02:57:43.428Z":         "2026-11-21T02:57:43.428Z",
		"2026-11-21T02:57:43,428Z":         "2026-11-21T02:57:43.428Z",
		"2026-11-21T02:57:43.428417+00:00": "2026-11-21T02:57:43.428417Z",
		"2026-11-21T02:57:43+0530":         "2026-11-20T21:27:43Z",
		"2026-11-21T02:57:43-05":           "2026-11-21T07:57:43Z",
		"2026-11-21T02:57:43":              "2026-11-21T02:57:43Z",
		"2026-11-21T02:57:43.5":            "2026-11-21T02:57:43.5Z",
		"2026-11-21 02:57:43.5":            "2026-11-21T02:57:43.5Z",
		"2026-11-21 02:57:43+00:00":        "2026-11-21T02:57:43Z",
		"2026-11-21 02:57:43 UTC":          "2026-11-21T02:57:43Z",
		"2026-11-21 02:57:43 +0100":        "2026-11-21T01:57:43Z",
		"2026-11-21T02:57Z":                "2026-11-21T02:57:00Z",
		"2026-11-21T02:57":                 "2026-11-21T02:57:00Z",
		"2026-11-21":                       "2026-11-21T00:00:00Z",
		" 2026-11-21T02:57:43Z ":           "2026-11-21T02:57:43Z",
		"20261121T025743Z":                 "2026-11-21T02:57:43Z",
		"Sat, 21 Nov 2026 02:57:43 GMT":    "2026-11-21T02:57:43Z",
		"Sat, 21 Nov 2026 02:57:43 +0200":  "2026-11-21T00:57:43Z",
		"1795229863":                       "2026-11-21T02:57:43Z",
		"1795229863428":                    "2026-11-21T02:57:43.428Z",
		"1795229863428417":                 "2026-11-21T02:57:43.428417Z",
		"1795229863428417692":              "2026-11-21T02:57:43.428417Z",
		"9999-12-31T23:59:59.999999Z":      "9999-12-31T23:59:59.999999Z",
		"0001-01-01T00:00:00Z":             "0001-01-01T00:00:00Z",
	} {
		got, ok := Parse(text)
		if !ok || !got.Equal(at(want)) || got.Location() != time.UTC {
			t.Errorf("Parse(%q) = %v, %v; want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "x", "2026", "20261121", "2026-13-01", "2026-02-30T00:00:00Z", "2026-11-21T25:00:00Z", "12345678901",
		"-1795229863", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "Sat, 21 Nov 2026 02:57:43 CEST",
		"2026-11-21T02:57:43Z and a tail that is much longer than any time is",
	} {
		if got, ok := Parse(text); ok {
			t.Errorf("Parse(%q) = %v, want a refusal", text, got)
		}
	}
}

// TestZuluIsTheLayouts: what is read by hand is what the layouts read.
func TestZuluIsTheLayouts(t *testing.T) {
	t.Parallel()
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		s := []byte(rapid.StringMatching(`[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.,][0-9]{0,10})?Z`).Draw(t, "time"))
		if at := rapid.IntRange(-40, len(s)-1).Draw(t, "changed"); at >= 0 {
			s[at] = rapid.Byte().Draw(t, "to")
		}
		got, ok := parseZulu(string(s))
		if !ok {
			return
		}
		taken++
		if want, ok := parseLayout(string(s)); !ok || !got.Equal(want) || got.Location() != time.UTC {
			t.Fatalf("%q is %v, want %v, %v", s, got, want, ok)
		}
	})
	if taken == 0 {
		t.Error("nothing was read by hand")
	}
}

func TestFlagString(t *testing.T) {
	t.Parallel()
	for flag, want := range map[Flag]string{0: "", Future: "future", BadOriginal | BadSentAt: "bad_original|bad_sent_at"} {
		if got := flag.String(); got != want {
			t.Errorf("Flag(%d) is %q, want %q", flag, got, want)
		}
	}
}

// A client whose clock is wrong by any constant must not be seen in the result.
func TestCorrectRemovesAnyConstantSkew(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		received := time.UnixMicro(rapid.Int64Range(1e15, 3e15).Draw(t, "received")).UTC()
		age := time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "age_us")) * time.Microsecond
		skew := time.Duration(rapid.Int64Range(-5e14, 5e14).Draw(t, "skew_us")) * time.Microsecond
		sent := received.Add(skew)
		got, flag := Correct(received, sent.Format(time.RFC3339Nano), "", sent.Add(-age).Format(time.RFC3339Nano))
		if flag != 0 || !got.Timestamp.Equal(received.Add(-age)) {
			t.Fatalf("got %v (%q), want %v", got.Timestamp, flag, received.Add(-age))
		}
	})
}

func FuzzCorrect(f *testing.F) {
	f.Add(int64(1795229863428417), "2026-11-21T12:00:00Z", "", "2026-11-21T12:00:00Z")
	f.Add(int64(0), "9999-12-31T23:59:59Z", "0001-01-01", "1")
	f.Fuzz(func(t *testing.T, receivedMicro int64, sentAt, original, stamped string) {
		received := time.UnixMicro(receivedMicro % 4e15).UTC()
		got, _ := Correct(received, sentAt, original, stamped)
		if got.Timestamp.After(received.Add(FutureLimit)) {
			t.Fatalf("timestamp %v is after the arrival %v", got.Timestamp, received)
		}
		for _, v := range []time.Time{got.Timestamp, got.SentAt, got.OriginalTimestamp} {
			if y := v.Year(); v.Location() != time.UTC || (y < 1 || y > 9999) && !v.Equal(received) {
				t.Fatalf("%v is no storable time", v)
			}
		}
	})
}
