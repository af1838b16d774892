// Package warehouse is the contract between Tidegate and the customer's own
// warehouse. An adapter (warehouse/duckdb, …) implements Warehouse and as many
// of the optional capabilities as its engine has; the conformance suite
// warehouse/warehousetest holds it to the words below.
//
// Invariants: a load is all or none and the same load twice is one load
// (Invariant 3); an error, a cancelled query or a missing table is never taken
// for "zero rows" (Invariant 6).
//
// It does not know events, syncs or ledgers. Every method is safe for
// concurrent use unless its comment says otherwise.
package warehouse

import (
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/tidegate/tidegate"
)

// ErrNoTable is wrapped by Describe when the table does not exist.
var ErrNoTable = errors.New("no such table")

// ErrYielded is wrapped by every method while the warehouse's file is given up to
// another program (see Yielder). It is a Retry.
var ErrYielded = errors.New("the warehouse is lent to another program")

// ErrBusy is wrapped by Checkpoint while others write. Nothing is lost or broken; it is to be
// asked again later. It is a Retry.
var ErrBusy = errors.New("other transactions are writing")

// Table names a table; both parts are raw names, quoted by the adapter.
type Table struct {
	Schema string
	Name   string
}

// String returns "schema.name" for messages; it is not SQL.
func (t Table) String() string { return t.Schema + "." + t.Name }

// Load describes one idempotent load into one table.
type Load struct {
	// ID names the load. The same ID for the same table again is a no-op that returns 0.
	ID    string
	Table Table
	// Key names the columns that identify a row. Empty: rows are appended.
	// Otherwise rows replace those of equal key; of several rows with one key
	// inside one load the last wins. A row whose key holds a NULL is an error.
	Key []string
	// KeepExisting turns a keyed load from "replace" into "skip rows whose key
	// is already in the table" (and the first of equal keys inside one load
	// wins).
	KeepExisting bool
}

// Warehouse is what every adapter implements.
type Warehouse interface {
	// Query runs one read-only statement and streams its result. Anything but a
	// single SELECT, VALUES, EXPLAIN, SHOW or DESCRIBE is refused with a Halt before it runs. A syntax
	// error is a Halt whose message holds the position. The caller closes the reader.
	Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error)
	// Describe returns the columns of t in order, or an error that wraps ErrNoTable.
	Describe(ctx context.Context, t Table) (tidegate.Schema, error)
	// Ensure creates t (and its schema) with s, or adds the columns of s that it
	// lacks, or widens columns (int → decimal/float → string); it never drops, narrows or renames, and
	// returns the table's schema as it then is. Idempotent; concurrent calls converge.
	Ensure(ctx context.Context, t Table, s tidegate.Schema) (tidegate.Schema, error)
	// Load writes all rows or none and returns how many rows it wrote. Columns are
	// matched by name; columns of the table that rows lack become NULL. A reader error aborts the load.
	Load(ctx context.Context, l Load, rows tidegate.RowReader) (int64, error)
	// Close waits for running calls to end. Closing twice is fine; any call after Close errs.
	Close() error
}

// Execer is implemented where bookkeeping tables (schema `_tidegate`) may be
// written, which is where a ledger can live.
type Execer interface {
	// Exec runs one statement and returns the rows it touched.
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// Begin opens a transaction: one read snapshot, all or none. One goroutine
	// uses a Tx; the caller ends it with Commit or Rollback.
	Begin(ctx context.Context) (Tx, error)
	// Dialect is the dialect of the SQL that Exec, Query and Begin speak ("duckdb").
	Dialect() string
}

// Tx is one transaction of an Execer. A Tx is not safe for concurrent use.
//
// Where the engine has no transactions (sqltext.Dialect.Units) it is a unit: what it
// gathers is done by Commit, all or none and in its order, also when that is cut
// short. Then Query reads what is committed, without a snapshot and nothing
// of the unit itself; Exec is put off until Commit and returns 0; Ensure is done at once. A Commit whose
// error is a Retry may have been cut short; its end is brought about before the next Begin or Load returns.
type Tx interface {
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// Query reads inside the transaction's snapshot; it is not limited to
	// read-only statements. Its reader must be closed before the next call on the Tx.
	Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error)
	// Ensure and Load are Warehouse's, inside the transaction.
	Ensure(ctx context.Context, t Table, s tidegate.Schema) (tidegate.Schema, error)
	Load(ctx context.Context, l Load, rows tidegate.RowReader) (int64, error)
	Commit() error
	// Rollback after Commit is a no-op.
	Rollback() error
}

