package tidegate_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tidegate/tidegate"

// floor is one rule of the architecture: packages that match in may import,
// of our own code, only what may names. Patterns are path prefixes; "" is the
// root package. The first rule that matches a package is its rule.
type floor struct {
	name string
	in   string
	may  []string
}

// floors is the architecture as data, from the roof down. A package that no
// rule places fails the test.
var floors = []floor{
	{"6 commands", "cmd", []string{"control"}},
	{"5 control", "control", []string{"control", "ingest", "sync", "warehouse", "destinations", "internal", "dashboards", "examples", ""}},
	{"beside: examples", "examples", nil},
	{"beside: the generator of proto", "proto", nil},
	{"4 ingest", "ingest", []string{"ingest", "warehouse!", "warehouse/sqltext", "destinations!", "internal", ""}},
	{"4 sync", "sync", []string{"sync", "warehouse!", "warehouse/sqltext", "destinations!", "internal", ""}},
	{"3 sqltext", "warehouse/sqltext", []string{""}},
	{"3 list of warehouses", "warehouse/all", []string{"warehouse", "internal", ""}},
	{"3 list of destinations", "destinations/all", []string{"destinations", "internal", ""}},
	{"3 warehouse suite", "warehouse/warehousetest", []string{"warehouse!", "warehouse/sqltext", "internal", ""}},
	{"3 destination suite", "destinations/destinationtest", []string{"destinations!", "internal", ""}},
	{"3 double of redshift", "warehouse/redshift/rstest", []string{"warehouse/postgres/pgtest"}},
	{"3 warehouse adapter", "warehouse/*", []string{"self", "warehouse!", "warehouse/sqltext", "internal", ""}},
	{"3 destination connector", "destinations/*", []string{"self", "destinations!", "internal", ""}},
	{"2 warehouse contract", "warehouse", []string{""}},
	{"2 destinations contract", "destinations", []string{""}},
	{"1 internal", "internal", []string{"internal", ""}},
	{"0 nouns", "", nil},
}

func TestFloors(t *testing.T) {
	t.Parallel()
	imports := ownImports(t)
	for _, pkg := range sortedKeys(imports) {
		f := place(pkg)
		if f == nil {
			t.Errorf("package %q stands on no floor: add a rule to floors or move it", pkg)
			continue
		}
		for _, imported := range imports[pkg] {
			if !f.allows(pkg, imported) {
				t.Errorf("floor %s: %q may not import %q", f.name, pkg, imported)
			}
		}
	}
	if cycle := findCycle(imports); cycle != nil {
		t.Errorf("import circle between folders: %s", strings.Join(cycle, " → "))
	}
}

func TestFloorsSeesAForbiddenImport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pkg, imported string
		want          bool
	}{
		{"ingest/loader", "sync/runner", false},
		{"sync/ledger", "warehouse/duckdb", false},
		{"sync/ledger", "warehouse", true},
		{"sync/ledger", "warehouse/sqltext", true},
		{"warehouse/duckdb", "destinations", false},
		{"destinations/hubspot", "destinations/webhook", false},
		{"destinations/hubspot", "internal/egress", true},
		{"internal/egress", "warehouse", false},
		{"control/app", "ingest/loader", true},
		{"cmd/tidegate", "ingest", false},
		{"", "internal/secret", false},
	} {
		if got := place(c.pkg).allows(c.pkg, c.imported); got != c.want {
			t.Errorf("%q imports %q: allowed %v, want %v", c.pkg, c.imported, got, c.want)
		}
	}
}

func place(pkg string) *floor {
	for i := range floors {
		if under(pkg, floors[i].in) {
			return &floors[i]
		}
	}
	return nil
}

func under(pkg, pattern string) bool {
	if pattern == "" {
		return pkg == ""
	}
	if base, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(pkg, base+"/")
	}
	if exact, ok := strings.CutSuffix(pattern, "!"); ok {
		return pkg == exact
	}
	return pkg == pattern || strings.HasPrefix(pkg, pattern+"/")
}

func (f *floor) allows(pkg, imported string) bool {
	for _, may := range f.may {
		if may == "self" {
			own := strings.Join(strings.SplitN(pkg, "/", 3)[:2], "/")
			if under(imported, own) {
				return true
			}
			continue
		}
		if under(imported, may) {
			return true
		}
	}
	return false
}

// ownImports returns, per package of this module, the packages of this module
// that its files (tests left out) import, whatever their build tags.
func ownImports(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "e2e" || name == "sdk-go" || name == "sdk-js") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(file))
		if pkg == "." {
			pkg = ""
		}
		out[pkg] = append(out[pkg], ownPaths(importPaths(parsed))...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func importPaths(file *ast.File) []string {
	var paths []string
	for _, spec := range file.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

func ownPaths(paths []string) []string {
	var own []string
	for _, p := range paths {
		if p == module {
			own = append(own, "")
		} else if rest, ok := strings.CutPrefix(p, module+"/"); ok {
			own = append(own, rest)
		}
	}
	return own
}

// findCycle looks for a circle between the top-level rooms, which the compiler
// does not forbid as long as it goes through different packages.
func findCycle(imports map[string][]string) []string {
	edges := map[string]map[string]bool{}
	room := func(pkg string) string { return strings.SplitN(pkg, "/", 2)[0] }
	for pkg, list := range imports {
		for _, imported := range list {
			a, b := room(pkg), room(imported)
			if a != b {
				if edges[a] == nil {
					edges[a] = map[string]bool{}
				}
				edges[a][b] = true
			}
		}
	}
	var stack []string
	state := map[string]int{}
	var visit func(string) []string
	visit = func(n string) []string {
		state[n] = 1
		stack = append(stack, n)
		for _, next := range sortedKeys(edges[n]) {
			if state[next] == 1 {
				return append(append([]string{}, stack...), next)
			}
			if state[next] == 0 {
				if c := visit(next); c != nil {
					return c
				}
			}
		}
		stack = stack[:len(stack)-1]
		state[n] = 2
		return nil
	}
	for _, n := range sortedKeys(edges) {
		if state[n] == 0 {
			if c := visit(n); c != nil {
				return c
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
