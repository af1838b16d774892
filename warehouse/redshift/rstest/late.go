package rstest

import (
	"maps"
	"slices"
	"strings"
)

// late turns statements about views WITH NO SCHEMA BINDING into PostgreSQL's, whose views hold on to their tables: these
// are taken away while a column changes its type, and made again.
func (c *Cluster) late(words []token, text string) string {
	is := func(at int, list ...string) bool {
		return len(words) >= at+len(list) && slices.EqualFunc(words[at:at+len(list)], list, token.is)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case is(0, "create", "or", "replace", "view"), is(0, "create", "view"):
		name := viewName(words)
		delete(c.views, name)
		if n := len(words) - 4; n > 0 && is(n, "with", "no", "schema", "binding") {
			text = strings.TrimSpace(text[:strings.LastIndex(strings.ToLower(text), "with")])
			c.views[name] = text
		}
	case is(0, "drop", "view"):
		delete(c.views, viewName(words))
	case is(0, "alter", "table") && slices.ContainsFunc(words, func(t token) bool { return t.is("type") }):
		var before, after strings.Builder
		for _, name := range slices.Sorted(maps.Keys(c.views)) {
			before.WriteString("DROP VIEW IF EXISTS " + name + "; ")
			after.WriteString("; " + c.views[name])
		}
		text = before.String() + text + after.String()
	}
	return text
}

// viewName is the name in a statement about a view, which begins after its last word of SQL.
func viewName(words []token) string {
	at := slices.IndexFunc(words, func(t token) bool { return t.is("view") }) + 1
	if at+1 < len(words) && words[at].is("if") {
		at += 2
	}
	var name strings.Builder
	for ; at < len(words) && !words[at].is("as"); at++ {
		name.WriteString(words[at].text)
	}
	return name.String()
}
