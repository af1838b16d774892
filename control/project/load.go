package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// File is the name of the file that makes a folder a project.
const File = "tidegate.yaml"

const (
	maxFiles    = 10_000 // definitions in one folder
	maxSQLBytes = 65_535 // the longest model
)

// item is one definition with its place. Decoding may have left value incomplete.
type item[T any] struct {
	value T
	doc   *config.Document // the definition itself; nil for a model that is only a .sql file
	file  string           // the .sql file of a model
}

func (i item[T]) problem(at, message, hint string) config.Problem {
	if i.doc == nil {
		return config.Problem{File: i.file, Line: 1, Column: 1, Path: at, Message: message, Hint: hint}
	}
	return i.doc.Problem(at, message, hint)
}

// draft is a project that is being put together from documents.
type draft struct {
	root         *config.Document
	head         Project // Warehouse and Settings; the lists below hold the rest
	warehouses   []item[tidegate.Connection]
	sources      []item[tidegate.Source]
	destinations []item[tidegate.Connection]
	models       []item[tidegate.Model]
	syncs        []item[tidegate.Sync]
	dbt          []item[tidegate.DbtProject]
	alerts       []item[tidegate.Alert]
	forwards     []item[tidegate.Forward]
	plans        []item[tidegate.TrackingPlan]
	transforms   []item[tidegate.Transform]
	libraries    []item[tidegate.Library]
	streams      []item[tidegate.Stream]
	errs         []error
	fsys         fs.FS // the project folder; nil for a document
}

// LoadDir loads the project in the folder dir; files are named in problems as
// they lie below it. See Load.
func LoadDir(dir string, kinds Kinds) (*Project, error) {
	root, err := os.OpenRoot(dir) // no link leads out of the folder
	if err != nil {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "project.not_found", Subject: dir, Message: "the project folder cannot be opened: " + unwrapPath(err).Error(),
			Hint: "name the folder that holds " + File, Err: err,
		}
	}
	p, err := Load(root.FS(), kinds)
	return p, errors.Join(err, root.Close())
}

func unwrapPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Load reads tidegate.yaml and the folders of definitions beside it, and checks the whole. An error about the content is a
// *config.Error with every problem.
func Load(fsys fs.FS, kinds Kinds) (*Project, error) {
	data, err := readFile(fsys, File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &config.Error{Problems: []config.Problem{{
			File: File, Message: "the file does not exist",
			Hint: "name the folder of a project (--project), or begin with the smallest: a " + File + " with `warehouse: {kind: duckdb}` and `sources: [{name: web, write_key: WRITE_KEY}]`",
		}}}
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", File, err)
	}
	d := &draft{fsys: fsys}
	if d.root, err = config.ParseYAML(File, data); err != nil {
		d.errs = append(d.errs, err)
		d.root = nil
	} else {
		d.decodeRoot()
	}
	if err := d.addFolders(fsys); err != nil {
		return nil, err
	}
	return d.finish(kinds)
}

// Parse decodes and checks a project that came as one JSON document.
func Parse(data []byte, kinds Kinds) (*Project, error) {
	d := &draft{}
	var err error
	if d.root, err = config.ParseJSON("", data); err != nil {
		return nil, err
	}
	d.decodeRoot()
	return d.finish(kinds)
}

// Check holds a project that was put together in memory to the same rules, and
// fills in defaults.
func Check(p *Project, kinds Kinds) (*Project, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the project: %w", err)
	}
	return Parse(data, kinds)
}

func (d *draft) decodeRoot() {
	if err := d.root.Decode(&d.head); err != nil {
		d.errs = append(d.errs, err)
	}
	d.warehouses = split(d.root, "warehouses", d.head.Warehouses)
	d.sources = split(d.root, "sources", d.head.Sources)
	d.destinations = split(d.root, "destinations", d.head.Destinations)
	d.models = split(d.root, "models", d.head.Models)
	d.syncs = split(d.root, "syncs", d.head.Syncs)
	d.dbt = split(d.root, "dbt", d.head.Dbt)
	d.alerts = split(d.root, "alerts", d.head.Alerts)
	d.forwards = split(d.root, "forwards", d.head.Forwards)
	d.head.Forwards = nil
	d.plans = split(d.root, "tracking_plans", d.head.Plans)
	d.transforms = split(d.root, "transforms", d.head.Transforms)
	d.libraries = split(d.root, "libraries", d.head.Libraries)
	d.streams = split(d.root, "streams", d.head.Streams)
	d.head = Project{Warehouse: d.head.Warehouse, Settings: d.head.Settings}
}

func split[T any](root *config.Document, key string, values []T) []item[T] {
	items := make([]item[T], len(values))
	for i, v := range values {
		items[i] = item[T]{value: v, doc: root.At(fmt.Sprintf("%s[%d]", key, i))}
	}
	return items
}

// addFolders adds the definitions that lie in files of their own. Only reading
// errors are returned; what is wrong in the files goes to d.errs.
func (d *draft) addFolders(fsys fs.FS) error {
	return errors.Join(
		addFolder(d, fsys, "warehouses", &d.warehouses, func(name string) tidegate.Connection { return tidegate.Connection{Name: name} }),
		addFolder(d, fsys, "sources", &d.sources, func(name string) tidegate.Source { return tidegate.Source{Name: name} }),
		addFolder(d, fsys, "destinations", &d.destinations, func(name string) tidegate.Connection { return tidegate.Connection{Name: name} }),
		addFolder(d, fsys, "forwards", &d.forwards, func(name string) tidegate.Forward { return tidegate.Forward{Name: name} }),
		addFolder(d, fsys, "syncs", &d.syncs, func(name string) tidegate.Sync { return tidegate.Sync{Name: name} }),
		addFolder(d, fsys, "plans", &d.plans, func(name string) tidegate.TrackingPlan { return tidegate.TrackingPlan{Name: name} }),
		d.addModels(fsys),
		d.addTransforms(fsys),
		d.addLibraries(fsys),
		d.strayFolders(fsys),
	)
}

