package shape

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unsafe"

	"github.com/tidegate/tidegate"
)

// Value is one scalar (or one array, as JSON text) of an event or of a row. Its
// bytes alias the event and are valid until the Shaper's next call.
type Value struct {
	// Kind is the type that a new column for this value gets; Unknown means absent.
	Kind  tidegate.Kind
	Int   int64   // Bool (0 or 1), Int, Timestamp (µs since 1970), Date (days since 1970)
	Float float64 // Float
	Text  []byte  // String, JSON, Decimal; for the others the text as the client sent it
	raw   []byte  // JSON text as sent, for _unmapped; nil for values that the server made
	// number: the client sent a JSON number, whatever Kind became of it.
	number bool
	// rounded: Int or Float holds less than the client wrote (0.12345678901234567890,
	// nanoseconds), so the exact text is kept in _unmapped as well.
	rounded bool
}

func text(s string) Value {
	if s == "" {
		return Value{}
	}
	// Nothing writes into the bytes of a Value.
	return Value{Kind: tidegate.String, Text: unsafe.Slice(unsafe.StringData(s), len(s))}
}

func moment(t time.Time) Value { return Value{Kind: tidegate.Timestamp, Int: t.UnixMicro()} }

func jsonText(b []byte) Value {
	if len(b) == 0 {
		return Value{}
	}
	return Value{Kind: tidegate.JSON, Text: b}
}

// AppendText appends v as text: the text that the client sent where there is one.
func (v Value) AppendText(dst []byte) []byte {
	switch {
	case v.Text != nil:
		return append(dst, v.Text...)
	case v.Kind == tidegate.Timestamp:
		return time.UnixMicro(v.Int).UTC().AppendFormat(dst, time.RFC3339Nano)
	case v.Kind == tidegate.Date:
		return append(dst, tidegate.CalendarDate(v.Int).String()...)
	case v.Kind == tidegate.Bool:
		return strconv.AppendBool(dst, v.Int != 0)
	case v.Kind == tidegate.Int:
		return strconv.AppendInt(dst, v.Int, 10)
	case v.Kind == tidegate.Float:
		return strconv.AppendFloat(dst, v.Float, 'g', -1, 64)
	}
	return dst
}

// appendJSON appends v as JSON text.
func (v Value) appendJSON(dst []byte) []byte {
	if v.raw == nil {
		return appendQuoted(dst, v.AppendText(nil))
	}
	out, err := appendCompact(dst, v.raw)
	if err != nil { // raw was read before, so this cannot be; a string holds anything
		return appendQuoted(dst, bytes.ToValidUTF8(v.raw, []byte("\uFFFD")))
	}
	return out
}

// Any returns v as a cell of a tidegate.Row.
func (v Value) Any() any {
	switch v.Kind {
	case tidegate.Bool:
		return v.Int != 0
	case tidegate.Int:
		return v.Int
	case tidegate.Float:
		return v.Float
	case tidegate.Decimal:
		return tidegate.DecimalText(v.Text)
	case tidegate.String:
		return string(v.Text)
	case tidegate.Date:
		return tidegate.CalendarDate(v.Int)
	case tidegate.Timestamp:
		return time.UnixMicro(v.Int).UTC()
	case tidegate.JSON:
		return tidegate.JSONText(v.Text)
	case tidegate.Bytes, tidegate.Unknown:
	}
	return nil
}

// same says whether two values are the same value, so that nothing is lost when
// one of them goes.
func (v Value) same(w Value) bool {
	if v.Kind == tidegate.Timestamp && w.Kind == tidegate.Timestamp {
		return v.Int == w.Int && !v.rounded && !w.rounded
	}
	return v.Kind == w.Kind && bytes.Equal(v.AppendText(nil), w.AppendText(nil))
}

