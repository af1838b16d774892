package app_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/cli"
	"github.com/tidegate/tidegate/control/local"
)

var (
	block     = regexp.MustCompile("(?s)```[a-z]+\n(?:#|//) (\\S+\\.(?:yaml|js))[^\n]*\n.*?```")
	blockText = regexp.MustCompile("(?s)```[a-z]+\n(.*?)```")
)

// pasted writes the files that the blocks of a page are, the last of each name, into a folder.
func pasted(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		file := filepath.Join(dir, filepath.FromSlash(m[1]))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(blockText.FindStringSubmatch(m[0])[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// here runs a command without a server in a project folder.
func here(t *testing.T, dir, in string, args ...string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Run(t.Context(), cli.Env{
		Args: append([]string{"--project", dir, "--data", filepath.Join(dir, "data")}, args...), Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errs,
		Getenv: os.Getenv, Now: time.Now, Version: "test",
		Local: local.New("test", time.Now),
	})
	if code != cli.ExitOK {
		t.Errorf("tidegate %s: %d\n%s%s", strings.Join(args, " "), code, &out, &errs)
	}
}

// TestBlocksOfTheDocumentsWork when they are pasted into a fresh project.
func TestBlocksOfTheDocumentsWork(t *testing.T) {
	const event = `{"type":"track","event":"Order Completed","userId":"u1","context":{"app":{"version":"1"}},"properties":{"order_id":"o-1","total":12.5,"currency":"EUR"}}`
	t.Setenv("EMAIL_SALT", "salt")

	plans := pasted(t, "tracking-plans.md")
	here(t, plans, "", "check")
	here(t, plans, event, "tracking", "check", "--events", "-")
	here(t, plans, "", "plan", "codegen", "--lang", "ts", "--out", filepath.Join(plans, "src"))
	here(t, plans, "", "plan", "codegen", "--lang", "go", "--out", filepath.Join(plans, "src"))
	here(t, plans, event, "explain")

	rules := pasted(t, "transformations.md")
	if err := os.WriteFile(filepath.Join(rules, "tidegate.yaml"), []byte("warehouse: {kind: duckdb}\nsources: [{name: web, write_key: WK}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	here(t, rules, "", "check")
	here(t, rules, "", "transform", "test")
	here(t, rules, event, "transform", "run", "orders")
	here(t, rules, event, "explain")
}
