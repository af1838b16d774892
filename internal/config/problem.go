package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
)

// Problem is one thing that is wrong in a document. Line and Column count from
// 1; both are 0 when the place is not known.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"` // dotted: syncs[0].mapping.fields[2].field
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // the mend, without brackets: did you mean "x"?
}

// String returns "file:line:column: path: message (hint)", without the parts that are empty.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Error is every problem of one decoding, in the order of the document. It is
// never empty.
type Error struct{ Problems []Problem }

// Error returns one line per problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Fault returns the first problem as a Halt with the code "config.invalid", for
// callers that hand faults on. The error itself stays its cause.
func (e *Error) Fault() *tidegate.Fault {
	first := e.Problems[0]
	message := first.Message
	if n := len(e.Problems) - 1; n > 0 {
		message = fmt.Sprintf("%s, and %d more problems", message, n)
	}
	subject := first.Path
	if subject == "" {
		subject = first.File
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "config.invalid", Subject: subject, Message: message, Hint: first.Hint, Err: e}
}

// Join returns one *Error with the problems of all errs, sorted by file and
// place, or nil when there are none. An err that is not an *Error becomes a
// problem without a place.
func Join(errs ...error) error {
	var all []Problem
	for _, err := range errs {
		if err == nil {
			continue
		}
		if e, ok := err.(*Error); ok { //nolint:errorlint // a wrapped Error keeps the words of its wrapper below
			all = append(all, e.Problems...)
			continue
		}
		all = append(all, Problem{Message: err.Error()})
	}
	return errorOf(all)
}

// errorOf sorts problems by place and drops repeats.
func errorOf(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{Problems: slices.Compact(problems)}
}

// Suggest returns the one of known that word is most likely a misspelling of,
// or "" when none is close.
func Suggest(word string, known []string) string {
	best, bestDistance := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), bestDistance); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// DidYouMean returns the hint `did you mean "x"?` for the closest of known, or
// a hint that lists what is known when nothing is close and the list is short.
func DidYouMean(word string, known []string) string {
	if s := Suggest(word, known); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	if len(known) == 0 || len(known) > 12 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(known))
	return "known: " + strings.Join(sorted, ", ")
}

// distance is the edit distance of a and b where swapping two neighbours counts
// once, or limit when it is at least that. Names longer than 64 bytes are far
// from everything.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var rows [3][65]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above, twoAbove := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitution := 1
			if a[i-1] == b[j-1] {
				substitution = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+substitution)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], twoAbove[j-2]+1)
			}
		}
	}
	return min(rows[len(a)%3][len(b)], limit)
}
