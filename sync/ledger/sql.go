package ledger

import (
	"fmt"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// statements writes the ledger's SQL, the same for every engine but for what
// engine says. Hashes are 63 bits wide so that they are BIGINTs everywhere.
type statements struct {
	d sqltext.Dialect
	n names
	e engine
}

func (s statements) table(t warehouse.Table) sqltext.Text {
	q, err := s.d.Table(t.Schema, t.Name)
	if err != nil {
		// Open proved the sync's names, Plan the run's: a bug of ours (Invariant 7).
		panic(fmt.Sprintf("naming the ledger's table %s: %v", t, err))
	}
	return q
}

func (s statements) of(kind string) sqltext.Text { return s.table(s.n.of(kind)) }

func (s statements) ofRun(runID, kind string) sqltext.Text { return s.table(s.n.ofRun(runID, kind)) }

// shared is a table of all syncs.
func (s statements) shared(name string) sqltext.Text {
	return s.table(warehouse.Table{Schema: Schema, Name: name})
}

func number(n int64) sqltext.Text { return sqltext.Text(strconv.FormatInt(n, 10)) }

// param is a parameter with its type, which an engine cannot always tell.
func (s statements) param(n int, kind tidegate.Kind) sqltext.Text {
	typ, err := s.d.Type(tidegate.Type{Kind: kind})
	if err != nil {
		panic(fmt.Sprintf("typing a parameter as %s: %v", kind, err))
	}
	return "CAST(" + s.d.Placeholder(n) + " AS " + typ + ")"
}

func (s statements) text(n int) sqltext.Text { return s.param(n, tidegate.String) }
func (s statements) int(n int) sqltext.Text  { return s.param(n, tidegate.Int) }
func (s statements) time(n int) sqltext.Text { return s.param(n, tidegate.Timestamp) }

// source is what Plan reads: the model's own SQL, the columns in Mapping order
// (key first) and the version that goes into each fingerprint.
type source struct {
	model   string
	args    []any
	columns tidegate.Schema
	keys    int
	version int64
}

func cell(i int) sqltext.Text { return "c" + number(int64(i)) }

// compare prepares the comparison of src with __ledger.
func (s statements) compare(src source) (comparison, error) {
	c := comparison{ledger: s.of("ledger"), cells: len(src.columns)}
	var all []sqltext.Cell
	var cells, bad, empty []sqltext.Text
	var parts sqltext.Text
	for i, column := range src.columns {
		q, err := s.d.Ident(column.Name)
		if err != nil {
			return c, err
		}
		all = append(all, sqltext.Cell{Column: "q." + q, Kind: column.Type.Kind})
		cells = append(cells, "q."+q+" AS "+cell(i))
		if i >= src.keys {
			continue
		}
		text := s.e.keyText(cell(i), column.Type.Kind)
		if i > 0 {
			parts += " || "
		}
		parts += "coalesce(CAST(" + s.e.words().bytes + "(" + text + ")" + " AS VARCHAR) || ':' || " + text + ", 'null')"
		bad = append(bad, cell(i)+" IS NULL")
		if column.Type.Kind == tidegate.String {
			empty = append(empty, text+" = ''")
		}
	}
	noKey := sqltext.Join(bad, " OR ")
	if len(empty) == src.keys {
		noKey += " OR (" + sqltext.Join(empty, " AND ") + ")"
	}
	hash, check := s.e.keyHashes(parts)
	c.text = "CASE WHEN NOT (" + noKey + ") THEN " + parts + " END"
	c.hash, c.check = "CASE WHEN NOT ("+noKey+") THEN "+hash+" END", check
	c.number, c.key = s.distinct(src, func(i int) sqltext.Text { return cell(i) }), s.distinct(src, func(i int) sqltext.Text { return all[i].Column })
	model, fence := "(\n"+sqltext.Text(src.model)+"\n) AS q", s.e.words().fence
	list := "SELECT true AS present, " + s.d.Hash().Row(src.version, all) + " AS fingerprint, " + sqltext.Join(cells, ", ") + " FROM "
	c.some = func(where sqltext.Text) sqltext.Text {
		return list + "(SELECT * FROM " + model + " WHERE " + where + ") AS q" + fence
	}
	if fence != "" {
		model = "(SELECT * FROM " + model + fence + ") AS q"
	}
	c.bare = list + model
	c.rows = c.bare + fence
	return c, nil
}

// distinct is a number of a row's key: the key itself where it is one, so that the engine may look it up.
func (s statements) distinct(src source, column func(i int) sqltext.Text) sqltext.Text {
	if src.keys == 1 && src.columns[0].Type.Kind == tidegate.Int {
		return "CAST(" + column(0) + " AS bigint)"
	}
	key := make([]sqltext.Cell, src.keys)
	for i := range key {
		key[i] = sqltext.Cell{Column: column(i), Kind: src.columns[i].Type.Kind}
	}
	return s.d.Hash().Row(src.version, key)
}

// checksum sums fingerprints up: count, xor, sum. Equal sets give equal sums.
const checksum sqltext.Text = "count(*), coalesce(bit_xor(fingerprint), 0), CAST(coalesce(sum(fingerprint & 4294967295), 0) AS BIGINT)"

// quick is the checksum of the model's rows, and a further number of them.
func (c comparison) quick(more sqltext.Text) string {
	return string("SELECT " + checksum + ", " + more + " FROM (" + c.rows + ") AS m")
}

// ledgerSums is the checksum of rows of __ledger in from, and more columns about them, each with a
// comma before it, in which confirmed is the fingerprint of an acked row. An aggregate with a FILTER has the
// engine pick its rows out again, which takes a third of the whole pass. packed leaves out what is made of the fingerprints.
func ledgerSums(from, more sqltext.Text, packed bool) sqltext.Text {
	of := sqltext.Text("coalesce(bit_xor(confirmed), 0) AS fingerprint_xor, CAST(coalesce(sum(confirmed & 4294967295), 0) AS BIGINT) AS fingerprint_sum")
	if packed {
		of = "0 AS fingerprint_xor, 0 AS fingerprint_sum"
	}
	return "SELECT count(*) AS keys, count(CASE WHEN acked THEN 1 END) AS acked, coalesce(bit_xor(key_hash), 0) AS key_xor, " + of + more +
		" FROM (SELECT key_hash, acked, CASE WHEN acked THEN fingerprint END AS confirmed FROM " + from + ") AS t"
}

// sums is the checksum of __ledger and __records, in the order of fenceSchema; more and packed are as for ledgerSums.
func (s statements) sums(more sqltext.Text, packed bool) sqltext.Text {
	return "SELECT l.*, r.* FROM (" + ledgerSums(s.of("ledger"), more, packed) + ") AS l CROSS JOIN " +
		"(SELECT count(*) AS confirmed, coalesce(bit_xor(key_hash), 0) AS record_xor FROM " + s.of("records") + ") AS r"
}

// seal stores the checksum in the fence.
func (s statements) seal() string {
	return string("UPDATE " + s.of("fence") + " SET keys = x.keys, acked = x.acked, confirmed = x.confirmed, key_xor = x.key_xor, record_xor = x.record_xor" +
		", fingerprint_xor = x.fingerprint_xor, fingerprint_sum = x.fingerprint_sum FROM (" + s.sums("", false) + ") AS x")
}

// totals sums __scratch up: rows of the model, rows of it that are unchanged,
// confirmed rows of the ledger that are open, rows without a usable key, open
// keys without a row of the ledger, keys that the model lacks.
func (s statements) totals() string {
	return string("SELECT CAST(coalesce(sum(model_rows), 0) AS BIGINT), CAST(coalesce(sum(model_rows) FILTER (WHERE NOT open), 0) AS BIGINT)" +
		", count(*) FILTER (WHERE open AND ledger_rows > 0 AND was_acked), CAST(coalesce(sum(model_rows) FILTER (WHERE open AND model_rows > 0 AND (key_hash IS NULL OR model_rows > 1)), 0) AS BIGINT)" +
		", count(*) FILTER (WHERE open AND key_hash IS NOT NULL AND model_rows > 0 AND ledger_rows = 0), count(*) FILTER (WHERE open AND model_rows = 0) FROM " + scratchTable)
}

// twins counts open rows whose key the ledger paired with another, unchanged row.
func (s statements) twins() string {
	return string("SELECT count(*) FROM (SELECT key_hash, key_check FROM " + scratchTable + " WHERE open AND key_hash IS NOT NULL AND model_rows > 0 AND ledger_rows = 0) AS s JOIN " +
		s.of("ledger") + " AS n ON n.key_hash = s.key_hash AND n.key_check = s.key_check")
}

// badKeys lists a sample of them: reason, rows, key cells.
func (s statements) badKeys(keys, limit int) string {
	var cells []sqltext.Text
	for i := range keys {
		cells = append(cells, cell(i))
	}
	list := sqltext.Join(cells, ", ")
	of := number(int64(limit))
	return string("(SELECT 'null' AS reason, model_rows, " + list + " FROM " + scratchTable + " WHERE open AND key_hash IS NULL AND model_rows > 0 LIMIT " + of +
		") UNION ALL (SELECT 'repeated', model_rows, " + list + " FROM " + scratchTable + " WHERE open AND key_hash IS NOT NULL AND model_rows > 1 ORDER BY model_rows DESC, key_hash LIMIT " + of + ")")
}

// owned finds keys that the model lacks (or, with all, that may have changed) and
// whose record another key was confirmed to own later, or may own: its delivery
// ended in doubt. Removing it would take that key's record away.
//
// Of __records each column that is read costs a pass over all of it: the keys' own rows are found once,
// by isOpen(key_hash), those of others by what they share and by narrow columns; their keys are only
// looked at where two were confirmed at the same time.
func (s statements) owned(all bool, isOpen func(x string) string) []string {
	which := sqltext.Text("s.open AND s.key_hash IS NOT NULL")
	if !all {
		which += " AND s.model_rows = 0"
	}
	records := s.of("records")
	leaving := "SELECT r.key_hash, r.key_check, r.key, r.identifier, r.destination_id, r.confirmed_at FROM " + scratchTable + " AS s JOIN (SELECT * FROM " + records + " WHERE " + sqltext.Text(isOpen("key_hash")) +
		") AS r ON r.key_hash = s.key_hash AND r.key_check = s.key_check WHERE " + which
	others := func(shared sqltext.Text) sqltext.Text {
		return "SELECT a.key_hash, a.key_check, a.key, b.key_hash AS other_hash, b.key_check AS other_check, b.confirmed_at > a.confirmed_at AS later FROM a JOIN " + records + " AS b ON b." + shared + " = a." + shared +
			" WHERE (b.key_hash <> a.key_hash OR b.key_check <> a.key_check) AND b.confirmed_at >= a.confirmed_at"
	}
	return []string{
		"DROP TABLE IF EXISTS " + string(ownedTable),
		string("CREATE TEMP TABLE " + ownedTable + s.e.words().temporary + " AS WITH a AS (" + leaving + "), m AS (" + others("identifier") + " UNION ALL " + others("destination_id") +
			") SELECT key_hash, key_check, bool_or(confirmed) AS confirmed FROM (SELECT key_hash, key_check, true AS confirmed FROM m WHERE later" +
			" UNION ALL SELECT m.key_hash, m.key_check, true FROM m JOIN " + records + " AS b ON b.key_hash = m.other_hash AND b.key_check = m.other_check WHERE NOT m.later AND b.key > m.key" +
			" UNION ALL SELECT a.key_hash, a.key_check, false FROM a JOIN " + s.of("attempts") + " AS b ON b.identifier = a.identifier WHERE b.key <> a.key AND b.doubted AND b.op <> 'removed'" +
			") AS u GROUP BY key_hash, key_check"),
	}
}

// candidates joins what may have changed with what is known of it. Key and
// identifier of a record are read only where owned was asked before: each column of
// __records costs a pass over all of it. That table is joined last: what it is joined with
// is few rows by then, and its own rows are handed on as they are found. isOpen(key_hash) is true for the keys that are asked for.
func (s statements) candidates(columns int, owners bool, isOpen func(x string) string) string {
	cells := make([]sqltext.Text, columns)
	for i := range cells {
		cells[i] = "s." + cell(i)
	}
	by := func(alias sqltext.Text) sqltext.Text {
		return " AS " + alias + " ON " + alias + ".key_hash = s.key_hash AND " + alias + ".key_check = s.key_check"
	}
	isOwned, join := sqltext.Text("false, false"), sqltext.Text("")
	key, identifier := sqltext.Text("CAST(NULL AS VARCHAR)"), sqltext.Text("CAST(NULL AS VARCHAR)")
	if owners {
		isOwned, join = "coalesce(o.confirmed, false), o.key_hash IS NOT NULL", " LEFT JOIN "+ownedTable+by("o")
		key, identifier = "r.key", "r.identifier"
	}
	return string("SELECT s.key_hash, s.key_check, s.fingerprint, s.model_rows, s.ledger_rows, " + isOwned + ", " + key + ", r.payload, r.payload_hash, " + identifier + ", r.destination_id" +
		", a.key, a.state, a.doubted, a.op, a.payload, a.payload_hash, a.fingerprint, a.identifier, a.destination_id, a.idempotency_key, a.attempts, a.first_failed_at, a.next_attempt_at, " +
		sqltext.Join(cells, ", ") + " FROM " + scratchTable + " AS s LEFT JOIN " + s.of("attempts") + by("a") + join + " LEFT JOIN (SELECT * FROM " + s.of("records") + " WHERE " + sqltext.Text(isOpen("key_hash")) + ")" + by("r") +
		" WHERE s.open AND s.key_hash IS NOT NULL AND s.model_rows <= 1")
}

// refresh applies the plan's housekeeping, in order.
func (s statements) refresh(runID string) []string {
	plan := s.ofRun(runID, "plan")
	drop := func(kind string, ops sqltext.Text) string {
		t := s.of(kind)
		return string("DELETE FROM " + t + " USING " + plan + " AS p WHERE p.ordinal < 0 AND p.op IN (" + ops + ") AND p.key_hash = " + t + ".key_hash AND p.key_check = " + t + ".key_check")
	}
	return []string{
		drop("ledger", "'same', 'forget'"),
		string("INSERT INTO " + s.of("ledger") + " SELECT key_hash, key_check, fingerprint, true FROM " + plan + " WHERE ordinal < 0 AND op IN ('same', 'baseline')"),
		drop("attempts", "'same', 'forget'"),
		drop("records", "'forget'"),
		string("INSERT INTO " + s.of("records") + " SELECT key_hash, key_check, key, after, after_hash, identifier, destination_id, " + s.text(1) + ", " + s.time(2) + " FROM " + plan + " WHERE ordinal < 0 AND op = 'baseline'"),
	}
}

// record appends results that are not there yet: the run's ID, the results as
// one JSON array, the time, and the least and greatest ordinal, which spare the
// engine most of the table.
func (s statements) record() string {
	return string("INSERT INTO " + s.of("results") + " SELECT " + s.text(1) + ", j.ordinal, j.disposition, j.destination_id, CAST(j.next_attempt AS TIMESTAMPTZ)" +
		", j.action, j.code, j.subject, j.message, j.hint, j.cluster, " + s.time(3) + " FROM " + s.e.results(s.text(2)) +
		" WHERE NOT EXISTS (SELECT 1 FROM " + s.of("results") + " AS l WHERE l.run_id = $1 AND l.ordinal BETWEEN " + s.int(4) + " AND " + s.int(5) + " AND l.ordinal = j.ordinal)")
}

// logSkipped appends the changes of a revert's plan that have no ordinal, numbered on from those that have one.
func (s statements) logSkipped(runID string) string {
	const none = "CAST(NULL AS VARCHAR)"
	return string("INSERT INTO " + s.of("log") + " SELECT " + s.text(1) + ", " + s.int(2) + " + row_number() OVER (ORDER BY p.key) - 1, p.key_hash, p.key_check, p.key, p.op, '" + dispositionSkipped + "', " + none + ", " + none + ", CAST(NULL AS BIGINT)" +
		", " + none + ", " + none + ", CAST(NULL AS TIMESTAMPTZ), " + s.text(3) + ", " + s.text(4) + ", " + none + ", " + s.text(5) + ", " + none + ", " + none + ", " + s.time(6) + " FROM " + s.ofRun(runID, "plan") + " AS p WHERE p.ordinal < 0")
}

// doubt gives every intended ordinal without a result an in_doubt one.
func (s statements) doubt(runID string) string {
	return string("INSERT INTO " + s.of("results") + " SELECT " + s.text(1) + ", p.ordinal, 'in_doubt', NULL, " + s.time(2) + ", 'retry', " + s.text(3) + ", NULL, " + s.text(4) + ", NULL, " + s.text(5) + ", " + s.time(2) + " FROM " +
		s.ofRun(runID, "plan") + " AS p WHERE p.ordinal >= 0 AND EXISTS (SELECT 1 FROM " + s.of("intents") +
		" AS i WHERE i.run_id = $1 AND p.ordinal BETWEEN i.first AND i.last) AND NOT EXISTS (SELECT 1 FROM " + s.of("results") +
		" AS l WHERE l.run_id = $1 AND l.ordinal = p.ordinal)")
}

// touch gathers a run's results beside what is narrow of their plan rows.
func (s statements) touch(runID string) string {
	return string("CREATE TEMP TABLE " + touchedTable + s.e.words().temporary + " AS SELECT p.ordinal, p.op, p.key_hash, p.key_check, p.fingerprint, p.known, l.run_id, l.disposition, l.recorded_at, coalesce(l.destination_id, p.destination_id) AS new_id, l.next_attempt_at AS next_at" +
		", l.fault_action AS l_action, l.fault_code AS l_code, l.fault_subject AS l_subject, l.fault_message AS l_message, l.fault_hint AS l_hint, l.cluster AS l_cluster" +
		", l.disposition = 'delivered' AS done, coalesce(a.doubted, false) OR l.disposition = 'in_doubt' AS still_doubted" +
		" FROM " + s.of("results") + " AS l JOIN " + s.ofRun(runID, "plan") + " AS p ON p.ordinal = l.ordinal" +
		" LEFT JOIN " + s.of("attempts") + " AS a ON a.key_hash = p.key_hash AND a.key_check = p.key_check WHERE l.run_id = $1" + s.e.words().touched)
}

// fold advances the ledger by what touch gathered. A delivered key takes over
// fingerprint and payload (Invariant 4); any other result leaves both and notes
// the attempt. full says that payloads are kept, isTouched(key_hash) is true for the keys that touch gathered.
func (s statements) fold(runID string, full bool, isTouched func(x string) string) []step {
	ledger, records, attempts := s.of("ledger"), s.of("records"), s.of("attempts")
	drop := func(kind string, which sqltext.Text) string {
		t := s.of(kind)
		return string("DELETE FROM " + t + " USING " + touchedTable + " AS x WHERE " + which + "x.key_hash = " + t + ".key_hash AND x.key_check = " + t + ".key_check AND " + sqltext.Text(isTouched(string(t)+".key_hash")))
	}
	keep := func(payload sqltext.Text) sqltext.Text {
		if full {
			return payload
		}
		return "CAST(NULL AS VARCHAR)"
	}
	const from = " FROM " + touchedTable
	wide := from + " AS x JOIN " + s.ofRun(runID, "plan") + " AS p ON p.ordinal = x.ordinal"
	return []step{
		{drop("ledger", "x.done AND "), "ledger", -1},
		{string("INSERT INTO " + ledger + " SELECT x.key_hash, x.key_check, x.fingerprint, true" + from + " AS x WHERE x.done AND x.op <> 'removed'"), "ledger", 1},
		{string("UPDATE " + ledger + " SET acked = false" + from + " AS x WHERE NOT x.done AND x.known AND " + ledger + ".acked AND x.key_hash = " + ledger + ".key_hash AND x.key_check = " + ledger + ".key_check"), "ledger", 0},
		{string("INSERT INTO " + ledger + " SELECT key_hash, key_check, CAST(NULL AS BIGINT), false" + from + " WHERE NOT done AND NOT known"), "ledger", 1},
		{drop("records", "x.done AND "), "records", -1},
		{string("INSERT INTO " + records + " SELECT x.key_hash, x.key_check, p.key, " + keep("p.after") + ", p.after_hash, p.identifier, x.new_id, x.run_id, x.recorded_at" + wide + " WHERE x.done AND x.op <> 'removed'"), "records", 1},
		{sql: drop("attempts", "")},
		{sql: string("INSERT INTO " + attempts + " SELECT x.key_hash, x.key_check, p.key" +
			", CASE WHEN x.disposition = 'excluded' THEN 'excluded' WHEN x.disposition = 'in_doubt' OR (x.disposition = 'deferred' AND x.still_doubted) THEN 'in_doubt' ELSE 'failed' END" +
			", x.still_doubted, x.op, " + keep("CASE WHEN x.op = 'removed' THEN p.before ELSE p.after END") + ", p.after_hash, x.fingerprint, p.identifier, x.new_id, p.idempotency_key" +
			", CASE WHEN x.disposition IN ('rejected', 'in_doubt') THEN p.attempts + 1 ELSE p.attempts END, CASE WHEN x.disposition <> 'excluded' THEN coalesce(p.first_failed_at, x.recorded_at) END" +
			", x.next_at, x.l_action, x.l_code, x.l_subject, x.l_message, x.l_hint, x.l_cluster, x.run_id, x.recorded_at" + wide + " WHERE NOT x.done")},
		{sql: string("INSERT INTO " + s.of("log") + " SELECT x.run_id, x.ordinal, x.key_hash, x.key_check, p.key, x.op, x.disposition, " + keep("p.before") + ", " + keep("p.after") + ", p.after_hash, p.identifier, x.new_id, x.next_at" +
			", x.l_action, x.l_code, x.l_subject, x.l_message, x.l_hint, x.l_cluster, x.recorded_at" + wide)},
		{sql: string("DROP TABLE " + touchedTable)},
	}
}
