package pgwire

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// FuzzTokens: the lexer ends on every text, and a text inside quotes hides what is in it.
func FuzzTokens(f *testing.F) {
	for _, sql := range []string{"SELECT 1", "'", "\"", "$a$", "$$x$$", "/*/*", "--", "E'\\", "U&\"", "u&'x'", "((", "1e5.x", "$1", "$$", "-", "/", "é'"} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		tk := &Tokens{SQL: sql}
		for n := 0; tk.Next() != ""; n++ {
			if n > len(sql) {
				t.Fatal("more tokens than bytes")
			}
		}
		if sqlcheck.Text(sql) != nil {
			return
		}
		quoted := "SELECT '" + strings.ReplaceAll(sql, "'", "''") + "'"
		if err := CheckQuery(quoted, false); err != nil {
			t.Errorf("%q: %v", quoted, err)
		}
		named := `SELECT 1 AS "` + strings.ReplaceAll(sql, `"`, `""`) + `" `
		if err := CheckQuery(named, false); err != nil {
			t.Errorf("%q: %v", named, err)
		}
	})
}

// FuzzAppendJSON: what goes to the server is valid and means the same.
func FuzzAppendJSON(f *testing.F) {
	for _, text := range []string{`"\u0000"`, `"\ud800\udc00"`, `{"\ud800":"\\u0000"}`, `[1,"\""]`, "\"\xff\"", "{"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := AppendJSON(nil, tidegate.JSONText(text))
		if err != nil {
			return
		}
		again, err := AppendJSON(nil, tidegate.JSONText(out))
		if err != nil || string(again) != string(out) {
			t.Errorf("%q became %q and then %q, %v", text, out, again, err)
		}
	})
}

func TestMark(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 500)
	for _, c := range []struct {
		sql      string
		position int
		want     string
	}{
		{"SELECT x", 8, "\nLINE 1: SELECT x\n               ^"},
		{"a\nbc\nd", 4, "\nLINE 2: bc\n         ^"},
		{"é\tü x", 5, "\nLINE 1: é ü x\n            ^"},
		{"x", 2, "\nLINE 1: x\n         ^"},
		{"x", 3, ""},
		{"x", 0, ""},
		{long + "y" + long, 501, "\nLINE 1: " + strings.Repeat("x", 60) + "y" + strings.Repeat("x", 59) + "\n" + strings.Repeat(" ", 68) + "^"},
	} {
		if got := Mark(c.sql, c.position); got != c.want {
			t.Errorf("%q at %d: %q, want %q", c.sql[:min(9, len(c.sql))], c.position, got, c.want)
		}
	}
}
