package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"golang.org/x/text/width"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/internal/config"
)

// say prints a line for people: to standard error when standard output is for
// a program.
func (c *command) say(format string, args ...any) {
	w := c.env.Stdout
	if c.json {
		w = c.env.Stderr
	}
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

// printJSON prints v as one JSON document.
func (c *command) printJSON(v any) error {
	enc := json.NewEncoder(c.env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// list prints a table or, where it would have no row, the sentence none, which says what
// there is none of and how to come by one.
func (c *command) list(none string, header []string, rows [][]string) error {
	if len(rows) == 0 {
		c.say("%s", none)
		return nil
	}
	return table(c.env.Stdout, header, rows)
}

// table prints aligned columns under a header in capitals, if it has one; only the columns of
// somebody's own statement keep their names. Times are in RFC 3339, in UTC. A cell is shown on
// one line and cut at 80 characters.
func table(w io.Writer, header []string, rows [][]string) error {
	widths := make([]int, len(header))
	clean := make([][]string, 0, len(rows)+1)
	for _, row := range append([][]string{header}, rows...) {
		line := make([]string, len(header))
		for i := range header {
			switch {
			case i >= len(row):
			case i == len(header)-1: // nothing stands behind it
				line[i] = clipped(row[i], maxLast)
			default:
				line[i] = oneLine(row[i])
			}
			widths[i] = max(widths[i], columns(line[i]))
		}
		clean = append(clean, line)
	}
	if strings.Join(header, "") == "" {
		clean = clean[1:]
	}
	for _, line := range clean {
		var b strings.Builder
		for i, cell := range line {
			b.WriteString(cell)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-columns(cell)+2))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	return nil
}

// columns is how many columns of a terminal s takes: two for each character of East Asia and
// each emoji, none for an accent that stands on the letter before it.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch kind := width.LookupRune(r).Kind(); {
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		case !unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
			n++
		}
	}
	return n
}

const (
	maxCell = 80
	maxLast = 400 // of the last column: reasons, which nobody can act on that are cut off
)

// oneLine makes text that a stranger wrote safe to show on a terminal, and short.
func oneLine(s string) string { return clipped(s, maxCell) }

func clipped(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r): // the last turn the line round
			return utf8.RuneError
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > most {
		return string([]rune(s)[:most-1]) + "…"
	}
	return s
}

// failure is an error as --json shows it.
type failure struct {
	Code     string           `json:"code"`
	Subject  string           `json:"subject,omitempty"`
	Message  string           `json:"message"`
	Hint     string           `json:"hint,omitempty"`
	Problems []config.Problem `json:"problems,omitempty"`
}

// patience is how long a person at a terminal waits before being told for what.
const patience = 3 * time.Second

// sayAfter writes text to w after a while. The caller stops it when there is nothing to wait for any more.
func sayAfter(after time.Duration, w io.Writer, text string) (stop func()) {
	said := make(chan struct{})
	timer := time.AfterFunc(after, func() {
		defer close(said)
		_, _ = fmt.Fprintln(w, text)
	})
	return func() {
		if !timer.Stop() {
			<-said
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a descriptor is small
}

// report tells an error of cmd on standard error.
func (c *command) report(cmd *cobra.Command, err error) {
	if err == nil || err.Error() == "" {
		return
	}
	f, problems := explainError(cmd, err)
	if c.json {
		enc := json.NewEncoder(c.env.Stderr)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(map[string]failure{"error": f}) // there is nowhere else to say it
		return
	}
	if len(problems) > 0 {
		for _, p := range problems {
			_, _ = fmt.Fprintln(c.env.Stderr, p)
		}
		_, _ = fmt.Fprintf(c.env.Stderr, "%s\n", plural(int64(len(problems)), "problem"))
		return
	}
	_, _ = fmt.Fprintf(c.env.Stderr, "error: %s\n", err)
	if f.Hint != "" {
		_, _ = fmt.Fprintf(c.env.Stderr, "  %s\n", f.Hint)
	}
}

func explainError(cmd *cobra.Command, err error) (failure, []config.Problem) {
	var p *api.Problem
	if errors.As(err, &p) && len(p.List) > 0 {
		list := slices.Clone(p.List)
		for i := range list {
			list[i].Path = asFlag(cmd, list[i].Path)
		}
		return failure{Code: p.Code, Message: plural(int64(len(list)), "problem"), Problems: list}, list
	}
	var invalid *config.Error
	if errors.As(err, &invalid) {
		return failure{Code: "project.invalid", Message: plural(int64(len(invalid.Problems)), "problem"), Problems: invalid.Problems}, invalid.Problems
	}
	var coded *codedError
	if errors.As(err, &coded) && coded.code == ExitUsage {
		return failure{Code: "usage", Message: err.Error()}, nil
	}
	f := tidegate.FaultOf(err)
	return failure{Code: f.Code, Subject: f.Subject, Message: orDefault(f.Message, err.Error()), Hint: f.Hint}, nil
}

// asFlag names what a server says of a request's part by the flag of cmd from which it came.
func asFlag(cmd *cobra.Command, path string) string {
	where, part, _ := strings.Cut(path, ".")
	flag := strings.ReplaceAll(part, "_", "-")
	if (where == "query" || where == "body") && cmd.Flags().Lookup(flag) != nil {
		return "--" + flag
	}
	return path
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.ContainsAny(stem[len(stem)-1:], "aeou") {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// cellText shows a JSON value in a table: texts without quotes, null as NULL.
func cellText(v json.RawMessage) string {
	if string(v) == "null" || len(v) == 0 {
		return "NULL"
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

// valueText shows any value in a table.
func valueText(v any) string {
	if v == nil {
		return "NULL"
	}
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return cellText(b) // a time is a text in JSON
}
