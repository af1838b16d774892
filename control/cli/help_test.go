package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func everyCommand(cmd *cobra.Command, look func(*cobra.Command)) {
	look(cmd)
	for _, sub := range cmd.Commands() {
		everyCommand(sub, look)
	}
}

// TestHelpShowsFlagsAsTheyAre: what stands between backquotes in a flag's sentence is taken out
// of it and shown as the name of the flag's value.
func TestHelpShowsFlagsAsTheyAre(t *testing.T) {
	t.Parallel()
	everyCommand((&command{env: testEnv()}).tree(), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if strings.Contains(f.Usage, "`") {
				t.Errorf("%s --%s: %s", cmd.CommandPath(), f.Name, f.Usage)
			}
		})
	})
}

// TestReferenceKnowsEveryCommand also those that hold others and do something themselves.
func TestReferenceKnowsEveryCommand(t *testing.T) {
	t.Parallel()
	text := Reference(testEnv())
	for _, line := range []string{"### `tidegate plan [DIR]`", "### `tidegate events replay`", "### `tidegate schema [SOURCE[.TABLE]]`", "### `tidegate alerts`", "| `--dead` |"} {
		if !strings.Contains(text, line) {
			t.Errorf("%s is missing", line)
		}
	}
	if strings.Contains(text, "### `tidegate sync`") {
		t.Error("a command that only shows its help is listed")
	}
}

// TestValuesAreShownAlike: a time that comes from this process and one that a server sent.
func TestValuesAreShownAlike(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, v := range map[string]any{"2026-01-02T03:04:05Z": at, "NULL": nil, "a": "a", "1.5": 1.5, `["a"]`: []string{"a"}} {
		if got := valueText(v); got != want {
			t.Errorf("%v is shown as %s, want %s", v, got, want)
		}
	}
}

func testEnv() Env {
	return Env{Getenv: func(string) string { return "" }, Now: time.Now}
}

// TestTablesStandInColumns of the terminal, whatever script a cell is in; and no cell turns the line round.
func TestTablesStandInColumns(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := table(&out, []string{"NAME", "N"}, [][]string{{"日本", "1"}, {"Größe", "2"}, {"e\u0301a", "3"}, {"🙂", "4"}, {"a\u202eb", "5"}}); err != nil {
		t.Fatal(err)
	}
	want := []string{"NAME   N", "日本   1", "Größe  2", "e\u0301a     3", "🙂     4", "a\ufffdb    5", ""}
	if got := strings.Split(out.String(), "\n"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
