package sqltext

import (
	"strconv"

	"github.com/tidegate/tidegate"
)

// Snowflake returns the dialect of Snowflake.
//
// Whole numbers are NUMBER(19,0), which is what an int64 needs; decimals without
// a fraction have 20 digits at least, so that the two can be told apart. Names are
// made in upper case, so that they can be written without quotes.
func Snowflake() Dialect {
	return Dialect{
		name:        "snowflake",
		quote:       '"',
		upper:       true,
		maxName:     1020, // 255 characters, of which it does not count the bytes
		fitName:     127,
		maxBytes:    true,
		defaultPath: "public",
		types: map[tidegate.Kind]Text{
			tidegate.Bool:      "BOOLEAN",
			tidegate.Int:       "NUMBER(19,0)",
			tidegate.Float:     "FLOAT",
			tidegate.String:    "VARCHAR",
			tidegate.Bytes:     "BINARY",
			tidegate.Date:      "DATE",
			tidegate.Timestamp: "TIMESTAMP_TZ",
			tidegate.JSON:      "VARIANT",
		},
		decimalOf: func(precision, scale int) Text {
			if scale == 0 {
				precision = max(precision, 20)
			}
			return Text("NUMBER(" + strconv.Itoa(precision) + "," + strconv.Itoa(scale) + ")")
		},
		maxDecimal:  38,
		reserved:    snowflakeReserved,
		number:      func(text Text) Text { return "TRY_TO_DOUBLE(" + text + ")" },
		hash:        snowflakeHash(),
		viewGrants:  " COPY GRANTS",
		jsonText:    func(column Text) Text { return "TO_JSON(" + column + ")" },
		placeholder: func(n int) Text { return Text(":" + strconv.Itoa(n)) },
	}
}

// snowflakeReserved is read only: the words that Snowflake's documentation calls
// reserved, for column names in particular included.
var snowflakeReserved = words(
	"account", "all", "alter", "and", "any", "as", "between", "by", "case", "cast", "check", "column", "connect", "connection", "constraint", "create", "cross", "current",
	"current_date", "current_time", "current_timestamp", "current_user", "database", "delete", "distinct", "drop", "else", "exists", "false", "following", "for", "from", "full",
	"grant", "group", "gscluster", "having", "ilike", "in", "increment", "inner", "insert", "intersect", "into", "is", "issue", "join", "lateral", "left", "like", "localtime",
	"localtimestamp", "minus", "natural", "not", "null", "of", "on", "or", "order", "organization", "qualify", "regexp", "revoke", "right", "rlike", "row", "rows", "sample",
	"schema", "select", "set", "some", "start", "table", "tablesample", "then", "to", "trigger", "true", "try_cast", "union", "unique", "update", "using", "values", "view",
	"when", "whenever", "where", "with",
)
