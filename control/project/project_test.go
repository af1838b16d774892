package project_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/secret"
)

var update = flag.Bool("update", false, "write the golden parts of the test data")

type warehouseConfig struct {
	MemoryLimit string `json:"memory_limit,omitempty" doc:"How much memory queries may use."`
}

type hubspotConfig struct {
	Token   secret.Secret `json:"token" doc:"A private app's access token."`
	BaseURL string        `json:"base_url,omitempty" default:"https://api.hubapi.com" format:"uri" doc:"Where the API is."`
}

func kinds() project.Kinds {
	return project.Kinds{
		Warehouses:   map[string]func() any{"duckdb": func() any { return new(warehouseConfig) }},
		Destinations: map[string]func() any{"hubspot": func() any { return new(hubspotConfig) }, "webhook": func() any { return new(struct{}) }},
	}
}

func folder(files []txtar.File) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, f := range files {
		fsys[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	return fsys
}

// TestBad holds every way to be wrong to the message it must give: each archive
// in testdata/bad is a project folder and, last, the file "want".
func TestBad(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d ways to be wrong, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files, want := archive.Files, ""
			if last := files[len(files)-1]; last.Name == "want" {
				files, want = files[:len(files)-1], string(last.Data)
			}
			_, err = project.Load(folder(files), kinds())
			if err == nil {
				t.Fatal("the project was accepted")
			}
			var problems *config.Error
			if !errors.As(err, &problems) {
				t.Fatalf("the error is %T: %v", err, err)
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "CANARY") {
				t.Error("a problem shows a secret")
			}
			if *update {
				archive.Files = append(files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestGood holds folders to the project that they are read as.
func TestGood(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/good/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d good projects, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files, want := archive.Files, ""
			if last := files[len(files)-1]; last.Name == "want" {
				files, want = files[:len(files)-1], string(last.Data)
			}
			p, err := project.Load(folder(files), kinds())
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := string(text) + "\n"
			if *update {
				archive.Files = append(files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			roundTrips(t, p)
		})
	}
}

// roundTrips checks that neither JSON nor taking apart loses anything.
func roundTrips(t *testing.T, p *project.Project) {
	t.Helper()
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := project.Parse(data, kinds())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, again); d != "" {
		t.Errorf("after JSON: %s", d)
	}
	parts, err := p.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	assembled, err := project.Assemble(parts)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := project.Diff(p, assembled)
	if err != nil || len(changes) != 0 {
		t.Errorf("after taking apart: %v, %v", changes, err)
	}
}

func TestLoadDirNamesTheFolder(t *testing.T) {
	t.Parallel()
	_, err := project.LoadDir(filepath.Join(t.TempDir(), "nothing"), kinds())
	if f := tidegate.FaultOf(err); f.Code != "project.not_found" || !strings.Contains(f.Subject, "nothing") {
		t.Errorf("got %v", err)
	}
}

func TestLoadDirStaysInside(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "passwords.yaml")
	dir := t.TempDir()
	if err := os.WriteFile(outside, []byte("name: stolen\nwrite_key: WK\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, project.File), []byte("warehouse: {kind: duckdb}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sources"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "sources", "a.yaml")); err != nil {
		t.Skip("no symbolic links here")
	}
	if p, err := project.LoadDir(dir, kinds()); err == nil {
		t.Errorf("a link out of the folder was followed: %+v", p.Sources)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	load := func(yaml string) *project.Project {
		p, err := project.Load(fstest.MapFS{project.File: &fstest.MapFile{Data: []byte(yaml)}}, kinds())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	from := load("warehouse: {kind: duckdb}\nsources: [{name: web, write_key: A}, {name: old, write_key: B}]\n")
	to := load("warehouse: {kind: duckdb, config: {memory_limit: 1GB}}\nsources: [{name: web, write_key: A, disabled: true}, {name: app, write_key: C}]\n")
	got, err := project.Diff(from, to)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	want := []project.Change{
		{Kind: "warehouse", Name: "warehouse", Op: "updated", Fields: []project.FieldChange{{Path: "config.memory_limit", Before: raw("null"), After: raw(`"1GB"`)}}},
		{Kind: "source", Name: "app", Op: "created"},
		{Kind: "source", Name: "old", Op: "deleted"},
		{Kind: "source", Name: "web", Op: "updated", Fields: []project.FieldChange{{Path: "disabled", Before: raw("null"), After: raw("true")}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if all, err := project.Diff(nil, from); err != nil || len(all) != 4 {
		t.Errorf("from nothing: %v, %v", all, err)
	}
	if none, err := project.Diff(from, from); err != nil || len(none) != 0 {
		t.Errorf("to itself: %v, %v", none, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("warehouse: {kind: duckdb}\nsources: [{name: web, write_key: WK}]\n", "-- primary_key: id\nSELECT 1 AS id", "model: m\n")
	f.Add("a: &a [*a]", "--", "{}")
	f.Fuzz(func(t *testing.T, yaml, sql, sync string) {
		fsys := fstest.MapFS{}
		for name, text := range map[string]string{project.File: yaml, "models/m.sql": sql, "syncs/s.yaml": sync} {
			fsys[name] = &fstest.MapFile{Data: []byte(text), Mode: fs.FileMode(0o600)}
		}
		p, err := project.Load(fsys, kinds())
		if err != nil {
			return
		}
		roundTrips(t, p)
	})
}

func ExampleLoad() {
	fsys := fstest.MapFS{project.File: &fstest.MapFile{Data: []byte("warehouse: {kind: duckbd}\n")}}
	_, err := project.Load(fsys, kinds())
	fmt.Println(err)
	// Output: tidegate.yaml:1:19: warehouse.kind: there is no warehouse kind "duckbd" (did you mean "duckdb"?)
}
