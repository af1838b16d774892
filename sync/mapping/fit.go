package mapping

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
)

// canFit says whether some value of a column of kind from can fill a field of
// kind to. What it refuses can never work and is reported before the first
// record; what it allows can still fail for one row (a text that is no number).
func canFit(from, to tidegate.Kind) bool {
	if to == tidegate.Unknown || to == tidegate.String || to == tidegate.JSON || from == to {
		return true
	}
	switch from {
	case tidegate.Unknown, tidegate.String:
		return true
	case tidegate.Int, tidegate.Float, tidegate.Decimal:
		return to == tidegate.Int || to == tidegate.Float || to == tidegate.Decimal
	case tidegate.Date, tidegate.Timestamp:
		return to == tidegate.Date || to == tidegate.Timestamp
	case tidegate.Bool, tidegate.Bytes, tidegate.JSON:
		return false
	}
	return false
}

// fit turns a cell into the value that a field of kind to carries. It never
// loses anything silently, with one exception that users of CRMs expect: a
// timestamp put into a date field gives its day in UTC.
func fit(cell any, to tidegate.Kind) (any, error) {
	if t, isTime := cell.(time.Time); isTime && to == tidegate.Date {
		cell = tidegate.DateOf(t)
	}
	if d, isDate := cell.(tidegate.CalendarDate); isDate && to == tidegate.Timestamp {
		cell = d.Time()
	}
	v, err := plain(cell)
	if err != nil || v == nil {
		return nil, err
	}
	switch to {
	case tidegate.String:
		return asText(v), nil
	case tidegate.Int:
		return asInt(v)
	case tidegate.Float:
		return asFloat(v)
	case tidegate.Decimal:
		return asDecimal(v)
	case tidegate.Bool:
		return asBool(v)
	case tidegate.Date:
		return asTime(v, func(t time.Time) any { return tidegate.DateOf(t) })
	case tidegate.Timestamp:
		return asTime(v, func(t time.Time) any { return t })
	case tidegate.Bytes:
		return asBytes(cell, v)
	case tidegate.Unknown, tidegate.JSON:
	}
	return v, nil
}

// plain is the value of a cell, or of what an expression gave, as a record holds it.
func plain(cell any) (any, error) {
	switch v := cell.(type) {
	case []any, map[string]any:
		return v, nil
	}
	return model.Value(cell)
}

func asText(v any) any {
	if s, ok := v.(string); ok {
		return s
	}
	if f, ok := v.(float64); ok { // 1.5, 2: as a person writes it, not as JSON must
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return string(model.AppendJSON(nil, v))
}

func asInt(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return int64(v), nil
		}
	case string:
		text := strings.TrimSpace(v)
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
		if whole, fraction, ok := strings.Cut(text, "."); ok && strings.Trim(fraction, "0") == "" && fraction != "" {
			if i, err := strconv.ParseInt(whole, 10, 64); err == nil {
				return i, nil
			}
		}
	}
	return nil, misfit(v, "a whole number of 64 bits")
}

func asFloat(v any) (any, error) {
	switch v := v.(type) {
	case int64, float64:
		return v, nil
	case string:
		text := strings.TrimSpace(v)
		if decimal.MatchString(text) {
			if f, err := strconv.ParseFloat(text, 64); err == nil {
				return f, nil
			}
		}
	}
	return nil, misfit(v, "a number")
}

var decimal = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$`)

func asDecimal(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case string:
		if text := strings.TrimSpace(v); decimal.MatchString(text) {
			return text, nil
		}
	}
	return nil, misfit(v, "a number")
}

func asBool(v any) (any, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return nil, misfit(v, "true or false")
}

// The layouts of a text that can fill a date or a timestamp field; without a
// zone it is read as UTC.
var timeLayouts = []string{time.RFC3339Nano, time.DateOnly, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07"}

func asTime(v any, as func(time.Time) any) (any, error) {
	if s, ok := v.(string); ok {
		for _, layout := range timeLayouts {
			if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
				return model.Value(as(t.UTC()))
			}
		}
	}
	return nil, misfit(v, "a date (2006-01-02) or a time (2006-01-02T15:04:05Z)")
}

func asBytes(cell, v any) (any, error) {
	s, ok := v.(string)
	if !ok {
		return nil, misfit(v, "bytes")
	}
	if _, raw := cell.([]byte); raw {
		return s, nil
	}
	if _, err := base64.StdEncoding.DecodeString(s); err != nil {
		return nil, errors.New("the text is not base64, which a field of bytes takes")
	}
	return s, nil
}

// misfit quotes the value, so that rejections of one cause share a cluster.
func misfit(v any, wanted string) error {
	shown := strings.ReplaceAll(fmt.Sprint(asText(v)), `"`, "'")
	if len(shown) > 60 {
		shown = strings.ToValidUTF8(shown[:60], "") + "…"
	}
	return fmt.Errorf(`the value "%s" is not %s`, shown, wanted)
}
