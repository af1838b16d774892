package sqltext

import (
	"strconv"

	"github.com/tidegate/tidegate"
)

// Hash is how an engine hashes rows, for whoever compares them by a number. The numbers of
// two engines differ for equal rows; those of one engine are the same as long as Probe's is.
type Hash struct {
	// Row hashes cells to an int of 63 bits. NULL is a value among others, and cells do not run into each other.
	// Equal cells give another number with another seed. A column may stand in it more than once.
	Row func(seed int64, cells []Cell) Text
	// Probe is a query of one int that changes when Row does: a fixed row of each kind.
	Probe Text
	// Xor is the aggregate of that name over ints that are not negative; it passes over NULL.
	Xor func(x Text) Text
	// Low are the lower 32 bits of an int.
	Low func(x Text) Text
}

// Cell is a column that is hashed.
type Cell struct {
	Column Text
	Kind   tidegate.Kind
}

// Hash is how the engine hashes rows.
func (d Dialect) Hash() Hash { return d.hash }

// View is the statement that makes a view, or makes it anew with the same columns.
// It keeps no table from being changed, and those who may read it go on to.
func (d Dialect) View(name, query Text) Text {
	return "CREATE OR REPLACE VIEW " + name + d.viewGrants + " AS " + query + d.viewBinding
}

const (
	bits63 Text = "9223372036854775807"
	bits32 Text = "4294967295"
)

func number(n int64) Text { return Text(strconv.FormatInt(n, 10)) }

// joined are cells with a separator between them, each as text has it.
func joined(cells []Cell, sep Text, text func(c Cell) Text) Text {
	all := make([]Text, len(cells))
	for i, c := range cells {
		all[i] = text(c)
	}
	return Join(all, sep)
}

// plain are cells as they are, for engines that hash values of any type.
func plain(cells []Cell) Text {
	return joined(cells, ", ", func(c Cell) Text { return c.Column })
}

// masked is Hash.Low where & is an operator.
func masked(x Text) Text { return "(" + x + " & " + bits32 + ")" }

func duckDBHash() Hash {
	return Hash{
		Row: func(seed int64, cells []Cell) Text {
			return "CAST(hash(CAST(" + number(seed) + " AS BIGINT), " + plain(cells) + ") >> 1 AS BIGINT)"
		},
		Probe: `SELECT (hash(1::BIGINT, 'tidegate', true, 1.5::DOUBLE, 12.34::DECIMAL(18,2), DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00', '\x00a'::BLOB, NULL) >> 1)::BIGINT`,
		Xor:   func(x Text) Text { return "bit_xor(" + x + ")" },
		Low:   masked,
	}
}

// probe hashes a row.
func probe(h Hash, row []Cell) Text { return "SELECT " + h.Row(7, row) }

// clickHouseHash hashes the cells as one tuple written as text, in which NULL is a word
// and texts are quoted: the hash functions themselves pass over NULL.
func clickHouseHash() Hash {
	return Hash{
		Row: func(seed int64, cells []Cell) Text {
			return "toInt64(bitShiftRight(sipHash64(" + number(seed) + ", toString(tuple(" + plain(cells) + "))), 1))"
		},
		Probe: `SELECT toInt64(bitShiftRight(sipHash64(7, toString(tuple(toInt64(1), 'tide\'gate', true, toFloat64(1.5), toDecimal128('12.34', 2), toDate32('2024-02-29'), toDateTime64('2024-02-29 12:00:00', 6, 'UTC'), NULL))), 1))`,
		Xor:   func(x Text) Text { return "groupBitXor(" + x + ")" },
		Low:   func(x Text) Text { return "bitAnd(" + x + ", " + bits32 + ")" },
	}
}

func bigQueryHash() Hash {
	return Hash{
		Row: func(seed int64, cells []Cell) Text {
			return "(FARM_FINGERPRINT(CONCAT('" + number(seed) + "', TO_JSON_STRING(STRUCT(" + plain(cells) + ")))) & " + bits63 + ")"
		},
		Probe: `SELECT FARM_FINGERPRINT(CONCAT('7', TO_JSON_STRING(STRUCT(1, 'tide"gate', TRUE, 1.5, NUMERIC '12.34', DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00+00', b'a', NULL)))) & 9223372036854775807`,
		Xor:   func(x Text) Text { return "BIT_XOR(" + x + ")" },
		Low:   masked,
	}
}

