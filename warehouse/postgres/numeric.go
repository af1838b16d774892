package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/internal/celltext"
)

var (
	errDecimalWide  = errors.New("the number has more digits before the point than the column holds")
	errDecimalScale = errors.New("the number has more digits after the point than the column holds")
)

// The signs of a numeric on the wire.
const (
	signNegative = 0x4000
	signNaN      = 0xC000
	signPlus     = 0xD000 // infinity
	signMinus    = 0xF000
)

// appendNumeric writes a decimal text as the server keeps it: groups of four
// digits, counted from the point.
func appendNumeric(dst []byte, text string) ([]byte, error) {
	whole, fraction, err := celltext.SplitDecimal(text)
	if err != nil {
		return dst, err
	}
	if len(whole) > 100_000 || len(fraction) > 16_000 {
		return dst, errDecimalWide // the engine's own limits are 131072 and 16383
	}
	sign := uint16(0)
	if strings.HasPrefix(text, "-") && whole+fraction != "" {
		sign = signNegative
	}
	weight := (len(whole)+3)/4 - 1
	head := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, 0) // how many groups; below
	dst = binary.BigEndian.AppendUint16(dst, 0) // weight; below
	dst = binary.BigEndian.AppendUint16(dst, sign)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(fraction)))
	first := len(dst)
	for pad := (4 - len(whole)%4) % 4; len(whole) > 0; pad = 0 {
		dst = binary.BigEndian.AppendUint16(dst, group(whole[:4-pad]))
		whole = whole[4-pad:]
	}
	for len(fraction) > 0 {
		n := min(4, len(fraction))
		value := group(fraction[:n])
		for range 4 - n {
			value *= 10
		}
		fraction = fraction[n:]
		if len(dst) == first && value == 0 { // zeros after the point only
			weight--
			continue
		}
		dst = binary.BigEndian.AppendUint16(dst, value)
	}
	for len(dst) > first && dst[len(dst)-1] == 0 && dst[len(dst)-2] == 0 {
		dst = dst[:len(dst)-2]
	}
	if len(dst) == first {
		weight = 0
	}
	binary.BigEndian.PutUint16(dst[head:], uint16((len(dst)-first)/2))
	binary.BigEndian.PutUint16(dst[head+2:], uint16(weight))
	return dst, nil
}

func group(digits string) (n uint16) {
	for i := range len(digits) {
		n = n*10 + uint16(digits[i]-'0')
	}
	return n
}

var errNotANumber = errors.New("is not a finite number (NaN or infinity), which no other system understands")

// appendDecimal writes a numeric from the wire as canonical text.
func appendDecimal(dst, raw []byte) ([]byte, error) {
	if len(raw) < 8 || len(raw) != 8+2*int(binary.BigEndian.Uint16(raw)) {
		return dst, malformed("numeric", raw)
	}
	groups, weight := raw[8:], int(int16(binary.BigEndian.Uint16(raw[2:])))
	switch binary.BigEndian.Uint16(raw[4:]) {
	case 0:
	case signNegative:
		if len(groups) > 0 {
			dst = append(dst, '-')
		}
	case signNaN, signPlus, signMinus:
		return dst, errNotANumber
	default:
		return dst, malformed("numeric", raw)
	}
	at := func(i int) uint16 {
		if 2*i < len(groups) {
			return binary.BigEndian.Uint16(groups[2*i:])
		}
		return 0
	}
	start := len(dst)
	for i := 0; i <= weight; i++ {
		if dst = appendGroup(dst, at(i), len(dst) == start); len(dst) == start && i == weight {
			break
		}
	}
	if len(dst) == start {
		dst = append(dst, '0')
	}
	point := len(dst)
	dst = append(dst, '.')
	for i := weight + 1; i < 0; i++ {
		dst = append(dst, "0000"...)
	}
	for i := max(weight+1, 0); 2*i < len(groups); i++ {
		dst = appendGroup(dst, at(i), false)
	}
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	if len(dst) == point+1 {
		dst = dst[:point]
	}
	return dst, nil
}

// appendGroup writes four digits, or at the beginning of a number those that count.
func appendGroup(dst []byte, n uint16, leading bool) []byte {
	digits := [4]byte{byte('0' + n/1000%10), byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)}
	from := 0
	for leading && from < 4 && digits[from] == '0' {
		from++
	}
	return append(dst, digits[from:]...)
}

func malformed(what string, raw []byte) error {
	return fmt.Errorf("came as %d bytes that are no %s", len(raw), what)
}
