package duckdb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// engineError is what a failed call of the engine means to the caller: the
// context's own error when that interrupted it, otherwise a fault.
func engineError(ctx context.Context, msg string) error {
	if strings.HasPrefix(msg, "INTERRUPT Error") {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("running a statement: %w", err)
		}
	}
	return fault(msg)
}

// rule says what an error of the engine means by the prefix of its message.
type rule struct {
	prefix string
	action tidegate.Action
	code   string
	hint   string
}

// rules are tried in order; what none names is a Retry.
var rules = []rule{
	{"FATAL Error", tidegate.Retry, "warehouse.broken", "the database is opened again by itself; when this repeats, look for a full disk"},
	{"INTERNAL Error", tidegate.Retry, "warehouse.broken", "the database is opened again by itself; please report the query that did this"},
	{"IO Error", tidegate.Retry, "warehouse.io", "check the disk that holds the warehouse: free space, permissions, errors in the system log"},
	{"Out of Memory Error", tidegate.Retry, "warehouse.memory", "raise memory_limit of the warehouse, or make the query smaller"},
	{"TransactionContext Error", tidegate.Retry, "warehouse.conflict", ""},
	{"INTERRUPT Error", tidegate.Retry, "warehouse.interrupted", ""},
	{"Parser Error", tidegate.Halt, "sql.syntax", "correct the statement at the marked position"},
	{"Syntax Error", tidegate.Halt, "sql.syntax", "correct the statement at the marked position"},
	{"Binder Error", tidegate.Halt, "sql.binding", "correct the name or the type at the marked position"},
	{"Catalog Error", tidegate.Halt, "sql.unknown", "correct the name, or create what it names"},
	{"Permission Error", tidegate.Halt, "sql.refused", "queries read the tables of the warehouse; read_dirs and attach in its config name files that they may read beside them"},
	{"Constraint Error", tidegate.Reject, "warehouse.constraint", "the row breaks a constraint of the table"},
	{"Conversion Error", tidegate.Halt, "sql.value", "use TRY_CAST, or correct the value that cannot be converted"},
	{"Out of Range Error", tidegate.Halt, "sql.value", "a number leaves the range of its type; cast it to a wider one"},
	{"Invalid Input Error", tidegate.Halt, "sql.value", ""},
	{"Mismatch Type Error", tidegate.Halt, "sql.value", ""},
	{"Divide by Zero Error", tidegate.Halt, "sql.value", ""},
	{"Not implemented Error", tidegate.Halt, "sql.unsupported", ""},
	{"Parameter Not Resolved Error", tidegate.Halt, "sql.binding", "cast the parameter to its type"},
	{"Parameter Not Allowed Error", tidegate.Halt, "sql.binding", ""},
	{"Dependency Error", tidegate.Halt, "sql.dependency", "drop what depends on it first"},
	{"Missing Extension Error", tidegate.Halt, "sql.unsupported", "extensions cannot be loaded"},
	{"Extension Autoloading Error", tidegate.Halt, "sql.unsupported", "extensions cannot be loaded"},
	{"Invalid Configuration Error", tidegate.Halt, "sql.refused", "the settings of the warehouse are fixed when it opens"},
}

// fault classifies an error message of the engine.
func fault(msg string) *tidegate.Fault {
	msg = strings.TrimSpace(msg)
	f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Message: msg}
	for _, r := range rules {
		if strings.HasPrefix(msg, r.prefix) {
			f.Action, f.Code, f.Hint = r.action, r.code, r.hint
			break
		}
	}
	// The engine refuses every further statement of a transaction in which one
	// failed, and every statement of an instance that failed fatally.
	if strings.Contains(msg, "database has been invalidated") {
		f.Action, f.Code, f.Hint = tidegate.Retry, "warehouse.broken", rules[0].hint
	}
	if f.Code == "warehouse.conflict" && strings.Contains(msg, "Could not write file") {
		f.Code, f.Hint = "warehouse.io", "check the disk that holds the warehouse: free space, permissions, errors in the system log"
	}
	if strings.Contains(msg, "Corrupt database file") {
		f.Action, f.Code = tidegate.Halt, "warehouse.corrupt"
		f.Hint = "a block of the warehouse file is damaged: check the disk, then restore the file, or move it away so that it is built again from the journal"
	}
	if strings.HasPrefix(msg, "TransactionContext Error") && strings.Contains(msg, "read-only mode") {
		return refused("the statement would write, and a query only reads")
	}
	return f
}

// broken says that the engine can do nothing more until its file is opened again.
func broken(err error) bool {
	var f *tidegate.Fault
	return errors.As(err, &f) && f.Code == "warehouse.broken"
}

// conflict says that another transaction changed the same thing first.
func conflict(err error) bool {
	var f *tidegate.Fault
	return errors.As(err, &f) && (f.Code == "warehouse.conflict" ||
		f.Code == "sql.unknown" && strings.Contains(f.Message, "write-write conflict"))
}

func refused(why string) *tidegate.Fault {
	return &tidegate.Fault{
		Action:  tidegate.Halt,
		Code:    "sql.refused",
		Message: why,
		Hint:    "send a single SELECT, VALUES, EXPLAIN, SHOW or DESCRIBE",
	}
}

func manyStatements(n int) error {
	return &tidegate.Fault{
		Action:  tidegate.Halt,
		Code:    "sql.refused",
		Message: fmt.Sprintf("the text holds %d statements instead of one", n),
		Hint:    "send one statement at a time; a PIVOT needs its values listed with IN, or it becomes two statements",
	}
}

func yielded() error {
	return &tidegate.Fault{
		Action:  tidegate.Retry,
		Code:    "warehouse.yielded",
		Message: warehouse.ErrYielded.Error(),
		Hint:    "it comes back when `tidegate exec` ends; `tidegate status` says who has it",
		Err:     warehouse.ErrYielded,
	}
}

func reopening() error {
	return &tidegate.Fault{
		Action:  tidegate.Retry,
		Code:    "warehouse.broken",
		Message: "the database file is being opened again",
	}
}
