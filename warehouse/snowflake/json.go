package snowflake

import (
	"math/big"
	"strconv"
	"strings"
)

// appendJSON writes valid JSON as Snowflake can keep it. A number that it
// would round is written as a string, so that no digit is lost. Escapes that are no character (NUL, half a surrogate pair) become
// U+FFFD, as they do in every warehouse.
func appendJSON(dst []byte, text string) []byte {
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
			dst = appendJSONString(dst, text[at:end+1])
			at = end + 1
		case c == '-' || c >= '0' && c <= '9':
			end := at + 1
			for end < len(text) && strings.IndexByte("0123456789+-.eE", text[end]) >= 0 {
				end++
			}
			if number := text[at:end]; kept(number) {
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

// kept says whether Snowflake keeps the value of a JSON number: as a decimal of up to
// 38 digits when it is written without an exponent, otherwise as a double.
func kept(number string) bool {
	if !strings.ContainsAny(number, "eE") {
		whole, fraction, _ := strings.Cut(strings.TrimPrefix(number, "-"), ".")
		whole = strings.TrimLeft(whole, "0")
		if len(whole)+len(fraction) <= 38 && len(fraction) <= 37 {
			return true
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if at := strings.IndexAny(number, "eE"); at >= 0 {
		if exponent, bad := strconv.Atoi(number[at+1:]); bad != nil || exponent < -400 || exponent > 400 {
			return false // and would take long to look at
		}
	}
	if err != nil || len(number) > 1000 {
		return false
	}
	exact, ok := new(big.Rat).SetString(number)
	shortest, ok2 := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return ok && ok2 && exact.Cmp(shortest) == 0
}

// appendJSONString writes a JSON string, with its quotes, and replaces escapes that are no character.
func appendJSONString(dst []byte, rest string) []byte {
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
