package sqltext

import (
	"strconv"

	"github.com/tidegate/tidegate"
)

// Hash is how an engine hashes rows, for whoever compares them by a number. The numbers of
// two engines differ for equal rows; those of one engine are the same as long as Probe's is.
type Hash struct {
	// Cell is a column as Row takes it.
	Cell func(column Text, kind tidegate.Kind) Text
	// Row hashes cells to an int of 63 bits. NULL is a value among others, and cells do not run into each other.
	// Equal cells give another number with another seed.
	Row func(seed int64, cells []Text) Text
	// Probe is a query of one int that changes when Row does: a fixed row of each kind.
	Probe Text
	// Xor is the aggregate of that name over ints that are not negative; it passes over NULL.
	Xor func(x Text) Text
	// Low are the lower 32 bits of an int.
	Low func(x Text) Text
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

// same is Hash.Cell where the engine hashes values as they are.
func same(column Text, _ tidegate.Kind) Text { return column }

// masked is Hash.Low where & is an operator.
func masked(x Text) Text { return "(" + x + " & " + bits32 + ")" }

func duckDBHash() Hash {
	return Hash{
		Cell: same,
		Row: func(seed int64, cells []Text) Text {
			return "CAST(hash(CAST(" + number(seed) + " AS BIGINT), " + Join(cells, ", ") + ") >> 1 AS BIGINT)"
		},
		Probe: `SELECT (hash(1::BIGINT, 'tidegate', true, 1.5::DOUBLE, 12.34::DECIMAL(18,2), DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00', '\x00a'::BLOB, NULL) >> 1)::BIGINT`,
		Xor:   func(x Text) Text { return "bit_xor(" + x + ")" },
		Low:   masked,
	}
}

func postgresHash() Hash {
	h := Hash{Cell: postgresCell, Row: postgresRow, Xor: func(x Text) Text { return "bit_xor(" + x + ")" }, Low: masked}
	h.Probe = probe(h, []sample{
		{"1", tidegate.Int},
		{"'tidegate'", tidegate.String},
		{"true", tidegate.Bool},
		{"1.5", tidegate.Float},
		{"12.34", tidegate.Decimal},
		{"DATE '2024-02-29'", tidegate.Date},
		{"TIMESTAMPTZ '2024-02-29 12:00:00Z'", tidegate.Timestamp},
		{"'\\x0061'::bytea", tidegate.Bytes},
		{"NULL", tidegate.String},
	})
	return h
}

// sample is a cell of a probe.
type sample struct {
	value Text
	kind  tidegate.Kind
}

func probe(h Hash, samples []sample) Text {
	cells := make([]Text, len(samples))
	for i, s := range samples {
		cells[i] = h.Cell(s.value, s.kind)
	}
	return "SELECT " + h.Row(7, cells)
}

// postgresCell is the bytes of a value where the engine's own hash of its type is not one of
// all of it: whole numbers and times are folded to 32 bits, numerics are equal whatever
// their scale, texts may have a collation that takes different ones for equal.
func postgresCell(col Text, kind tidegate.Kind) Text {
	switch kind {
	case tidegate.Int:
		return "int8send(CAST(" + col + " AS bigint))"
	case tidegate.Float:
		return "float8send(CAST(" + col + " AS double precision))"
	case tidegate.Decimal:
		return "numeric_send(CAST(" + col + " AS numeric))"
	case tidegate.Timestamp:
		return "timestamptz_send(CAST(" + col + " AS timestamptz))"
	case tidegate.Bool, tidegate.Bytes, tidegate.Date:
		return col
	default:
		return "CAST(" + col + ` AS text) COLLATE "C"`
	}
}

// postgresRow hashes the hash again: the first one adds the hashes of the cells up, and a
// checksum of such sums would hardly see two rows that exchange a value.
func postgresRow(seed int64, cells []Text) Text {
	s := number(seed)
	return "(hash_record_extended(ROW(int8send(hash_record_extended(ROW(" + Join(cells, ", ") + "), " + s + "))), " + s + ") & " + bits63 + ")"
}

// clickHouseHash hashes the cells as one tuple written as text, in which NULL is a word
// and texts are quoted: the hash functions themselves pass over NULL.
func clickHouseHash() Hash {
	return Hash{
		Cell: same,
		Row: func(seed int64, cells []Text) Text {
			return "toInt64(bitShiftRight(sipHash64(" + number(seed) + ", toString(tuple(" + Join(cells, ", ") + "))), 1))"
		},
		Probe: `SELECT toInt64(bitShiftRight(sipHash64(7, toString(tuple(toInt64(1), 'tide\'gate', true, toFloat64(1.5), toDecimal128('12.34', 2), toDate32('2024-02-29'), toDateTime64('2024-02-29 12:00:00', 6, 'UTC'), NULL))), 1))`,
		Xor:   func(x Text) Text { return "groupBitXor(" + x + ")" },
		Low:   func(x Text) Text { return "bitAnd(" + x + ", " + bits32 + ")" },
	}
}

func bigQueryHash() Hash {
	return Hash{
		Cell: same,
		Row: func(seed int64, cells []Text) Text {
			return "(FARM_FINGERPRINT(CONCAT('" + number(seed) + "', TO_JSON_STRING(STRUCT(" + Join(cells, ", ") + ")))) & " + bits63 + ")"
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
		Cell: redshiftCell,
		Row: func(seed int64, cells []Text) Text {
			return "(FARMFINGERPRINT64('" + number(seed) + "|' || " + Join(cells, " || ',' || ") + ") & " + bits63 + ")"
		},
		Xor: redshiftXor,
		Low: masked,
	}
	h.Probe = probe(h, []sample{
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
func redshiftCell(col Text, kind tidegate.Kind) Text {
	var text Text
	switch kind {
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
		Cell: same,
		Row: func(seed int64, cells []Text) Text {
			return "CAST(BITAND(HASH(" + number(seed) + ", " + Join(cells, ", ") + "), " + bits63 + ") AS NUMBER(19,0))"
		},
		Probe: `SELECT CAST(BITAND(HASH(7, 1, 'tidegate', TRUE, CAST(1.5 AS FLOAT), CAST(12.34 AS NUMBER(18,2)), TO_DATE('2024-02-29', 'YYYY-MM-DD'), TO_TIMESTAMP_TZ('2024-02-29 12:00:00 +0000', 'YYYY-MM-DD HH24:MI:SS TZHTZM'), ` +
			`TO_BINARY('0061', 'HEX'), PARSE_JSON('{"a":[1,null]}'), NULL), ` + bits63 + `) AS NUMBER(19,0))`,
		Xor: func(x Text) Text { return "CAST(BITXOR_AGG(" + x + ") AS NUMBER(19,0))" },
		Low: func(x Text) Text { return "BITAND(" + x + ", " + bits32 + ")" },
	}
}
