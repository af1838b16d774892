package snowflake

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// tokens reads Snowflake's SQL as its lexer does, as far as it takes to tell words
// from texts, names and comments.
type tokens struct {
	sql       string
	start, at int // of the token that was read last
	slashes   bool
}

// next returns the next word (in lower case), parameter (:1), flow operator (->>) or
// single character; "" at the end. A text is returned as "'", a quoted name as `"`.
func (t *tokens) next() string {
	t.space()
	t.start = t.at
	if t.at >= len(t.sql) {
		return ""
	}
	rest := t.sql[t.at:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "$$"):
		end := strings.Index(rest[2:], "$$")
		if end < 0 {
			t.at = len(t.sql)
		} else {
			t.at += end + 4
		}
		return "'"
	case c == '\'':
		t.quoted('\'', true)
		return "'"
	case c == '"':
		t.quoted('"', false)
		return `"`
	case strings.HasPrefix(rest, "->>"):
		t.at += 3
		return "->>"
	case strings.HasPrefix(rest, "::"):
		t.at += 2
		return "::"
	case c == ':' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9':
		for t.at++; t.at < len(t.sql) && t.sql[t.at] >= '0' && t.sql[t.at] <= '9'; t.at++ {
		}
		return t.sql[t.start:t.at]
	case wordPart(c):
		for t.at < len(t.sql) && wordPart(t.sql[t.at]) {
			t.at++
		}
		return strings.ToLower(t.sql[t.start:t.at])
	}
	t.at++
	return t.sql[t.start:t.at]
}

// quoted passes what stands between marks. A doubled mark stands for itself; in a
// text a backslash takes the next character with it.
func (t *tokens) quoted(mark byte, backslash bool) {
	for t.at++; t.at < len(t.sql); t.at++ {
		switch c := t.sql[t.at]; {
		case backslash && c == '\\':
			t.at++
		case c == mark && t.at+1 < len(t.sql) && t.sql[t.at+1] == mark:
			t.at++
		case c == mark:
			t.at++
			return
		}
	}
	t.at = len(t.sql)
}

// space passes white space and comments, which do not nest.
func (t *tokens) space() {
	for t.at < len(t.sql) {
		switch rest := t.sql[t.at:]; {
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "//"):
			t.slashes = t.slashes || rest[0] == '/'
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
		default:
			_, n := utf8.DecodeRuneInString(rest)
			if !slices.Contains([]string{"\u00a0", "\u3000", "\u2028", "\u2029", "\ufeff"}, rest[:n]) {
				return
			}
			t.at += n
		}
	}
}

func wordPart(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// harmless are the system functions that only tell something. Others cancel
// queries, end sessions or send mail, and need no more than a SELECT.
var harmless = []string{
	"system$typeof", "system$clustering_depth", "system$clustering_information", "system$estimate_query_acceleration", "system$explain_plan_json", "system$explain_json_to_text",
	"system$last_change_commit_time", "system$stream_has_data", "system$get_tag", "system$current_user_task_name", "system$whitelist", "system$allowlist",
}

// checkQuery refuses what is not one reading statement. It is a second lock on
// the door: the first is a role that may only read.
func checkQuery(sql string) error {
	if err := sqlcheck.Text(sql); err != nil {
		return err
	}
	t := &tokens{sql: sql}
	word := t.next()
	if word == "explain" {
		if word = t.next(); word == "using" {
			if word = t.next(); word != "json" && word != "text" && word != "tabular" {
				return refused("EXPLAIN USING takes JSON, TEXT or TABULAR")
			}
			word = t.next()
		}
		if word != "select" && word != "with" && word != "(" {
			return refused("only a query is explained")
		}
	}
	for word == "(" {
		word = t.next()
	}
	switch word {
	case "":
		return sqlcheck.Empty()
	case "with":
		if rest := *t; rest.leadsToWrite() {
			return refused("the statement is not a query")
		}
	case "select", "show", "describe", "desc":
	default:
		return refused("the statement is not a query")
	}
	return t.oneStatement(true)
}

// leadsToWrite says whether what WITH names is there for a statement that writes. Snowflake has no
// such statement yet; other engines do.
func (t *tokens) leadsToWrite() bool {
	depth, before := 0, ""
	for word := t.next(); word != ""; before, word = word, t.next() {
		switch {
		case word == "(":
			depth++
		case word == ")":
			depth--
		case depth > 0 || before != ")":
		case word == "insert", word == "update", word == "delete", word == "merge":
			return true
		case word == "select":
			return false
		}
	}
	return false
}

// oneStatement reads the rest of the text and refuses a second statement, also one
// that takes the result of the first.
func (t *tokens) oneStatement(reads bool) error {
	before := ""
	for word := t.next(); word != ""; before, word = word, t.next() {
		switch {
		case word == "->>":
			return refused("there is more than one statement")
		case word == ";" && t.next() != "":
			return refused("there is more than one statement")
		case reads && strings.HasPrefix(word, "system$") && !slices.Contains(harmless, word):
			return refused("the function " + strings.ToUpper(word) + " does more than read")
		case reads && word == "(" && before == "identifier": // names anything, SYSTEM$ functions included
			return refused("IDENTIFIER is not taken")
		}
	}
	// Whether // begins a comment depends on what stands before it.
	if t.slashes && (strings.Contains(t.sql, "->>") || strings.Count(t.sql, ";") > 0) {
		return refused("a comment that begins with // hides what may be a statement")
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
	case "begin", "commit", "rollback", "start", ";":
		return sqlcheck.NoTransactions()
	case "declare", "execute", "call", "set", "unset", "use", "let", "put", "get", "remove", "rm":
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: "scripts, files and settings of the session are not taken", Hint: "send one statement at a time"}
	}
	return t.oneStatement(false)
}

// changesCatalogue says whether Snowflake commits before it does the statement.
func changesCatalogue(sql string) bool {
	switch (&tokens{sql: sql}).next() {
	case "create", "alter", "drop", "undrop", "truncate", "grant", "revoke", "comment":
		return true
	}
	return false
}
