package duckdb

import (
	"errors"
	"math/bits"
	"strings"
)

// int128 is a two's complement 128-bit integer, as the engine keeps wide decimals.
type int128 struct{ hi, lo uint64 }

func (n int128) negative() bool { return int64(n.hi) < 0 }

func (n int128) negated() int128 {
	lo, carry := bits.Add64(^n.lo, 1, 0)
	hi, _ := bits.Add64(^n.hi, 0, carry)
	return int128{hi: hi, lo: lo}
}

var (
	errNotDecimal   = errors.New("is not a decimal number")
	errDecimalWide  = errors.New("has more digits before the point than the column holds")
	errDecimalScale = errors.New("has more digits after the point than the column holds")
)

// decimalScale counts the digits after the point of a decimal text.
func decimalScale(text string) int {
	if point := strings.IndexByte(text, '.'); point >= 0 {
		return len(text) - point - 1
	}
	return 0
}

// parseDecimal reads text as a decimal of at most precision digits, scale of
// them after the point, and returns it times ten to the scale. Nothing is
// rounded: what does not fit is an error.
func parseDecimal(text string, precision, scale int) (int128, error) {
	negative := strings.HasPrefix(text, "-")
	digits := strings.TrimPrefix(text, "-")
	whole, fraction, hasPoint := strings.Cut(digits, ".")
	if whole == "" || hasPoint && fraction == "" {
		return int128{}, errNotDecimal
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > scale {
		return int128{}, errDecimalScale
	}
	if len(strings.TrimLeft(whole, "0")) > precision-scale {
		return int128{}, errDecimalWide
	}
	var n int128
	for _, part := range [2]string{whole, fraction} {
		for i := range len(part) {
			c := part[i] - '0'
			if c > 9 {
				return int128{}, errNotDecimal
			}
			n = n.timesTenPlus(uint64(c))
		}
	}
	for range scale - len(fraction) {
		n = n.timesTenPlus(0)
	}
	if negative {
		n = n.negated()
	}
	return n, nil
}

func (n int128) timesTenPlus(digit uint64) int128 {
	carry, lo := bits.Mul64(n.lo, 10)
	lo, over := bits.Add64(lo, digit, 0)
	return int128{hi: n.hi*10 + carry + over, lo: lo}
}

// appendDecimal appends the canonical text of n divided by ten to the scale.
func appendDecimal(dst []byte, n int128, scale int) []byte {
	if n.negative() {
		dst = append(dst, '-')
		n = n.negated()
	}
	var buf [40]byte
	at := len(buf)
	for n.hi != 0 || n.lo != 0 {
		var digit uint64
		hi, rem := n.hi/10, n.hi%10
		n.lo, digit = bits.Div64(rem, n.lo, 10)
		n.hi = hi
		at--
		buf[at] = byte('0' + digit)
	}
	for len(buf)-at <= scale {
		at--
		buf[at] = '0'
	}
	digits := buf[at:]
	point := len(digits) - scale
	dst = append(dst, digits[:point]...)
	fraction := digits[point:]
	for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	if len(fraction) > 0 {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst
}