// inferNumber types a JSON number: Int when it is whole and fits 64 bits (1.0 is
// whole), Float when a double holds it, String when it is a whole number that no
// double holds or one beyond every double.
func inferNumber(raw []byte) Value {
	v := Value{Text: raw, raw: raw, number: true}
	if i, ok := smallInt(raw); ok {
		v.Kind, v.Int = tidegate.Int, i
		return v
	}
	d := parseDecimal(raw)
	if i, ok := d.int64(); ok {
		v.Kind, v.Int = tidegate.Int, i
		return v
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	v.rounded = err != nil || !d.equalsFloat(f)
	if err != nil || v.rounded && d.exponent >= 0 {
		v.Kind, v.rounded = tidegate.String, false
		return v
	}
	v.Kind, v.Float = tidegate.Float, f
	return v
}

// smallInt reads up to 18 plain digits.
func smallInt(raw []byte) (int64, bool) {
	digits := raw
	if digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if raw[0] == '-' {
		n = -n
	}
	return n, true
}

// decimal is a JSON number as digits × 10^exponent, without zeros at either end
// of the digits.
type decimal struct {
	negative bool
	digits   []byte
	exponent int
}

const maxExponent = 1 << 20

func parseDecimal(raw []byte) decimal {
	var d decimal
	if raw[0] == '-' {
		d.negative, raw = true, raw[1:]
	}
	if e := bytes.IndexAny(raw, "eE"); e >= 0 {
		exponent, err := strconv.Atoi(string(raw[e+1:]))
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			exponent = maxExponent
			if raw[e+1] == '-' {
				exponent = -maxExponent
			}
		}
		d.exponent, raw = exponent, raw[:e]
	}
	d.digits = raw
	if point := bytes.IndexByte(raw, '.'); point >= 0 {
		d.exponent -= len(raw) - point - 1
		d.digits = append(append(make([]byte, 0, len(raw)), raw[:point]...), raw[point+1:]...)
	}
	d.digits = bytes.TrimLeft(d.digits, "0")
	trimmed := bytes.TrimRight(d.digits, "0")
	d.exponent += len(d.digits) - len(trimmed)
	d.digits = trimmed
	if len(d.digits) == 0 {
		d.exponent, d.negative = 0, false
	}
	return d
}

func (d decimal) int64() (int64, bool) {
	if d.exponent < 0 || len(d.digits)+d.exponent > 19 {
		return 0, false
	}
	plain := d.plain()
	n, err := strconv.ParseInt(string(plain), 10, 64)
	return n, err == nil
}

// plain writes d without an exponent: canonical decimal text.
func (d decimal) plain() []byte {
	out := make([]byte, 0, len(d.digits)+24)
	if d.negative {
		out = append(out, '-')
	}
	switch point := len(d.digits) + d.exponent; {
	case len(d.digits) == 0:
		out = append(out, '0')
	case d.exponent >= 0:
		out = append(append(out, d.digits...), bytes.Repeat([]byte{'0'}, d.exponent)...)
	case point > 0:
		out = append(append(append(out, d.digits[:point]...), '.'), d.digits[point:]...)
	default:
		out = append(append(append(out, "0."...), bytes.Repeat([]byte{'0'}, -point)...), d.digits...)
	}
	return out
}

// fits says whether d is exactly a decimal(precision, scale).
func (d decimal) fits(precision, scale int) bool {
	return -d.exponent <= scale && len(d.digits)+d.exponent <= precision-scale
}

// equalsFloat says whether f, written as short as it can be, is d. Up to 15
// digits always survive.
func (d decimal) equalsFloat(f float64) bool {
	if math.IsInf(f, 0) || math.IsNaN(f) || f == 0 && len(d.digits) > 0 {
		return false
	}
	if len(d.digits) <= 15 && d.exponent > -290 && d.exponent < 290 {
		return true
	}
	g := parseDecimal(strconv.AppendFloat(nil, f, 'e', -1, 64))
	return g.negative == d.negative && g.exponent == d.exponent && bytes.Equal(g.digits, d.digits)
}

// appendNumber appends a JSON number as it was sent, or as a string when it is
// beyond every double, which JSON types of engines refuse.
func appendNumber(dst, raw []byte) []byte {
	if len(raw) > 18 {
		if f, err := strconv.ParseFloat(string(raw), 64); err != nil || math.IsInf(f, 0) {
			return appendQuoted(dst, raw)
		}
	}
	if bytes.ContainsAny(raw, "eE") {
		if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
			return appendQuoted(dst, raw)
		}
	}
	return append(dst, raw...)
}

