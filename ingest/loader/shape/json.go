package shape

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrJSON is wrapped by the error of an event that is not a JSON object.
var ErrJSON = errors.New("not a JSON object")

// maxDepth bounds how deep values nest. The surface refuses more than 64; what
// is deeper here did not come through it.
const maxDepth = 200

// parser reads JSON from b at i. Strings decode into arena when they cannot
// alias b; slices handed out stay valid when arena grows.
type parser struct {
	b     []byte
	i     int
	arena []byte
}

func (p *parser) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrJSON, what, p.i)
}

// peek skips white space and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	for p.i < len(p.b) {
		switch c := p.b[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

// object calls member for each member with p at its value, which member must
// consume. key is valid until the following call.
func (p *parser) object(member func(key []byte) error) error {
	if p.peek() != '{' {
		return p.fail("no object")
	}
	p.i++
	if p.peek() == '}' {
		p.i++
		return nil
	}
	for {
		if p.peek() != '"' {
			return p.fail("no member name")
		}
		key, err := p.str()
		if err != nil {
			return err
		}
		if p.peek() != ':' {
			return p.fail("no colon")
		}
		p.i++
		p.peek()
		if err := member(key); err != nil {
			return err
		}
		switch p.peek() {
		case ',':
			p.i++
		case '}':
			p.i++
			return nil
		default:
			return p.fail("no comma or end of object")
		}
	}
}

// end reports anything but white space after the value.
func (p *parser) end() error {
	if p.peek(); p.i != len(p.b) {
		return p.fail("something after the object")
	}
	return nil
}

// skip passes over one value and returns its text.
func (p *parser) skip(depth int) ([]byte, error) {
	c := p.peek()
	from := p.i
	var err error
	switch {
	case depth > maxDepth:
		return nil, p.fail("too deep")
	case c == '{':
		err = p.object(func([]byte) error {
			_, err := p.skip(depth + 1)
			return err
		})
	case c == '[':
		err = p.skipArray(depth)
	case c == '"':
		err = p.skipString()
	case c == 't':
		err = p.literal("true")
	case c == 'f':
		err = p.literal("false")
	case c == 'n':
		err = p.literal("null")
	default:
		err = p.number()
	}
	return p.b[from:p.i], err
}

func (p *parser) skipArray(depth int) error {
	p.i++
	if p.peek() == ']' {
		p.i++
		return nil
	}
	for {
		if _, err := p.skip(depth + 1); err != nil {
			return err
		}
		switch p.peek() {
		case ',':
			p.i++
		case ']':
			p.i++
			return nil
		default:
			return p.fail("no comma or end of array")
		}
	}
}

func (p *parser) literal(word string) error {
	if len(p.b)-p.i < len(word) || string(p.b[p.i:p.i+len(word)]) != word {
		return p.fail("no value")
	}
	p.i += len(word)
	return nil
}

// number passes over a number.
func (p *parser) number() error {
	if p.i < len(p.b) && p.b[p.i] == '-' {
		p.i++
	}
	from := p.i
	p.i = run(p.b, p.i, digit)
	if p.i == from || p.b[from] == '0' && p.i > from+1 {
		return p.fail("no value")
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		from = p.i + 1
		if p.i = run(p.b, from, digit); p.i == from {
			return p.fail("no digit after the point")
		}
	}
	if p.i < len(p.b) && (p.b[p.i] == 'e' || p.b[p.i] == 'E') {
		p.i++
		if p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.i++
		}
		from = p.i
		if p.i = run(p.b, from, digit); p.i == from {
			return p.fail("no digit in the exponent")
		}
	}
	return nil
}

// special returns the index, from i on, of the first byte of a string that needs a look:
// a quote, a backslash, a control character or one outside of ASCII; len(b) when there
// is none.
func special(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^('"'*ones), w^('\\'*ones)
		// The lowest byte that a term marks is marked rightly, and only that is used.
		if m := ((w-0x20*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash | w) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 || c >= utf8.RuneSelf {
			return i
		}
	}
	return i
}

