package ledger

import "github.com/tidegate/tidegate/warehouse/sqltext"

// rejectionColumns is what a rejection is read from.
const rejectionColumns sqltext.Text = "key, op, state, fault_action, fault_code, fault_subject, fault_message, fault_hint, cluster, payload, attempts, next_attempt_at, first_failed_at, run_id, recorded_at"

// failures is what is stored as failed or in doubt and, when runID is not empty,
// what that run recorded and nothing has folded yet; then it takes the run's ID.
func (s statements) failures(runID string) sqltext.Text {
	stored := "SELECT a.key, a.op, a.state, a.fault_action, a.fault_code, a.fault_subject, a.fault_message, a.fault_hint, a.cluster" +
		", a.payload, a.attempts, a.next_attempt_at, a.first_failed_at, a.run_id, a.recorded_at FROM " + s.of("attempts") + " AS a WHERE a.state IN ('failed', 'in_doubt')"
	if runID == "" {
		return stored
	}
	results := " FROM " + s.of("results") + " AS l JOIN " + s.ofRun(runID, "plan") + " AS p ON p.ordinal = l.ordinal"
	return stored + " AND NOT EXISTS (SELECT 1" + results + " WHERE l.run_id = $1 AND p.key_hash = a.key_hash AND p.key_check = a.key_check)" +
		" UNION ALL SELECT p.key, p.op, CASE WHEN l.disposition = 'in_doubt' THEN 'in_doubt' ELSE 'failed' END, l.fault_action, l.fault_code, l.fault_subject, l.fault_message, l.fault_hint, l.cluster" +
		", coalesce(p.after, p.before), p.attempts + CASE WHEN l.disposition = 'deferred' THEN 0 ELSE 1 END, l.next_attempt_at, coalesce(p.first_failed_at, l.recorded_at), l.run_id, l.recorded_at" +
		results + " WHERE l.run_id = $1 AND l.disposition IN ('rejected', 'in_doubt', 'deferred')"
}

// unkeyed are rows without a usable key, as failures are.
func (s statements) unkeyed() sqltext.Text {
	return "SELECT key, 'added', 'bad_key', 'reject', 'model.key', reason, 'the primary key ' || CASE WHEN reason = 'null' THEN 'is NULL or empty' ELSE 'is repeated' END || ' in ' || rows || CASE WHEN rows = 1 THEN ' row' ELSE ' rows' END" +
		", 'give every row a key of its own in the model', 'model.key|' || reason, NULL, 0, NULL, NULL, run_id, recorded_at FROM " + s.of("bad_keys")
}

func (s statements) rejections(runID string, limit int) string {
	return string("SELECT " + rejectionColumns + " FROM (" + s.failures(runID) + " UNION ALL " + s.unkeyed() + ") AS f ORDER BY recorded_at DESC, key LIMIT " + number(int64(limit)))
}

// clusters groups what rejections lists and gives up to keys rows of each of the limit largest clusters, newest first.
func (s statements) clusters(runID string, limit, keys int) string {
	return string("SELECT cluster, n, parked, since, latest, key, fault_action, fault_code, fault_subject, fault_message, fault_hint FROM (SELECT w.*, dense_rank() OVER (ORDER BY n DESC, cluster) AS place FROM (SELECT f.*" +
		", count(*) OVER (PARTITION BY cluster) AS n, count(*) FILTER (WHERE next_attempt_at IS NULL AND state <> '" + stateBadKey + "') OVER (PARTITION BY cluster) AS parked, min(recorded_at) OVER (PARTITION BY cluster) AS since" +
		", max(recorded_at) OVER (PARTITION BY cluster) AS latest, row_number() OVER (PARTITION BY cluster ORDER BY recorded_at DESC, key) AS nth FROM (" + s.failures(runID) + " UNION ALL " + s.unkeyed() + ") AS f) AS w WHERE nth <= " +
		number(int64(keys)) + ") AS ranked WHERE place <= " + number(int64(limit)) + " ORDER BY place, nth")
}

// The documented views over all syncs; docs/ledger.md says what each column means.
const (
	runsView     = "sync_runs"
	logView      = "sync_log"
	snapshotView = "sync_snapshot"
)

// registered is one row of the registry.
type registered struct{ fence, runs, log, records, attempts string }

// views builds the documented views anew from the registry.
func (s statements) views(all []registered) ([]string, error) {
	var runs, log, snapshot sqltext.Text
	for i, r := range all {
		if i > 0 {
			runs, log, snapshot = runs+" UNION ALL ", log+" UNION ALL ", snapshot+" UNION ALL "
		}
		names := make([]sqltext.Text, 0, 5)
		for _, name := range []string{r.runs, r.log, r.records, r.attempts, r.fence} {
			q, err := s.d.Table(Schema, name)
			if err != nil {
				return nil, err
			}
			names = append(names, q)
		}
		const head = "SELECT f.workspace, f.sync, "
		fence := " CROSS JOIN " + names[4] + " AS f" // it has one row: the sync's name
		runs += head + "run_id, kind, state, started_at, finished_at, changes, summary, counts FROM " + names[0] + " AS x" + fence
		log += head + "run_id, ordinal, key, op, disposition, identifier, destination_id, before, after, fault_action, fault_code, fault_subject, fault_message, fault_hint, cluster, next_attempt_at, recorded_at FROM " + names[1] + " AS x" + fence
		snapshot += head + "coalesce(r.key, a.key) AS key, coalesce(a.state, 'acked') AS state, coalesce(r.identifier, a.identifier) AS identifier, coalesce(r.destination_id, a.destination_id) AS destination_id" +
			", r.payload AS confirmed, r.confirmed_at, r.run_id AS confirmed_by, a.payload AS attempted, a.attempts, a.first_failed_at, a.next_attempt_at, a.fault_code, a.fault_message FROM " +
			names[2] + " AS r FULL JOIN " + names[3] + " AS a ON a.key_hash = r.key_hash AND a.key_check = r.key_check" + fence
	}
	var out []string
	for _, v := range []struct {
		name string
		body sqltext.Text
	}{{runsView, runs}, {logView, log}, {snapshotView, snapshot}} {
		out = append(out, string("CREATE OR REPLACE VIEW "+s.shared(v.name)+" AS "+v.body))
	}
	return out, nil
}
