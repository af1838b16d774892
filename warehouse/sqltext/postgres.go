package sqltext

import (
	"strconv"

	"github.com/tidegate/tidegate"
)

// Postgres returns the dialect of PostgreSQL 12 to 18.
func Postgres() Dialect {
	return Dialect{
		name:        "postgres",
		quote:       '"',
		maxName:     63, // the engine cuts longer names without a word
		fitName:     63,
		maxBytes:    true,
		defaultPath: "public",
		types: map[tidegate.Kind]Text{
			tidegate.Bool:      "boolean",
			tidegate.Int:       "bigint",
			tidegate.Float:     "double precision",
			tidegate.String:    "text",
			tidegate.Bytes:     "bytea",
			tidegate.Date:      "date",
			tidegate.Timestamp: "timestamptz",
			tidegate.JSON:      "jsonb",
		},
		decimal:     "numeric",
		maxDecimal:  38,
		reserved:    postgresReserved,
		system:      words("ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"),
		indexes:     true,
		number:      numberByPattern,
		hash:        postgresHash(),
		placeholder: func(n int) Text { return Text("$" + strconv.Itoa(n)) },
	}
}

// numberByPattern casts what is written as a number that surely fits: an engine without a cast that fails to NULL
// would end the query. Floats are written with one digit before the point where they have an exponent.
func numberByPattern(text Text) Text {
	return "CASE WHEN length(" + text + ") < 300 AND " + text + " ~ '^[+-]?[0-9]+([.][0-9]*)?$' OR length(" + text + ") < 300 AND " + text + " ~ '^[+-]?[0-9]([.][0-9]*)?[eE][+-]?[0-2]?[0-9]?[0-9]$' THEN CAST(" + text + " AS double precision) END"
}

// postgresReserved is read only. It is what pg_get_keywords() calls reserved
// (kinds R and T) in PostgreSQL 15; a test of the adapter compares the two.
var postgresReserved = words(
	"all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary", "both",
	"case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create", "cross",
	"current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user",
	"default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "freeze", "from", "full",
	"grant", "group", "having", "ilike", "in", "initially", "inner", "intersect", "into", "is", "isnull", "join",
	"lateral", "leading", "left", "like", "limit", "localtime", "localtimestamp", "natural", "not", "notnull", "null",
	"offset", "on", "only", "or", "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right",
	"select", "session_user", "similar", "some", "symmetric", "system_user", "table", "tablesample", "then", "to", "trailing", "true",
	"union", "unique", "user", "using", "variadic", "verbose", "when", "where", "window", "with",
)