// skipString passes over a string without decoding it.
func (p *parser) skipString() error {
	for i := special(p.b, p.i+1); i < len(p.b); i = special(p.b, i+1) {
		switch c := p.b[i]; {
		case c == '"':
			p.i = i + 1
			return nil
		case c == '\\':
			i++
		case c < 0x20:
			p.i = i
			return p.fail("control character in a string")
		}
	}
	return p.fail("string without end")
}

// str decodes the string at p, with NUL, lone surrogates and bytes that are not
// UTF-8 replaced by U+FFFD.
func (p *parser) str() ([]byte, error) {
	p.i++
	from, ascii := p.i, true
	for p.i = special(p.b, p.i); p.i < len(p.b); p.i = special(p.b, p.i+1) {
		switch c := p.b[p.i]; {
		case c == '"':
			text := p.b[from:p.i:p.i]
			p.i++
			if !ascii && !utf8.Valid(text) {
				text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
			}
			return text, nil
		case c == '\\':
			return p.escaped(from)
		case c < 0x20:
			return nil, p.fail("control character in a string")
		default:
			ascii = false
		}
	}
	return nil, p.fail("string without end")
}

// escaped decodes a string that has a backslash at p; it began at from.
func (p *parser) escaped(from int) ([]byte, error) {
	start := len(p.arena)
	p.arena = append(p.arena, p.b[from:p.i]...)
	for p.i < len(p.b) {
		c := p.b[p.i]
		switch {
		case c == '"':
			p.i++
			text := p.arena[start:len(p.arena):len(p.arena)]
			if !utf8.Valid(text) {
				text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
			}
			return text, nil
		case c < 0x20:
			return nil, p.fail("control character in a string")
		case c != '\\':
			p.arena = append(p.arena, c)
			p.i++
		default:
			if err := p.escape(); err != nil {
				return nil, err
			}
		}
	}
	return nil, p.fail("string without end")
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape decodes the escape sequence at p into arena.
func (p *parser) escape() error {
	if p.i+1 >= len(p.b) {
		return p.fail("string without end")
	}
	if c, ok := escapes[p.b[p.i+1]]; ok {
		p.arena = append(p.arena, c)
		p.i += 2
		return nil
	}
	r, ok := unicodeEscape(p.b[p.i:])
	if !ok {
		return p.fail("bad escape")
	}
	p.i += 6
	if utf16.IsSurrogate(r) {
		second, ok := unicodeEscape(p.b[p.i:])
		pair := utf8.RuneError
		if ok {
			pair = utf16.DecodeRune(r, second)
		}
		if r = pair; r != utf8.RuneError {
			p.i += 6
		}
	}
	if r == 0 {
		r = utf8.RuneError
	}
	p.arena = utf8.AppendRune(p.arena, r)
	return nil
}

// unicodeEscape reads \uXXXX.
func unicodeEscape(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case digit(c):
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// appendCompact appends the JSON text raw without white space between tokens.
// Strings are kept as they were sent, except that what no engine's JSON type
// takes (NUL, lone surrogates, bytes that are not UTF-8) becomes U+FFFD and that
// a number no double can hold becomes a string.
func appendCompact(dst, raw []byte) ([]byte, error) {
	p := parser{b: raw}
	for p.i < len(raw) {
		switch c := p.peek(); {
		case p.i == len(raw):
		case c == '"':
			from := p.i
			if err := p.skipString(); err != nil {
				return dst, err
			}
			text := raw[from:p.i]
			if bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
				dst = append(dst, text...)
				continue
			}
			p.i = from
			decoded, err := p.str()
			if err != nil {
				return dst, err
			}
			dst = appendQuoted(dst, decoded)
		case c == '-' || digit(c):
			from := p.i
			if err := p.number(); err != nil {
				return dst, err
			}
			dst = appendNumber(dst, raw[from:p.i])
		default:
			dst = append(dst, c)
			p.i++
		}
	}
	return dst, nil
}

// appendQuoted appends text as a JSON string.
func appendQuoted(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
