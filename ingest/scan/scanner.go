package scan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// scanner walks over JSON text by index. Its methods take the index of
// something's first byte and return the index after its last, or -1 when err
// was set.
type scanner struct {
	b         []byte
	maxEvents int
	deepest   int // the deepest nesting met since the caller set it
	known     context
	err       error
}

func (s *scanner) stop(err error) int {
	s.err = err
	return -1
}

func (s *scanner) fail(i int, problem string) int {
	if i >= len(s.b) {
		problem = "the JSON ends early"
	}
	return s.stop(&SyntaxError{Offset: i, Problem: problem})
}

// at returns the byte at i, 0 after the end: no token begins with it.
func (s *scanner) at(i int) byte {
	if i < len(s.b) {
		return s.b[i]
	}
	return 0
}

// space returns the index of the first byte from i on that is no white space.
func (s *scanner) space(i int) int {
	for b := s.b; i < len(b) && b[i] <= ' '; i++ {
		if c := b[i]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			break
		}
	}
	return i
}

// comma expects the comma between two members of the container that is named,
// and returns the index of what follows it.
func (s *scanner) comma(i int, container string) int {
	if s.at(i) != ',' {
		return s.fail(i, "a comma or the end of the "+container+" is missing")
	}
	return s.space(i + 1)
}

// dense says whether c stands at i and no space after it: so is most JSON.
func (s *scanner) dense(i int, c byte) bool {
	return i+1 < len(s.b) && s.b[i] == c && s.b[i+1] > ' '
}

// name scans a member's name and its colon: after is the index after the name,
// value that of the member's value, -1 for an error.
func (s *scanner) name(i int) (after, value int) {
	if s.at(i) != '"' {
		return -1, s.fail(i, "the name of a field is missing")
	}
	if after = s.text(i + 1); after < 0 {
		return -1, -1
	}
	if s.dense(after, ':') {
		return after, after + 1
	}
	return after, s.colon(after)
}

// colon expects a colon after any space, and returns the index of what follows it.
func (s *scanner) colon(i int) int {
	if i = s.space(i); s.at(i) != ':' {
		return s.fail(i, "a colon is missing")
	}
	return s.space(i + 1)
}

// value scans any value at the given depth of nesting.
func (s *scanner) value(i, depth int) int {
	switch c := s.at(i); c {
	case '"':
		return s.text(i + 1)
	case '{':
		return s.object(i, depth)
	case '[':
		return s.array(i, depth)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number(i)
	}
	return s.fail(i, "a value is missing")
}

// enter notes that a container begins at the given depth.
func (s *scanner) enter(i, depth int) bool {
	if depth > s.deepest {
		s.deepest = depth
		if depth > MaxDepth {
			s.fail(i, "the JSON is nested too deep")
			return false
		}
	}
	return true
}

func (s *scanner) object(i, depth int) int {
	if !s.enter(i, depth) {
		return -1
	}
	i = s.space(i + 1)
	if s.at(i) == '}' {
		return i + 1
	}
	for {
		_, value := s.name(i)
		if value < 0 {
			return -1
		}
		if s.at(value) == '"' { // most are: a call less
			i = s.text(value + 1)
		} else {
			i = s.value(value, depth+1)
		}
		if i < 0 {
			return -1
		}
		if s.dense(i, ',') {
			i++
			continue
		}
		if i = s.space(i); s.at(i) == '}' {
			return i + 1
		}
		if i = s.comma(i, "object"); i < 0 {
			return -1
		}
	}
}

func (s *scanner) array(i, depth int) int {
	if !s.enter(i, depth) {
		return -1
	}
	i = s.space(i + 1)
	if s.at(i) == ']' {
		return i + 1
	}
	for {
		if i = s.value(i, depth+1); i < 0 {
			return -1
		}
		if s.dense(i, ',') {
			i++
			continue
		}
		if i = s.space(i); s.at(i) == ']' {
			return i + 1
		}
		if i = s.comma(i, "array"); i < 0 {
			return -1
		}
	}
}

func (s *scanner) literal(i int, want string) int {
	end := i + len(want)
	if end > len(s.b) {
		return s.fail(len(s.b), "")
	}
	if string(s.b[i:end]) != want {
		return s.fail(i, "a value is missing")
	}
	return end
}

