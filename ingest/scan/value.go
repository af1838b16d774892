package scan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is the raw text of one JSON value, without space around it; nil when
// there is none. Its methods expect text that was scanned.
type Value []byte

// IsObject says whether v is an object.
func (v Value) IsObject() bool { return len(v) > 0 && v[0] == '{' }

// IsArray says whether v is an array.
func (v Value) IsArray() bool { return len(v) > 0 && v[0] == '[' }

// IsString says whether v is a string.
func (v Value) IsString() bool { return len(v) > 0 && v[0] == '"' }

// IsNumber says whether v is a number.
func (v Value) IsNumber() bool { return len(v) > 0 && (v[0] == '-' || v[0] >= '0' && v[0] <= '9') }

// Empty says whether v is absent, null or the empty string.
func (v Value) Empty() bool { return len(v) == 0 || v[0] == 'n' || string(v) == `""` }

// Text returns what the string v says, aliasing v when it has no escapes; ok is
// false when v is not a string. Lone surrogates become U+FFFD.
func (v Value) Text() (text []byte, ok bool) {
	if !v.IsString() {
		return nil, false
	}
	inner := v[1 : len(v)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	return unescape(make([]byte, 0, len(inner)), inner), true
}

// unescape appends to dst what the inside of a valid JSON string says.
func unescape(dst, inner []byte) []byte {
	for i := 0; i < len(inner); {
		c := inner[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch inner[i+1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(inner[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				low := rune(0)
				if i+6 <= len(inner) && inner[i] == '\\' && inner[i+1] == 'u' {
					low = hex4(inner[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		default: // quote, backslash, slash
			dst = append(dst, inner[i+1])
		}
		i += 2
	}
	return dst
}

// hex4 reads four hexadecimal digits, which were checked before.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		r = r<<4 | rune(hexDigit[c]&0xf)
	}
	return r
}