// ArrowTx is found on a Tx by assertion where Arrow record batches go into a table
// as they are, which costs far less than row by row.
type ArrowTx interface {
	// AppendArrow appends the rows of rdr to t and returns how many there were. Columns
	// are matched by name; those that rdr lacks become NULL. Values of another type than
	// their column's are cast (decimals and JSON may travel as text; what goes into a JSON
	// column must be JSON). The rows are remembered under no Load.ID: the caller keeps its
	// books in the same transaction.
	AppendArrow(ctx context.Context, t Table, rdr array.RecordReader) (int64, error)
}

// PredicateTx is found on a Tx by assertion where statements can ask the program about
// numbers, thousands at once.
type PredicateTx interface {
	// Predicate lends test to the statements of this Tx until drop, which is called after them:
	// call(x) is the SQL of a boolean, which is true where test says so of the BIGINT expression x,
	// and false where x is NULL. test is called by several goroutines at once with values
	// and as many answers, all false; both are valid until it returns. It is asked about each row
	// that reaches the call, once. A pure test, whose answer depends on the value alone, may also
	// be asked early, while a table is read: what it says no to is hardly read at all.
	Predicate(test func(values []int64, answers []bool), pure bool) (call func(x string) string, drop func())
	// Memory is how many bytes the engine may take, 0 when that is not known: what test keeps should be far less.
	Memory() int64
}

// SnapshotTx is found on a Tx by assertion where a second connection can read what the Tx reads, at the same time.
type SnapshotTx interface {
	// Beside begins a transaction that only reads, on a connection of its own and in the snapshot of this one:
	// what this one has written is not in it. It waits for no connection that somebody else uses. An error says that there is none to spare, or
	// that the server, or what stands before it, does not share snapshots; then this one may have failed, too.
	// The caller ends it before this one.
	Beside(ctx context.Context) (Tx, error)
}

// ArrowQuerier is found by assertion where the engine hands out results as
// Arrow record batches.
type ArrowQuerier interface {
	// QueryArrow is Query with columnar results; the caller releases the reader and then calls done.
	QueryArrow(ctx context.Context, sql string, args ...any) (rdr array.RecordReader, done func() error, err error)
}

// Lister lists tables.
type Lister interface {
	// Tables returns the tables and views of the schemas that are not internal to
	// the engine, sorted by schema and name.
	Tables(ctx context.Context) ([]Table, error)
}

// Estimate is what a query would cost.
type Estimate struct {
	Rows  int64 // -1 when the engine does not say
	Bytes int64 // -1 when the engine does not say
}

// Estimator tells the cost of a query without running it.
type Estimator interface {
	Estimate(ctx context.Context, sql string) (Estimate, error)
}

// Yielder is implemented by embedded warehouses, which only one process may
// have open.
type Yielder interface {
	// Yield waits for running calls, flushes and closes the file and calls use;
	// when use returns, the file is opened again. Meanwhile all other calls err
	// with ErrYielded. path is the database file.
	Yield(ctx context.Context, use func(ctx context.Context, path string) error) error
}

// Recoverer is implemented by embedded warehouses whose engine can invalidate
// itself or refuse its own file.
type Recoverer interface {
	// Recovered receives once after every reopening that may have lost loads
	// which had returned (an unreadable write-ahead log was set aside); the loader then
	// continues from the cursor that it finds in the warehouse.
	Recovered() <-chan struct{}
	// Checkpoint makes everything loaded so far durable in the database file
	// itself and verifies it. Only then may the journal segments before it go. It errs with
	// ErrBusy at once while another transaction writes.
	Checkpoint(ctx context.Context) error
}

// TableFinder finds the tables that a query reads, from its text.
type TableFinder interface {
	// TablesOf returns the tables and views named in sql, and what the views read where the engine tells;
	// names without a schema get the warehouse's default schema.
	TablesOf(ctx context.Context, sql string) ([]Table, error)
}
