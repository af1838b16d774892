package model

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
)

// timestampLayout is RFC 3339 in UTC with exactly six digits of the second.
const timestampLayout = "2006-01-02T15:04:05.000000Z"

// maxDepth bounds the nesting of a JSON value.
const maxDepth = 64

var (
	errNotFinite = errors.New("the number is not finite (NaN or infinity), which JSON cannot hold")
	errYear      = errors.New("the year is outside 0000 to 9999, which RFC 3339 cannot hold")
	errDepth     = fmt.Errorf("the JSON value is nested deeper than %d levels", maxDepth)
)

// Value turns a cell of a row into the value that a Record carries: decimals
// and bytes (base64) as strings, dates as YYYY-MM-DD, timestamps as RFC 3339 in
// UTC with microseconds, JSON as nested values. A value that has no such form
// is an error that says why.
func Value(cell any) (any, error) {
	switch v := cell.(type) {
	case nil, bool, int64, string:
		return v, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errNotFinite
		}
		return v + 0, nil // -0 becomes 0
	case tidegate.DecimalText:
		return string(v), nil
	case []byte:
		return base64.StdEncoding.EncodeToString(v), nil
	case tidegate.CalendarDate:
		if y := v.Time().Year(); y < 0 || y > 9999 {
			return nil, errYear
		}
		return v.String(), nil
	case time.Time:
		u := v.UTC()
		if y := u.Year(); y < 0 || y > 9999 {
			return nil, errYear
		}
		return u.Format(timestampLayout), nil
	case tidegate.JSONText:
		return ParseJSON([]byte(v))
	}
	return nil, fmt.Errorf("a value of the Go type %T is none of a row's", cell)
}

// AppendCell appends the JSON of a cell: what AppendJSON writes for its Value.
func AppendCell(b []byte, cell any) ([]byte, error) {
	switch v := cell.(type) {
	case string:
		return appendText(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case tidegate.DecimalText:
		b = append(b, '"') // digits, sign and point need no escapes
		return append(append(b, v...), '"'), nil
	case time.Time:
		u := v.UTC()
		if y := u.Year(); y < 0 || y > 9999 {
			return b, errYear
		}
		b = append(b, '"')
		return append(u.AppendFormat(b, timestampLayout), '"'), nil
	}
	v, err := Value(cell)
	if err != nil {
		return b, err
	}
	return AppendJSON(b, v), nil
}

// KeyOf writes the key of a row from its primary key cells in key order. A cell
// that is NULL stays null: such a key identifies nothing, but a report can show it.
func KeyOf(cells []any) (tidegate.Key, error) {
	b := make([]byte, 0, 32)
	b = append(b, '[')
	for i, cell := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		v, err := Value(cell)
		if err != nil {
			return "", fmt.Errorf("writing key column %d: %w", i, err)
		}
		b = AppendJSON(b, v)
	}
	return tidegate.Key(append(b, ']')), nil
}

// AppendJSON appends the canonical JSON of v, which Value, ParseJSON or a
// Record made: equal values give equal bytes. Object members are sorted, and a
// float64 always shows a point or an exponent, so that ParseJSON gives back a
// float64.
func AppendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case string:
		return appendText(b, v)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendJSON(b, e)
		}
		return append(b, ']')
	case map[string]any:
		return appendObject(b, v)
	case tidegate.Record:
		return appendObject(b, v)
	}
	// A Record is built by this wing alone: another type is a bug of ours (Invariant 7).
	panic(fmt.Sprintf("writing JSON: a value of the Go type %T is none of a record's", v))
}

func appendText(b []byte, text string) []byte {
	out, err := jsontext.AppendQuote(b, text)
	if err != nil { // invalid UTF-8: out holds the replacement characters
		out, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(text, "\uFFFD"))
	}
	return out
}

func appendObject(b []byte, object map[string]any) []byte {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, name)
		b = append(b, ':')
		b = AppendJSON(b, object[name])
	}
	return append(b, '}')
}

func appendFloat(b []byte, f float64) []byte {
	start := len(b)
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, f+0, format, -1, 64)
	for _, c := range b[start:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, '.', '0')
}

