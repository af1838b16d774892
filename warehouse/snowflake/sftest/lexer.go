package sftest

import (
	"strings"
	"unicode/utf8"
)

// kind is what a token is.
type kind uint8

const (
	word  kind = iota
	name       // "quoted"
	text       // 'literal'
	param      // :1
	mark       // anything else
)

// token is one token of Snowflake's SQL. value is a word as it stands, a name or
// text without quotes and escapes, or a parameter's number.
type token struct {
	kind      kind
	value     string
	space     string // before it, comments left out
	line, col int    // from 1, and from 0
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
	l := lexer{sql: sql, line: 1}
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
			l.line, l.col = l.line+1, 0
		} else {
			l.col++
		}
	}
	l.at += n
}

func syntax(line, col int, unexpected string) error {
	return failure("001003", "42000", "SQL compilation error:\nsyntax error line %d at position %d unexpected '%s'.", line, col, unexpected)
}

func (l *lexer) next() (token, bool, error) {
	space := l.space()
	t := token{space: space, line: l.line, col: l.col}
	rest := l.sql[l.at:]
	if rest == "" {
		return t, false, nil
	}
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		return l.literal(t, c)
	case strings.HasPrefix(rest, "$$"):
		end := strings.Index(rest[2:], "$$")
		if end < 0 {
			return t, false, syntax(t.line, t.col, "$$")
		}
		t.kind, t.value = text, rest[2:2+end]
		l.advance(end + 4)
	case c == ':' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9':
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		t.kind, t.value = param, rest[1:n]
		l.advance(n)
	case strings.HasPrefix(rest, "->>"), strings.HasPrefix(rest, "=>"), strings.HasPrefix(rest, "::"):
		n := 2
		if c == '-' {
			n = 3
		}
		t.kind, t.value = mark, rest[:n]
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
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

func (l *lexer) space() string {
	var kept strings.Builder
	for l.at < len(l.sql) {
		rest := l.sql[l.at:]
		switch {
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "//"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.advance(n)
			kept.WriteByte(' ')
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				n = len(rest) - 4
			}
			kept.WriteByte(' ')
			l.advance(min(n+4, len(rest)))
		case strings.IndexByte(" \t\r\n\f\v", rest[0]) >= 0:
			kept.WriteByte(rest[0])
			l.advance(1)
		default:
			return kept.String()
		}
	}
	return kept.String()
}

// literal reads a text or a quoted name.
func (l *lexer) literal(t token, quote byte) (token, bool, error) {
	rest := l.sql[l.at:]
	t.kind = text
	if quote == '"' {
		t.kind = name
	}
	var value strings.Builder
	for at := 1; at < len(rest); at++ {
		switch c := rest[at]; {
		case c == quote && at+1 < len(rest) && rest[at+1] == quote:
			value.WriteByte(c)
			at++
		case c == quote:
			t.value = value.String()
			l.advance(at + 1)
			return t, true, nil
		case c == '\\' && quote == '\'' && at+1 < len(rest):
			at++
			if i := strings.IndexByte("bfnrt0", rest[at]); i >= 0 {
				value.WriteByte("\b\f\n\r\t\x00"[i])
			} else {
				value.WriteByte(rest[at])
			}
		default:
			value.WriteByte(c)
		}
	}
	return t, false, syntax(t.line, t.col, "<EOF>")
}

// split cuts a text at its semicolons.
func split(ts []token) [][]token {
	var all [][]token
	from := 0
	for i := 0; i <= len(ts); i++ {
		if i == len(ts) || ts[i].is(";") {
			if i > from {
				all = append(all, ts[from:i])
			}
			from = i + 1
		}
	}
	return all
}

// Statements returns the first token of every statement of a text, in lower case;
// what follows a flow operator is one of its own.
func Statements(sql string) ([]string, error) {
	ts, err := lex(sql)
	if err != nil {
		return nil, err
	}
	for i := range ts {
		if ts[i].is("->>") {
			ts[i].value = ";"
		}
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
