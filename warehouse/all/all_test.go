package all_test

import (
	"path/filepath"
	"reflect"
	"sort"
	"testing"
	"time"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/all"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	kinds := all.All()
	if !sort.SliceIsSorted(kinds, func(i, j int) bool { return kinds[i].Name < kinds[j].Name }) {
		t.Error("the kinds are not sorted")
	}
	seen := map[string]bool{}
	for _, k := range kinds {
		if k.Name == "" || k.Title == "" || seen[k.Name] {
			t.Errorf("kind %q, title %q: empty or repeated", k.Name, k.Title)
		}
		seen[k.Name] = true
		if found, ok := all.Find(k.Name); !ok || found.Name != k.Name {
			t.Errorf("%s is not found", k.Name)
		}
		config := reflect.TypeOf(k.NewConfig())
		if config.Kind() != reflect.Pointer || config.Elem().Kind() != reflect.Struct {
			t.Fatalf("%s: the configuration is a %v", k.Name, config)
		}
		for i := range config.Elem().NumField() {
			if f := config.Elem().Field(i); f.Tag.Get("json") == "" || f.Tag.Get("doc") == "" {
				t.Errorf("%s: field %s has no name or no documentation", k.Name, f.Name)
			}
		}
	}
	if _, ok := all.Find("oracle"); ok {
		t.Error("a kind was found that is not there")
	}
}

func TestDuckDBOpensInTheDataFolder(t *testing.T) {
	t.Parallel()
	k, _ := all.Find("duckdb")
	for _, c := range []struct{ path, want string }{{"", "warehouse.duckdb"}, {"sub/w.db", "sub/w.db"}} {
		dir := t.TempDir()
		w, err := k.Open(t.Context(), &duckdb.Config{Path: c.path, MemoryLimit: "200MB", Threads: 1}, warehouse.Env{Dir: dir, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, c.want)); len(found) != 1 {
			t.Errorf("path %q: the file is not at %s", c.path, c.want)
		}
	}
}
