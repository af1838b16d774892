package ledger

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Schema is where the ledger's tables live.
const Schema = "_tidegate"

// format changes whenever tables written by an older version would be misread.
const format = 2

// names are the tables of one sync. Suffixes differ at their ends, so that no
// two syncs and no two runs can meet in one name; an engine with short names
// gets them shortened by a hash of the whole.
type names struct {
	base string
	d    sqltext.Dialect
}

func namesOf(d sqltext.Dialect, workspace, sync string) names {
	if workspace == tidegate.DefaultWorkspace {
		return names{sync, d}
	}
	sum := sha256.Sum256([]byte(workspace))
	return names{sync + "__" + hex.EncodeToString(sum[:6]), d}
}

func (n names) of(kind string) warehouse.Table {
	return warehouse.Table{Schema: Schema, Name: n.d.Fit(n.base + "__" + kind)}
}

func (n names) ofRun(runID, kind string) warehouse.Table {
	return warehouse.Table{Schema: Schema, Name: n.d.Fit(n.base + "__" + runID + "__" + kind)}
}

// The states of a run in __runs.
const (
	runPlanned    = "planned"
	runFinished   = "finished"
	runSuperseded = "superseded"
)

// The states of a key: acked keys have no row in __attempts.
const (
	stateAcked    = "acked"
	stateFailed   = "failed"
	stateInDoubt  = "in_doubt"
	stateExcluded = "excluded"
	stateBadKey   = "bad_key"
)

// dispositionSkipped is, in the change log, what a revert left alone.
const dispositionSkipped = "skipped"

// Operations of __plan that are not changes: the ledger's own housekeeping. A
// change beside it, of no ordinal, is one that a revert leaves alone.
const (
	opSame     = "same"     // the payload is as confirmed although fingerprint or state said otherwise
	opForget   = "forget"   // nothing that the destination holds is this key's any more
	opBaseline = "baseline" // taken for confirmed without being sent
)

func column(name string, kind tidegate.Kind) tidegate.Column {
	return tidegate.Column{Name: name, Type: tidegate.Type{Kind: kind}}
}

// texts and ints are columns of one kind. Payloads are text, not JSON: an
// engine's JSON type may write the same value otherwise.
func texts(names ...string) tidegate.Schema { return columns(tidegate.String, names) }
func ints(names ...string) tidegate.Schema  { return columns(tidegate.Int, names) }
func bools(names ...string) tidegate.Schema { return columns(tidegate.Bool, names) }
func times(names ...string) tidegate.Schema { return columns(tidegate.Timestamp, names) }

func columns(kind tidegate.Kind, names []string) tidegate.Schema {
	s := make(tidegate.Schema, 0, len(names))
	for _, n := range names {
		c := column(n, kind)
		c.Cardinality = cardinality[n]
		s = append(s, c)
	}
	return s
}

// cardinality is how values repeat in the columns of which a run writes many: what
// belongs to a key is its own, what says how it went comes from a list.
var cardinality = map[string]tidegate.Cardinality{
	"key": tidegate.UniqueValues, "payload": tidegate.UniqueValues, "before": tidegate.UniqueValues, "after": tidegate.UniqueValues,
	"identifier": tidegate.UniqueValues, "destination_id": tidegate.UniqueValues, "idempotency_key": tidegate.UniqueValues,
	"run_id": tidegate.FewValues, "op": tidegate.FewValues, "state": tidegate.FewValues, "disposition": tidegate.FewValues,
	"fault_action": tidegate.FewValues, "fault_code": tidegate.FewValues, "fault_hint": tidegate.FewValues, "cluster": tidegate.FewValues,
}

// faultColumns are how a fault lies in a table.
func faultColumns() tidegate.Schema {
	return texts("fault_action", "fault_code", "fault_subject", "fault_message", "fault_hint", "cluster")
}

func keyColumns() tidegate.Schema { return ints("key_hash", "key_check") }

func joined(parts ...tidegate.Schema) tidegate.Schema {
	var all tidegate.Schema
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func ledgerSchema() tidegate.Schema {
	return joined(keyColumns(), ints("fingerprint"), bools("acked"))
}

func recordsSchema() tidegate.Schema {
	return joined(keyColumns(), texts("key", "payload"), ints("payload_hash"), texts("identifier", "destination_id", "run_id"), times("confirmed_at"))
}

func attemptsSchema() tidegate.Schema {
	return joined(keyColumns(), texts("key", "state"), bools("doubted"), texts("op", "payload"), ints("payload_hash", "fingerprint"),
		texts("identifier", "destination_id", "idempotency_key"), ints("attempts"), times("first_failed_at", "next_attempt_at"), faultColumns(), texts("run_id"), times("recorded_at"))
}

func runsSchema() tidegate.Schema {
	return joined(texts("run_id"), ints("epoch"), texts("state", "kind", "summary"), ints("changes", "generation"), texts("counts"), times("started_at", "finished_at"))
}

func intentsSchema() tidegate.Schema {
	return joined(texts("run_id"), ints("first", "last", "epoch"), times("recorded_at"))
}

func resultsSchema() tidegate.Schema {
	return joined(texts("run_id"), ints("ordinal"), texts("disposition", "destination_id"), times("next_attempt_at"), faultColumns(), times("recorded_at"))
}

func ticketsSchema() tidegate.Schema {
	return joined(texts("run_id", "ticket", "ordinals"), times("recorded_at"))
}

func logSchema() tidegate.Schema {
	return joined(texts("run_id"), ints("ordinal"), keyColumns(), texts("key", "op", "disposition"), texts("before", "after"), ints("after_hash"),
		texts("identifier", "destination_id"), times("next_attempt_at"), faultColumns(), times("recorded_at"))
}

func badKeysSchema() tidegate.Schema {
	return joined(texts("key", "reason"), ints("rows"), texts("run_id"), times("recorded_at"))
}

// fenceSchema: one row per sync. keys … sum_fingerprint are the checksum of
// __ledger and __records as the last transaction that changed them left them.
func fenceSchema() tidegate.Schema {
	return joined(texts("workspace", "sync"), ints("format", "epoch", "generation", "keys", "acked", "confirmed", "key_xor", "record_xor", "fingerprint_xor", "fingerprint_sum", "dirty", "last_read"), texts("payloads", "target"))
}

// registrySchema is shared by all syncs: the views are built from it.
func registrySchema() tidegate.Schema {
	return texts("workspace", "sync", "fence_table", "runs_table", "log_table", "records_table", "attempts_table")
}

// planSchema is __plan: ordinals from 0 are changes, -1 is housekeeping.
func planSchema() tidegate.Schema {
	return joined(ints("ordinal"), texts("op"), keyColumns(), ints("fingerprint"), texts("key", "before", "after"), ints("after_hash"),
		texts("identifier", "destination_id"), bools("known"), ints("attempts"), times("first_failed_at"), texts("idempotency_key"), bools("retry"), faultColumns())
}

// tables are the tables that every sync has.
func tables() map[string]tidegate.Schema {
	return map[string]tidegate.Schema{
		"ledger": ledgerSchema(), "records": recordsSchema(), "attempts": attemptsSchema(), "runs": runsSchema(), "intents": intentsSchema(),
		"results": resultsSchema(), "tickets": ticketsSchema(), "log": logSchema(), "bad_keys": badKeysSchema(), "fence": fenceSchema(),
	}
}
