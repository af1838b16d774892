package sftest

import (
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// macros are functions of Snowflake's that DuckDB lacks or means otherwise.
var macros = []string{
	`SET GLOBAL threads = 1`,
	`SET GLOBAL memory_limit = '1GB'`,
	`CREATE SCHEMA "PUBLIC"`,
	`CREATE SEQUENCE main.__seq`,
	`CREATE MACRO main.seq4() AS CAST(random() * 1000000 AS BIGINT)`,
	`CREATE MACRO main.to_binary(t, f) AS CASE f WHEN 'HEX' THEN from_hex(t) ELSE from_base64(t) END`,
	`CREATE MACRO main.to_date(t, f) AS CAST(t AS DATE)`,
	`CREATE MACRO main.to_timestamp_tz(t, f) AS CAST(replace(t, ' +', '+') AS TIMESTAMPTZ)`,
	`CREATE MACRO main.to_timestamp_ltz(t, f) AS CAST(replace(t, ' +', '+') AS TIMESTAMPTZ)`,
	`CREATE MACRO main.parse_json(t) AS CAST(t AS JSON)`,
	`CREATE MACRO main.try_to_double(v) AS TRY_CAST(v AS DOUBLE)`,
	`CREATE MACRO main.to_varchar(v, f) AS CASE f WHEN 'YYYY-MM-DD"T"HH24:MI:SS.FF6' THEN strftime(CAST(v AS TIMESTAMP), '%Y-%m-%dT%H:%M:%S.%f') WHEN 'YYYY-MM-DD' THEN CAST(v AS VARCHAR) ELSE error('the double does not know this format') END`,
	`CREATE MACRO main.sf_text(v) AS CASE WHEN typeof(v) = 'DOUBLE' THEN regexp_replace(CAST(v AS VARCHAR), '[.]0$', '') ELSE CAST(v AS VARCHAR) END`,
	`CREATE MACRO main.convert_timezone(z, v) AS v`, // a moment has no zone there
	`CREATE MACRO main.to_variant(v) AS CASE WHEN v IS NOT NULL THEN to_json(v) END`,
	`CREATE MACRO main.bitand(a, b) AS a & b`,
	`CREATE MACRO main.bitxor_agg(v) AS bit_xor(v)`,
	`CREATE MACRO main.base64_encode(v) AS to_base64(v)`,
	`CREATE VIEW main.sf_tables AS SELECT table_schema, table_name, table_type, 'NO' AS is_transient, CAST(NULL AS VARCHAR) AS clustering_key FROM information_schema.tables WHERE table_schema NOT IN ('main', 'information_schema')`,
	`CREATE VIEW main.sf_columns AS SELECT table_schema, table_name, column_name, is_nullable, column_default, 'NO' AS is_identity FROM information_schema.columns WHERE table_schema NOT IN ('main', 'information_schema')`,
}

// types are Snowflake's types as DuckDB has them.
var types = map[string]string{
	"boolean": "BOOLEAN", "float": "DOUBLE", "double": "DOUBLE", "varchar": "VARCHAR", "string": "VARCHAR", "text": "VARCHAR", "binary": "BLOB", "date": "DATE", "time": "TIME",
	"timestamp_tz": "TIMESTAMPTZ", "timestamp_ltz": "TIMESTAMPTZ", "timestamp_ntz": "TIMESTAMP", "variant": "JSON", "object": "JSON", "array": "JSON",
	"number": "DECIMAL(38,0)", "int": "DECIMAL(38,0)", "integer": "DECIMAL(38,0)", "bigint": "DECIMAL(38,0)",
}

// rewriter turns tokens of Snowflake's SQL into DuckDB's.
type rewriter struct {
	binds map[string]string          // parameters, by their number: their types
	files func(string) (string, int) // the query of the files of a path in the stage
	where map[string]string          // what CURRENT_DATABASE() and its kind say, "" being NULL
	out   strings.Builder
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
	inner := rewriter{binds: w.binds, files: w.files, where: w.where}
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
	case param:
		if typ, ok := w.binds[t.value]; ok {
			w.out.WriteString("CAST($" + t.value + " AS " + typ + ")")
		} else {
			w.out.WriteString("$" + t.value)
		}
		return i + 1
	case name, word, mark:
	}
	if end := element(ts, i); end > 0 { // x.y[3]
		path := strings.TrimSpace(w.sub(ts[i : end-2]))
		w.out.WriteString("json_extract_string(" + path + ", '$[" + ts[end-1].value + "]')")
		return end + 1
	}
	switch {
	case t.kind == name:
		w.out.WriteString(quoteName(t.value))
		return i + 1
	case t.is("@"):
		return w.staged(ts, i)
	case t.is("$1"):
		w.out.WriteString("json")
		return i + 1
	case i > 0 && ts[i-1].is("."): // a field, whatever it is called
		w.out.WriteString(strings.ToUpper(t.value))
		return i + 1
	case t.is("information_schema") && next(1).is("."):
		w.out.WriteString("main.sf_" + strings.ToLower(next(2).value))
		return i + 3
	case t.is("table") && next(1).is("(") && next(2).is("flatten", "generator"):
		if end := closing(ts, i+1); end > 0 {
			w.function(ts[i+2 : end])
			return end + 1
		}
	case t.is("cast") && next(1).is("("):
		if end := closing(ts, i+1); end > i+4 && ts[end-2].is("as") && ts[end-1].is("varchar") && !ts[end-3].is("]") { // an element is a text already
			w.out.WriteString("sf_text(" + w.sub(ts[i+2:end-2]) + ")")
			return end + 1
		}
	case t.is("hash") && next(1).is("("):
		if end := closing(ts, i+1); end > 0 { // signed, and not the same numbers: Snowflake's function is its own
			w.out.WriteString("CAST(CAST(hash(" + w.sub(ts[i+2:end]) + ") AS HUGEINT) - 9223372036854775808 AS BIGINT)")
			return end + 1
		}
	case t.is("current_database", "current_schema", "current_warehouse", "current_role") && next(1).is("(") && next(2).is(")"):
		w.out.WriteString("nullif(" + quoteText(w.where[strings.TrimPrefix(strings.ToLower(t.value), "current_")]) + ", '')")
		return i + 3
	case i > 0 && ts[i-1].is("as", "::") || i > 1 && ts[i-1].is("type"):
		if typ, n := w.typeAt(ts, i); n > 0 && !next(n).is(".") {
			w.out.WriteString(typ)
			return i + n
		}
	}
	if t.kind == word {
		t.value = sqltext.Upper(t.value)
	}
	w.out.WriteString(t.value)
	return i + 1
}

