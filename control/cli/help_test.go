package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tidegate/tidegate/control/api"
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

var (
	tableCall  = regexp.MustCompile(`(?:table\(c\.env\.Stdout|c\.list\(.*), \[\]string\{(.*?)\}, `)
	headerList = regexp.MustCompile(`header(?: :=|:| =) \[\]string\{(.*?)\}`)
	otherTime  = regexp.MustCompile(`Format\(time\.(DateTime|RFC1123|RFC822|ANSIC|Kitchen)`)
)

// TestTablesAreOfOneStyle: a header in capitals over every column, or none at all where labels
// stand in the first; times in one format.
func TestTablesAreOfOneStyle(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		if found := otherTime.FindString(string(text)); found != "" {
			t.Errorf("%s: %s…: tables show times in RFC 3339", file, found)
		}
		for _, m := range append(tableCall.FindAllStringSubmatch(string(text), -1), headerList.FindAllStringSubmatch(string(text), -1)...) {
			header := m[1]
			if seen++; header != strings.ToUpper(header) || strings.Contains(header, `""`) && strings.Trim(header, `", `) != "" {
				t.Errorf("%s: a header is {%s}", file, header)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d headers were found", seen)
	}
}

// TestARowlessStatement: where the statement is ours a sentence says that there is nothing; of
// somebody else's the columns are shown under the names that it gives them.
func TestARowlessStatement(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		printer   rowPrinter
		out, errs string
	}{
		{rowPrinter{none: "No event has broken the plan.", header: []string{"EVENT", "LAST"}}, "No event has broken the plan.\n", ""},
		{rowPrinter{none: "none", header: []string{"EVENT", "LAST"}, rows: [][]string{{"a", "b"}}}, "EVENT  LAST\na      b\n", ""},
		{rowPrinter{}, "event  last_seen\n", "No row.\n"},
	} {
		var out, errs bytes.Buffer
		p := tc.printer
		p.c = &command{env: Env{Stdout: &out, Stderr: &errs}}
		if err := p.columns([]api.ColumnInfo{{Name: "event"}, {Name: "last_seen"}}); err != nil {
			t.Fatal(err)
		}
		if err := p.finish(api.End{}); err != nil || out.String() != tc.out || errs.String() != tc.errs {
			t.Errorf("%q, %q, %v", out.String(), errs.String(), err)
		}
	}
}
