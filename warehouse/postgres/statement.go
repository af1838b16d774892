package postgres

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
)

// maxStatement is the longest statement that is sent to the server.
const maxStatement = 8 << 20

// tokens reads SQL as the server's lexer does, as far as it takes to tell words
// from texts and comments.
type tokens struct {
	sql string
	at  int
}

// next returns the next word (folded to lower case unless it was quoted) or
// single character; "" at the end. A literal text is returned as "'".
func (t *tokens) next() string {
	t.space()
	if t.at >= len(t.sql) {
		return ""
	}
	start := t.at
	c := t.sql[t.at]
	switch {
	case c == '\'':
		t.quoted('\'', false)
		return "'"
	case c == '"':
		t.quoted('"', false)
		return strings.ReplaceAll(strings.TrimSuffix(t.sql[start+1:t.at], `"`), `""`, `"`)
	case c == '$':
		if tag := dollarTag(t.sql[t.at:]); tag != "" {
			t.at += len(tag)
			t.past(tag)
			return "'"
		}
	case wordStart(c):
		return t.word()
	case c >= '0' && c <= '9':
		for t.at < len(t.sql) && (wordPart(t.sql[t.at]) || t.sql[t.at] == '.') {
			t.at++
		}
		return t.sql[start:t.at]
	}
	t.at++
	return t.sql[start:t.at]
}

// word reads a word, or a text that begins with a letter: E'…', B'…', N'…', U&'…', U&"…".
func (t *tokens) word() string {
	start := t.at
	for t.at < len(t.sql) && wordPart(t.sql[t.at]) {
		t.at++
	}
	word := strings.ToLower(t.sql[start:t.at])
	rest := t.sql[t.at:]
	switch {
	case strings.HasPrefix(rest, "'") && len(word) == 1 && strings.Contains("ebxn", word):
		t.quoted('\'', word == "e")
		return "'"
	case word == "u" && strings.HasPrefix(rest, "&'"):
		t.at++
		t.quoted('\'', false)
		return "'"
	case word == "u" && strings.HasPrefix(rest, `&"`):
		t.at++
		t.quoted('"', false)
		return escapedName
	}
	return word
}

// escapedName stands for a name written with escapes, which nobody needs and which hides what it names.
const escapedName = `U&""`

// quoted passes a text between marks; a doubled mark is part of it, and where
// escapes are on so is whatever follows a backslash.
func (t *tokens) quoted(mark byte, escapes bool) {
	for t.at++; t.at < len(t.sql); t.at++ {
		switch {
		case escapes && t.sql[t.at] == '\\':
			t.at++
		case t.sql[t.at] != mark:
		case t.at+1 < len(t.sql) && t.sql[t.at+1] == mark:
			t.at++
		default:
			t.at++
			return
		}
	}
	t.at = len(t.sql)
}

func (t *tokens) past(end string) {
	if i := strings.Index(t.sql[t.at:], end); i >= 0 {
		t.at += i + len(end)
		return
	}
	t.at = len(t.sql)
}

