package bqtest

import (
	"fmt"
	"strings"
)

// macros are functions of GoogleSQL that DuckDB lacks or means otherwise.
var macros = []string{
	`SET GLOBAL threads = 1`,
	`SET GLOBAL memory_limit = '1GB'`,
	`CREATE TABLE main.__pin (x INTEGER)`,
	`CREATE MACRO main.generate_array(a, b) AS range(a, b + 1)`,
	`CREATE MACRO main.json_query_array(j) AS from_json(j, '["JSON"]')`,
	`CREATE MACRO main.bq_json_value(j, p) AS json_extract_string(j, p)`,
	`CREATE MACRO main.parse_json(t) AS CAST(t AS JSON)`,
	`CREATE MACRO main.bq_string(v) AS CASE WHEN typeof(v) LIKE 'DECIMAL%' AND CAST(v AS VARCHAR) LIKE '%.%' THEN rtrim(rtrim(CAST(v AS VARCHAR), '0'), '.') ELSE CAST(v AS VARCHAR) END`,
	`CREATE MACRO main.bq_timestamp(v) AS CAST(v AS TIMESTAMPTZ)`,
	`CREATE MACRO main.format_timestamp(f, v, z) AS strftime(v AT TIME ZONE z, replace(f, '%E6S', '%S.%f'))`,
	`CREATE MACRO main.timestamp_trunc(v, p) AS date_trunc(p, v)`,
	`CREATE MACRO main.unix_seconds(v) AS CAST(floor(epoch(v)) AS BIGINT)`,
	`CREATE MACRO main.safe_divide(a, b) AS a / nullif(b, 0)`,
	`CREATE MACRO main.to_json_string(v) AS CAST(to_json(v) AS VARCHAR)`,
	`CREATE MACRO main.generate_uuid() AS CAST(uuid() AS VARCHAR)`,
	`CREATE MACRO main.farm_fingerprint(v) AS CAST(CAST(hash(v) AS HUGEINT) - 9223372036854775808 AS BIGINT)`, // not the same numbers
}

// types are BigQuery's types as DuckDB has them. BIGNUMERIC without its digits
// is more than DuckDB holds; as text it goes into any column.
var types = map[string]string{
	"bool": "BOOLEAN", "boolean": "BOOLEAN", "int64": "BIGINT", "integer": "BIGINT", "float64": "DOUBLE", "float": "DOUBLE", "string": "VARCHAR", "bytes": "BLOB",
	"date": "DATE", "timestamp": "TIMESTAMPTZ", "datetime": "TIMESTAMP", "time": "TIME", "json": "JSON", "numeric": "DECIMAL(38,9)", "bignumeric": "VARCHAR", "geography": "VARCHAR",
}

// rewriter turns tokens of GoogleSQL into DuckDB's SQL.
type rewriter struct {
	dataset string // of names without one
	params  map[string]string
	ddl     bool // types stand behind the names of columns
	out     strings.Builder
}

