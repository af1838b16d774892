package file

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
)

// guess narrows the kind of one column of a text file down, text by text. A kind
// stays possible while every text of the column is written in its form:
//
//	bool       true, false
//	int        0, -12: no leading zero, so that 01099 stays a postal code
//	decimal    12.50, and ints: up to 38 digits
//	float      1e6, and decimals
//	date       2024-02-29
//	timestamp  2024-02-29T12:00:00Z, 2024-02-29 12:00:00, and dates
//	string     everything
type guess struct {
	ruledOut    [tidegate.JSON + 1]bool
	seen        bool
	text        bool // nothing but string is left
	whole, frac int  // digits before and after the point
}

var candidates = [...]tidegate.Kind{tidegate.Bool, tidegate.Int, tidegate.Decimal, tidegate.Float, tidegate.Date, tidegate.Timestamp}

func (g *guess) observe(text string) {
	g.seen = true
	if g.text {
		return
	}
	whole, frac, exact := decimalDigits(text)
	if exact {
		g.whole, g.frac = max(g.whole, whole), max(g.frac, frac)
	}
	g.text = true
	for _, kind := range candidates {
		g.ruledOut[kind] = g.ruledOut[kind] || !written(kind, text, exact)
		g.text = g.text && g.ruledOut[kind]
	}
}

func (g *guess) kind() tidegate.Type {
	if !g.seen {
		return tidegate.Type{Kind: tidegate.String}
	}
	for _, kind := range candidates {
		switch {
		case g.ruledOut[kind]:
		case kind != tidegate.Decimal:
			return tidegate.Type{Kind: kind}
		case g.whole+g.frac <= 38:
			return tidegate.Type{Kind: kind, Precision: max(g.whole+g.frac, 1), Scale: g.frac}
		default:
			return tidegate.Type{Kind: tidegate.String} // no number that we know holds it without loss
		}
	}
	return tidegate.Type{Kind: tidegate.String}
}

func written(kind tidegate.Kind, text string, exact bool) bool {
	switch kind {
	case tidegate.Bool:
		return strings.EqualFold(text, "true") || strings.EqualFold(text, "false")
	case tidegate.Int:
		if !exact || strings.Contains(text, ".") {
			return false
		}
		_, err := strconv.ParseInt(text, 10, 64)
		return err == nil
	case tidegate.Decimal:
		return exact
	case tidegate.Float:
		if exact {
			return true
		}
		return strings.Trim(text, "+-.0123456789eE") == "" && strings.ContainsAny(text, "eE") && finite(text)
	case tidegate.Date:
		if len(text) != len(time.DateOnly) || text[4] != '-' {
			return false
		}
		_, err := time.Parse(time.DateOnly, text)
		return err == nil
	case tidegate.Timestamp:
		_, err := parseTime(text)
		return err == nil
	default:
		return false
	}
}

func finite(text string) bool {
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && !math.IsInf(f, 0)
}

// decimalDigits counts the digits of an exact number: an optional minus, digits
// without leading zeros, and optionally a point and digits.
func decimalDigits(text string) (whole, frac int, ok bool) {
	digits := strings.TrimPrefix(text, "-")
	before, after, point := strings.Cut(digits, ".")
	if before == "" || point && after == "" || len(before) > 1 && before[0] == '0' || strings.Trim(before, "0123456789") != "" || strings.Trim(after, "0123456789") != "" {
		return 0, 0, false
	}
	if before == "0" {
		before = ""
	}
	return len(before), len(strings.TrimRight(after, "0")), true
}

var timeLayouts = [...]string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", time.DateOnly}

var errTime = errors.New("not a time")

func parseTime(text string) (time.Time, error) {
	if len(text) < 10 || text[4] != '-' {
		return time.Time{}, errTime
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, errTime
}

// cell reads a text as the kind that its column was found to have.
func cell(kind tidegate.Kind, text string) (any, error) {
	switch kind {
	case tidegate.Bool:
		return strings.EqualFold(text, "true"), nil
	case tidegate.Int:
		return strconv.ParseInt(text, 10, 64)
	case tidegate.Decimal:
		return canonical(text)
	case tidegate.Float:
		f, err := strconv.ParseFloat(text, 64)
		return f + 0, err
	case tidegate.Date:
		t, err := time.Parse(time.DateOnly, text)
		return tidegate.DateOf(t), err
	case tidegate.Timestamp:
		return parseTime(text)
	default:
		return text, usable(text)
	}
}

func canonical(text string) (tidegate.DecimalText, error) {
	if _, _, ok := decimalDigits(text); !ok {
		return "", fmt.Errorf("%.40q is not a number", text)
	}
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return tidegate.DecimalText(text), nil
}

// usable says whether a text can be a value of a row.
func usable(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("the text is not UTF-8: save the file as UTF-8")
	}
	if strings.IndexByte(text, 0) >= 0 {
		return errors.New("the text holds a NUL character")
	}
	return nil
}

// columns makes a schema of names, which must be told apart in any case.
func columns(names []string, kind func(i int) tidegate.Type) (tidegate.Schema, error) {
	schema := make(tidegate.Schema, len(names))
	seen := map[string]bool{}
	for i, name := range names {
		if name == "" {
			return nil, fmt.Errorf("column %d has no name", i+1)
		}
		if err := usable(name); err != nil {
			return nil, fmt.Errorf("the name of column %d: %w", i+1, err)
		}
		if folded := strings.ToLower(name); seen[folded] {
			return nil, fmt.Errorf("two columns are called %q", name)
		} else {
			seen[folded] = true
		}
		schema[i] = tidegate.Column{Name: name, Type: kind(i)}
	}
	return schema, nil
}
