// Package sqlcheck looks at the text of a statement before it is sent to a warehouse, and shows
// the place in it that the warehouse complained of.
//
// Invariants: what it lets pass is read by every engine as one text with the same characters.
// It knows no SQL: what a statement does is its adapter's to tell. Everything here is pure.
package sqlcheck

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
)

// MaxStatement is the longest statement that is sent. Some engines take less, and say so themselves.
const MaxStatement = 8 << 20

// Text refuses what the wire cannot carry, or what an engine that takes C strings would cut.
func Text(sql string) error {
	var why string
	switch {
	case len(sql) > MaxStatement:
		why = fmt.Sprintf("the statement is longer than %d bytes", MaxStatement)
	case strings.IndexByte(sql, 0) >= 0:
		why = "the statement holds a NUL character"
	case !utf8.ValidString(sql):
		why = "the statement is not valid UTF-8"
	default:
		return nil
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.syntax", Message: why, Hint: "correct the statement"}
}

// Empty is the fault of a text without a statement.
func Empty() *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.syntax", Message: "the statement is empty", Hint: "send one statement"}
}

// NoTransactions is the fault of a statement about transactions, which belong to Begin.
func NoTransactions() *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: "a transaction is not begun or ended by a statement", Hint: "use Begin, Commit and Rollback"}
}

// Arguments is the fault of a statement that was given another number of values than it has parameters.
func Arguments(want, have int) *tidegate.Fault {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "sql.binding", Message: fmt.Sprintf("the statement has %d parameters and got %d values", want, have),
		Hint: "give one value per parameter",
	}
}

// Excerpt shows the line of a statement in which the byte at lies, with a mark below that, as
// PostgreSQL's own client does.
func Excerpt(sql string, at int) string {
	at = min(max(at, 0), len(sql))
	for at > 0 && at < len(sql) && !utf8.RuneStart(sql[at]) {
		at--
	}
	start := strings.LastIndexByte(sql[:at], '\n') + 1
	line, _, _ := strings.Cut(sql[start:], "\n")
	line = strings.TrimSuffix(line, "\r")
	column := min(utf8.RuneCountInString(sql[start:at]), utf8.RuneCountInString(line))
	const width = 120
	if runes := []rune(line); len(runes) > width { // keep the place in sight
		from := max(0, min(column-width/2, len(runes)-width))
		line, column = string(runes[from:from+width]), column-from
	}
	prefix := fmt.Sprintf("LINE %d: ", strings.Count(sql[:start], "\n")+1)
	return "\n" + prefix + strings.ReplaceAll(line, "\t", " ") + "\n" + strings.Repeat(" ", len(prefix)+column) + "^"
}

// ExcerptAt is Excerpt of a place that is told by its line, from 1, and by how many characters
// stand before it there; "" where the statement has no such line.
func ExcerptAt(sql string, line, before int) string {
	start := 0
	for ; line > 1; line-- {
		end := strings.IndexByte(sql[start:], '\n')
		if end < 0 {
			return ""
		}
		start += end + 1
	}
	if line < 1 || sql == "" {
		return ""
	}
	at := start
	for i, r := range sql[start:] {
		if before <= 0 || r == '\n' {
			break
		}
		before--
		at = start + i + utf8.RuneLen(r)
	}
	return Excerpt(sql, at)
}
