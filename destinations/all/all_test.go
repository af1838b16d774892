package all_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/internal/config"
)

// TestFurniture holds every connector's folder to the same furniture.
func TestFurniture(t *testing.T) {
	t.Parallel()
	var names []string
	for _, k := range all.All() {
		names = append(names, k.Name)
		folder := "../" + k.Name + "/"
		for _, file := range []string{"doc.go", "config.go", k.Name + ".go", "classify.go", "sim.go", "conformance_test.go", "icon.svg", "testdata/schema.json"} {
			if _, err := os.Stat(folder + file); err != nil {
				t.Errorf("%s: %v", k.Name, err)
			}
		}
		if icon, err := os.ReadFile(folder + "icon.svg"); err == nil && (!strings.HasPrefix(string(icon), "<svg") || strings.Contains(string(icon), "script") || strings.Contains(string(icon), "href")) {
			t.Errorf("%s: the icon is not a plain drawing", k.Name)
		}
		if k.Simulate == nil || k.SimulatorConfig == nil {
			t.Errorf("%s has no simulator", k.Name)
			continue
		}
		if _, err := k.Simulate(nil); err != nil {
			t.Errorf("%s: a simulator without options: %v", k.Name, err)
		}
		if err := config.DecodeJSON(k.Name, k.SimulatorConfig("http://127.0.0.1:8090"), k.NewConfig()); err != nil {
			t.Errorf("%s: the simulator's configuration: %v", k.Name, err)
		}
		if found, ok := all.Find(k.Name); !ok || found.Name != k.Name {
			t.Errorf("%s is not found", k.Name)
		}
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("the names are not sorted or not unique: %v", names)
	}
	if _, ok := all.Find("nope"); ok {
		t.Error("found what is not there")
	}
	folders, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if f.IsDir() && f.Name() != "all" && f.Name() != "destinationtest" && !slices.Contains(names, f.Name()) {
			t.Errorf("the connector %s is not in the list", f.Name())
		}
	}
}
