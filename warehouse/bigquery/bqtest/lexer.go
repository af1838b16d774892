package bqtest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind is what a token is.
type kind uint8

const (
	word      kind = iota
	name           // `quoted`
	text           // 'literal'
	bytesText      // b'literal'
	param          // @name
	mark           // anything else, one character
)

// token is one token of GoogleSQL. value is a word as it stands, a name or text
// without quotes and escapes, or a parameter's name.
type token struct {
	kind      kind
	value     string
	space     string // before it, comments left out
	line, col int
}

func (t token) is(words ...string) bool {
	if t.kind != word && t.kind != mark {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(t.value, w) {
			return true
		}
	}
	return false
}

// lex cuts a text into tokens.
func lex(sql string) ([]token, error) {
	l := lexer{sql: sql, line: 1, col: 1}
	var all []token
	for {
		t, ok, err := l.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return all, nil
		}
		all = append(all, t)
	}
}

type lexer struct {
	sql       string
	at        int
	line, col int
}

func (l *lexer) advance(n int) {
	for _, r := range l.sql[l.at : l.at+n] {
		if r == '\n' {
			l.line, l.col = l.line+1, 1
		} else {
			l.col++
		}
	}
	l.at += n
}

func syntax(line, col int, format string, args ...any) error {
	return failure(http.StatusBadRequest, "invalidQuery", "Syntax error: %s at [%d:%d]", fmt.Sprintf(format, args...), line, col)
}

func (l *lexer) next() (token, bool, error) {
	space := l.space()
	t := token{space: space, line: l.line, col: l.col}
	rest := l.sql[l.at:]
	if rest == "" {
		return t, false, nil
	}
	prefix := 0
	for prefix < len(rest) && prefix < 3 && strings.IndexByte("rRbB", rest[prefix]) >= 0 {
		prefix++
	}
	switch c := rest[0]; {
	case prefix > 0 && prefix < len(rest) && (rest[prefix] == '\'' || rest[prefix] == '"'):
		return l.literal(t, prefix)
	case c == '\'' || c == '"' || c == '`':
		return l.literal(t, 0)
	case c == '@':
		n := 1
		for n < len(rest) && part(rest[n]) {
			n++
		}
		t.kind, t.value = param, rest[1:n]
		l.advance(n)
	case part(c):
		n := 1
		for n < len(rest) && (part(rest[n]) || rest[n] == '.' && c >= '0' && c <= '9') {
			n++
		}
		t.value = rest[:n]
		l.advance(n)
	default:
		_, n := utf8.DecodeRuneInString(rest)
		t.kind, t.value = mark, rest[:n]
		l.advance(n)
	}
	return t, true, nil
}

func part(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

func (l *lexer) space() string {
	var kept strings.Builder
	for l.at < len(l.sql) {
		rest := l.sql[l.at:]
		switch {
		case strings.HasPrefix(rest, "--"), rest[0] == '#':
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.advance(n)
			kept.WriteByte(' ')
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest, "*/")
			if n < 0 {
				n = len(rest) - 2
			}
			kept.WriteByte(' ')
			l.advance(n + 2)
		case strings.IndexByte(" \t\r\n\f\v", rest[0]) >= 0:
			kept.WriteByte(rest[0])
			l.advance(1)
		default:
			return kept.String()
		}
	}
	return kept.String()
}

// literal reads a text or a quoted name; the first prefix letters say how.
func (l *lexer) literal(t token, prefix int) (token, bool, error) {
	rest := l.sql[l.at:]
	how := strings.ToLower(rest[:prefix])
	quote := rest[prefix : prefix+1]
	t.kind = text
	if strings.Contains(how, "b") {
		t.kind = bytesText
	}
	if quote == "`" {
		t.kind = name
	} else if strings.HasPrefix(rest[prefix:], strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	var value strings.Builder
	for at := prefix + len(quote); at < len(rest); {
		switch {
		case strings.HasPrefix(rest[at:], quote):
			t.value = value.String()
			l.advance(at + len(quote))
			return t, true, nil
		case rest[at] == '\\' && at+1 < len(rest):
			if strings.Contains(how, "r") {
				value.WriteString(rest[at : at+2])
				at += 2
				continue
			}
			r, n, err := escape(rest[at:])
			if err != nil {
				return t, false, syntax(t.line, t.col, "%v", err)
			}
			value.WriteRune(r)
			at += n
		case rest[at] == '\n' && len(quote) == 1:
			return t, false, syntax(t.line, t.col, "Unclosed string literal")
		default:
			value.WriteByte(rest[at])
			at++
		}
	}
	return t, false, syntax(t.line, t.col, "Unclosed string literal")
}

// escape reads \n, \x41, \u0041, \U00000041, \101.
func escape(s string) (rune, int, error) {
	if i := strings.IndexByte("abfnrtv\\?\"'`", s[1]); i >= 0 {
		return rune("\a\b\f\n\r\t\v\\?\"'`"[i]), 2, nil
	}
	digits := map[byte]int{'x': 2, 'X': 2, 'u': 4, 'U': 8}[s[1]]
	base, from := 16, 2
	if s[1] >= '0' && s[1] <= '3' {
		digits, base, from = 3, 8, 1
	}
	if digits == 0 || len(s) < from+digits {
		return 0, 0, fmt.Errorf("illegal escape sequence: %q", s[:2])
	}
	n, err := strconv.ParseUint(s[from:from+digits], base, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("illegal escape sequence: %q", s[:from+digits])
	}
	return rune(n), from + digits, nil
}

// Statements returns the first token of every statement of a script, in lower case.
func Statements(sql string) ([]string, error) {
	ts, err := lex(sql)
	if err != nil {
		return nil, err
	}
	var leads []string
	for _, statement := range split(ts) {
		lead := strings.ToLower(statement[0].value)
		if statement[0].kind == name || statement[0].kind == text {
			lead = "'" + lead
		}
		leads = append(leads, lead)
	}
	return leads, nil
}
