package ledger

import (
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// postgresEngine is PostgreSQL 14 and later (bit_xor, hash_record_extended).
type postgresEngine struct{}

func (postgresEngine) words() words {
	return words{
		bytes: "octet_length", temporary: " ON COMMIT DROP", cascade: " CASCADE", indexes: "SELECT count(*) FROM pg_indexes WHERE schemaname = $1 AND indexname = $2",
		// A bare 0 would keep workers from taking part: when the engine asks for them it has not made a bigint of it yet, and takes it for a limit.
		fence:   " OFFSET '0'",
		returns: true, touched: " ORDER BY p.key_hash",
	}
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

func (postgresEngine) keyHashes(text sqltext.Text) (hash, check sqltext.Text) {
	return halves("decode(md5(" + text + "), 'hex')")
}

// halves reads a digest as two little-endian numbers, as DuckDB does.
func halves(digest sqltext.Text) (first, second sqltext.Text) {
	half := func(from int) sqltext.Text {
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

// settings give a comparison the memory to keep the ledger's fingerprints at hand, and
// let workers take part: the engine expects half of the rows to be open, and to pay for
// handing each of them over. Statements that run for a second or a minute gain nothing by being compiled.
// Workers share one table of fingerprints, 50 bytes a row, in /dev/shm, of which a container has 64 MB unless
// it is given more: where that is scarce each makes its own, in its own memory, or on disk what is more than that.
func (postgresEngine) settings(scarce bool) []string {
	const kilobytes = 128 << 10
	list := []string{
		string("SELECT set_config('work_mem', '" + number(kilobytes) + "kB', true) WHERE pg_size_bytes(current_setting('work_mem')) < " + number(kilobytes<<10)),
		"SELECT set_config('parallel_tuple_cost', '0', true), set_config('jit', 'off', true)",
	}
	if scarce {
		list = append(list, "SELECT set_config('enable_parallel_hash', 'off', true)")
	}
	return list
}

func (postgresEngine) sumsFirst() bool { return true }

// The further tables of a comparison.
const (
	openTable  sqltext.Text = "tidegate_open"
	knownTable sqltext.Text = "tidegate_known"
	otherTable sqltext.Text = "tidegate_other"
)

func (e postgresEngine) scratch(c comparison) []string {
	switch {
	case c.twins:
		return []string{"DROP TABLE IF EXISTS " + string(scratchTable), string("CREATE TEMP TABLE " + scratchTable + " ON COMMIT DROP AS " + groups("("+c.keyed()+") AS q", c, " HAVING bool_or(open) OR count(present) > 1"))}
	case c.model == nil:
		return []string{
			string("DROP TABLE IF EXISTS " + scratchTable),
			string("CREATE TEMP TABLE " + scratchTable + " ON COMMIT DROP AS " + groups("("+c.keyed()+") AS q WHERE open", c, "")),
			string("INSERT INTO " + scratchTable + " (open, model_rows, ledger_rows, was_acked) SELECT false, count(*) - (SELECT coalesce(sum(model_rows), 0) FROM " + scratchTable + "), 0, false FROM (" + c.rows + ") AS m"),
		}
	}
	return e.compare(c)
}

// compare finds the model's rows without a partner by an anti-join, which the engine does
// with all its workers and without keeping a row of the model. What they leave of the
// ledger is known from the checksums: those of the model without its open rows, and with
// the confirmed rows of their keys, are those of the ledger, if no key was removed and no
// two rows of one key hide among the unchanged. Only if they are not (other), the ledger's
// rows are looked for in the model, too.
func (e postgresEngine) compare(c comparison) []string {
	create := func(table sqltext.Text, as sqltext.Text) string {
		return string("CREATE TEMP TABLE " + table + " ON COMMIT DROP AS " + as)
	}
	rows := "(" + c.rows + ")"
	hash, check := halves("digest")
	list := sqltext.Join(c.names(), ", ")
	sums := func(where sqltext.Text) sqltext.Text {
		return "count(*)" + where + " AS n, coalesce(bit_xor(fingerprint)" + where + ", 0) AS x, coalesce(sum(fingerprint & 4294967295)" + where + ", 0) AS s"
	}
	var cells []sqltext.Text
	for _, name := range c.names() {
		cells = append(cells, "(m.r)."+name)
	}
	const when = "(SELECT other FROM " + otherTable + ")"
	const open sqltext.Text = "SELECT n.key_hash, n.key_check, n.acked FROM "
	return []string{
		string("DROP TABLE IF EXISTS " + openTable + ", " + knownTable + ", " + otherTable + ", " + scratchTable),
		create(openTable, "SELECT fingerprint, "+list+", "+hash+" AS h, "+check+" AS k FROM (SELECT m.*, decode(md5("+c.text+"), 'hex') AS digest FROM "+rows+
			" AS m WHERE NOT EXISTS (SELECT 1 FROM "+c.ledger+" AS n WHERE n.acked AND n.fingerprint = m.fingerprint) OFFSET '0') AS j"),
		string("ANALYZE " + openTable + " (h)"),
		create(knownTable, "SELECT n.* FROM "+c.ledger+" AS n WHERE EXISTS (SELECT 1 FROM "+openTable+" AS o WHERE o.h = n.key_hash AND o.k = n.key_check)"),
		create(otherTable, "SELECT "+number(c.model.rows)+" - o.n + k.n <> "+number(c.confirmed.rows)+" OR "+number(c.model.xor)+" # o.x # k.x <> "+number(c.confirmed.xor)+
			" OR "+number(c.model.sum)+" - o.s + k.s <> "+number(c.confirmed.sum)+" OR k.failed <> "+number(c.keys-c.confirmed.rows)+" AS other FROM (SELECT "+sums("")+" FROM "+openTable+
			") AS o CROSS JOIN (SELECT "+sums(" FILTER (WHERE acked)")+", count(*) FILTER (WHERE NOT acked) AS failed FROM "+knownTable+") AS k"),
		create(scratchTable, "SELECT true AS open, coalesce(m.h, n.key_hash) AS key_hash, coalesce(m.k, n.key_check) AS key_check, coalesce(m.model_rows, 0) AS model_rows, CASE WHEN n.key_hash IS NULL THEN 0 ELSE 1 END AS ledger_rows, coalesce(n.acked, false) AS was_acked, (m.r).fingerprint, "+
			sqltext.Join(cells, ", ")+" FROM (SELECT h, k, count(*) AS model_rows, (array_agg(o))[1] AS r FROM "+openTable+" AS o GROUP BY h, k) AS m FULL JOIN ("+
			open+knownTable+" AS n WHERE NOT "+when+" UNION ALL "+open+c.ledger+" AS n WHERE "+when+" AND NOT n.acked UNION ALL "+
			open+c.ledger+" AS n WHERE "+when+" AND n.acked AND NOT EXISTS (SELECT 1 FROM "+rows+" AS m WHERE m.fingerprint = n.fingerprint)) AS n ON n.key_hash = m.h AND n.key_check = m.k"),
		string("INSERT INTO " + scratchTable + " (open, model_rows, ledger_rows, was_acked) SELECT false, " + number(c.model.rows) + " - count(*), 0, false FROM " + openTable),
	}
}

// packed implements bringer.
func (postgresEngine) packed(x sqltext.Text) sqltext.Text {
	return "string_agg(int8send(" + x + "), '')"
}

const workersSetting = "'max_parallel_workers_per_gather'"

// alone implements bringer.
func (postgresEngine) alone() string {
	return "SELECT current_setting(" + workersSetting + "), set_config(" + workersSetting + ", '0', true)"
}

// with implements bringer.
func (e postgresEngine) with(workers string) string {
	n, _ := strconv.ParseInt(workers, 10, 64)
	return string("SELECT set_config(" + workersSetting + ", '" + number(n) + "', true)")
}

// parcel implements bringer.
func (postgresEngine) parcel(bytes int64) string {
	return string("SELECT repeat('x', " + number(bytes) + ")")
}

// found implements bringer. Arrays are hashed by each worker, which a temporary table is kept from: it is its owner's alone.
func (postgresEngine) found(c comparison, some, added, gone sqltext.Text) string {
	hash, check := halves("digest")
	list := sqltext.Join(c.names(), ", ")
	open := "SELECT fingerprint, " + list + ", " + hash + " AS h, " + check + " AS k FROM (SELECT m.*, decode(md5(" + c.text + "), 'hex') AS digest FROM (" + some +
		") AS m WHERE m.fingerprint = ANY(" + added + ") OFFSET '0') AS j OFFSET '0'"
	return string("CREATE TEMP TABLE " + scratchTable + " ON COMMIT DROP AS SELECT true AS open, coalesce(m.h, n.key_hash) AS key_hash, coalesce(m.k, n.key_check) AS key_check, coalesce(m.model_rows, 0) AS model_rows" +
		", CASE WHEN n.key_hash IS NULL THEN 0 ELSE 1 END AS ledger_rows, coalesce(n.acked, false) AS was_acked, m.fingerprint, " + list +
		" FROM (SELECT DISTINCT ON (h, k) *, count(*) OVER (PARTITION BY h, k) AS model_rows FROM (" + open + ") AS o) AS m FULL JOIN (SELECT key_hash, key_check, acked FROM " + c.ledger +
		" WHERE NOT acked OR fingerprint = ANY(" + gone + ")) AS n ON n.key_hash = m.h AND n.key_check = m.k")
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
	return "(SELECT o.ordinal, r.* FROM json_to_recordset(CAST(" + param + " AS json)) AS r(first bigint, last bigint, disposition text, destination_id text, next_attempt text, action text, code text, subject text, message text, hint text, cluster text) CROSS JOIN LATERAL generate_series(r.first, r.last) AS o(ordinal)) AS j"
}