// space passes white space and comments, which nest.
func (t *tokens) space() {
	for t.at < len(t.sql) {
		switch rest := t.sql[t.at:]; {
		case strings.HasPrefix(rest, "--"):
			if i := strings.IndexAny(rest, "\r\n"); i >= 0 {
				t.at += i
			} else {
				t.at = len(t.sql)
			}
		case strings.HasPrefix(rest, "/*"):
			t.at += 2
			for depth := 1; depth > 0 && t.at < len(t.sql); {
				switch rest := t.sql[t.at:]; {
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

// lead is the word that says what a statement is; opening parentheses before it are passed.
func (t *tokens) lead() string {
	word := t.next()
	for word == "(" {
		word = t.next()
	}
	return word
}

// checkQuery refuses what is not one reading statement, as far as the text
// tells; the read-only transaction refuses the rest. It is a second lock on the
// door: the first is a role that may only read.
func checkQuery(sql string) error {
	if err := checkText(sql); err != nil {
		return err
	}
	t := &tokens{sql: sql}
	lead := t.lead()
	switch lead {
	case "":
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.syntax", Message: "the statement is empty", Hint: "send one statement"}
	case "select", "values", "with", "table":
	case "show":
		return nil
	case "explain":
		if !t.explainsQuery() {
			return refused("the statement that is explained is not a query")
		}
	default:
		return refused("the statement is not a query")
	}
	return t.calls()
}

// explainsQuery passes the options of EXPLAIN and says whether a query follows.
func (t *tokens) explainsQuery() bool {
	word := t.next()
	if word == "(" {
		mark := t.at
		switch first := t.next(); first {
		case "(", "select", "values", "with", "table": // parentheses of the query
			t.at = mark
			word = t.lead()
		default:
			for first != ")" && first != "" {
				first = t.next()
			}
			word = t.lead()
		}
	} else {
		for word == "analyze" || word == "analyse" || word == "verbose" {
			word = t.next()
		}
		if word == "(" {
			word = t.lead()
		}
	}
	switch word {
	case "select", "values", "with", "table":
		return true
	}
	return false
}

// calls reads the rest of the text and refuses functions that do more than read.
func (t *tokens) calls() error {
	before := ""
	for word := t.next(); word != ""; word = t.next() {
		if word == escapedName {
			return refused("names with escapes (U&\"…\") are not taken")
		}
		if word == "(" && changesServer(before) {
			return refused("the function " + before + " does more than read")
		}
		before = word
	}
	return nil
}

// changesServer names the functions that a query may not call although a
// read-only transaction lets it: they act outside of the transaction, on the
// server or its files, or run SQL that nobody checked.
func changesServer(function string) bool {
	for _, prefix := range []string{
		"dblink", "lo_", "pg_advisory", "pg_try_advisory", "pg_ls_", "pg_read_", "pg_file_", "pg_logical_", "pg_replication_",
		"pg_create_", "pg_drop_", "pg_copy_", "pg_stat_reset", "pg_sleep", "pg_wal_replay", "pg_backup_", "pg_start_backup", "pg_stop_backup",
		"query_to_xml", "cursor_to_xml", "crosstab", "connectby", "pg_prewarm", "pg_sync_", "pg_notification",
	} {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	switch function {
	case "set_config", "setval", "nextval", "setseed", "pg_notify", "pg_terminate_backend", "pg_cancel_backend", "pg_reload_conf", "pg_rotate_logfile",
		"pg_stat_file", "pg_switch_wal", "pg_promote", "pg_export_snapshot", "pg_log_backend_memory_contexts", "pg_import_system_collations",
		"ts_stat", "loread", "lowrite", "pg_extension_config_dump", "pg_log_standby_snapshot", "pg_current_xact_id", "txid_current":
		return true
	}
	return false
}

// endsTransaction says whether a statement begins, ends or splits a transaction, which belongs to Begin.
func endsTransaction(sql string) bool {
	t := &tokens{sql: sql}
	word := t.next()
	for word == ";" {
		word = t.next()
	}
	switch word {
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return true
	case "prepare":
		return t.next() == "transaction"
	}
	return false
}

// leavesTraces says whether a statement leaves something on its connection.
func leavesTraces(sql string) bool {
	t := &tokens{sql: sql}
	switch t.next() {
	case "set", "reset", "listen", "prepare", "load", "declare", "discard":
		return true
	case "create":
		word := t.next()
		for word == "or" || word == "replace" || word == "local" || word == "global" {
			word = t.next()
		}
		return word == "temp" || word == "temporary"
	}
	return false
}

// checkText refuses what the wire cannot carry.
func checkText(sql string) error {
	var why string
	switch {
	case len(sql) > maxStatement:
		why = fmt.Sprintf("the statement is longer than %d bytes", maxStatement)
	case strings.IndexByte(sql, 0) >= 0:
		why = "the statement holds a NUL character"
	case !utf8.ValidString(sql):
		why = "the statement is not valid UTF-8"
	default:
		return nil
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.syntax", Message: why, Hint: "correct the statement"}
}

func refused(why string) *tidegate.Fault {
	return &tidegate.Fault{
		Action:  tidegate.Halt,
		Code:    "sql.refused",
		Message: why,
		Hint:    "a query is one SELECT, VALUES, TABLE, EXPLAIN or SHOW that only reads",
	}
}
