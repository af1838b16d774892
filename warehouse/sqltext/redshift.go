package sqltext

import (
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
)

// Redshift returns the dialect of Amazon Redshift.
//
// The engine folds the letters of identifiers to lower case also where they are
// quoted (unless enable_case_sensitive_identifier is on), so Fit makes lower case ones: they
// are the same either way. A quote is the one character that a quoted identifier cannot hold.
//
// A VARCHAR without a length has 256 bytes there; so the type of a string is as
// long as it can be, and the adapter makes columns of it as short as their values.
func Redshift() Dialect {
	return Dialect{
		name:        "redshift",
		quote:       '"',
		maxName:     127, // the engine cuts longer names without a word
		fitName:     127,
		maxBytes:    true,
		defaultPath: "public",
		types: map[tidegate.Kind]Text{
			tidegate.Bool:      "BOOLEAN",
			tidegate.Int:       "BIGINT",
			tidegate.Float:     "DOUBLE PRECISION",
			tidegate.String:    "VARCHAR(65535)",
			tidegate.Bytes:     "VARBYTE(16777216)",
			tidegate.Date:      "DATE",
			tidegate.Timestamp: "TIMESTAMPTZ",
			tidegate.JSON:      "SUPER",
		},
		decimal:     "NUMERIC",
		maxDecimal:  38,
		maxScale:    37,
		reserved:    redshiftReserved,
		system:      words("ctid", "xmin", "cmin", "xmax", "cmax", "tableoid", "oid", "insertxid", "deletexid"),
		illegal:     redshiftIllegal,
		plain:       redshiftPlain,
		number:      numberByPattern,
		hash:        redshiftHash(),
		viewBinding: " WITH NO SCHEMA BINDING",
		jsonText:    func(column Text) Text { return "JSON_SERIALIZE(" + column + ")" },
		placeholder: func(n int) Text { return Text("$" + strconv.Itoa(n)) },
	}
}

func redshiftIllegal(_ namePart, name string) string {
	if strings.IndexByte(name, '"') >= 0 {
		return "holds a quote, which redshift takes in no name"
	}
	return ""
}

// redshiftPlain folds a name as the engine would.
func redshiftPlain(name string) (plain string, changed bool) {
	return fold(strings.ReplaceAll(name, `"`, "_")), strings.IndexByte(name, '"') >= 0
}

// redshiftReserved is read only: the reserved words of Amazon Redshift's Database Developer Guide.
var redshiftReserved = words(
	"aes128", "aes256", "all", "allowoverwrite", "analyse", "analyze", "and", "any", "array", "as", "asc", "authorization", "az64",
	"backup", "between", "binary", "blanksasnull", "both", "bytedict", "bzip2", "case", "cast", "check", "collate", "column", "connect", "constraint", "create", "credentials", "cross",
	"current_date", "current_time", "current_timestamp", "current_user", "current_user_id", "default", "deferrable", "deflate", "defrag", "delta", "delta32k", "desc", "disable", "distinct", "do",
	"else", "emptyasnull", "enable", "encode", "encrypt", "encryption", "end", "except", "explicit", "false", "for", "foreign", "freeze", "from", "full", "globaldict256", "globaldict64k", "grant", "group", "gzip",
	"having", "identity", "ignore", "ilike", "in", "initially", "inner", "intersect", "interval", "into", "is", "isnull", "join", "language", "leading", "left", "like", "limit", "localtime", "localtimestamp", "lun", "luns", "lzo", "lzop",
	"minus", "mostly16", "mostly32", "mostly8", "natural", "new", "not", "notnull", "null", "nulls", "off", "offline", "offset", "oid", "old", "on", "only", "open", "or", "order", "outer", "overlaps",
	"parallel", "partition", "percent", "permissions", "pivot", "placing", "primary", "raw", "readratio", "recover", "references", "rejectlog", "resort", "respect", "restore", "right",
	"select", "session_user", "similar", "snapshot", "some", "sysdate", "system", "table", "tag", "tdes", "text255", "text32k", "then", "timestamp", "to", "top", "trailing", "true", "truncatecolumns",
	"union", "unique", "unnest", "unpivot", "user", "using", "verbose", "wallet", "when", "where", "with", "without",
)
