package celltext

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func TestCells(t *testing.T) {
	t.Parallel()
	texts := Texts{Kept: func(string) bool { return true }}
	columns := []Column{{Name: "id", Key: true, Append: texts.Append}, {Name: "v", Append: texts.Append}}
	for _, c := range []struct {
		name string
		rows []tidegate.Row
		want string
		code string
	}{
		{"texts", []tidegate.Row{{int64(1), "a"}, {int64(2), nil}, {"", 0.5}}, "0=1 1=a | 0=2 | 0= 1=0.5 | ", ""},
		{"a key that is NULL", []tidegate.Row{{int64(1), "a"}, {nil, "b"}}, `0=1 1=a | column "id": row 2: a key column is NULL`, "warehouse.value"},
		{"a value that does not fit", []tidegate.Row{{"a\x00", nil}}, `column "id": row 1: the text holds a NUL character`, "warehouse.value"},
		{"a row that is too short", []tidegate.Row{{"a"}}, "row 1 has 1 cells and the schema 2 columns", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cells := Cells{Rows: tidegate.Rows(tidegate.Schema{{Name: "id"}, {Name: "v"}}, c.rows...), Columns: columns}
			var got strings.Builder
			var err error
			for err == nil {
				if err = cells.Next(t.Context(), func(i int, text []byte) error {
					got.WriteString(string(rune('0'+i)) + "=" + string(text) + " ")
					return nil
				}); err == nil {
					got.WriteString("| ")
				}
			}
			var f *tidegate.Fault
			switch {
			case errors.As(err, &f):
				got.WriteString(f.Subject + ": " + f.Message)
				if f.Code != c.code || f.Action != tidegate.Reject {
					t.Errorf("got a fault %v %s, want a rejection %s", f.Action, f.Code, c.code)
				}
			case !errors.Is(err, io.EOF):
				got.WriteString(err.Error())
			}
			if diff := cmp.Diff(c.want, got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppendQuoted(t *testing.T) {
	t.Parallel()
	got, err := AppendQuoted(nil, []byte("a\"\n\\<ü"))
	if want := `"a\"\n\\<ü"`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := AppendQuoted(nil, []byte("\xff")); !errors.Is(err, ErrNotUTF8) {
		t.Errorf("got %v", err)
	}
}
