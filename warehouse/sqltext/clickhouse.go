package sqltext

import (
	"strconv"

	"github.com/tidegate/tidegate"
)

// ClickHouse returns the dialect of ClickHouse 24.8 and newer.
//
// The engine has one type for texts and bytes, and its own JSON type changes
// numbers and takes objects only. Bytes and JSON are therefore texts under a name
// that tells them apart: SimpleAggregateFunction is a name around a type and
// nothing more, except in an AggregatingMergeTree.
func ClickHouse() Dialect {
	return Dialect{
		name:        "clickhouse",
		quote:       '"',
		backslash:   true,
		maxName:     4096, // the engine has no limit of its own but its file system's
		fitName:     127,
		maxBytes:    true,
		defaultPath: "default",
		types: map[tidegate.Kind]Text{
			tidegate.Bool:      "Nullable(Bool)",
			tidegate.Int:       "Nullable(Int64)",
			tidegate.Float:     "Nullable(Float64)",
			tidegate.String:    "Nullable(String)",
			tidegate.Bytes:     "SimpleAggregateFunction(any_respect_nulls, Nullable(String))",
			tidegate.Date:      "Nullable(Date32)",
			tidegate.Timestamp: "Nullable(DateTime64(6, 'UTC'))",
			tidegate.JSON:      "SimpleAggregateFunction(anyLast_respect_nulls, Nullable(String))",
		},
		decimalOf: func(precision, scale int) Text {
			return Text("Nullable(Decimal(" + strconv.Itoa(precision) + ", " + strconv.Itoa(scale) + "))")
		},
		maxDecimal: 38,
		reserved:   clickHouseReserved,
		units:      true,
		indexes:    true,
		skipping:   "bloom_filter(0.0001) GRANULARITY 1", // of 8,192 rows each; a thousand keys hit a tenth of them by chance
		place:      func(column Text) Text { return "toInt64OrZero(splitByChar(':', assumeNotNull(" + column + "))[2])" },
		hour: func(column Text) Text {
			return "toInt64(intDiv(toUnixTimestamp64Micro(toDateTime64(" + column + ", 6)), 3600000000))"
		},
		number:      func(text Text) Text { return "toFloat64OrNull(" + text + ")" },
		hash:        clickHouseHash(),
		placeholder: func(n int) Text { return Text("$" + strconv.Itoa(n)) },
	}
}

// clickHouseReserved is read only. The engine reserves almost nothing. These are the words of its grammar
// that are not a column wherever one can stand, which a test of the adapter asks of the engine, and those of a query in SQL
// that it takes and other programs do not.
var clickHouseReserved = words(
	"all", "and", "anti", "any", "array", "as", "asc", "asof", "between", "by", "case", "cast", "collate", "cross", "cube", "desc", "describe", "distinct",
	"else", "end", "except", "exists", "explain", "false", "final", "for", "format", "from", "full", "global", "group", "having", "ilike", "in", "inner", "intersect", "interval", "into", "is",
	"join", "left", "like", "limit", "not", "null", "offset", "on", "or", "order", "paste", "prewhere", "qualify", "right", "rollup", "sample", "select", "semi", "settings", "show", "then",
	"top", "true", "union", "using", "when", "where", "window", "with",
)
