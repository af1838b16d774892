package sqltext

import (
	"strconv"

	"github.com/tidegate/tidegate"
)

// DuckDB returns the dialect of DuckDB 1.5.
func DuckDB() Dialect {
	return Dialect{
		name:        "duckdb",
		quote:       '"',
		maxName:     4096, // the engine has no limit of its own
		fitName:     127,
		maxBytes:    true,
		defaultPath: "main",
		types: map[tidegate.Kind]Text{
			tidegate.Bool:      "BOOLEAN",
			tidegate.Int:       "BIGINT",
			tidegate.Float:     "DOUBLE",
			tidegate.String:    "VARCHAR",
			tidegate.Bytes:     "BLOB",
			tidegate.Date:      "DATE",
			tidegate.Timestamp: "TIMESTAMPTZ",
			tidegate.JSON:      "JSON",
		},
		decimal:     "DECIMAL",
		maxDecimal:  38,
		reserved:    duckDBReserved,
		hash:        duckDBHash(),
		placeholder: func(n int) Text { return Text("$" + strconv.Itoa(n)) },
	}
}

// duckDBReserved is read only. It is what duckdb_keywords() of 1.5 calls
// reserved; a test of the adapter compares the two.
var duckDBReserved = words(
	"all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both",
	"case", "cast", "check", "collate", "column", "constraint", "create",
	"default", "deferrable", "desc", "describe", "distinct", "do", "else", "end", "except",
	"false", "fetch", "for", "foreign", "from", "group", "having", "in", "initially", "intersect", "into",
	"lambda", "lateral", "leading", "limit", "not", "null", "offset", "on", "only", "or", "order",
	"pivot", "pivot_longer", "pivot_wider", "placing", "primary", "qualify", "references", "returning",
	"select", "show", "some", "summarize", "symmetric", "table", "then", "to", "trailing", "true",
	"union", "unique", "unpivot", "using", "variadic", "when", "where", "window", "with",
)

func words(list ...string) map[string]struct{} {
	set := make(map[string]struct{}, len(list))
	for _, w := range list {
		set[w] = struct{}{}
	}
	return set
}
