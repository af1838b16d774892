package project

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// addModels pairs models/NAME.sql with models/NAME.yaml. Either may stand
// alone: the primary key of a lone .sql file is in its leading comment,
//
//	-- primary_key: id, country
//	-- warehouse: lake          (when it is not the one that events go to)
//	SELECT …
//
// and a lone .yaml file has `sql` or `table` itself.
func (d *draft) addModels(fsys fs.FS) error {
	files, err := d.list(fsys, "models")
	if err != nil {
		return err
	}
	byName := map[string]int{} // NAME → index in d.models of this folder's model
	for _, name := range files {
		if path.Ext(name) != ".sql" {
			continue
		}
		data, err := readFile(fsys, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		base := strings.TrimSuffix(path.Base(name), ".sql")
		byName[base] = len(d.models)
		d.models = append(d.models, d.sqlModel(name, base, string(data)))
	}
	return pair(d, fsys, files, &d.models, byName, "sql", "the query", func(name string) tidegate.Model { return tidegate.Model{Name: name} })
}

// pair reads the .yaml files of a folder. Each completes the file of another kind and of the same name, whose text stands
// in its member text, or is a definition by itself. byName are the items of those others.
func pair[T any](d *draft, fsys fs.FS, files []string, items *[]item[T], byName map[string]int, text, what string, named func(string) T) error {
	for _, name := range files {
		if path.Ext(name) != ".yaml" {
			continue
		}
		doc, err := d.parse(fsys, name)
		if err != nil {
			return err
		}
		if doc == nil {
			continue
		}
		base := strings.TrimSuffix(path.Base(name), ".yaml")
		it := item[T]{value: named(base), doc: doc}
		at, paired := byName[base]
		if paired {
			it.value, it.file = (*items)[at].value, (*items)[at].file
			if doc.At(text) != nil {
				d.errs = append(d.errs, problemError(doc.Problem(text, what+" stands in "+it.file+" already", "remove it from one of the two files")))
			}
		}
		if err := doc.Decode(&it.value); err != nil {
			d.errs = append(d.errs, err)
		}
		if paired {
			(*items)[at] = it
		} else {
			*items = append(*items, it)
		}
	}
	return nil
}

var commentLine = regexp.MustCompile(`^--\s*([A-Za-z_]+):\s*(.*?)\s*$`)

// sqlModel reads a .sql file with its leading comment.
func (d *draft) sqlModel(file, name, text string) item[tidegate.Model] {
	m := tidegate.Model{Name: name, SQL: text}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if !strings.HasPrefix(line, "--") {
			break
		}
		match := commentLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		known := []string{"primary_key", "warehouse"}
		key, value := match[1], match[2]
		switch {
		case key == known[0]:
			m.PrimaryKey = keyColumns(value)
		case key == known[1]:
			m.Warehouse = value
		case config.Suggest(key, known) != "":
			d.errs = append(d.errs, problemError(config.Problem{
				File: file, Line: i + 1, Column: strings.Index(line, key) + 1, Path: key, Message: "unknown key", Hint: config.DidYouMean(key, known),
			}))
		}
	}
	return item[tidegate.Model]{value: m, file: file}
}

// keyColumns reads `id`, `id, country` and `[id, country]`.
func keyColumns(list string) []string {
	list = strings.TrimSuffix(strings.TrimPrefix(list, "["), "]")
	var columns []string
	for _, c := range strings.Split(list, ",") {
		if c = strings.Trim(strings.TrimSpace(c), `"'`); c != "" {
			columns = append(columns, c)
		}
	}
	return columns
}
