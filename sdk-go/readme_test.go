package analytics

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestREADME compiles the programs of README.md from a module of their own, as
// someone who copies them would. It also is the proof that the module can be
// required from a clean folder.
func TestREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	module := "module example.com/shop\n\ngo 1.22\n\nrequire github.com/tidegate/tidegate/sdk-go v0.0.0\n\nreplace github.com/tidegate/tidegate/sdk-go => " + here + "\n"
	write(t, filepath.Join(dir, "go.mod"), module)
	programs := 0
	for _, block := range strings.Split(string(text), "```go\n")[1:] {
		code, _, _ := strings.Cut(block, "```")
		if strings.HasPrefix(code, "package main") {
			programs++
			write(t, filepath.Join(dir, "cmd", string(rune('a'+programs)), "main.go"), code)
		}
	}
	if programs < 2 {
		t.Fatalf("%d programs", programs)
	}
	write(t, filepath.Join(dir, "shape", "shape.go"), `package shape

import analytics "github.com/tidegate/tidegate/sdk-go/segment"

var _ analytics.Client = analytics.New("WK")
`)
	vet := exec.Command("go", "vet", "./...")
	vet.Dir = dir
	vet.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off")
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
