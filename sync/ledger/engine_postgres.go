package ledger

import (
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// postgresEngine is PostgreSQL 14 and later (bit_xor).
type postgresEngine struct{}

func (postgresEngine) words() words {
	return words{bytes: "octet_length", temporary: " ON COMMIT DROP", cascade: " CASCADE"}
}

func (postgresEngine) keyText(col sqltext.Text, kind tidegate.Kind) sqltext.Text {
	switch kind {
	case tidegate.Bytes:
		return "encode(" + col + ", 'hex')"
	case tidegate.Date:
		return "CAST(" + col + " - DATE '1970-01-01' AS text)"
	case tidegate.Timestamp:
		return "CAST(CAST(extract(epoch FROM CAST(" + col + " AS timestamptz)) * 1000000 AS bigint) AS text)"
	case tidegate.Decimal:
		return "CAST(trim_scale(CAST(" + col + " AS numeric)) AS text)"
	default:
		return "CAST(" + col + " AS text)"
	}
}

// keyHashes reads the digest as two little-endian numbers, as DuckDB does.
func (postgresEngine) keyHashes(text sqltext.Text) (hash, check sqltext.Text) {
	half := func(from int) sqltext.Text {
		digest := "decode(md5(" + text + "), 'hex')"
		sum := sqltext.Text("")
		for i := range 8 {
			b := "CAST(get_byte(" + digest + ", " + number(int64(from+i)) + ") AS bigint)"
			if i == 7 {
				b = "(" + b + " & 127)"
			}
			if i > 0 {
				sum += " | "
			}
			sum += "(" + b + " << " + sqltext.Text(strconv.Itoa(8*i)) + ")"
		}
		return "(" + sum + ")"
	}
	return half(0), half(8)
}

func (postgresEngine) fingerprint(version int64, cells []sqltext.Text) sqltext.Text {
	return "(hashtextextended(CAST(ROW(" + sqltext.Join(cells, ", ") + ") AS text), " + number(version) + ") & 9223372036854775807)"
}

func (postgresEngine) hashProbe() string {
	return `SELECT hashtextextended(CAST(ROW(1, 'tidegate', true, 1.5::double precision, 12.34::numeric, DATE '2024-02-29', TIMESTAMPTZ '2024-02-29 12:00:00Z', '\x0061'::bytea, NULL) AS text), 7) & 9223372036854775807`
}

// scratch reads the model once for what is open and a second time to count it,
// in the same snapshot: the engine has no aggregate that takes any value of a group.
func (postgresEngine) scratch(c comparison) []string {
	if c.twins {
		return []string{"DROP TABLE IF EXISTS " + string(scratchTable), string("CREATE TEMP TABLE " + scratchTable + " ON COMMIT DROP AS " + groups("("+c.keyed()+") AS q", c, " HAVING bool_or(open) OR count(present) > 1"))}
	}
	const open sqltext.Text = "tidegate_open"
	return []string{
		string("DROP TABLE IF EXISTS " + open), string("DROP TABLE IF EXISTS " + scratchTable),
		string("CREATE TEMP TABLE " + open + " ON COMMIT DROP AS SELECT * FROM (" + c.keyed() + ") AS q WHERE open"),
		string("CREATE TEMP TABLE " + scratchTable + " ON COMMIT DROP AS " + groups(open, c, "")),
		string("INSERT INTO " + scratchTable + " (open, model_rows, ledger_rows, was_acked) SELECT false, count(*) - (SELECT coalesce(sum(model_rows), 0) FROM " + scratchTable + "), 0, false FROM (" + c.rows + ") AS m"),
		string("DROP TABLE " + open),
	}
}

func groups(from sqltext.Text, c comparison, having sqltext.Text) sqltext.Text {
	var cells []sqltext.Text
	for _, name := range c.names() {
		cells = append(cells, "(array_agg("+name+") FILTER (WHERE present))[1] AS "+name)
	}
	return "SELECT true AS open, h AS key_hash, k AS key_check, count(present) AS model_rows, count(n_hash) AS ledger_rows, coalesce(bool_or(n_acked), false) AS was_acked" +
		", (array_agg(fingerprint) FILTER (WHERE present))[1] AS fingerprint, " + sqltext.Join(cells, ", ") + " FROM " + from + " GROUP BY h, k" + having
}

func (postgresEngine) results(param sqltext.Text) sqltext.Text {
	return "json_to_recordset(CAST(" + param + " AS json)) AS j(ordinal bigint, disposition text, destination_id text, next_attempt text, action text, code text, subject text, message text, hint text, cluster text)"
}