// element finds the end of a path with an index: word [ . word ] [ number ].
func element(ts []token, i int) int {
	at := i
	if ts[i].kind != word || i > 0 && ts[i-1].is(".") {
		return 0
	}
	if at+2 < len(ts) && ts[at+1].is(".") {
		at += 2
	}
	if at+3 < len(ts) && ts[at+1].is("[") && ts[at+3].is("]") {
		if _, err := strconv.Atoi(ts[at+2].value); err == nil {
			return at + 3
		}
	}
	return 0
}

// function writes FLATTEN(INPUT => x) and GENERATOR(ROWCOUNT => n), as queries.
func (w *rewriter) function(ts []token) {
	end := closing(ts, 1)
	if end < 5 || !ts[3].is("=>") {
		w.out.WriteString("TABLE(" + ts[0].value)
		return
	}
	value := w.sub(ts[4:end])
	if ts[0].is("generator") {
		w.out.WriteString("range(" + value + ")")
		return
	}
	w.out.WriteString(`(SELECT unnest(from_json(` + value + `, '["JSON"]')) AS "VALUE")`)
}

// staged writes @"SCHEMA"."STAGE"/path/ as the query of the lines of its files.
func (w *rewriter) staged(ts []token, i int) int {
	path, n := stagePath(ts[i:])
	query := "(SELECT NULL AS json WHERE false)"
	if w.files != nil {
		if q, files := w.files(path); files > 0 {
			query = q
		}
	}
	w.out.WriteString(query)
	if i+n >= len(ts) || !ts[i+n].is("as") {
		w.out.WriteString(" AS staged_files")
	}
	return i + n
}

// stagePath reads @"SCHEMA"."STAGE"/a/b/ and says how many tokens that are.
func stagePath(ts []token) (string, int) {
	var path strings.Builder
	n := 1
	for n < len(ts) && (n == 1 || ts[n].space == "") && !ts[n].is(")", ",", ";") {
		path.WriteString(ts[n].value)
		n++
	}
	return strings.Trim(path.String(), "/"), n
}

// typeAt reads a type, with its digits where it has some.
func (w *rewriter) typeAt(ts []token, i int) (string, int) {
	lower := strings.ToLower(ts[i].value)
	typ, ok := types[lower]
	if !ok || ts[i].kind != word {
		return "", 0
	}
	if i+1 >= len(ts) || !ts[i+1].is("(") {
		return typ, 1
	}
	end := closing(ts, i+1)
	if end < 0 {
		return typ, 1
	}
	if lower == "number" {
		precision, scale := ts[i+2].value, "0"
		if end == i+5 {
			scale = ts[i+4].value
		}
		if p, _ := strconv.Atoi(precision); scale == "0" && p <= 19 {
			return "BIGINT", end - i + 1
		}
		return "DECIMAL(" + precision + "," + scale + ")", end - i + 1
	}
	return typ, end - i + 1
}
