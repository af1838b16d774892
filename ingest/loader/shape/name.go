package shape

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxName is the longest name of a table or column, in bytes, where the
// warehouse takes longer ones. What is longer is cut and ends in a hash of the
// whole, so that two long names stay two columns.
const maxName = 127

// Snake returns name in snake_case as RudderStack's warehouse schema has it: runs
// of ASCII letters and digits are cut into words where the case or the script says
// so, lower-cased and joined by "_". Apostrophes vanish, leading underscores stay,
// digits belong to the word before them, and a name that would start with a digit
// gets a "_". The result is empty when name has no ASCII letter or digit.
func Snake(name string) string { return snake(name, wordLen) }

// snake is Snake with another rule of where words end: word returns the length of the
// first word of a chunk of letters and digits, which is not empty.
func snake(name string, word func(chunk []byte) int) string {
	if isSnake(name) {
		return name
	}
	rest := strings.TrimLeft(name, "_")
	out := make([]byte, 0, len(name)+8)
	out = append(out, name[:len(name)-len(rest)]...)
	start := len(out)
	for i := 0; i < len(rest); {
		if !alphanumeric(rest[i]) {
			i++
			continue
		}
		// A chunk is a run of letters and digits, apostrophes left out.
		chunk := make([]byte, 0, len(rest)-i)
		for i < len(rest) {
			if n := apostrophe(rest[i:]); n > 0 {
				i += n
				continue
			}
			if !alphanumeric(rest[i]) {
				break
			}
			chunk = append(chunk, rest[i])
			i++
		}
		for len(chunk) > 0 {
			n := word(chunk)
			if len(out) > start {
				out = append(out, '_')
			}
			for _, c := range chunk[:n] {
				out = append(out, lower(c))
			}
			chunk = chunk[n:]
		}
	}
	if len(out) == start {
		return ""
	}
	if out[0] >= '0' && out[0] <= '9' {
		out = append([]byte{'_'}, out...)
	}
	return string(out)
}

// isSnake says whether Snake would leave name as it is, for the common case of
// words of lower-case letters only.
func isSnake(name string) bool {
	if name == "" || name[0] == '_' || name[len(name)-1] == '_' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c == '_' && name[i-1] != '_' {
			continue
		}
		return false
	}
	return true
}

// wordLen returns the length of the first word of a chunk of letters and digits:
//
//	digits* lower+ digits*    "name", "abc123", "4you"
//	Upper lower+ digits*      "Name", "Case123"
//	Upper+ digits*            "HTML", up to the last capital when a lower-case letter follows it ("HTMLParser")
func wordLen(chunk []byte) int {
	n := run(chunk, 0, digit)
	if n == len(chunk) || n > 0 && !lowerCase(chunk[n]) {
		return n
	}
	if lowerCase(chunk[n]) {
		return run(chunk, run(chunk, n, lowerCase), digit)
	}
	upper := run(chunk, 0, upperCase)
	if upper < len(chunk) && lowerCase(chunk[upper]) {
		if upper > 1 {
			return upper - 1
		}
		upper = run(chunk, upper, lowerCase)
	}
	return run(chunk, upper, digit)
}

// dividedLen is wordLen where digits are words of their own: abc123 is abc_123.
func dividedLen(chunk []byte) int {
	switch c := chunk[0]; {
	case digit(c):
		return run(chunk, 0, digit)
	case lowerCase(c):
		return run(chunk, 0, lowerCase)
	}
	upper := run(chunk, 0, upperCase)
	switch {
	case upper == len(chunk) || !lowerCase(chunk[upper]):
		return upper
	case upper > 1:
		return upper - 1 // the last capital begins the next word
	}
	return run(chunk, upper, lowerCase)
}

// segmentSnake is the naming of Segment's warehouses: a word is capitals and digits
// followed by lower-case letters and digits, however many capitals there are
// (productIDs is product_ids, HTMLParser is htmlparser); everything else divides words
// and is dropped, also leading underscores and apostrophes.
func segmentSnake(name string) string {
	if isSnake(name) {
		return name
	}
	out := make([]byte, 0, len(name)+8)
	for i := 0; i < len(name); {
		if !alphanumeric(name[i]) {
			i++
			continue
		}
		if len(out) > 0 {
			out = append(out, '_')
		} else if digit(name[i]) {
			out = append(out, '_') // a bare name cannot begin with a digit
		}
		for ; i < len(name) && (upperCase(name[i]) || digit(name[i])); i++ {
			out = append(out, lower(name[i]))
		}
		for ; i < len(name) && (lowerCase(name[i]) || digit(name[i])); i++ {
			out = append(out, name[i])
		}
	}
	return string(out)
}

func run(b []byte, from int, is func(byte) bool) int {
	for from < len(b) && is(b[from]) {
		from++
	}
	return from
}

func digit(c byte) bool        { return c >= '0' && c <= '9' }
func lowerCase(c byte) bool    { return c >= 'a' && c <= 'z' }
func upperCase(c byte) bool    { return c >= 'A' && c <= 'Z' }
func alphanumeric(c byte) bool { return digit(c) || lowerCase(c) || upperCase(c) }

func lower(c byte) byte {
	if upperCase(c) {
		return c + 'a' - 'A'
	}
	return c
}

// apostrophe returns the length of the apostrophe that s starts with, or 0.
func apostrophe(s string) int {
	switch {
	case s[0] == '\'':
		return 1
	case strings.HasPrefix(s, "\u2019"):
		return len("\u2019")
	}
	return 0
}

// takenTables are names that an event's own table cannot have.
var takenTables = map[string]bool{
	"tracks": true, "pages": true, "screens": true, "aliases": true, "groups": true,
	"accounts": true, "users": true, "identifies": true,
	DiscardsTable: true, DeadLettersTable: true, ViolationsTable: true,
}

// takenSchemas are schemas that belong to the engine or to Tidegate.
var takenSchemas = map[string]bool{
	"_tidegate": true, "information_schema": true, "pg_catalog": true, "temp": true, "system": true,
}

// columnName is the column of a flattened path, "" when it has no name.
func (s *Shaper) columnName(path string) string { return s.safe(s.src.snake(path)) }

// tableName is the table of an event, "" when the event's name has no ASCII
// letter or digit.
func (s *Shaper) tableName(event string) string {
	name := s.src.snake(event)
	if takenTables[name] {
		name = "_" + name
	}
	return s.safe(name)
}

// schemaName is the schema of a source's tables: its name, made safe.
func (s *Shaper) schemaName(source string) string {
	name := Snake(source)
	if name == "" {
		name = "stringempty"
	}
	if takenSchemas[name] || strings.HasPrefix(name, "pg_") {
		name = "_" + name
	}
	return s.safe(name)
}

func (s *Shaper) safe(name string) string {
	if name != "" && s.opts.Reserved != nil && s.opts.Reserved(name) {
		name = "_" + name
	}
	limit := maxName
	if s.opts.MaxName > 0 {
		limit = min(limit, s.opts.MaxName)
	}
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:limit-17] + "_" + hex.EncodeToString(sum[:8])
}