// misnamed are folders that people write, and what they mean.
var misnamed = map[string]string{
	"warehouse": "warehouses", "source": "sources", "destination": "destinations", "forward": "forwards", "sync": "syncs", "plan": "plans",
	"tracking_plans": "plans", "tracking-plans": "plans", "model": "models", "transform": "transforms", "transformations": "transforms",
}

// strayFolders finds definitions in folders that are not read.
func (d *draft) strayFolders(fsys fs.FS) error {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return fmt.Errorf("listing the project: %w", err)
	}
	for _, e := range entries {
		means := misnamed[strings.ToLower(e.Name())]
		if means == "" || !e.IsDir() {
			continue
		}
		inside, err := fs.ReadDir(fsys, e.Name())
		if err != nil {
			return fmt.Errorf("listing %s: %w", e.Name(), err)
		}
		if slices.ContainsFunc(inside, func(f fs.DirEntry) bool { return slices.Contains(definitionFiles, path.Ext(f.Name())) }) {
			d.errs = append(d.errs, problemError(config.Problem{File: e.Name(), Message: "no definitions are read from this folder", Hint: "rename it to " + means}))
		}
	}
	return nil
}

var definitionFiles = []string{".yaml", ".yml", ".sql", ".js"}

// addFolder decodes folder/NAME.yaml, one definition a file, named after the
// file when it does not name itself.
func addFolder[T any](d *draft, fsys fs.FS, folder string, into *[]item[T], named func(string) T) error {
	files, err := d.list(fsys, folder)
	if err != nil {
		return err
	}
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
		it := item[T]{value: named(strings.TrimSuffix(path.Base(name), ".yaml")), doc: doc}
		if err := doc.Decode(&it.value); err != nil {
			d.errs = append(d.errs, err)
		}
		*into = append(*into, it)
	}
	return nil
}

// list returns the files of a folder, sorted; a missing folder has none.
func (d *draft) list(fsys fs.FS, folder string) ([]string, error) {
	entries, err := fs.ReadDir(fsys, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", folder, err)
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("listing %s: it holds %d files, %d are allowed", folder, len(entries), maxFiles)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := path.Join(folder, e.Name())
		if path.Ext(name) == ".yml" {
			d.errs = append(d.errs, problemError(config.Problem{File: name, Message: "files end in .yaml here", Hint: "rename it to " + strings.TrimSuffix(name, ".yml") + ".yaml"}))
		}
		names = append(names, name)
	}
	return names, nil
}

// parse returns nil without an error when the file is not YAML: that is a problem.
func (d *draft) parse(fsys fs.FS, name string) (*config.Document, error) {
	data, err := readFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	doc, err := config.ParseYAML(name, data)
	if err != nil {
		d.errs = append(d.errs, err)
		return nil, nil //nolint:nilnil // documented
	}
	return doc, nil
}

const maxFileBytes = 4<<20 + 1 // one more than config accepts, so that it can say so

func readFile(fsys fs.FS, name string) (data []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxFileBytes))
}

func problemError(p config.Problem) error { return &config.Error{Problems: []config.Problem{p}} }

func (d *draft) finish(kinds Kinds) (*Project, error) {
	c := checker{draft: d, kinds: kinds}
	if d.root != nil { // without it everything that the definitions name would be missing
		c.check()
	}
	errs := d.errs
	if len(c.problems) > 0 {
		errs = append(errs, &config.Error{Problems: c.problems})
	}
	if err := config.Join(errs...); err != nil {
		return nil, err
	}
	p := d.head
	p.Warehouses = values(d.warehouses, func(w tidegate.Connection) string { return w.Name })
	p.Sources = values(d.sources, func(s tidegate.Source) string { return s.Name })
	p.Destinations = values(d.destinations, func(c tidegate.Connection) string { return c.Name })
	p.Models = values(d.models, func(m tidegate.Model) string { return m.Name })
	p.Syncs = values(d.syncs, func(s tidegate.Sync) string { return s.Name })
	p.Transforms = values(d.transforms, func(t tidegate.Transform) string { return t.Name })
	p.Libraries = values(d.libraries, func(l tidegate.Library) string { return l.Name })
	p.Plans = values(d.plans, func(p tidegate.TrackingPlan) string { return p.Name })
	p.Forwards = values(d.forwards, func(f tidegate.Forward) string { return f.Name })
	p.Alerts = values(d.alerts, func(a tidegate.Alert) string { return a.Name })
	p.Streams = values(d.streams, func(s tidegate.Stream) string { return s.Name })
	p.Dbt = values(d.dbt, func(p tidegate.DbtProject) string { return p.Name })
	return &p, nil
}

func values[T any](items []item[T], name func(T) string) []T {
	if len(items) == 0 {
		return nil
	}
	list := make([]T, len(items))
	for i, it := range items {
		list[i] = it.value
	}
	slices.SortStableFunc(list, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	return list
}

// Encode returns the project as one JSON document that Parse reads.
func (p *Project) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // SQL is full of < and >
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encoding the project: %w", err)
	}
	return b.Bytes(), nil
}