// inferString types a JSON string: Timestamp when it is an ISO 8601 date or
// time, String otherwise; absent when empty.
func inferString(decoded, raw []byte) Value {
	if len(decoded) == 0 {
		return Value{}
	}
	v := Value{Kind: tidegate.String, Text: decoded, raw: raw}
	if micros, exact, ok := parseISO(decoded); ok {
		v.Kind, v.Int, v.rounded = tidegate.Timestamp, micros, !exact
	}
	return v
}

// parseISO reads YYYY-MM-DD, optionally with "T" or a space and HH:MM, :SS, a
// fraction and a zone (Z, ±HH, ±HHMM, ±HH:MM; none means UTC), years 0001 to 9999.
// exact is false when there was more than microseconds can hold.
func parseISO(b []byte) (micros int64, exact, ok bool) {
	if len(b) < 10 || len(b) > 40 || b[4] != '-' || b[7] != '-' {
		return 0, false, false
	}
	year, ok1 := digits(b[0:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	if !ok1 || !ok2 || !ok3 || year < 1 || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, false, false
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if date.Day() != day { // 30 February
		return 0, false, false
	}
	if len(b) == 10 {
		return date.UnixMicro(), true, true
	}
	clock, exact, ok := parseClock(b[10:])
	micros = date.UnixMicro() + clock
	if y := time.UnixMicro(micros).UTC().Year(); !ok || y < 1 || y > 9999 {
		return 0, false, false
	}
	return micros, exact, true
}

// parseClock reads what follows the date, as microseconds to add to it.
func parseClock(b []byte) (micros int64, exact, ok bool) {
	if len(b) < 6 || b[0] != 'T' && b[0] != 't' && b[0] != ' ' || b[3] != ':' {
		return 0, false, false
	}
	hour, ok1 := digits(b[1:3])
	minute, ok2 := digits(b[4:6])
	if !ok1 || !ok2 || hour > 23 || minute > 59 {
		return 0, false, false
	}
	micros = int64(hour*3600+minute*60) * 1e6
	exact = true
	b = b[6:]
	if len(b) >= 3 && b[0] == ':' {
		second, ok := digits(b[1:3])
		if !ok || second > 59 {
			return 0, false, false
		}
		micros += int64(second) * 1e6
		b = b[3:]
		if len(b) > 1 && b[0] == '.' {
			n := run(b, 1, digit)
			unit := int64(100_000)
			for _, c := range b[1:n] {
				if unit == 0 && c != '0' {
					exact = false
				}
				micros += int64(c-'0') * unit
				unit /= 10
			}
			if n == 1 {
				return 0, false, false
			}
			b = b[n:]
		}
	}
	offset, ok := parseZone(b)
	return micros - offset, exact, ok
}

// parseZone reads the zone at the end, as microseconds east of UTC.
func parseZone(b []byte) (int64, bool) {
	switch {
	case len(b) == 0 || len(b) == 1 && (b[0] == 'Z' || b[0] == 'z'):
		return 0, true
	case len(b) == 6 && b[3] == ':':
		b = []byte{b[0], b[1], b[2], b[4], b[5]}
	case len(b) != 3 && len(b) != 5:
		return 0, false
	}
	hour, ok := digits(b[1:3])
	minute, ok2 := 0, true
	if len(b) == 5 {
		minute, ok2 = digits(b[3:5])
	}
	if !ok || !ok2 || hour > 23 || minute > 59 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	offset := int64(hour*3600+minute*60) * 1e6
	if b[0] == '-' {
		offset = -offset
	}
	return offset, true
}

func digits(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// float returns the double nearest to d; false when there is none.
func (d decimal) float() (float64, bool) {
	text := append([]byte(nil), d.digits...)
	if len(text) == 0 {
		text = append(text, '0')
	}
	text = strconv.AppendInt(append(text, 'e'), int64(d.exponent), 10)
	f, err := strconv.ParseFloat(string(text), 64)
	if d.negative {
		f = -f
	}
	return f, err == nil
}

// printable returns b as text that every engine stores: NUL and bytes that are
// not UTF-8 become U+FFFD.
func printable(b []byte) string {
	b = bytes.ToValidUTF8(b, []byte("\uFFFD"))
	return string(bytes.ReplaceAll(b, []byte{0}, []byte("\uFFFD")))
}
