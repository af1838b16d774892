package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// The published limits of a model's references.
const (
	MaxParams        = 100     // parameters of one model
	MaxUses          = 20      // models that one model names in uses
	MaxUseDepth      = 8       // models below one another
	MaxExpandedChars = 262_140 // characters of the SQL text with all it uses
)

// Problem is something that is wrong with a definition, found without a warehouse.
type Problem struct {
	Path    string // below the definition: params.since
	Message string
	Hint    string
}

var paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// CheckParams finds what is wrong with the parameters of a model: names without
// a value, values without a use, values of a type that cannot be bound.
func CheckParams(def tidegate.Model) []Problem {
	var problems []Problem
	add := func(path, message, hint string) { problems = append(problems, Problem{path, message, hint}) }
	if len(def.Params) > MaxParams {
		add("params", fmt.Sprintf("there are %d parameters, the limit is %d", len(def.Params), MaxParams), "put them into a table and join it")
	}
	for _, name := range slices.Sorted(maps.Keys(def.Params)) {
		if !paramName.MatchString(name) {
			add("params."+name, fmt.Sprintf("%q cannot be a parameter's name", name), "use letters, digits and _, starting with a letter")
		}
		if _, err := paramValue(def.Params[name]); err != nil {
			add("params."+name, err.Error(), "write a text, a number, true, false or null")
		}
	}
	if def.SQL == "" {
		if len(def.Params) > 0 {
			add("params", "only a model of SQL has parameters", "remove them")
		}
		return problems
	}
	pieces, found := splitParams(def.SQL, def.Params)
	problems = append(problems, found...)
	for _, name := range slices.Sorted(maps.Keys(def.Params)) {
		if !slices.ContainsFunc(pieces, func(p piece) bool { return p.param == name }) && len(found) == 0 {
			add("params."+name, fmt.Sprintf("the query does not use the parameter %q", name), "write {{ "+name+" }} where its value belongs, or remove it")
		}
	}
	return problems
}

// paramValue is the value that is bound.
func paramValue(raw json.RawMessage) (any, error) {
	v, err := ParseJSON(raw)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil, bool, int64, float64:
		return v, nil
	case string:
		if raw[0] != '"' { // a whole number beyond 64 bits
			return nil, fmt.Errorf("the number %.40s is too large", v)
		}
		if len(v) > MaxValueBytes {
			return nil, fmt.Errorf("the text has %d bytes, the limit is %d", len(v), MaxValueBytes)
		}
		return v, nil
	}
	return nil, fmt.Errorf("a parameter cannot be an object or an array")
}

// piece is a part of a query: text, or the place of a parameter.
type piece struct{ text, param string }

// splitParams cuts a query at its parameters. It knows texts, quoted names and
// comments, in which nothing is replaced: a parameter is a value and never a
// part of the query's text.
func splitParams(sql string, params map[string]json.RawMessage) (pieces []piece, problems []Problem) {
	last := 0
	add := func(at int, message, hint string) {
		problems = append(problems, Problem{"sql", place(sql, at) + message, hint})
	}
	for i := 0; i < len(sql); {
		rest := sql[i:]
		if n := opaque(sql, i); n > 0 {
			if name, ok := quotedParam(rest[:n], params); ok {
				add(i, fmt.Sprintf("the parameter %q stands inside a text or a quoted name", name), "write {{ "+name+" }} without quotes: its value is bound, not pasted")
			}
			i += n
			continue
		}
		switch {
		case strings.HasPrefix(rest, "{{"):
			end := strings.Index(rest, "}}")
			if end < 0 {
				add(i, "{{ is not closed", "write {{ name }}")
				return pieces, problems
			}
			name := strings.TrimSpace(rest[2:end])
			if _, known := params[name]; known {
				pieces = append(pieces, piece{text: sql[last:i]}, piece{param: name})
				last = i + end + 2
			} else {
				message, hint := unknownParam(name, params)
				add(i, message, hint)
			}
			i += end + 2
		case strings.HasPrefix(rest, "{%"):
			add(i, "{% is a statement of dbt's templates, which nothing runs here", "let dbt compile the model, and name it with dbt: NAME")
			i += 2
		case rest[0] == '$' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9':
			add(i, "$"+rest[1:2]+" is a parameter without a name", "write {{ name }}, and its value in params")
			i += 2
		default:
			i++
		}
	}
	return append(pieces, piece{text: sql[last:]}), problems
}

func unknownParam(name string, params map[string]json.RawMessage) (message, hint string) {
	if !paramName.MatchString(name) {
		return fmt.Sprintf("{{ %.60s }} is not a parameter's name", name), "dbt's templates are compiled by dbt: name such a model with dbt: NAME"
	}
	if hint = config.DidYouMean(name, slices.Sorted(maps.Keys(params))); hint == "" {
		hint = "write its value into params"
	}
	return fmt.Sprintf("the parameter %q has no value", name), hint
}

// quotedParam finds a declared parameter in an opaque part that is no comment.
func quotedParam(text string, params map[string]json.RawMessage) (string, bool) {
	if comment(text) {
		return "", false
	}
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "{{")
		if !found {
			return "", false
		}
		name, tail, closed := strings.Cut(after, "}}")
		if name = strings.TrimSpace(name); closed && params[name] != nil {
			return name, true
		}
		rest = tail
	}
}

// opaque is the length of the text, quoted name or comment that begins at i; 0
// when none does. One that does not end reaches to the end.
func opaque(sql string, i int) int {
	rest := sql[i:]
	until := func(from int, end string) int {
		if at := strings.Index(rest[from:], end); at >= 0 {
			return from + at + len(end)
		}
		return len(rest)
	}
	switch {
	case strings.HasPrefix(rest, "--"):
		return until(2, "\n")
	case strings.HasPrefix(rest, "/*"):
		return until(2, "*/")
	case rest[0] == '\'' && i > 0 && (sql[i-1] == 'E' || sql[i-1] == 'e') && (i == 1 || !wordByte(sql[i-2])):
		for j := 1; j < len(rest); j++ {
			switch rest[j] {
			case '\\':
				j++
			case '\'':
				return j + 1
			}
		}
		return len(rest)
	case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
		return until(1, rest[:1])
	case rest[0] == '$' && (i == 0 || !wordByte(sql[i-1])):
		end := 1
		for end < len(rest) && wordByte(rest[end]) {
			end++
		}
		if end < len(rest) && rest[end] == '$' && (end == 1 || rest[1] < '0' || rest[1] > '9') {
			return until(end+1, rest[:end+1])
		}
	}
	return 0
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
