package ledger

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// Schema is where the ledger's tables live.
const Schema = "_tidegate"

// names are the tables of one sync. Suffixes differ at their ends, so that no
// two syncs and no two runs can meet in one name.
type names struct{ base string }

func namesOf(workspace, sync string) names {
	if workspace == tidegate.DefaultWorkspace {
		return names{sync}
	}
	sum := sha256.Sum256([]byte(workspace))
	return names{sync + "__" + hex.EncodeToString(sum[:6])}
}

func (n names) of(kind string) warehouse.Table {
	return warehouse.Table{Schema: Schema, Name: n.base + "__" + kind}
}

func (n names) ofRun(runID, kind string) warehouse.Table {
	return warehouse.Table{Schema: Schema, Name: n.base + "__" + runID + "__" + kind}
}

// The states of a run in __runs.
const (
	runReading    = "reading"
	runPlanned    = "planned"
	runFinished   = "finished"
	runSuperseded = "superseded"
)

// The states of a key in __records.
const (
	stateAcked    = "acked"
	stateFailed   = "failed"
	stateInDoubt  = "in_doubt"
	stateExcluded = "excluded"
	stateBadKey   = "bad_key"
)

// Operations of __plan that are not changes: the ledger's own housekeeping.
const (
	opSame   = "same"   // the payload is as confirmed although fingerprint or state said otherwise
	opForget = "forget" // never confirmed and gone from the model
)

func column(name string, kind tidegate.Kind) tidegate.Column {
	return tidegate.Column{Name: name, Type: tidegate.Type{Kind: kind}}
}

// faultColumns are how a fault lies in a table.
func faultColumns() tidegate.Schema {
	return tidegate.Schema{
		column("fault_action", tidegate.String), column("fault_code", tidegate.String), column("fault_subject", tidegate.String),
		column("fault_message", tidegate.String), column("fault_hint", tidegate.String), column("cluster", tidegate.String),
	}
}

func keyColumns() tidegate.Schema {
	return tidegate.Schema{column("key_hash", tidegate.Int), column("key_check", tidegate.Int)}
}

func joined(parts ...tidegate.Schema) tidegate.Schema {
	var all tidegate.Schema
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func ledgerSchema() tidegate.Schema {
	return joined(keyColumns(), tidegate.Schema{column("fingerprint", tidegate.Int), column("acked", tidegate.Bool)})
}

func recordsSchema() tidegate.Schema {
	return joined(keyColumns(), tidegate.Schema{
		column("key", tidegate.String), column("payload", tidegate.JSON), column("identifier", tidegate.JSON),
		column("destination_id", tidegate.String), column("state", tidegate.String), column("doubted", tidegate.Bool),
		column("attempted", tidegate.JSON), column("attempted_op", tidegate.String), column("attempted_fingerprint", tidegate.Int),
		column("idempotency_key", tidegate.String), column("attempts", tidegate.Int), column("next_attempt_at", tidegate.Timestamp),
	}, faultColumns(), tidegate.Schema{column("run_id", tidegate.String), column("recorded_at", tidegate.Timestamp)})
}

func runsSchema() tidegate.Schema {
	return tidegate.Schema{
		column("run_id", tidegate.String), column("epoch", tidegate.Int), column("state", tidegate.String),
		column("summary", tidegate.JSON), column("changes", tidegate.Int), column("generation", tidegate.Int),
		column("counts", tidegate.JSON), column("started_at", tidegate.Timestamp), column("finished_at", tidegate.Timestamp),
	}
}

func intentsSchema() tidegate.Schema {
	return tidegate.Schema{
		column("run_id", tidegate.String), column("first", tidegate.Int), column("last", tidegate.Int),
		column("epoch", tidegate.Int), column("recorded_at", tidegate.Timestamp),
	}
}

func logSchema() tidegate.Schema {
	return joined(tidegate.Schema{
		column("run_id", tidegate.String), column("ordinal", tidegate.Int), column("key", tidegate.String), column("op", tidegate.String),
		column("disposition", tidegate.String), column("destination_id", tidegate.String), column("next_attempt_at", tidegate.Timestamp),
	}, faultColumns(), tidegate.Schema{column("recorded_at", tidegate.Timestamp)})
}

func badKeysSchema() tidegate.Schema {
	return tidegate.Schema{
		column("key", tidegate.String), column("reason", tidegate.String), column("rows", tidegate.Int),
		column("run_id", tidegate.String), column("recorded_at", tidegate.Timestamp),
	}
}

func fenceSchema() tidegate.Schema {
	return tidegate.Schema{
		column("workspace", tidegate.String), column("sync", tidegate.String),
		column("epoch", tidegate.Int), column("generation", tidegate.Int),
	}
}

// planSchema is __plan: ordinals from 0 are changes, -1 is housekeeping.
func planSchema() tidegate.Schema {
	return joined(tidegate.Schema{column("ordinal", tidegate.Int), column("op", tidegate.String)}, keyColumns(), tidegate.Schema{
		column("fingerprint", tidegate.Int), column("key", tidegate.String), column("before", tidegate.JSON), column("after", tidegate.JSON),
		column("identifier", tidegate.JSON), column("destination_id", tidegate.String), column("attempts", tidegate.Int),
		column("idempotency_key", tidegate.String), column("retry", tidegate.Bool),
	}, faultColumns())
}
