package sqlcheck

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sql, want string }{
		{"SELECT 'ü'", ""},
		{"SELECT 'a\x00b'", "the statement holds a NUL character"},
		{"SELECT '\xff'", "the statement is not valid UTF-8"},
		{strings.Repeat("x", MaxStatement), ""},
		{strings.Repeat("x", MaxStatement+1), "the statement is longer than 8388608 bytes"},
	} {
		got := ""
		if err := Text(c.sql); err != nil {
			f := tidegate.FaultOf(err)
			if f.Action != tidegate.Halt || f.Code != "sql.syntax" {
				t.Errorf("%.20q: got a fault %v %s", c.sql, f.Action, f.Code)
			}
			got = f.Message
		}
		if got != c.want {
			t.Errorf("%.20q: got %q, want %q", c.sql, got, c.want)
		}
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 500)
	for _, c := range []struct {
		sql          string
		line, before int
		want         string
	}{
		{"SELECT x", 1, 7, "\nLINE 1: SELECT x\n               ^"},
		{"SELECT x", 1, -1, "\nLINE 1: SELECT x\n        ^"},
		{"a\r\nbc\r\nd", 2, 9, "\nLINE 2: bc\n          ^"},
		{"é\tü x", 1, 4, "\nLINE 1: é ü x\n            ^"},
		{"x", 2, 0, ""},
		{"x", 0, 0, ""},
		{"", 1, 0, ""},
		{"x\n", 2, 0, "\nLINE 2: \n        ^"},
		{long + "y" + long, 1, 500, "\nLINE 1: " + strings.Repeat("x", 60) + "y" + strings.Repeat("x", 59) + "\n" + strings.Repeat(" ", 68) + "^"},
	} {
		if got := ExcerptAt(c.sql, c.line, c.before); got != c.want {
			t.Errorf("%.9q at %d:%d: %q, want %q", c.sql, c.line, c.before, got, c.want)
		}
	}
	if got, want := Excerpt("a é", 3), "\nLINE 1: a é\n          ^"; got != want { // in the middle of a character
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add("SELECT 1\nFROM t", 2, 3)
	f.Add("\r\n\xff", 1, 1)
	f.Fuzz(func(t *testing.T, sql string, line, before int) {
		if shown := ExcerptAt(sql, line, before); shown != "" && strings.Count(shown, "\n") != 2 {
			t.Errorf("shows %q", shown)
		}
		Excerpt(sql, before)
	})
}