// closing returns the place of the parenthesis that closes the one at open.
func closing(ts []token, open int) int {
	depth := 0
	for i := open; i < len(ts); i++ {
		switch {
		case ts[i].is("(", "["):
			depth++
		case ts[i].is(")", "]"):
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (w *rewriter) sub(ts []token) string {
	inner := rewriter{dataset: w.dataset, params: w.params, ddl: w.ddl}
	inner.all(ts)
	return inner.out.String()
}

func (w *rewriter) all(ts []token) {
	for i := 0; i < len(ts); {
		i = w.one(ts, i)
	}
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func quoteText(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

// one writes the token at i, or what begins with it, and returns what follows.
func (w *rewriter) one(ts []token, i int) int {
	t := ts[i]
	next := func(n int) token {
		if i+n < len(ts) {
			return ts[i+n]
		}
		return token{kind: mark}
	}
	w.out.WriteString(t.space)
	switch t.kind {
	case text:
		w.out.WriteString(quoteText(t.value))
		return i + 1
	case bytesText:
		fmt.Fprintf(&w.out, "from_hex('%x')", t.value)
		return i + 1
	case param:
		if typ, ok := w.params[t.value]; ok {
			fmt.Fprintf(&w.out, "CAST($%s AS %s)", t.value, typ)
		} else {
			w.out.WriteString("$" + t.value)
		}
		return i + 1
	case name:
		w.path(t.value, i > 0 && ts[i-1].is("."))
		return i + 1
	case mark, word:
	}
	if i > 0 && ts[i-1].is(".") { // a field, whatever it is called
		w.out.WriteString(t.value)
		return i + 1
	}
	call := next(1).is("(")
	switch {
	case call && t.is("cast", "safe_cast"):
		if end := closing(ts, i+1); end > 0 {
			return w.cast(ts, i, end)
		}
	case call && t.is("unnest"):
		if end := closing(ts, i+1); end > 0 {
			return w.unnest(ts, i, end)
		}
	case call && t.is("struct"):
		w.out.WriteString("row")
		return i + 1
	case call && t.is("json_value"):
		w.out.WriteString("bq_json_value")
		return i + 1
	case call && t.is("timestamp") && !w.ddl:
		w.out.WriteString("bq_timestamp")
		return i + 1
	case t.is("except") && call && i > 0 && ts[i-1].is("*"):
		w.out.WriteString("EXCLUDE")
		return i + 1
	case t.is(",") && next(1).is("wide_number_mode", "stringify_wide_numbers"):
		return i + 5 // , wide_number_mode = > 'round'
	case w.ddl && i > 0 && (ts[i-1].kind == name || ts[i-1].is("type")):
		if typ, n := w.typeAt(ts, i); n > 0 {
			w.out.WriteString(typ)
			return i + n
		}
	}
	w.out.WriteString(t.value)
	return i + 1
}

// path writes a quoted name, which may hold a whole path and the project.
func (w *rewriter) path(value string, field bool) {
	parts := []string{value}
	if !field && strings.Contains(value, ".") {
		parts = strings.Split(strings.TrimPrefix(value, Project+"."), ".")
	}
	for i, p := range parts {
		if i > 0 {
			w.out.WriteString(".")
		}
		w.out.WriteString(quoteName(p))
	}
}

// typeAt reads a type, with its digits where it has some.
func (w *rewriter) typeAt(ts []token, i int) (string, int) {
	lower := strings.ToLower(ts[i].value)
	typ, ok := types[lower]
	if !ok || ts[i].kind != word {
		return "", 0
	}
	if i+1 < len(ts) && ts[i+1].is("(") {
		if end := closing(ts, i+1); end > 0 {
			if lower == "numeric" || lower == "bignumeric" {
				return "DECIMAL(" + w.sub(ts[i+2:end]) + ")", end - i + 1
			}
			return typ, end - i + 1
		}
	}
	return typ, 1
}

// cast writes CAST(x AS type).
func (w *rewriter) cast(ts []token, i, end int) int {
	as, depth := -1, 0
	for k := i + 2; k < end; k++ {
		switch {
		case ts[k].is("("):
			depth++
		case ts[k].is(")"):
			depth--
		case depth == 0 && ts[k].is("as"):
			as = k
		}
	}
	if as < 0 || as+1 >= end {
		w.out.WriteString(ts[i].value)
		return i + 1
	}
	value := w.sub(ts[i+2 : as])
	typ, n := w.typeAt(ts, as+1)
	if n == 0 {
		typ = w.sub(ts[as+1 : end])
	}
	switch {
	case typ == "VARCHAR" && ts[i].is("cast"):
		w.out.WriteString("bq_string(" + value + ")")
	case ts[i].is("safe_cast"):
		w.out.WriteString("TRY_CAST(" + value + " AS " + typ + ")")
	default:
		w.out.WriteString("CAST(" + value + " AS " + typ + ")")
	}
	return end + 1
}

// unnest writes UNNEST(x) [AS] a [WITH OFFSET [AS] o], which gives a table whose
// rows are a, as a query of that column.
func (w *rewriter) unnest(ts []token, i, end int) int {
	list := w.sub(ts[i+2 : end])
	at := end + 1
	alias := func() string {
		if at < len(ts) && ts[at].is("as") {
			at++
		} else if at >= len(ts) || ts[at].kind == mark || ts[at].is("where", "with", "order", "group", "limit", "join", "cross", "left", "on", "union", "qualify", "inner", "having") {
			return ""
		}
		if at >= len(ts) {
			return ""
		}
		at++
		return ts[at-1].value
	}
	item := alias()
	if item == "" {
		item = "unnested"
	}
	offset := ""
	if at+1 < len(ts) && ts[at].is("with") && ts[at+1].is("offset") {
		at += 2
		name := alias()
		if name == "" {
			name = "offset"
		}
		offset = ", generate_subscripts(" + list + ", 1) - 1 AS " + quoteName(name)
	}
	w.out.WriteString("(SELECT unnest(" + list + ") AS " + quoteName(item) + offset + ") AS " + quoteName("u_"+item))
	return at
}
