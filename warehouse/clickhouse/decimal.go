package clickhouse

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"strings"
)

var (
	errNotDecimal   = errors.New("the text is not a decimal number")
	errDecimalWide  = errors.New("the number has more digits before the point than the column holds")
	errDecimalScale = errors.New("the number has more digits after the point than the column holds")
)

// splitDecimal returns the digits of a decimal text before and after its point,
// without the zeros that say nothing.
func splitDecimal(text string) (negative bool, whole, fraction string, err error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || point && fraction == "" || !allDigits(whole) || !allDigits(fraction) {
		return false, "", "", errNotDecimal
	}
	return negative, strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0"), nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// int128 is a signed number of 128 bits, as 38 digits need.
type int128 struct{ hi, lo uint64 }

func (n int128) negated() int128 {
	lo, carry := bits.Add64(^n.lo, 1, 0)
	return int128{^n.hi + carry, lo}
}

// times10 multiplies by ten and adds d.
func (n int128) times10(d byte) int128 {
	hi, lo := bits.Mul64(n.lo, 10)
	lo, carry := bits.Add64(lo, uint64(d), 0)
	return int128{n.hi*10 + hi + carry, lo}
}

// parseDecimal reads a decimal text as units of ten to the power of -scale,
// refusing what precision digits cannot hold.
func parseDecimal(text string, precision, scale int) (int128, error) {
	negative, whole, fraction, err := splitDecimal(text)
	switch {
	case err != nil:
		return int128{}, err
	case len(fraction) > scale:
		return int128{}, errDecimalScale
	case len(whole) > precision-scale:
		return int128{}, errDecimalWide
	}
	var n int128
	for i := range len(whole) {
		n = n.times10(whole[i] - '0')
	}
	for i := range scale {
		d := byte(0)
		if i < len(fraction) {
			d = fraction[i] - '0'
		}
		n = n.times10(d)
	}
	if negative {
		n = n.negated()
	}
	return n, nil
}

// appendUnits writes n in width bytes, the lowest first.
func appendUnits(dst []byte, n int128, width int) []byte {
	switch width {
	case 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(n.lo))
	case 8:
		return binary.LittleEndian.AppendUint64(dst, n.lo)
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, n.lo), n.hi)
}

// appendDecimal writes units of ten to the power of -scale as canonical text.
func appendDecimal(dst []byte, n int128, scale int) []byte {
	if int64(n.hi) < 0 {
		dst = append(dst, '-')
		n = n.negated()
	}
	var digits [40]byte
	at := len(digits)
	for n.hi != 0 || n.lo != 0 || len(digits)-at <= scale {
		var d uint64
		hi := n.hi / 10
		n.lo, d = bits.Div64(n.hi%10, n.lo, 10)
		n.hi = hi
		at--
		digits[at] = byte('0' + d)
		if at == 0 {
			break
		}
	}
	point := len(digits) - scale
	dst = append(dst, digits[at:point]...)
	fraction := digits[point:]
	for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	if len(fraction) > 0 {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst
}
