package bigquery

import (
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// tokens reads GoogleSQL as its lexer does, as far as it takes to tell words from
// texts, names and comments.
type tokens struct {
	sql       string
	start, at int // of the token that was read last
}

// next returns the next word (in lower case), parameter (@name) or single
// character; "" at the end. A literal text is returned as "'", a quoted name as "`".
func (t *tokens) next() string {
	t.space()
	t.start = t.at
	if t.at >= len(t.sql) {
		return ""
	}
	c := t.sql[t.at]
	switch {
	case c == '\'' || c == '"':
		t.literal()
		return "'"
	case c == '`':
		t.quoted("`")
		return "`"
	case c == '@':
		for t.at < len(t.sql) && t.sql[t.at] == '@' {
			t.at++
		}
		t.word()
		return strings.ToLower(t.sql[t.start:t.at])
	case wordPart(c):
		t.word()
		word := strings.ToLower(t.sql[t.start:t.at])
		if t.at < len(t.sql) && (t.sql[t.at] == '\'' || t.sql[t.at] == '"') {
			switch word {
			case "r", "b", "rb", "br":
				t.literal()
				return "'"
			}
		}
		return word
	}
	t.at++
	return t.sql[t.start:t.at]
}

func (t *tokens) word() {
	for t.at < len(t.sql) && wordPart(t.sql[t.at]) {
		t.at++
	}
}

// literal passes a text: '…', "…", ”'…”' or """…""".
func (t *tokens) literal() {
	mark := t.sql[t.at : t.at+1]
	if triple := strings.Repeat(mark, 3); strings.HasPrefix(t.sql[t.at:], triple) {
		mark = triple
	}
	t.quoted(mark)
}

// quoted passes what stands between marks. A backslash takes the next character
// with it, also in raw texts, where it stays what it is.
func (t *tokens) quoted(mark string) {
	for t.at += len(mark); t.at < len(t.sql); t.at++ {
		switch {
		case t.sql[t.at] == '\\':
			t.at++
		case strings.HasPrefix(t.sql[t.at:], mark):
			t.at += len(mark)
			return
		}
	}
	t.at = len(t.sql)
}

// space passes white space and comments, which do not nest.
func (t *tokens) space() {
	for t.at < len(t.sql) {
		switch rest := t.sql[t.at:]; {
		case strings.HasPrefix(rest, "--"), rest[0] == '#':
			if i := strings.IndexAny(rest, "\r\n"); i >= 0 {
				t.at += i
			} else {
				t.at = len(t.sql)
			}
		case strings.HasPrefix(rest, "/*"):
			if i := strings.Index(rest[2:], "*/"); i >= 0 {
				t.at += i + 4
			} else {
				t.at = len(t.sql)
			}
		case strings.IndexByte(" \t\n\r\f\v", rest[0]) >= 0:
			t.at++
		case strings.HasPrefix(rest, "\u00a0"), strings.HasPrefix(rest, "\u3000"), strings.HasPrefix(rest, "\u2028"), strings.HasPrefix(rest, "\u2029"):
			_, n := utf8.DecodeRuneInString(rest)
			t.at += n
		default:
			return
		}
	}
}

func wordPart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// explains returns what follows EXPLAIN, at its place.
func explains(sql string) (string, bool) {
	t := &tokens{sql: sql}
	if t.next() != "explain" {
		return "", false
	}
	return sql[:t.start] + strings.Repeat(" ", t.at-t.start) + sql[t.at:], true
}

// checkQuery refuses what is not one reading statement. In GoogleSQL the first
// word tells: there is no SELECT that writes, and no WITH before anything but a
// query. It is a second lock on the door: the first is an account that may only read.
func checkQuery(sql string) error {
	if err := sqlcheck.Text(sql); err != nil {
		return err
	}
	t := &tokens{sql: sql}
	word := t.next()
	for word == "(" {
		word = t.next()
	}
	switch word {
	case "":
		return sqlcheck.Empty()
	case "select", "with", "from":
	default:
		return refused("the statement is not a query")
	}
	return t.oneStatement()
}

// oneStatement reads the rest of the text and refuses a second statement.
func (t *tokens) oneStatement() error {
	for word := t.next(); word != ""; word = t.next() {
		if word == ";" && t.next() != "" {
			return refused("there is more than one statement")
		}
	}
	return nil
}

// checkStatement refuses what is not one statement, or one about transactions,
// which belong to Begin.
func checkStatement(sql string) error {
	if err := sqlcheck.Text(sql); err != nil {
		return err
	}
	t := &tokens{sql: sql}
	switch t.next() {
	case "":
		return sqlcheck.Empty()
	case "begin", "commit", "rollback", ";":
		return sqlcheck.NoTransactions()
	case "declare", "if", "loop", "while", "repeat", "for", "execute", "call", "set":
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: "scripts are not taken", Hint: "send one statement at a time"}
	}
	return t.oneStatement()
}
