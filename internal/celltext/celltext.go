// Package celltext writes the cells of rows as texts, for warehouses that take their rows
// as lines of JSON.
//
// Invariants: no digit of a number is lost, and what a column has no place for is an
// error that names why. It knows no columns: which of these texts a column takes is its
// adapter's. Everything here is safe for concurrent use.
package celltext

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
)

// Why a value does not fit.
var (
	ErrNotUTF8    = errors.New("the text is not valid UTF-8")
	ErrNUL        = errors.New("the text holds a NUL character")
	ErrNotJSON    = errors.New("the text is not valid JSON")
	ErrTimeSpan   = errors.New("the time lies outside of what the column holds, the years 1 to 9999")
	ErrNotDecimal = errors.New("the text is not a decimal number")
)

// What these warehouses hold.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Texts writes cells for one kind of warehouse.
type Texts struct {
	// Kept says whether a JSON column keeps the value of a number, as it is written.
	Kept func(number string) bool
}

// Outside says whether a time lies outside of the years 1 to 9999.
func Outside(t time.Time) bool { return t.Before(minTime) || !t.Before(maxTime) }

// CheckString refuses texts that no warehouse of this package has a place for.
func CheckString(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return ErrNUL
	}
	if !utf8.ValidString(s) {
		return ErrNotUTF8
	}
	return nil
}

// AppendDay writes a date.
func AppendDay(dst []byte, d tidegate.CalendarDate) ([]byte, error) {
	if t := d.Time(); Outside(t) {
		return dst, ErrTimeSpan
	}
	return append(dst, d.String()...), nil
}

// AppendTime writes a time as a text column holds it, in every warehouse: in UTC,
// 2026-11-21T03:04:05Z, with six digits of a second where it is no whole one. A column
// that is widened to texts holds the same.
func AppendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Nanosecond() < 1000 {
		return t.AppendFormat(dst, "2006-01-02T15:04:05Z")
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
}

// SplitDecimal returns the digits of a decimal text before and after its point,
// without the zeros that say nothing.
func SplitDecimal(text string) (whole, fraction string, err error) {
	digits := strings.TrimPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || point && fraction == "" || !AllDigits(whole) || !AllDigits(fraction) {
		return "", "", ErrNotDecimal
	}
	return strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0"), nil
}

// AllDigits says whether s has nothing but the digits 0 to 9; the empty text has.
func AllDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Append writes a cell as the text that a text column holds for it. Bytes
// are Base64, as JSON carries them.
func (t Texts) Append(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case string:
		if err := CheckString(n); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case float64:
		return AppendFloat(dst, n), nil
	case tidegate.DecimalText:
		if _, _, err := SplitDecimal(string(n)); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case []byte:
		return base64.StdEncoding.AppendEncode(dst, n), nil
	case tidegate.CalendarDate:
		return AppendDay(dst, n)
	case time.Time:
		if Outside(n) {
			return dst, ErrTimeSpan
		}
		return AppendTime(dst, n), nil
	case tidegate.JSONText:
		return t.AppendJSON(dst, n)
	}
	return dst, Unfit(v)
}

// Floats is how an engine writes floats.
type Floats struct {
	NaN, Infinity string
	// Small and Large are the sizes below and from which a float has an exponent.
	Small, Large float64
}

// AppendFloat writes a float as servers read it: 7, 0.5, 1e+21, NaN, -Infinity.
func AppendFloat(dst []byte, f float64) []byte {
	return Floats{NaN: "NaN", Infinity: "Infinity", Small: 1e-4, Large: 1e15}.Append(dst, f)
}

// Append writes a float; a whole one has no point.
func (s Floats) Append(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, s.NaN...)
	case math.IsInf(f, 1):
		return append(dst, s.Infinity...)
	case math.IsInf(f, -1):
		return append(append(dst, '-'), s.Infinity...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < s.Small || a >= s.Large) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

