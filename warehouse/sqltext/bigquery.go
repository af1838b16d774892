package sqltext

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/tidegate/tidegate"
)

// BigQuery returns the dialect of BigQuery's GoogleSQL.
func BigQuery() Dialect {
	return Dialect{
		name:        "bigquery",
		quote:       '`',
		backslash:   true,
		maxName:     300,
		fitName:     127,
		defaultPath: "tidegate",
		types: map[tidegate.Kind]Text{
			tidegate.Bool:      "BOOL",
			tidegate.Int:       "INT64",
			tidegate.Float:     "FLOAT64",
			tidegate.String:    "STRING",
			tidegate.Bytes:     "BYTES",
			tidegate.Date:      "DATE",
			tidegate.Timestamp: "TIMESTAMP",
			tidegate.JSON:      "JSON",
		},
		decimalOf:  bigQueryDecimal,
		maxDecimal: 38,
		reserved:   bigQueryReserved,
		illegal:    bigQueryIllegal,
		plain:      bigQueryPlain,
		jsonText:   func(column Text) Text { return "TO_JSON_STRING(" + column + ")" },
		place: func(column Text) Text {
			return "CAST(SUBSTR(" + column + ", STRPOS(" + column + ", ':') + 1) AS INT64)"
		},
		hour:        func(column Text) Text { return "CAST(FLOOR(UNIX_SECONDS(" + column + ") / 3600) AS INT64)" },
		number:      func(text Text) Text { return "SAFE_CAST(" + text + " AS FLOAT64)" },
		hash:        bigQueryHash(),
		placeholder: func(n int) Text { return Text("@p" + strconv.Itoa(n)) },
	}
}

// bigQueryDecimal: NUMERIC has 29 digits before the point and 9 after it,
// BIGNUMERIC 38 and 38.
func bigQueryDecimal(precision, scale int) Text {
	name := Text("BIGNUMERIC")
	if scale <= 9 && precision-scale <= 29 {
		name = "NUMERIC"
	}
	return name + Text(fmt.Sprintf("(%d,%d)", precision, scale))
}

// bigQueryPrefixes are the beginnings of column names that BigQuery keeps for itself, in any case.
var bigQueryPrefixes = []string{
	"_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier",
	"_change_sequence_number", "_change_type", "_change_timestamp",
}

// bigQueryIllegal says why the server would refuse a name, which it does whether it is quoted or not.
func bigQueryIllegal(what namePart, name string) string {
	allowed := func(r rune) bool {
		return r == '_' || unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Pc, unicode.Pd)
	}
	switch what {
	case schemaName:
		if i := strings.IndexFunc(name, func(r rune) bool { return !asciiWord(r) }); i >= 0 {
			return "is no name of a dataset, which is made of letters, digits and underscores"
		}
	case tableName:
		if i := strings.IndexFunc(name, func(r rune) bool { return !allowed(r) && !unicode.Is(unicode.Zs, r) }); i >= 0 {
			return "holds a character that bigquery takes in no table's name"
		}
	case columnName:
		if i := strings.IndexFunc(name, func(r rune) bool {
			return !allowed(r) && !unicode.Is(unicode.Z, r) && !strings.ContainsRune("&%=+:'<>#|", r)
		}); i >= 0 {
			return "holds a character that bigquery takes in no column's name"
		}
		for _, prefix := range bigQueryPrefixes {
			if strings.HasPrefix(fold(name), prefix) {
				return "begins with " + strings.ToUpper(prefix) + ", which bigquery keeps for itself"
			}
		}
	}
	return ""
}

// bigQueryPlain turns a name into one that a dataset, a table and a column can
// have: what is none gets underscores and a hash of the whole name, so that two
// names stay two.
func bigQueryPlain(name string) (plain string, changed bool) {
	var b strings.Builder
	for _, r := range name {
		if !asciiWord(r) {
			r, changed = '_', true
		}
		b.WriteRune(r)
	}
	plain = b.String()
	for _, prefix := range bigQueryPrefixes {
		if strings.HasPrefix(fold(plain), prefix) {
			return "x" + plain, true
		}
	}
	if plain != "" && plain[0] >= '0' && plain[0] <= '9' {
		return "_" + plain, true
	}
	return plain, changed
}

func asciiWord(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// bigQueryReserved is read only: the reserved keywords of GoogleSQL.
var bigQueryReserved = words(
	"all", "and", "any", "array", "as", "asc", "assert_rows_modified", "at", "between", "by", "case", "cast", "collate", "contains", "create", "cross", "cube", "current",
	"default", "define", "desc", "distinct", "else", "end", "enum", "escape", "except", "exclude", "exists", "extract", "false", "fetch", "following", "for", "from", "full",
	"group", "grouping", "groups", "hash", "having", "if", "ignore", "in", "inner", "intersect", "interval", "into", "is", "join", "lateral", "left", "like", "limit", "lookup",
	"merge", "natural", "new", "no", "not", "null", "nulls", "of", "on", "or", "order", "outer", "over", "partition", "preceding", "proto", "qualify", "range", "recursive",
	"respect", "right", "rollup", "rows", "select", "set", "some", "struct", "tablesample", "then", "to", "treat", "true", "unbounded", "union", "unnest", "using",
	"when", "where", "window", "with", "within",
)
