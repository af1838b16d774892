package pgwire

import (
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// CheckQuery refuses what is not one reading statement, as far as the text
// tells; the read-only transaction refuses the rest. It is a second lock on the
// door: the first is a role that may only read.
//
// Where backslashes may escape in every text, the statement must pass both ways of reading it.
func CheckQuery(sql string, backslashes bool) error {
	if err := sqlcheck.Text(sql); err != nil {
		return err
	}
	if backslashes {
		if err := (&Tokens{SQL: sql, Backslashes: true}).checkQuery(); err != nil {
			return err
		}
	}
	return (&Tokens{SQL: sql}).checkQuery()
}

func (t *Tokens) checkQuery() error {
	lead := t.Lead()
	switch lead {
	case "":
		return sqlcheck.Empty()
	case "select", "values", "with", "table":
	case "show":
		return nil
	case "explain":
		if !t.explainsQuery() {
			return Refused("the statement that is explained is not a query")
		}
	default:
		return Refused("the statement is not a query")
	}
	return t.calls()
}

// explainsQuery passes the options of EXPLAIN and says whether a query follows.
func (t *Tokens) explainsQuery() bool {
	word := t.Next()
	if word == "(" {
		mark := t.at
		switch first := t.Next(); first {
		case "(", "select", "values", "with", "table": // parentheses of the query
			t.at = mark
			word = t.Lead()
		default:
			for first != ")" && first != "" {
				first = t.Next()
			}
			word = t.Lead()
		}
	} else {
		for word == "analyze" || word == "analyse" || word == "verbose" {
			word = t.Next()
		}
		if word == "(" {
			word = t.Lead()
		}
	}
	switch word {
	case "select", "values", "with", "table":
		return true
	}
	return false
}

// calls reads the rest of the text and refuses functions that do more than read.
func (t *Tokens) calls() error {
	before := ""
	for word := t.Next(); word != ""; word = t.Next() {
		if word == EscapedName {
			return Refused("names with escapes (U&\"…\") are not taken")
		}
		if word == "(" && changesServer(before) {
			return Refused("the function " + before + " does more than read")
		}
		before = word
	}
	return nil
}

// changesServer names the functions that a query may not call although a
// read-only transaction lets it: they act outside of the transaction, on the
// server or its files, or run SQL that nobody checked.
func changesServer(function string) bool {
	for _, prefix := range []string{
		"dblink", "lo_", "pg_advisory", "pg_try_advisory", "pg_ls_", "pg_read_", "pg_file_", "pg_logical_", "pg_replication_",
		"pg_create_", "pg_drop_", "pg_copy_", "pg_stat_reset", "pg_sleep", "pg_wal_replay", "pg_backup_", "pg_start_backup", "pg_stop_backup",
		"query_to_xml", "cursor_to_xml", "crosstab", "connectby", "pg_prewarm", "pg_sync_", "pg_notification",
	} {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	switch function {
	case "set_config", "setval", "nextval", "setseed", "pg_notify", "pg_terminate_backend", "pg_cancel_backend", "pg_reload_conf", "pg_rotate_logfile",
		"pg_stat_file", "pg_switch_wal", "pg_promote", "pg_export_snapshot", "pg_log_backend_memory_contexts", "pg_import_system_collations",
		"ts_stat", "loread", "lowrite", "pg_extension_config_dump", "pg_log_standby_snapshot", "pg_current_xact_id", "txid_current":
		return true
	}
	return false
}

// EndsTransaction says whether a statement begins, ends or splits a transaction, which belongs to Begin.
func EndsTransaction(sql string) bool {
	t := &Tokens{SQL: sql}
	word := t.Next()
	for word == ";" {
		word = t.Next()
	}
	switch word {
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return true
	case "prepare":
		return t.Next() == "transaction"
	}
	return false
}

// LeavesTraces says whether a statement leaves something on its connection.
func LeavesTraces(sql string) bool {
	t := &Tokens{SQL: sql}
	switch t.Next() {
	case "set", "reset", "listen", "prepare", "load", "declare", "discard":
		return true
	case "create":
		word := t.Next()
		for word == "or" || word == "replace" || word == "local" || word == "global" {
			word = t.Next()
		}
		return word == "temp" || word == "temporary"
	}
	return false
}

// Refused is the fault of a statement that is not let through.
func Refused(why string) *tidegate.Fault {
	return &tidegate.Fault{
		Action:  tidegate.Halt,
		Code:    "sql.refused",
		Message: why,
		Hint:    "a query is one SELECT, VALUES, TABLE, EXPLAIN or SHOW that only reads",
	}
}

// CheckStatement refuses what the wire cannot carry, and statements about transactions, which belong to Begin.
func CheckStatement(sql string) error {
	if err := sqlcheck.Text(sql); err != nil {
		return err
	}
	if EndsTransaction(sql) {
		return sqlcheck.NoTransactions()
	}
	return nil
}