// redshiftHash hashes each cell alone, because a text has no room for a whole row of them, and then
// the row of these numbers.
func redshiftHash() Hash {
	h := Hash{
		Row: func(seed int64, cells []Cell) Text {
			return "(FARMFINGERPRINT64('" + number(seed) + "|' || " + joined(cells, " || ',' || ", redshiftCell) + ") & " + bits63 + ")"
		},
		Xor: redshiftXor,
		Low: masked,
	}
	h.Probe = probe(h, []Cell{
		{"1", tidegate.Int},
		{"'tidegate'", tidegate.String},
		{"true", tidegate.Bool},
		{"1.5", tidegate.Float},
		{"CAST(12.34 AS NUMERIC(18,2))", tidegate.Decimal},
		{"DATE '2024-02-29'", tidegate.Date},
		{"TIMESTAMPTZ '2024-02-29 12:00:00Z'", tidegate.Timestamp},
		{"JSON_PARSE('{\"a\":[1,null]}')", tidegate.JSON},
		{"CAST(NULL AS VARCHAR(1))", tidegate.String},
	})
	return h
}

// redshiftCell is a short text that is as good as the value: the value itself, or its hash.
// A text of a float may lack its last digits, so its bytes are hashed.
func redshiftCell(c Cell) Text {
	var text Text
	col := c.Column
	switch c.Kind {
	case tidegate.Bool:
		return "CASE WHEN " + col + " THEN 't' WHEN NOT " + col + " THEN 'f' ELSE 'n' END"
	case tidegate.Int, tidegate.Decimal:
		text = col
	case tidegate.Float:
		text = "FNV_HASH(CAST(" + col + " AS DOUBLE PRECISION))"
	case tidegate.Date:
		text = "TO_CHAR(" + col + ", 'YYYY-MM-DD BC')"
	case tidegate.Timestamp:
		text = "TO_CHAR(CAST(" + col + " AS TIMESTAMPTZ) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US BC')"
	case tidegate.Bytes:
		text = "FARMFINGERPRINT64(" + col + ")"
	case tidegate.JSON:
		text = "FARMFINGERPRINT64(JSON_SERIALIZE_TO_VARBYTE(" + col + "))"
	default:
		text = "FARMFINGERPRINT64(CAST(" + col + " AS VARCHAR(65535)))"
	}
	return "CASE WHEN " + col + " IS NULL THEN 'n' ELSE CAST(" + text + " AS VARCHAR(64)) END"
}

// redshiftXor counts how often each bit is set, of two bits at once, 32 apart, in the halves of a sum: the
// engine has no such aggregate. A half overflows after four billion rows.
func redshiftXor(x Text) Text {
	const pair Text = "4294967297" // bits 0 and 32
	parts := make([]Text, 32)
	for i := range parts {
		n := number(int64(i))
		parts[i] = "((CAST(SUM((" + x + " >> " + n + ") & " + pair + ") AS BIGINT) & " + pair + ") << " + n + ")"
	}
	return "(" + Join(parts, " + ") + ")"
}

func snowflakeHash() Hash {
	return Hash{
		Row: func(seed int64, cells []Cell) Text {
			return "CAST(BITAND(HASH(" + number(seed) + ", " + plain(cells) + "), " + bits63 + ") AS NUMBER(19,0))"
		},
		Probe: `SELECT CAST(BITAND(HASH(7, 1, 'tidegate', TRUE, CAST(1.5 AS FLOAT), CAST(12.34 AS NUMBER(18,2)), TO_DATE('2024-02-29', 'YYYY-MM-DD'), TO_TIMESTAMP_TZ('2024-02-29 12:00:00 +0000', 'YYYY-MM-DD HH24:MI:SS TZHTZM'), ` +
			`TO_BINARY('0061', 'HEX'), PARSE_JSON('{"a":[1,null]}'), NULL), ` + bits63 + `) AS NUMBER(19,0))`,
		Xor: func(x Text) Text { return "CAST(BITXOR_AGG(" + x + ") AS NUMBER(19,0))" },
		Low: func(x Text) Text { return "BITAND(" + x + ", " + bits32 + ")" },
	}
}
