package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tidegate/tidegate/control/cli"
	"github.com/tidegate/tidegate/control/local"
	"github.com/tidegate/tidegate/control/project"
)

var update = flag.Bool("update", false, "write docs/reference")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("..", "..", "docs", "reference", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("run `go test ./cmd/tidegate -update` when this is meant:\n%s", d)
	}
}

// TestCommandReference holds docs/reference/cli.md to the commands.
func TestCommandReference(t *testing.T) {
	t.Parallel()
	golden(t, "cli.md", cli.Reference(cli.Env{Getenv: func(string) string { return "" }, Local: local.New("dev", time.Now)}))
}

// TestConfigurationReference holds docs/reference/configuration.md to the structs, each
// key of which says what it means.
func TestConfigurationReference(t *testing.T) {
	t.Parallel()
	text := project.Reference(local.New("dev", time.Now).Kinds)
	golden(t, "configuration.md", text)
	for line := range strings.Lines(text) {
		if strings.HasSuffix(line, "|  |\n") {
			t.Errorf("nothing is said of %s", strings.TrimSpace(line))
		}
	}
}

// TestSchemas holds the published schemas to the structs, and the structs'
// schemas to the standard: the smallest project is valid, a misspelt one is not.
func TestSchemas(t *testing.T) {
	t.Parallel()
	for _, name := range project.Schemas() {
		text, err := json.MarshalIndent(project.Schema(name, local.New("dev", time.Now).Kinds), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".schema.json", string(text)+"\n")
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
		schema, err := compiler.Compile(name)
		if err != nil {
			t.Fatal(err)
		}
		if name != "project" {
			continue
		}
		for text, valid := range map[string]bool{
			`{"warehouse":{"kind":"duckdb"},"sources":[{"name":"web","write_key":"WK"}]}`:                         true,
			`{"warehouse":{"kind":"duckdb"},"sorces":[]}`:                                                         false,
			`{"warehouse":{"kind":"duckbd"}}`:                                                                     false,
			`{"warehouse":{"kind":"duckdb","config":{"nonsense":1}}}`:                                             false,
			`{"warehouse":{"kind":"duckdb"},"destinations":[{"name":"a","kind":"hubspot","config":{"tokn":""}}]}`: false,
		} {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); (err == nil) != valid {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}
