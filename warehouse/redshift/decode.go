package redshift

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

var (
	errInfinite   = errors.New("is infinite, which no other system understands")
	errNotANumber = errors.New("is not a finite number (NaN or infinity), which no other system understands")
)

// cell reads a value that the server wrote as text; raw is nil for NULL.
func (c *column) cell(raw []byte) (any, error) {
	if raw == nil {
		return nil, nil
	}
	text := string(raw)
	switch c.typ.Kind {
	case tidegate.Bool:
		switch text {
		case "t", "true", "1":
			return true, nil
		case "f", "false", "0":
			return false, nil
		}
	case tidegate.Int:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
	case tidegate.Float:
		if n, err := strconv.ParseFloat(text, 64); err == nil || math.IsInf(n, 0) || n == 0 {
			return n, nil
		}
	case tidegate.Decimal:
		return decimalCell(text)
	case tidegate.Bytes:
		if b, err := hex.DecodeString(text); err == nil {
			return b, nil
		}
	case tidegate.Date:
		at, err := parseTime(text, "2006-01-02")
		if err != nil {
			return nil, err
		}
		return tidegate.DateOf(at), nil
	case tidegate.Timestamp:
		layout := "2006-01-02 15:04:05.999999"
		if c.oid == oidTimestampTZ {
			layout += "-07"
		}
		return parseTime(text, layout)
	case tidegate.JSON:
		return tidegate.JSONText(text), nil
	default:
		return text, nil
	}
	return nil, fmt.Errorf("came as %d bytes that are no %s", len(raw), c.typ)
}

// decimalCell writes a number in its canonical form, without zeros that say nothing.
func decimalCell(text string) (any, error) {
	whole, fraction, err := celltext.SplitDecimal(text)
	if err != nil {
		return nil, errNotANumber
	}
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if strings.HasPrefix(text, "-") && whole != "0" {
		whole = "-" + whole
	}
	return tidegate.DecimalText(whole), nil
}

// parseTime reads the server's ISO form. Years before 1 end in " BC", and those beyond 9999 have more digits.
func parseTime(text, layout string) (time.Time, error) {
	if text == "infinity" || text == "-infinity" {
		return time.Time{}, errInfinite
	}
	rest, bc := strings.CutSuffix(text, " BC")
	year, tail, ok := strings.Cut(rest, "-")
	n, err := strconv.Atoi(year)
	if !ok || err != nil {
		return time.Time{}, fmt.Errorf("came as %d bytes that are no time", len(text))
	}
	// A leap year stands in for the year, whose digits the layout cannot count.
	at, err := time.Parse(layout, "2004-"+tail)
	if err != nil {
		return time.Time{}, fmt.Errorf("came as %d bytes that are no time", len(text))
	}
	if bc {
		n = 1 - n
	}
	return time.Date(n, at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), at.Location()).UTC(), nil
}
