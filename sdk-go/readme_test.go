package analytics

import (
	"archive/zip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestREADME compiles the programs of README.md in a clean folder that gets the
// module from a proxy, as someone who copies them would.
func TestREADME(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles programs")
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, proxy, cache := t.TempDir(), t.TempDir(), t.TempDir()
	publish(t, proxy, "v"+Version)
	write(t, filepath.Join(dir, "go.mod"), "module example.com/shop\n\ngo 1.22\n")
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
	for _, args := range [][]string{{"get", "github.com/tidegate/tidegate/sdk-go@latest"}, {"vet", "./..."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-modcacherw", "GOPROXY=file://"+filepath.ToSlash(proxy), "GONOSUMDB=*",
			"GOMODCACHE="+cache, "GOTOOLCHAIN=local")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(cache, "github.com/tidegate/tidegate/sdk-go@*", "LICENSE")); len(files) != 1 {
		t.Error("the module comes without its LICENSE")
	}
}

// publish puts this module into a folder that is laid out as a module proxy.
func publish(t *testing.T, proxy, version string) {
	t.Helper()
	const path = "github.com/tidegate/tidegate/sdk-go"
	base := filepath.Join(proxy, filepath.FromSlash(path), "@v")
	module, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(base, "list"), version+"\n")
	write(t, filepath.Join(base, version+".info"), `{"Version":"`+version+`","Time":"2026-11-21T12:00:00Z"}`)
	write(t, filepath.Join(base, version+".mod"), string(module))
	file, err := os.Create(filepath.Join(base, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	err = filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != "." {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		return pack(archive, path+"@"+version+"/"+filepath.ToSlash(name), name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

func pack(archive *zip.Writer, name, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := archive.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return err
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
