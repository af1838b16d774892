package ledger

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// duckdbEngine is DuckDB 1.5.
type duckdbEngine struct{}

func (duckdbEngine) words() words { return words{bytes: "strlen"} }

func (duckdbEngine) keyText(col sqltext.Text, kind tidegate.Kind) sqltext.Text {
	text := "CAST(" + col + " AS VARCHAR)"
	switch kind {
	case tidegate.Int:
		return "CAST(CAST(" + col + " AS HUGEINT) AS VARCHAR)"
	case tidegate.Bytes:
		return "lower(hex(CAST(" + col + " AS BLOB)))"
	case tidegate.Date:
		return "CAST(CAST(" + col + " AS DATE) - DATE '1970-01-01' AS VARCHAR)"
	case tidegate.Timestamp:
		return "CAST(epoch_us(" + col + ") AS VARCHAR)"
	case tidegate.Decimal:
		return "CASE WHEN contains(" + text + ", '.') THEN rtrim(rtrim(" + text + ", '0'), '.') ELSE " + text + " END"
	default: // String and Bool; the others cannot be keys
		return text
	}
}

func (duckdbEngine) keyHashes(text sqltext.Text) (hash, check sqltext.Text) {
	const bits = " & 9223372036854775807) AS BIGINT)"
	return "CAST((md5_number(" + text + ")" + bits, "CAST(((md5_number(" + text + ") >> 64)" + bits
}

func (duckdbEngine) settings(bool) []string { return nil }

func (duckdbEngine) sumsFirst() bool { return false }

// scratch reads the model once. All unchanged rows fall into one group, which
// only counts them: that is how one pass gives both the changed rows and exact
// counts.
func (duckdbEngine) scratch(c comparison) []string {
	var packed, unpacked []sqltext.Text
	for _, name := range c.names() {
		packed = append(packed, name+" := "+name)
		unpacked = append(unpacked, "r."+name+" AS "+name)
	}
	when, group, having := sqltext.Text("open AND present"), sqltext.Text("open"), sqltext.Text("")
	hash, check := sqltext.Text("CASE WHEN open THEN h END"), sqltext.Text("CASE WHEN open THEN k END")
	if c.twins {
		when, group, having = "present", "true", " HAVING bool_or(open) OR count(present) > 1"
		hash, check = "h", "k"
	}
	return []string{
		"DROP TABLE IF EXISTS " + string(scratchTable),
		string("CREATE TEMP TABLE " + scratchTable + " AS SELECT open, key_hash, key_check, model_rows, ledger_rows, was_acked, r.f AS fingerprint, " + sqltext.Join(unpacked, ", ") +
			" FROM (SELECT " + group + " AS open, " + hash + " AS key_hash, " + check + " AS key_check, count(present) AS model_rows, count(n_hash) AS ledger_rows" +
			", coalesce(bool_or(n_acked), false) AS was_acked, any_value(CASE WHEN " + when + " THEN struct_pack(f := fingerprint, " + sqltext.Join(packed, ", ") + ") END) AS r" +
			" FROM (" + c.keyed() + ") AS q GROUP BY 1, 2, 3" + having + ") AS g"),
	}
}

func (duckdbEngine) results(param sqltext.Text) sqltext.Text {
	return "(SELECT unnest(range(first, last + 1)) AS ordinal, * EXCLUDE (first, last) FROM (SELECT unnest(from_json(" + param + ", '" +
		`[{"first":"BIGINT","last":"BIGINT","disposition":"VARCHAR","destination_id":"VARCHAR","next_attempt":"VARCHAR","action":"VARCHAR","code":"VARCHAR","subject":"VARCHAR","message":"VARCHAR","hint":"VARCHAR","cluster":"VARCHAR"}]` +
		"'), recursive := true))) AS j"
}
