package ledger

import (
	"fmt"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// statements writes the ledger's SQL in the shape that DuckDB speaks. A dialect
// of another shape gets a file like this one with the same methods.
//
// Hashes are 63 bits wide so that they are BIGINTs everywhere.
type statements struct {
	d sqltext.Dialect
	n names
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

func number(n int64) sqltext.Text { return sqltext.Text(strconv.FormatInt(n, 10)) }

// hashProbe is a fixed vector through the engine's hash function: another
// answer means another function, and every fingerprint counts as unknown.
func (s statements) hashProbe() string {
	return `SELECT (hash(1::BIGINT, 'tidegate', true, 1.5::DOUBLE, 12.34::DECIMAL(18,2), DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00', '\x00a'::BLOB, NULL) >> 1)::BIGINT`
}

// keyPart is a key column in the one form that its hash is taken of, so that
// the engine's narrower and wider types of one kind are the same key.
func keyPart(col sqltext.Text, kind tidegate.Kind) sqltext.Text {
	switch kind {
	case tidegate.Int:
		return "CAST(" + col + " AS BIGINT)"
	case tidegate.Bool:
		return "CAST(" + col + " AS BOOLEAN)"
	case tidegate.Bytes:
		return "CAST(" + col + " AS BLOB)"
	case tidegate.Date:
		return "CAST(" + col + " AS DATE)"
	case tidegate.Timestamp:
		return "epoch_us(" + col + ")"
	case tidegate.Decimal:
		return "CASE WHEN contains(CAST(" + col + " AS VARCHAR), '.') THEN rtrim(rtrim(CAST(" + col + " AS VARCHAR), '0'), '.') ELSE CAST(" + col + " AS VARCHAR) END"
	default: // String; the others cannot be keys
		return "CAST(" + col + " AS VARCHAR)"
	}
}

// source is what Plan reads: the model's own SQL, the columns in Mapping order
// (key first) and the version that goes into each fingerprint.
type source struct {
	model   string
	columns []tidegate.Column
	keys    int
	version int64
}

func cell(i int) sqltext.Text { return "c" + number(int64(i)) }

// rows is the model as (present, key_hash, key_check, fingerprint, c0 … cn).
// A key with a NULL in it, or of empty texts only, has a NULL key_hash.
func (s statements) rows(src source) (sqltext.Text, error) {
	var parts, texts, all, cells, bad, empty []sqltext.Text
	for i, c := range src.columns {
		q, err := s.d.Ident(c.Name)
		if err != nil {
			return "", err
		}
		q = "q." + q
		all = append(all, q)
		cells = append(cells, q+" AS "+cell(i))
		if i < src.keys {
			part := keyPart(q, c.Type.Kind)
			parts = append(parts, part)
			texts = append(texts, "CAST("+part+" AS VARCHAR)")
			bad = append(bad, q+" IS NULL")
			if c.Type.Kind == tidegate.String {
				empty = append(empty, "CAST("+q+" AS VARCHAR) = ''")
			}
		}
	}
	noKey := sqltext.Join(bad, " OR ")
	if len(empty) == src.keys {
		noKey += " OR (" + sqltext.Join(empty, " AND ") + ")"
	}
	return "SELECT true AS present" +
		", CASE WHEN " + noKey + " THEN NULL ELSE CAST(hash(" + sqltext.Join(parts, ", ") + ") >> 1 AS BIGINT) END AS key_hash" +
		", CAST(hash(concat_ws(chr(31), 'key', " + sqltext.Join(texts, ", ") + "), " + sqltext.Join(bad, ", ") + ") >> 1 AS BIGINT) AS key_check" +
		", CAST(hash(CAST(" + number(src.version) + " AS BIGINT), " + sqltext.Join(all, ", ") + ") >> 1 AS BIGINT) AS fingerprint, " +
		sqltext.Join(cells, ", ") + " FROM (\n" + sqltext.Text(src.model) + "\n) AS q", nil
}

// diff reads the model once and keeps in __scratch one row per key that may
// have changed. All unchanged rows fall into one group, which only counts
// them: that is how one pass gives both the changed rows and exact counts.
func (s statements) diff(runID string, src source) (string, error) {
	model, err := s.rows(src)
	if err != nil {
		return "", err
	}
	var cells []sqltext.Text
	for i := range src.columns {
		cells = append(cells, "any_value("+cell(i)+") FILTER (WHERE open) AS "+cell(i))
	}
	return string("CREATE TABLE " + s.ofRun(runID, "scratch") + " AS SELECT open" +
		", CASE WHEN open THEN coalesce(key_hash, n_hash) END AS key_hash" +
		", CASE WHEN open THEN coalesce(key_check, n_check) END AS key_check" +
		", any_value(fingerprint) FILTER (WHERE open) AS fingerprint" +
		", any_value(acked) FILTER (WHERE open) AS acked" +
		", any_value(n_fingerprint) FILTER (WHERE open) AS confirmed" +
		", coalesce(bool_or(present), false) AS present, coalesce(bool_or(n_hash IS NOT NULL), false) AS known" +
		", count(present) AS model_rows, count(*) FILTER (WHERE present AND n_hash IS NOT NULL) AS matched, " +
		sqltext.Join(cells, ", ") +
		" FROM (SELECT m.*, n.key_hash AS n_hash, n.key_check AS n_check, n.fingerprint AS n_fingerprint, n.acked" +
		", m.present IS NULL OR n.key_hash IS NULL OR NOT n.acked OR n.fingerprint <> m.fingerprint AS open" +
		" FROM (" + model + ") AS m FULL OUTER JOIN " + s.of("ledger") +
		" AS n ON m.key_hash = n.key_hash AND m.key_check = n.key_check) GROUP BY 1, 2, 3"), nil
}

// totals sums __scratch and the ledger up.
func (s statements) totals(runID string) string {
	return string("SELECT CAST(coalesce(sum(model_rows), 0) AS BIGINT), CAST(coalesce(sum(matched), 0) AS BIGINT)" +
		", count(*) FILTER (WHERE NOT present)" +
		", CAST(coalesce(sum(model_rows) FILTER (WHERE open AND key_hash IS NULL), 0) AS BIGINT)" +
		", count(*) FILTER (WHERE open AND key_hash IS NOT NULL AND model_rows > 1)" +
		", (SELECT count(*) FROM " + s.of("ledger") + "), (SELECT count(fingerprint) FROM " + s.of("ledger") + ")" +
		" FROM " + s.ofRun(runID, "scratch"))
}

// repeatsInScratch finds repeated keys when all their rows are in __scratch.
func (s statements) repeatsInScratch(runID string, keys int) string {
	return string("CREATE TABLE " + s.ofRun(runID, "repeats") + " AS SELECT key_hash, key_check, model_rows AS n, " +
		s.cells(keys) + " FROM " + s.ofRun(runID, "scratch") + " WHERE open AND key_hash IS NOT NULL AND model_rows > 1")
}

// repeatsInModel finds them by reading the model again in the same snapshot;
// needed only when rows of one key hide among the unchanged.
func (s statements) repeatsInModel(runID string, src source) (string, error) {
	model, err := s.rows(src)
	if err != nil {
		return "", err
	}
	var cells []sqltext.Text
	for i := range src.keys {
		cells = append(cells, "any_value("+cell(i)+") AS "+cell(i))
	}
	return string("CREATE TABLE " + s.ofRun(runID, "repeats") + " AS SELECT key_hash, key_check, count(*) AS n, " +
		sqltext.Join(cells, ", ") + " FROM (" + model + ") WHERE key_hash IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"), nil
}

func (s statements) cells(n int) sqltext.Text {
	var cells []sqltext.Text
	for i := range n {
		cells = append(cells, cell(i))
	}
	return sqltext.Join(cells, ", ")
}

// badKeys lists a sample of them: reason, rows, key cells.
func (s statements) badKeys(runID string, keys, limit int) string {
	return string("(SELECT 'null' AS reason, model_rows, " + s.cells(keys) + " FROM " + s.ofRun(runID, "scratch") +
		" WHERE open AND key_hash IS NULL LIMIT " + number(int64(limit)) + ") UNION ALL (SELECT 'repeated', n, " + s.cells(keys) +
		" FROM " + s.ofRun(runID, "repeats") + " ORDER BY n DESC, key_hash LIMIT " + number(int64(limit)) + ")")
}

func (s statements) repeatedRows(runID string) string {
	return string("SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM " + s.ofRun(runID, "repeats"))
}

// dropBadKeys takes rows without a usable key out of __scratch, and the group of the unchanged.
func (s statements) dropBadKeys(runID string) string {
	return string("DELETE FROM " + s.ofRun(runID, "scratch") + " WHERE NOT open OR key_hash IS NULL OR EXISTS (SELECT 1 FROM " +
		s.ofRun(runID, "repeats") + " AS r WHERE r.key_hash = " + s.ofRun(runID, "scratch") + ".key_hash AND r.key_check = " + s.ofRun(runID, "scratch") + ".key_check)")
}

// candidates joins what may have changed with what is known of it.
func (s statements) candidates(runID string, columns int) string {
	cells := make([]sqltext.Text, columns)
	for i := range cells {
		cells[i] = "s." + cell(i)
	}
	return string("SELECT s.key_hash, s.key_check, s.fingerprint, s.present, s.known, s.confirmed IS NOT NULL, r.key, r.payload, r.identifier, r.destination_id" +
		", r.state, r.doubted, r.attempted, r.attempted_op, r.attempted_fingerprint, r.idempotency_key, r.attempts, r.next_attempt_at, " +
		sqltext.Join(cells, ", ") + " FROM " + s.ofRun(runID, "scratch") + " AS s LEFT JOIN " + s.of("records") +
		" AS r ON r.key_hash = s.key_hash AND r.key_check = s.key_check")
}

// refresh applies the plan's housekeeping: four statements, in order.
func (s statements) refresh(runID string) []string {
	plan, ledger, records := s.ofRun(runID, "plan"), s.of("ledger"), s.of("records")
	match := func(t sqltext.Text, op sqltext.Text) sqltext.Text {
		return " USING " + plan + " AS p WHERE p.ordinal < 0 AND p.op IN (" + op + ") AND p.key_hash = " + t + ".key_hash AND p.key_check = " + t + ".key_check"
	}
	return []string{
		string("DELETE FROM " + ledger + match(ledger, "'same', 'forget'")),
		string("INSERT INTO " + ledger + " SELECT key_hash, key_check, fingerprint, true FROM " + plan + " WHERE ordinal < 0 AND op = 'same'"),
		string("DELETE FROM " + records + match(records, "'forget'")),
		string("UPDATE " + records + " SET state = 'acked', doubted = false, attempted = NULL, attempted_op = NULL, attempted_fingerprint = NULL, idempotency_key = NULL" +
			", attempts = 0, next_attempt_at = NULL, fault_action = NULL, fault_code = NULL, fault_subject = NULL, fault_message = NULL, fault_hint = NULL, cluster = NULL" +
			" FROM " + plan + " AS p WHERE p.ordinal < 0 AND p.op = 'same' AND p.key_hash = " + records + ".key_hash AND p.key_check = " + records + ".key_check AND " + records + ".state <> 'acked'"),
	}
}

// record appends results that are not there yet. It takes the run's ID, the
// results as one JSON array, the time, and the least and greatest ordinal, which
// spare the engine most of plan and log.
func (s statements) record(runID string) string {
	return string("INSERT INTO " + s.of("log") + " SELECT $1, j.ordinal, p.key, p.op, j.disposition, j.destination_id, make_timestamptz(j.next_attempt)" +
		", j.action, j.code, j.subject, j.message, j.hint, j.cluster, $3 FROM (SELECT unnest(from_json($2, '" +
		`[{"ordinal":"BIGINT","disposition":"VARCHAR","destination_id":"VARCHAR","next_attempt":"BIGINT","action":"VARCHAR","code":"VARCHAR","subject":"VARCHAR","message":"VARCHAR","hint":"VARCHAR","cluster":"VARCHAR"}]` +
		"'), recursive := true)) AS j JOIN " + s.ofRun(runID, "plan") + " AS p ON p.ordinal = j.ordinal" +
		" WHERE p.ordinal BETWEEN $4 AND $5 AND NOT EXISTS (SELECT 1 FROM " + s.of("log") + " AS l WHERE l.run_id = $1 AND l.ordinal BETWEEN $4 AND $5 AND l.ordinal = j.ordinal)")
}

// doubt gives every intended ordinal without a result an in_doubt one.
func (s statements) doubt(runID string) string {
	return string("INSERT INTO " + s.of("log") + " SELECT $1, p.ordinal, p.key, p.op, 'in_doubt', NULL, $2, 'retry', $3, NULL, $4, NULL, $5, $2 FROM " +
		s.ofRun(runID, "plan") + " AS p WHERE p.ordinal >= 0 AND EXISTS (SELECT 1 FROM " + s.of("intents") +
		" AS i WHERE i.run_id = $1 AND p.ordinal BETWEEN i.first AND i.last) AND NOT EXISTS (SELECT 1 FROM " + s.of("log") +
		" AS l WHERE l.run_id = $1 AND l.ordinal = p.ordinal)")
}

// results is a run's results beside their plan rows and what the ledger holds.
func (s statements) results(runID string) sqltext.Text {
	return "SELECT p.*, l.run_id, l.disposition, l.recorded_at, coalesce(l.destination_id, p.destination_id) AS new_id, l.next_attempt_at AS next_at" +
		", l.fault_action AS l_action, l.fault_code AS l_code, l.fault_subject AS l_subject, l.fault_message AS l_message, l.fault_hint AS l_hint, l.cluster AS l_cluster" +
		", l.disposition = 'delivered' AS done, n.fingerprint AS old_fingerprint, r.payload AS old_payload, r.identifier AS old_identifier" +
		", coalesce(r.doubted, false) OR l.disposition = 'in_doubt' AS still_doubted" +
		" FROM " + s.of("log") + " AS l JOIN " + s.ofRun(runID, "plan") + " AS p ON p.ordinal = l.ordinal" +
		" LEFT JOIN " + s.of("ledger") + " AS n ON n.key_hash = p.key_hash AND n.key_check = p.key_check" +
		" LEFT JOIN " + s.of("records") + " AS r ON r.key_hash = p.key_hash AND r.key_check = p.key_check WHERE l.run_id = $1"
}

// fold advances the ledger by a run's results: the first statement takes the
// run's ID, the others nothing. A delivered key takes over fingerprint and
// payload (Invariant 4); any other result leaves both and notes the attempt.
func (s statements) fold(runID string) []string {
	touched, ledger, records := s.ofRun(runID, "touched"), s.of("ledger"), s.of("records")
	drop := func(t sqltext.Text) string {
		return string("DELETE FROM " + t + " USING " + touched + " AS x WHERE x.key_hash = " + t + ".key_hash AND x.key_check = " + t + ".key_check")
	}
	unlessDone := func(v sqltext.Text) sqltext.Text { return ", CASE WHEN NOT done THEN " + v + " END" }
	return []string{
		string("CREATE TABLE " + touched + " AS " + s.results(runID)),
		drop(ledger),
		string("INSERT INTO " + ledger + " SELECT key_hash, key_check, CASE WHEN done THEN fingerprint ELSE old_fingerprint END, done FROM " + touched + " WHERE NOT (done AND op = 'removed')"),
		drop(records),
		string("INSERT INTO " + records + " SELECT key_hash, key_check, key, CASE WHEN done THEN after ELSE old_payload END" +
			", CASE WHEN done THEN identifier ELSE coalesce(old_identifier, identifier) END, new_id" +
			", CASE WHEN done THEN 'acked' WHEN disposition = 'excluded' THEN 'excluded' WHEN disposition = 'in_doubt' OR (disposition = 'deferred' AND still_doubted) THEN 'in_doubt' ELSE 'failed' END" +
			", NOT done AND still_doubted" + unlessDone("after") + unlessDone("op") + unlessDone("fingerprint") + unlessDone("idempotency_key") +
			", CASE WHEN done THEN 0 WHEN disposition IN ('rejected', 'in_doubt') THEN attempts + 1 ELSE attempts END" + unlessDone("next_at") +
			unlessDone("l_action") + unlessDone("l_code") + unlessDone("l_subject") + unlessDone("l_message") + unlessDone("l_hint") + unlessDone("l_cluster") +
			", run_id, recorded_at FROM " + touched + " WHERE NOT (done AND op = 'removed')"),
		string("DROP TABLE " + touched),
	}
}

// rejectionColumns is what a rejection is read from.
const rejectionColumns sqltext.Text = "key, op, state, fault_action, fault_code, fault_subject, fault_message, fault_hint, cluster, payload, attempts, next_attempt_at, run_id, recorded_at"

// rejections lists what is stored and, when runID is not empty, what that run
// recorded and nothing has folded yet; then it takes the run's ID.
func (s statements) rejections(runID string, limit int) string {
	stored := "SELECT r.key, r.attempted_op AS op, r.state, r.fault_action, r.fault_code, r.fault_subject, r.fault_message, r.fault_hint, r.cluster" +
		", coalesce(r.attempted, r.payload) AS payload, r.attempts, r.next_attempt_at, r.run_id, r.recorded_at FROM " + s.of("records") + " AS r WHERE r.state IN ('failed', 'in_doubt')"
	if runID != "" {
		stored += " AND NOT EXISTS (SELECT 1 FROM " + s.of("log") + " AS l WHERE l.run_id = $1 AND l.key = r.key)" +
			" UNION ALL SELECT l.key, l.op, CASE WHEN l.disposition = 'in_doubt' THEN 'in_doubt' ELSE 'failed' END, l.fault_action, l.fault_code, l.fault_subject, l.fault_message, l.fault_hint, l.cluster" +
			", coalesce(p.after, p.before), p.attempts + CASE WHEN l.disposition = 'deferred' THEN 0 ELSE 1 END, l.next_attempt_at, l.run_id, l.recorded_at FROM " + s.of("log") + " AS l JOIN " + s.ofRun(runID, "plan") +
			" AS p ON p.ordinal = l.ordinal WHERE l.run_id = $1 AND l.disposition IN ('rejected', 'in_doubt', 'deferred')"
	}
	bad := "SELECT key, 'added', 'bad_key', 'reject', 'model.key', reason, 'the primary key ' || CASE WHEN reason = 'null' THEN 'is NULL or empty' ELSE 'is repeated' END || ' in ' || rows || ' rows'" +
		", 'give every row a key of its own in the model', 'model.key|' || reason, NULL, 0, NULL, run_id, recorded_at FROM " + s.of("bad_keys")
	return string("SELECT " + rejectionColumns + " FROM (" + stored + " UNION ALL " + bad + ") ORDER BY recorded_at DESC, key LIMIT " + number(int64(limit)))
}
