package tidegate_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	mentionedTest = regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9]+\b`)
	definedTest   = regexp.MustCompile(`(?m)^func (Test[A-Z][A-Za-z0-9]+)\(`)
	link          = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading       = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fenced        = regexp.MustCompile("(?s)```.*?```")
	code          = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

// anchors are the names that the headings of a page have in addresses.
func anchors(text string) map[string]bool {
	named := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		named[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])] = true
	}
	return named
}

// TestDocsPointAtWhatIsThere: a promise in the documents names the test that proves it, and
// a page the file and the heading that it leads to. Both get new names over the years.
func TestDocsPointAtWhatIsThere(t *testing.T) {
	t.Parallel()
	defined := map[string]bool{}
	pages := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "bin"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".md") && !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".md") {
			pages[path] = string(text)
			return nil
		}
		for _, m := range definedTest.FindAllStringSubmatch(string(text), -1) {
			defined[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(defined) < 100 || pages["README.md"] == "" {
		t.Fatalf("%d tests and %d pages were found: this looks in the wrong place", len(defined), len(pages))
	}
	for page, text := range pages {
		if page == "CHANGELOG.md" || strings.HasPrefix(page, "changelog.d") || strings.HasPrefix(page, filepath.Join("docs", "decisions")) {
			continue // they tell of their day
		}
		for _, name := range mentionedTest.FindAllString(text, -1) {
			if !defined[name] {
				t.Errorf("%s names %s, and there is no such test", page, name)
			}
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(path); err != nil || anchor != "" && !anchors(pages[path])[anchor] {
				t.Errorf("%s leads to %s, which is not there", page, m[1])
			}
		}
	}
}