// ParseJSON reads one JSON text into nil, bool, int64, float64, string, []any
// and map[string]any. Numbers without point and exponent are int64; where they
// do not fit they stay exact as strings. Repeated member names, bad UTF-8 and
// anything after the value are errors.
func ParseJSON(text []byte) (any, error) {
	p := parser{src: text}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return nil, fmt.Errorf("reading JSON at byte %d: %w", p.at, err)
	}
	p.space()
	if p.at != len(p.src) {
		return nil, fmt.Errorf("reading JSON at byte %d: there is text after the value", p.at)
	}
	return v, nil
}

// ParseRecord reads what AppendJSON wrote for a Record; an empty text is a nil Record.
func ParseRecord(text []byte) (tidegate.Record, error) {
	if len(text) == 0 {
		return nil, nil
	}
	v, err := ParseJSON(text)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading a record: the JSON text is not an object")
	}
	return object, nil
}

// parser is a strict recursive descent over one text; strings and numbers are
// jsontext's.
type parser struct {
	src []byte
	at  int
}

func (p *parser) space() {
	for p.at < len(p.src) {
		switch p.src[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	if p.at >= len(p.src) {
		return nil, io.ErrUnexpectedEOF
	}
	switch c := p.src[p.at]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, l := range literals {
		if rest := p.src[p.at:]; len(rest) >= len(l.word) && string(rest[:len(l.word)]) == l.word {
			p.at += len(l.word)
			return l.value, nil
		}
	}
	return nil, errors.New("no value begins here")
}

// literals is read only.
var literals = [...]struct {
	word  string
	value any
}{{"null", nil}, {"true", true}, {"false", false}}

func (p *parser) object(depth int) (any, error) {
	object := map[string]any{}
	err := p.list('}', func() error {
		if p.at >= len(p.src) || p.src[p.at] != '"' {
			return errors.New("a member name is missing")
		}
		name, err := p.text()
		if err != nil {
			return err
		}
		if _, twice := object[name]; twice {
			return fmt.Errorf("the member %q is there twice", name)
		}
		p.space()
		if p.at >= len(p.src) || p.src[p.at] != ':' {
			return errors.New("a colon is missing")
		}
		p.at++
		p.space()
		object[name], err = p.value(depth + 1)
		return err
	})
	return object, err
}

func (p *parser) array(depth int) (any, error) {
	array := []any{}
	err := p.list(']', func() error {
		v, err := p.value(depth + 1)
		array = append(array, v)
		return err
	})
	return array, err
}

// list reads elements separated by commas from the opening bracket to end.
func (p *parser) list(end byte, element func() error) error {
	p.at++
	p.space()
	if p.at < len(p.src) && p.src[p.at] == end {
		p.at++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		p.space()
		if p.at >= len(p.src) {
			return io.ErrUnexpectedEOF
		}
		c := p.src[p.at]
		if c != ',' && c != end {
			return fmt.Errorf("a comma or %q is missing", end)
		}
		p.at++
		if c == end {
			return nil
		}
		p.space()
	}
}

func (p *parser) text() (string, error) {
	end := p.at + 1
	plain := true
	for end < len(p.src) && p.src[end] != '"' {
		if p.src[end] == '\\' {
			plain = false
			end++
		} else if p.src[end] < 0x20 || p.src[end] >= 0x80 {
			plain = false
		}
		end++
	}
	if end >= len(p.src) {
		return "", io.ErrUnexpectedEOF
	}
	quoted := p.src[p.at : end+1]
	if plain {
		p.at = end + 1
		return string(quoted[1 : len(quoted)-1]), nil
	}
	out, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return "", err
	}
	p.at = end + 1
	return string(out), nil
}

func (p *parser) number() (any, error) {
	end := p.at
	for end < len(p.src) && strings.IndexByte("+-.0123456789eE", p.src[end]) >= 0 {
		end++
	}
	lit := jsontext.Value(p.src[p.at:end])
	if !lit.IsValid() {
		return nil, fmt.Errorf("%.30q is not a number", lit)
	}
	p.at = end
	text := string(lit)
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("the number %.40s is too large", text)
		}
		return f + 0, nil
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i, nil
	}
	return text, nil
}
