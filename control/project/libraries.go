package project

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/transform"
	"github.com/tidegate/tidegate/internal/config"
)

var libraryPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// addLibraries reads libraries/NAME.js, each a library of its file's name.
func (d *draft) addLibraries(fsys fs.FS) error {
	files, err := d.list(fsys, transform.LibrariesFolder)
	if err != nil {
		return err
	}
	for _, name := range files {
		if path.Ext(name) != ".js" {
			continue
		}
		data, err := readFile(fsys, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		d.libraries = append(d.libraries, item[tidegate.Library]{value: tidegate.Library{Name: strings.TrimSuffix(path.Base(name), ".js"), Script: string(data)}, file: name})
	}
	return nil
}

// allLibraries links every library with those that it imports. A library that is wrong is told
// once, and not again by whatever imports it.
func (c *checker) allLibraries() {
	unique(c, c.libraries, "library", func(v tidegate.Library) string { return v.Name })
	var list []tidegate.Library
	for _, it := range c.libraries {
		list = append(list, it.value)
	}
	c.usable = transform.LibrariesOf(list)
	for _, it := range c.libraries {
		if it.doc == nil && !libraryPattern.MatchString(it.value.Name) {
			c.add(it.problem("name", fmt.Sprintf("%q cannot be imported", it.value.Name), "rename the file: letters, digits, _ and -, starting with a letter, at most 63"))
		}
		for _, p := range c.usable.Check(it.value.Name) {
			c.add(inScript(it, p))
		}
	}
}

// inScript is what is wrong with a script, at the line of the file that it stands in. The
// lines of a script inside a document are told in the message.
func inScript[T any](it item[T], p config.Problem) config.Problem {
	if p.Path != "script" {
		return it.problem(p.Path, p.Message, p.Hint)
	}
	inFile := it.file != ""
	if !inFile {
		if p.Line > 0 {
			p.Message = fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Message)
		}
		return it.problem(p.Path, p.Message, p.Hint)
	}
	it.doc = nil // it stands in the other file
	out := it.problem(p.Path, p.Message, p.Hint)
	if p.Line > 0 {
		out.Line, out.Column = p.Line, p.Column
	}
	return out
}