func (s *scanner) number(i int) int {
	b := s.b
	if b[i] == '-' {
		i++
	}
	switch c := s.at(i); {
	case c == '0':
		i++
	case c >= '1' && c <= '9':
		i = digits(b, i)
	default:
		return s.fail(i, "a digit is missing")
	}
	if s.at(i) == '.' {
		first := i + 1
		if i = digits(b, first); i == first {
			return s.fail(i, "a digit is missing after the decimal point")
		}
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		first := i + 1
		if c := s.at(first); c == '+' || c == '-' {
			first++
		}
		if i = digits(b, first); i == first {
			return s.fail(i, "a digit is missing in the exponent")
		}
	}
	return i
}

// digits returns the index after the digits from i on.
func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// The eight bytes of a word are looked at in one go. In x - n*ones the high bit
// of a byte is set if the byte was below n, or if it was set before and the
// difference keeps it; a borrow out of a byte below n can disturb those above
// it, so the lowest bit set is exact. A byte outside ASCII keeps its bit in at
// least one of the three differences.
const (
	ones       = 0x0101010101010101
	highs      = 0x8080808080808080
	quotes     = '"' * ones
	backslashs = '\\' * ones
	controls   = 0x20 * ones
)

// specials returns the high bit of every byte of x that is a quote, a backslash,
// a control or not ASCII; those above the lowest may be wrong.
func specials(x uint64) uint64 {
	q, e := x^quotes, x^backslashs
	return ((q - ones) | (e - ones) | (x - controls)) & highs
}

// text scans the inside of a string from i on, and its closing quote. Two words
// are looked at before it branches: most names and values end within them.
func (s *scanner) text(i int) int {
	for b := s.b; len(b)-i >= 16; i += 16 {
		w := b[i : i+16 : i+16]
		first, second := specials(binary.LittleEndian.Uint64(w)), specials(binary.LittleEndian.Uint64(w[8:]))
		if first|second == 0 {
			continue
		}
		if first != 0 {
			i += bits.TrailingZeros64(first) >> 3
		} else {
			i += 8 + bits.TrailingZeros64(second)>>3
		}
		if b[i] == '"' {
			return i + 1
		}
		if i = s.oddity(i); i < 0 {
			return -1
		}
		i -= 16
	}
	return s.tail(i)
}

// tail is text where fewer than two words are left of the body.
func (s *scanner) tail(i int) int {
	for i < len(s.b) {
		switch c := s.b[i]; {
		case c == '"':
			return i + 1
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			if i = s.oddity(i); i < 0 {
				return -1
			}
		default:
			i++
		}
	}
	return s.fail(i, "")
}

// oddity scans what is neither ordinary nor the end of a string: an escape or
// characters outside ASCII.
func (s *scanner) oddity(i int) int {
	switch c := s.b[i]; {
	case c == '\\':
		return s.escape(i)
	case c < ' ':
		return s.fail(i, "a control character is not escaped in a string")
	}
	return s.runes(i)
}

// runes scans a run of characters outside ASCII.
func (s *scanner) runes(i int) int {
	for b := s.b; i < len(b) && b[i] >= utf8.RuneSelf; {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return s.stop(&SyntaxError{Offset: i, Problem: "the text is not valid UTF-8"})
		}
		i += size
	}
	return i
}

// escape scans one escape sequence, from its backslash on.
func (s *scanner) escape(i int) int {
	switch s.at(i + 1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		for k := i + 2; k < i+6; k++ {
			if k >= len(s.b) || hexDigit[s.b[k]] == 0 {
				return s.fail(k, "four hexadecimal digits are missing after \\u")
			}
		}
		return i + 6
	}
	return s.fail(i+1, "an unknown escape in a string")
}

// hexDigit holds the value of a hexadecimal digit plus 0x10, 0 for other bytes.
var hexDigit = [256]byte{
	'0': 0x10, '1': 0x11, '2': 0x12, '3': 0x13, '4': 0x14, '5': 0x15, '6': 0x16, '7': 0x17, '8': 0x18, '9': 0x19,
	'a': 0x1a, 'b': 0x1b, 'c': 0x1c, 'd': 0x1d, 'e': 0x1e, 'f': 0x1f,
	'A': 0x1a, 'B': 0x1b, 'C': 0x1c, 'D': 0x1d, 'E': 0x1e, 'F': 0x1f,
}
