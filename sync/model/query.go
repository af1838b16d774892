package model

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Words with which a statement begins, in lower case. Neither list has all: what is in none
// is left to the warehouse.
var (
	readingWords = []string{"select", "with", "from", "values", "table"}
	writingWords = []string{
		"insert", "update", "delete", "merge", "truncate", "create", "alter", "drop", "rename", "grant", "revoke",
		"begin", "commit", "rollback", "set", "use", "copy", "export", "import", "attach", "detach", "install", "load", "vacuum",
	}
)

// CheckQuery finds what no warehouse would take for the query of a model, without one: a
// statement that does not read, and a second statement. It knows texts, quoted names and
// comments as far as all engines agree on them, and where it could be wrong it says nothing.
func CheckQuery(sql string) []Problem {
	problem := func(at int, message, hint string) []Problem {
		return []Problem{{"sql", place(sql, at) + message, hint}}
	}
	first := true
	for i := 0; i < len(sql); {
		if n := opaque(sql, i); n > 0 {
			first = first && comment(sql[i:])
			i += n
			continue
		}
		end := i
		for end < len(sql) && wordByte(sql[end]) {
			end++
		}
		word := strings.ToLower(sql[i:end])
		switch {
		case word != "" && first && slices.Contains(writingWords, word):
			return problem(i, strings.ToUpper(word)+" does not read; a model is one query", "write a SELECT")
		case word != "":
			first = false
		case sql[i] == ';' && !first:
			at, next := nextWord(sql, i+1)
			if slices.Contains(readingWords, next) || slices.Contains(writingWords, next) {
				return problem(at, "a second statement begins here; a model is one query", "keep one, or join them with UNION ALL")
			}
		}
		i = max(end, i+1)
	}
	return nil
}

// nextWord is the first word at or after i, in lower case, when nothing but comments and
// blanks stands before it.
func nextWord(sql string, i int) (at int, word string) {
	for i < len(sql) {
		switch n := opaque(sql, i); {
		case n > 0 && comment(sql[i:]):
			i += n
		case strings.IndexByte(" \t\r\n;(", sql[i]) >= 0:
			i++
		default:
			end := i
			for end < len(sql) && wordByte(sql[end]) {
				end++
			}
			return i, strings.ToLower(sql[i:end])
		}
	}
	return i, ""
}

func comment(rest string) bool {
	return strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "/*")
}

// place is "line:column: " of the byte at in a query.
func place(sql string, at int) string {
	line := 1 + strings.Count(sql[:at], "\n")
	column := 1 + utf8.RuneCountInString(sql[strings.LastIndexByte(sql[:at], '\n')+1:at])
	return fmt.Sprintf("%d:%d: ", line, column)
}
