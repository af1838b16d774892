package celltext_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

func TestTexts(t *testing.T) {
	t.Parallel()
	texts := celltext.Texts{Kept: func(number string) bool { return len(number) < 5 }}
	at := time.Date(2026, 11, 21, 13, 0, 0, 123456000, time.FixedZone("", 3600))
	for _, c := range []struct {
		cell          any
		text, json    string
		textErr, jErr error
	}{
		{cell: "a \"b\"", text: `a "b"`, json: `"a \"b\""`},
		{cell: "a\x00", textErr: celltext.ErrNUL, jErr: celltext.ErrNUL},
		{cell: "a\xff", textErr: celltext.ErrNotUTF8, jErr: celltext.ErrNotUTF8},
		{cell: int64(math.MinInt64), text: "-9223372036854775808", json: "-9223372036854775808"},
		{cell: math.Inf(-1), text: "-Infinity", json: `"-Infinity"`},
		{cell: 1e21, text: "1e+21", json: "1e+21"},
		{cell: tidegate.DecimalText("-01.50"), text: "-01.50", json: "-01.50"},
		{cell: tidegate.DecimalText("1."), textErr: celltext.ErrNotDecimal, jErr: celltext.ErrNotDecimal},
		{cell: []byte{0, 255}, text: "AP8=", json: `"AP8="`},
		{cell: at, text: "2026-11-21T12:00:00.123456Z", json: `"2026-11-21T12:00:00.123456Z"`},
		{cell: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), textErr: celltext.ErrTimeSpan, json: `"10000-01-01T00:00:00Z"`},
		{cell: tidegate.DateOf(at), text: "2026-11-21", json: `"2026-11-21"`},
		{cell: tidegate.JSONText(`{"a": [1234, 12345, "\ud83d\ude00\u0000\ud800"]}`), text: `{"a": [1234, "12345", "\ud83d\ude00\ufffd\ufffd"]}`, json: `{"a": [1234, "12345", "\ud83d\ude00\ufffd\ufffd"]}`},
		{cell: tidegate.JSONText(`{`), textErr: celltext.ErrNotJSON, jErr: celltext.ErrNotJSON},
	} {
		if got, err := texts.Append(nil, c.cell); !errors.Is(err, c.textErr) || err == nil && string(got) != c.text {
			t.Errorf("%v as a text: %s, %v, want %s, %v", c.cell, got, err, c.text, c.textErr)
		}
		if got, err := texts.AppendJSON(nil, c.cell); !errors.Is(err, c.jErr) || err == nil && string(got) != c.json {
			t.Errorf("%v as JSON: %s, %v, want %s, %v", c.cell, got, err, c.json, c.jErr)
		}
	}
	if _, err := texts.Append(nil, struct{}{}); err == nil || !strings.Contains(err.Error(), "struct {}") {
		t.Errorf("a foreign type: %v", err)
	}
}
