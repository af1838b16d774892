package egress_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// banned are the ways to open a connection beside this package.
var banned = []string{
	"http.Client", "http.Transport", "http.DefaultClient", "http.DefaultTransport", "http.Get", "http.Head", "http.Post", "http.PostForm",
	"net.Dial", "net.DialTimeout", "net.DialTCP", "net.Dialer", "tls.Dial", "tls.Dialer",
}

// elsewhere are the places that may, with the reason. A waiver that is no
// longer needed fails the test.
var elsewhere = map[string]string{
	"internal/egress":           "this package",
	"warehouse/clickhouse":      "the warehouse is the operator's own server, as a rule on a private address; only its configuration names it",
	"warehouse/postgres/pgtest": "an SSH server that forwards, in tests only",
	"warehouse/redshift/rstest": "it speaks to its own server, in tests only",
	"internal/pgwire":           "the warehouse is the operator's own server, as a rule on a private address; only its configuration names it, and it speaks no HTTP",
}

// free are roots that are not part of the server.
var free = []string{"cmd", "e2e", "bench", "internal/loadgen", "sdk-go", "sdk-js", "examples", "dashboards"}

// TestNothingElseDials reads the source of the whole tree.
func TestNothingElseDials(t *testing.T) {
	t.Parallel()
	const root = "../.."
	used := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules" || slices.Contains(free, rel)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, use := range uses(t, path, src) {
			if _, ok := elsewhere[filepath.Dir(rel)]; ok {
				used[filepath.Dir(rel)] = true
				continue
			}
			t.Errorf("%s uses %s: take the client from egress.New, or add a waiver with a reason", rel, use)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, reason := range elsewhere {
		if !used[dir] {
			t.Errorf("the waiver for %s (%s) is not needed any more", dir, reason)
		}
	}
}

func TestUsesSeesADial(t *testing.T) {
	t.Parallel()
	src := "package x\nimport (\n\"net/http\"\nn \"net\"\n)\nvar a = &http.Client{}\nvar b http.Handler\nfunc f(c *http.Client) { n.Dial(\"tcp\", \"\") }\n"
	got := uses(t, "x.go", []byte(src))
	if !slices.Equal(got, []string{"http.Client", "net.Dial"}) {
		t.Errorf("got %v", got)
	}
}

// uses returns the banned names that a file makes or calls. A type that is only named (a
// parameter of type *http.Client) is not a use.
func uses(t *testing.T, name string, src []byte) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil // a file that does not parse fails its own build
	}
	packages := map[string]string{}
	for _, i := range file.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		base := path[strings.LastIndex(path, "/")+1:]
		if i.Name != nil {
			packages[i.Name.Name] = base
		} else {
			packages[base] = base
		}
	}
	named := func(e ast.Expr) string {
		if sel, ok := e.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok {
				return packages[pkg.Name] + "." + sel.Sel.Name
			}
		}
		return ""
	}
	var found []string
	add := func(e ast.Expr) {
		if n := named(e); slices.Contains(banned, n) {
			found = append(found, n)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch v := n.(type) {
		case *ast.CompositeLit:
			add(v.Type)
		case *ast.CallExpr:
			add(v.Fun)
			if id, ok := v.Fun.(*ast.Ident); ok && id.Name == "new" && len(v.Args) == 1 {
				add(v.Args[0])
			}
		case *ast.SelectorExpr:
			if n := named(v); n == "http.DefaultClient" || n == "http.DefaultTransport" {
				found = append(found, n)
			}
		}
		return true
	})
	return found
}
