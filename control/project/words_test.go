package project_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWords holds words.json, what the published schemas say of each key, to the
// comments of the definitions' fields, and every key to having one.
func TestWords(t *testing.T) {
	t.Parallel()
	structs := map[string]*ast.StructType{}
	for _, name := range []string{"definition.go", "rules.go", "stream.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					structs[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	words := map[string]string{}
	for name := range structs {
		for key, text := range wordsOf(structs, name) {
			words[name+"."+key] = text
			if text == "" {
				t.Errorf("%s.%s has no comment that says what it means", name, key)
			}
		}
	}
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(words); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("words.json", got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("words.json")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("run `make generate` when this is meant:\n%s", d)
	}
}

// wordsOf returns what the comments say of each key of a struct, with the names
// of its Go fields replaced by the keys that a reader of YAML knows.
func wordsOf(structs map[string]*ast.StructType, name string) map[string]string {
	words, keys := map[string]string{}, map[string]string{}
	for _, f := range structs[name].Fields.List {
		if len(f.Names) == 0 { // embedded
			if of, ok := f.Type.(*ast.Ident); ok && structs[of.Name] != nil {
				for key, text := range wordsOf(structs, of.Name) {
					words[key] = text
				}
			}
			continue
		}
		if f.Tag == nil {
			continue
		}
		key, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if key == "" || key == "-" {
			continue
		}
		keys[f.Names[0].Name] = key
		words[key] = strings.Join(strings.Fields(f.Doc.Text()), " ")
	}
	for key, text := range words {
		first := true
		words[key] = goName.ReplaceAllStringFunc(text, func(word string) string {
			own := first // its own name is meant only where the comment begins with it
			first = false
			if as, ok := keys[word]; ok && (as != key || own) {
				return "`" + as + "`"
			}
			return word
		})
		for _, verb := range []string{"is", "are"} {
			if rest, ok := strings.CutPrefix(words[key], "`"+key+"` "+verb+" "); ok {
				words[key] = strings.ToUpper(rest[:1]) + rest[1:]
			}
		}
	}
	return words
}

var goName = regexp.MustCompile("`[^`]*`|[A-Z][A-Za-z0-9]*")