// AppendJSON writes what a JSON column holds for a cell.
func (t Texts) AppendJSON(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		if err := CheckString(s); err != nil {
			return dst, err
		}
	}
	text, ok := v.(tidegate.JSONText)
	if !ok {
		return t.AppendJSONValue(dst, v)
	}
	if !json.Valid([]byte(text)) || !utf8.ValidString(string(text)) {
		return dst, ErrNotJSON
	}
	return t.appendDocument(dst, string(text)), nil
}

// AppendJSONValue writes a cell as JSON; what JSON has no form for is a string.
func (t Texts) AppendJSONValue(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case float64:
		if !math.IsNaN(n) && !math.IsInf(n, 0) {
			return strconv.AppendFloat(dst, n, 'g', -1, 64), nil
		}
	case tidegate.DecimalText:
		if _, _, err := SplitDecimal(string(n)); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case tidegate.JSONText:
		return append(dst, n...), nil
	case time.Time:
		return append(AppendTime(append(dst, '"'), n), '"'), nil
	}
	text, err := t.Append(nil, v)
	if err != nil {
		return dst, err
	}
	return jsontext.AppendQuote(dst, text)
}

// Unfit is the error of a value whose type is not the column's.
func Unfit(v any) error {
	return fmt.Errorf("a value of type %s does not fit the column", kindName(v))
}

// kindName names the type of a cell as the nouns do.
func kindName(v any) string {
	switch v.(type) {
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case tidegate.DecimalText:
		return "decimal"
	case string:
		return "string"
	case []byte:
		return "bytes"
	case tidegate.CalendarDate:
		return "date"
	case time.Time:
		return "timestamp"
	case tidegate.JSONText:
		return "json"
	}
	return fmt.Sprintf("%T", v)
}

// appendDocument writes valid JSON as the warehouse can keep it: a number that it would
// change is written as a string, so that no digit is lost. Escapes that are no character
// (NUL, half a surrogate pair) become U+FFFD, as they do in every warehouse.
func (t Texts) appendDocument(dst []byte, text string) []byte {
	for at := 0; at < len(text); {
		switch c := text[at]; {
		case c == '"':
			end := at + 1
			for text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			dst = AppendCharacters(dst, text[at:end+1])
			at = end + 1
		case c == '-' || c >= '0' && c <= '9':
			end := at + 1
			for end < len(text) && strings.IndexByte("0123456789+-.eE", text[end]) >= 0 {
				end++
			}
			if number := text[at:end]; t.Kept(number) {
				dst = append(dst, number...)
			} else {
				dst = append(append(append(dst, '"'), number...), '"')
			}
			at = end
		default:
			dst = append(dst, c)
			at++
		}
	}
	return dst
}

// AppendCharacters writes valid JSON whose escapes that are no character (NUL, half a surrogate pair) become U+FFFD.
func AppendCharacters(dst []byte, rest string) []byte {
	for {
		at := strings.IndexByte(rest, '\\')
		if at < 0 {
			return append(dst, rest...)
		}
		if rest[at+1] != 'u' {
			dst, rest = append(dst, rest[:at+2]...), rest[at+2:]
			continue
		}
		dst = append(dst, rest[:at]...)
		n := escapedCharacter(rest[at:])
		if n == 0 {
			dst, rest = append(dst, `\ufffd`...), rest[at+6:]
			continue
		}
		dst, rest = append(dst, rest[at:at+n]...), rest[at+n:]
	}
}

// escapedCharacter returns the length of the escape that s begins with, 0 when it is no character. s is part of valid JSON.
func escapedCharacter(s string) int {
	unit := func(s string) uint64 { n, _ := strconv.ParseUint(s[2:6], 16, 16); return n }
	first := unit(s)
	switch {
	case first == 0, first >= 0xdc00 && first < 0xe000:
		return 0
	case first < 0xd800 || first >= 0xe000:
		return 6
	}
	if len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
		return 0
	}
	if second := unit(s[6:]); second < 0xdc00 || second >= 0xe000 {
		return 0
	}
	return 12
}
