package analytics

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAPI holds the exported surface of both packages to api.txt, so that a
// change of it is seen in review. -update writes the file anew.
func TestAPI(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	for _, dir := range []string{".", "segment"} {
		fmt.Fprintf(&got, "# package analytics (%s)\n\n", filepath.ToSlash(filepath.Join("github.com/tidegate/tidegate/sdk-go", dir)))
		for _, decl := range exported(t, dir) {
			fmt.Fprintf(&got, "%s\n\n", decl)
		}
	}
	if *update {
		if err := os.WriteFile("api.txt", got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("api.txt")
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if string(want) != got.String() {
		t.Errorf("the exported surface is not that of api.txt; if that is meant, run go test -run TestAPI -update\n%s", firstDifference(string(want), got.String()))
	}
}

func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\n-%s\n+%s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(b), len(a))
}

// exported returns the exported declarations of a package, sorted, without
// comments, bodies and what is not exported in them.
func exported(t *testing.T, dir string) []string {
	t.Helper()
	set := token.NewFileSet()
	packages, err := parser.ParseDir(set, dir, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, pkg := range packages {
		ast.PackageExports(pkg)
		for _, file := range pkg.Files {
			for _, decl := range file.Decls {
				out = append(out, declarations(t, decl)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out) // a function may be declared once per system
}

func declarations(t *testing.T, decl ast.Decl) []string {
	t.Helper()
	var parts []any
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
			return nil
		}
		d.Body = nil
		parts = append(parts, d)
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil
		}
		for _, spec := range d.Specs {
			parts = append(parts, &ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{spec}})
		}
	}
	var out []string
	for _, part := range parts {
		var text bytes.Buffer
		if err := format.Node(&text, token.NewFileSet(), part); err != nil {
			t.Fatal(err)
		}
		out = append(out, text.String())
	}
	return out
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if name, ok := e.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}
