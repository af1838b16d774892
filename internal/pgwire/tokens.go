package pgwire

import (
	"strings"
)

// Tokens reads SQL as the server's lexer does, as far as it takes to tell words
// from texts and comments.
type Tokens struct {
	SQL string
	// Backslashes says that a backslash escapes in every text, not only in E'…'.
	Backslashes bool

	at int
}

// Next returns the next word (folded to lower case unless it was quoted) or
// single character; "" at the end. A literal text is returned as "'".
func (t *Tokens) Next() string {
	t.space()
	if t.at >= len(t.SQL) {
		return ""
	}
	start := t.at
	c := t.SQL[t.at]
	switch {
	case c == '\'':
		t.quoted('\'', t.Backslashes)
		return "'"
	case c == '"':
		t.quoted('"', false)
		return strings.ReplaceAll(strings.TrimSuffix(t.SQL[start+1:t.at], `"`), `""`, `"`)
	case c == '$':
		if tag := dollarTag(t.SQL[t.at:]); tag != "" {
			t.at += len(tag)
			t.past(tag)
			return "'"
		}
	case wordStart(c):
		return t.word()
	case c >= '0' && c <= '9':
		for t.at < len(t.SQL) && (wordPart(t.SQL[t.at]) || t.SQL[t.at] == '.') {
			t.at++
		}
		return t.SQL[start:t.at]
	}
	t.at++
	return t.SQL[start:t.at]
}

// word reads a word, or a text that begins with a letter: E'…', B'…', N'…', U&'…', U&"…".
func (t *Tokens) word() string {
	start := t.at
	for t.at < len(t.SQL) && wordPart(t.SQL[t.at]) {
		t.at++
	}
	word := strings.ToLower(t.SQL[start:t.at])
	rest := t.SQL[t.at:]
	switch {
	case strings.HasPrefix(rest, "'") && len(word) == 1 && strings.Contains("ebxn", word):
		t.quoted('\'', t.Backslashes || word == "e")
		return "'"
	case word == "u" && strings.HasPrefix(rest, "&'"):
		t.at++
		t.quoted('\'', false)
		return "'"
	case word == "u" && strings.HasPrefix(rest, `&"`):
		t.at++
		t.quoted('"', false)
		return EscapedName
	}
	return word
}

// EscapedName stands for a name written with escapes, which nobody needs and which hides what it names.
const EscapedName = `U&""`

// quoted passes a text between marks; a doubled mark is part of it, and where
// escapes are on so is whatever follows a backslash.
func (t *Tokens) quoted(mark byte, escapes bool) {
	for t.at++; t.at < len(t.SQL); t.at++ {
		switch {
		case escapes && t.SQL[t.at] == '\\':
			t.at++
		case t.SQL[t.at] != mark:
		case t.at+1 < len(t.SQL) && t.SQL[t.at+1] == mark:
			t.at++
		default:
			t.at++
			return
		}
	}
	t.at = len(t.SQL)
}

func (t *Tokens) past(end string) {
	if i := strings.Index(t.SQL[t.at:], end); i >= 0 {
		t.at += i + len(end)
		return
	}
	t.at = len(t.SQL)
}

// space passes white space and comments, which nest.
func (t *Tokens) space() {
	for t.at < len(t.SQL) {
		switch rest := t.SQL[t.at:]; {
		case strings.HasPrefix(rest, "--"):
			if i := strings.IndexAny(rest, "\r\n"); i >= 0 {
				t.at += i
			} else {
				t.at = len(t.SQL)
			}
		case strings.HasPrefix(rest, "/*"):
			t.at += 2
			for depth := 1; depth > 0 && t.at < len(t.SQL); {
				switch rest := t.SQL[t.at:]; {
				case strings.HasPrefix(rest, "/*"):
					depth++
					t.at += 2
				case strings.HasPrefix(rest, "*/"):
					depth--
					t.at += 2
				default:
					t.at++
				}
			}
		case strings.IndexByte(" \t\n\r\f\v", rest[0]) >= 0:
			t.at++
		default:
			return
		}
	}
}

func wordStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func wordPart(c byte) bool { return wordStart(c) || c == '$' || c >= '0' && c <= '9' }

// dollarTag returns the $tag$ that sql begins with, or "".
func dollarTag(sql string) string {
	for i := 1; i < len(sql); i++ {
		c := sql[i]
		if c == '$' {
			return sql[:i+1]
		}
		if !wordStart(c) && (i == 1 || c < '0' || c > '9') {
			return ""
		}
	}
	return ""
}

// Lead is the word that says what a statement is; opening parentheses before it are passed.
func (t *Tokens) Lead() string {
	word := t.Next()
	for word == "(" {
		word = t.Next()
	}
	return word
}
