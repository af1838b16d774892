package transform

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

const (
	maxLibraries = 256
	maxLinked    = 2 << 20 // bytes of a script with all that it imports
)

// Libraries are what scripts may import, by their names.
type Libraries map[string]tidegate.Library

// LibrariesOf are the libraries of a project.
func LibrariesOf(list []tidegate.Library) Libraries {
	all := make(Libraries, len(list))
	for _, l := range list {
		all[l.Name] = l
	}
	return all
}

// Check says what is wrong with one of the libraries: what cannot be read, and imports
// of what there is not. Problems name the line of the library.
func (ls Libraries) Check(name string) []config.Problem {
	l := ls[name]
	switch {
	case len(ls) > maxLibraries:
		return []config.Problem{{Message: fmt.Sprintf("there are %d libraries, %d are allowed", len(ls), maxLibraries)}}
	case len(l.Script) > maxScript:
		return []config.Problem{{Path: "script", Message: fmt.Sprintf("the library has %d bytes, %d are allowed", len(l.Script), maxScript)}}
	}
	file := libraryFile(name)
	out := ls.link(file, l.Script)
	if len(out.problems) > 0 {
		return slices.DeleteFunc(out.problems, func(p config.Problem) bool { return p.File != file }) // another's are told there
	}
	if _, err := parse(file, out.text); err != nil {
		return []config.Problem{{Path: "script", Message: err.Error()}}
	}
	return nil
}

// LibrariesFolder is where messages say that libraries are.
const LibrariesFolder = "libraries"

// libraryFile is what messages call a library.
func libraryFile(name string) string { return LibrariesFolder + "/" + name + ".js" }

// link puts the libraries that the script imports into its source. A script without
// imports stays as it is.
func (sc *script) link(libraries Libraries) []config.Problem {
	if !strings.Contains(sc.source, "import") {
		return nil
	}
	out := libraries.link(sc.name, sc.source)
	switch {
	case len(out.problems) > 0:
		return out.problems
	case !out.imports:
		return nil
	case !out.exports:
		return []config.Problem{{Path: "script", Message: "a script that imports libraries is a module, and this one does not export its function", Hint: "write export function transform(event, meta) { …; return event }"}}
	case len(out.text) > maxLinked:
		return []config.Problem{{Path: "script", Message: fmt.Sprintf("the script and what it imports have %d bytes, %d are allowed", len(out.text), maxLinked)}}
	}
	sc.source = out.text
	return nil
}

// linked is a module and all that it reaches as one text, with its source map.
type linked struct {
	text     string
	imports  bool // it imports something
	exports  bool // it exports a function that can be called with events
	problems []config.Problem
}

// callable finds those of a module's exports that the machine calls.
var callable = regexp.MustCompile(`(?m)^\s*(?:transform|transformEvent|default):`)

// exportsFunction says whether the module that a linked text ends with exports a
// function that can be called with events.
func exportsFunction(text string) bool {
	_, name, _ := strings.Cut(text[max(0, strings.LastIndex(text, "return __toCommonJS(")):], "(")
	name, _, _ = strings.Cut(name, ")")
	_, exports, found := strings.Cut(text, "__export("+name+", {")
	exports, _, _ = strings.Cut(exports, "});")
	return found && callable.MatchString(exports)
}

// link has the linker see nothing but libraries: no file, no folder, no network.
func (ls Libraries) link(file, source string) linked {
	built := api.Build(api.BuildOptions{
		Stdin:  &api.StdinOptions{Contents: source, Sourcefile: file, Loader: api.LoaderJS},
		Bundle: true, Write: false, Metafile: true, Outfile: "/script.js", AbsWorkingDir: "/", LogLevel: api.LogLevelSilent, LogLimit: 20,
		Format: api.FormatIIFE, GlobalName: "__script", Platform: api.PlatformNeutral, Charset: api.CharsetUTF8, LegalComments: api.LegalCommentsNone,
		Footer:    map[string]string{"js": "var transform = __script.transform || __script.default, transformEvent = __script.transformEvent;"},
		Target:    api.ES2020,
		Supported: map[string]bool{"for-await": false, "async-generator": false}, // the engine has them not
		Sourcemap: api.SourceMapInline, SourcesContent: api.SourcesContentExclude,
		TsconfigRaw: "{}",
		Plugins:     []api.Plugin{ls.plugin()},
	})
	var out linked
	for _, m := range built.Errors {
		out.problems = append(out.problems, problemOf(m))
	}
	if len(out.problems) > 0 {
		return out
	}
	out.text = string(built.OutputFiles[0].Contents)
	var meta struct {
		Inputs map[string]struct {
			Imports []struct{} `json:"imports"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(built.Metafile), &meta); err != nil {
		out.problems = []config.Problem{{Path: "script", Message: "the script cannot be linked: " + err.Error()}}
		return out
	}
	for _, in := range meta.Inputs {
		out.imports = out.imports || len(in.Imports) > 0
	}
	out.exports = exportsFunction(out.text)
	return out
}

// plugin finds libraries where scripts name them, and nothing else anywhere.
func (ls Libraries) plugin() api.Plugin {
	return api.Plugin{Name: LibrariesFolder, Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			name := args.Path
			if _, ok := ls[name]; ok {
				return api.OnResolveResult{Path: libraryFile(name), Namespace: LibrariesFolder, PluginData: name}, nil
			}
			hint := config.DidYouMean(name, slices.Sorted(maps.Keys(ls)))
			if hint == "" {
				hint = "write libraries/NAME.js, and import it as \"NAME\"; scripts reach no files, packages or addresses"
			}
			return api.OnResolveResult{Errors: []api.Message{{Text: fmt.Sprintf("there is no library %q", name), Detail: hint}}}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: LibrariesFolder}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
			name, _ := args.PluginData.(string)
			text := ls[name].Script
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
	}}
}

// fileOf is a file's name without what the linker puts before it.
func fileOf(name string) string { return strings.TrimPrefix(name, LibrariesFolder+":") }

// problemOf is what the linker says, with the file, the line and the column.
func problemOf(m api.Message) config.Problem {
	p := config.Problem{Path: "script", Message: bounded(strings.ReplaceAll(m.Text, LibrariesFolder+":", ""))}
	p.Hint, _ = m.Detail.(string)
	if at := m.Location; at != nil {
		p.File, p.Line, p.Column = fileOf(at.File), at.Line, at.Column+1
	}
	return p
}
