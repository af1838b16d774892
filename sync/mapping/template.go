package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/osteele/liquid"

	"github.com/tidegate/tidegate/sync/model"
)

// template is a parsed Liquid template.
type template struct{ parsed *liquid.Template }

// allowedTags are the tags a template may use. `include` would read files, and
// `tablerow` writes HTML that no record wants.
var allowedTags = []string{
	"if", "elsif", "else", "endif", "unless", "endunless", "case", "when", "endcase",
	"for", "endfor", "break", "continue", "assign", "capture", "endcapture",
	"comment", "endcomment", "raw", "endraw",
}

var (
	// mark finds the pieces of a template: {{ output }}, {% tag %}.
	mark = regexp.MustCompile(`(?s)\{\{-?(.*?)-?\}\}|\{%-?\s*([a-zA-Z_]+)(.*?)-?%\}`)
	// lexeme finds what matters inside a piece: texts, numbers, names with
	// their path, a filter's name behind its bar, and an argument's name.
	lexeme = regexp.MustCompile(`"[^"]*"|'[^']*'|\|\s*[a-zA-Z_][a-zA-Z0-9_]*|\.\.|-?[0-9]+(?:\.[0-9]+)?|\.\s*[a-zA-Z_][a-zA-Z0-9_-]*\??|[a-zA-Z_][a-zA-Z0-9_-]*\??`)
)

// words that are not variables.
var liquidWords = []string{"and", "or", "not", "contains", "true", "false", "nil", "null", "empty", "blank", "in", "reversed", "limit", "offset", "forloop"}

// parseTemplate parses text and returns the variables that the row must have,
// each once, in order. The check is static: a column that is NULL is not an
// unknown variable, and a branch that is never taken is checked all the same.
func parseTemplate(text string) (*template, []string, error) {
	if len(text) > model.MaxValueBytes {
		return nil, nil, fmt.Errorf("the template has %d bytes, the limit is %d", len(text), model.MaxValueBytes)
	}
	variables, err := variablesOf(text)
	if err != nil {
		return nil, nil, err
	}
	parsed, perr := newEngine().ParseString(text)
	if perr != nil {
		return nil, nil, fmt.Errorf("the template is not valid Liquid: %s", strings.TrimPrefix(perr.Error(), "Liquid error: "))
	}
	return &template{parsed}, variables, nil
}

func variablesOf(text string) ([]string, error) {
	var variables, local []string
	opaque := "" // inside {% raw %} or {% comment %}: the tag that ends it
	if err := closed(text); err != nil {
		return nil, err
	}
	for _, piece := range mark.FindAllStringSubmatch(text, -1) {
		output, tag, args := piece[1], piece[2], piece[3]
		if opaque != "" {
			if tag == opaque {
				opaque = ""
			}
			continue
		}
		if tag != "" && !slices.Contains(allowedTags, tag) {
			return nil, fmt.Errorf("the tag %q is not allowed in a mapping; allowed are %s", tag, strings.Join(allowedTags, ", "))
		}
		if tag == "raw" || tag == "comment" {
			opaque = "end" + tag
			continue
		}
		names, err := namesIn(output + args)
		if err != nil {
			return nil, err
		}
		switch tag {
		case "assign", "capture", "for":
			if len(names) > 0 {
				local, names = append(local, names[0]), names[1:]
			}
		}
		for _, name := range names {
			if !slices.Contains(local, name) && !slices.Contains(variables, name) {
				variables = append(variables, name)
			}
		}
	}
	return variables, nil
}

// closed refuses a mark that is begun and not ended: Liquid takes it for text, and every
// record would get it.
func closed(text string) error {
	rest, opaque := 0, ""
	for _, at := range append(mark.FindAllStringSubmatchIndex(text, -1), []int{len(text), len(text), -1, -1, -1, -1}) {
		tag := ""
		if at[4] >= 0 {
			tag = text[at[4]:at[5]]
		}
		between := text[rest:at[0]]
		rest = at[1]
		if opaque != "" {
			if tag == opaque {
				opaque = ""
			}
			continue
		}
		for _, pair := range [][2]string{{"{{", "}}"}, {"{%", "%}"}} {
			if strings.Contains(between, pair[0]) {
				return fmt.Errorf("%s is not closed by %s; text that begins so stands between {%% raw %%} and {%% endraw %%}", pair[0], pair[1])
			}
		}
		if tag == "raw" || tag == "comment" {
			opaque = "end" + tag
		}
	}
	return nil
}

// knownFilter says whether the language has a filter, which only rendering tells.
func knownFilter(name string) bool {
	parsed, err := newEngine().ParseString("{{ '' | " + name + " }}")
	if err != nil {
		return false
	}
	_, failed := (&template{parsed}).render(nil)
	return failed == nil || !strings.Contains(failed.Error(), "undefined filter")
}

func namesIn(expression string) ([]string, error) {
	var names []string
	for _, at := range lexeme.FindAllStringIndex(expression, -1) {
		token := expression[at[0]:at[1]]
		switch c := token[0]; {
		case token == "..":
			return nil, errors.New("ranges are not allowed in a mapping")
		case c == '|':
			if name := strings.TrimSpace(token[1:]); !knownFilter(name) {
				return nil, fmt.Errorf("there is no filter %q", name)
			}
		case c == '"' || c == '\'' || c == '.' || c == '-' || c >= '0' && c <= '9':
		case slices.Contains(liquidWords, token):
		default:
			names = append(names, token)
		}
	}
	return names, nil
}

var errTooLong = fmt.Errorf("the template writes more than %d bytes", model.MaxValueBytes)

// render runs the template. The library panics where its writer fails, and in
// some filters; a template must never end the process, so both come back as errors.
func (t *template) render(bindings map[string]any) (text string, err error) {
	out := &boundedText{}
	defer func() {
		if p := recover(); p != nil {
			text, err = "", fmt.Errorf("the template failed: %v", p)
		}
		if out.full {
			text, err = "", errTooLong
		}
	}()
	if rerr := t.parsed.FRender(out, bindings); rerr != nil {
		cause := rerr.Cause()
		if cause == nil {
			cause = rerr
		}
		return "", fmt.Errorf("the template failed: %s", strings.TrimPrefix(cause.Error(), "Liquid error: "))
	}
	return out.text.String(), nil
}

// boundedText is a writer with a limit.
type boundedText struct {
	text strings.Builder
	full bool
}

func (b *boundedText) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > model.MaxValueBytes {
		b.full = true
		return 0, errTooLong
	}
	return b.text.Write(p)
}
