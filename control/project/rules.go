package project

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/tracking"
	"github.com/tidegate/tidegate/ingest/transform"
	"github.com/tidegate/tidegate/internal/config"
)

// allPlans compiles the tracking plans as the readers of the journal will, and
// checks what sources say of them.
func (c *checker) allPlans() {
	unique(c, c.plans, "tracking plan", func(v tidegate.TrackingPlan) string { return v.Name })
	for _, it := range c.plans {
		for _, p := range tracking.Check(it.value) {
			c.add(it.problem(p.Path, p.Message, p.Hint))
		}
		if to := it.value.Actions.Route; slices.Contains(reservedSchemas, to) {
			c.add(it.problem("actions.route", fmt.Sprintf("%q is a schema of the warehouse itself", to), "choose another"))
		}
	}
	known := names(c.plans, func(v tidegate.TrackingPlan) string { return v.Name })
	for _, it := range c.sources {
		name := it.value.TrackingPlan
		if name == "" || slices.Contains(known, name) {
			continue
		}
		hint := config.DidYouMean(name, known)
		if len(known) == 0 {
			hint = "the project has no tracking plans: write plans/" + name + ".yaml"
		}
		c.add(it.problem("tracking_plan", fmt.Sprintf("there is no tracking plan %q", name), hint))
	}
}

// TransformTests ends the names of files with examples of a transformation, which
// are no definitions.
const TransformTests = ".test.yaml"

// addTransforms pairs transforms/NAME.js with transforms/NAME.yaml. A lone .js file is a
// transformation of all events.
func (d *draft) addTransforms(fsys fs.FS) error {
	files, err := d.list(fsys, "transforms")
	if err != nil {
		return err
	}
	byName := map[string]int{}
	for _, name := range files {
		if path.Ext(name) != ".js" {
			continue
		}
		data, err := readFile(fsys, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		base := strings.TrimSuffix(path.Base(name), ".js")
		byName[base] = len(d.transforms)
		d.transforms = append(d.transforms, item[tidegate.Transform]{value: tidegate.Transform{Name: base, Script: string(data)}, file: name})
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, TransformTests) })
	return pair(d, fsys, files, &d.transforms, byName, "script", "the script", func(name string) tidegate.Transform { return tidegate.Transform{Name: name} })
}

// allTransforms compiles the transformations as the readers of the journal will.
func (c *checker) allTransforms() {
	unique(c, c.transforms, "transformation", func(v tidegate.Transform) string { return v.Name })
	sources := names(c.sources, func(v tidegate.Source) string { return v.Name })
	for _, it := range c.transforms {
		def := it.value
		if it.doc == nil && !namePattern.MatchString(def.Name) {
			c.add(it.problem("name", fmt.Sprintf("%q cannot be a name", def.Name), "rename the file: lower case letters, digits and _, starting with a letter, at most 63"))
		}
		for _, p := range transform.Check(def, c.usable) {
			if !strings.HasPrefix(p.File, transform.LibrariesFolder+"/") { // told with the library
				c.add(inScript(it, p))
			}
		}
		for i, name := range def.Sources {
			if !slices.Contains(sources, name) {
				c.add(it.problem(fmt.Sprintf("sources[%d]", i), fmt.Sprintf("there is no source %q", name), config.DidYouMean(name, sources)))
			}
		}
		if it.doc == nil {
			continue
		}
		var cloned tidegate.Transform // secrets are resolved in place
		if text, err := json.Marshal(def); err == nil && json.Unmarshal(text, &cloned) == nil {
			c.secrets(it.doc, &cloned)
		}
	}
}
