package ledger

import "github.com/tidegate/tidegate/warehouse/sqltext"

// clickhouseHome is ClickHouse 24.8 and newer.
type clickhouseHome struct{}

// fingerprint hashes the cells as one tuple written as text, in which NULL is a word
// and texts are quoted: the hash functions themselves pass over NULL.
func (clickhouseHome) fingerprint(version int64, cells []sqltext.Text) sqltext.Text {
	return "toInt64(bitShiftRight(sipHash64(" + number(version) + ", toString(tuple(" + sqltext.Join(cells, ", ") + "))), 1))"
}

func (clickhouseHome) hashProbe() string {
	return `SELECT toInt64(bitShiftRight(sipHash64(7, toString(tuple(toInt64(1), 'tide\'gate', true, toFloat64(1.5), toDecimal128('12.34', 2), toDate32('2024-02-29'), toDateTime64('2024-02-29 12:00:00', 6, 'UTC'), NULL))), 1))`
}

func (clickhouseHome) xor(x sqltext.Text) sqltext.Text { return "groupBitXor(" + x + ")" }

func (clickhouseHome) low(x sqltext.Text) sqltext.Text { return "bitAnd(" + x + ", 4294967295)" }
