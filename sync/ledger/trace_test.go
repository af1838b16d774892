package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// traced prints every statement of a benchmark that takes a few milliseconds, with its
// seconds and those of the processors, when TIDEGATE_BENCH_TRACE is set.
func traced(store warehouse.Execer) warehouse.Execer {
	if os.Getenv("TIDEGATE_BENCH_TRACE") == "" {
		return store
	}
	return tracer{store}
}

type tracer struct{ warehouse.Execer }

func (t tracer) Begin(ctx context.Context) (warehouse.Tx, error) {
	defer begun("BEGIN").ended()
	tx, err := t.Execer.Begin(ctx)
	return &tracedTx{Tx: tx}, err
}

// span is one statement: when it began, and what the process had used of the processors.
type span struct {
	what  string
	start time.Time
	cpu   time.Duration
}

func begun(what string) span { return span{what, time.Now(), processors()} }

func (s span) ended() {
	if took := time.Since(s.start); took > 3*time.Millisecond {
		fmt.Fprintf(os.Stderr, "%7.3f s %7.3f CPU s  %.300s\n", took.Seconds(), (processors() - s.cpu).Seconds(), strings.Join(strings.Fields(s.what), " "))
	}
}

func processors() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type tracedTx struct{ warehouse.Tx }

func (t *tracedTx) Commit() error {
	defer begun("COMMIT").ended()
	return t.Tx.Commit()
}

func (t *tracedTx) Rollback() error {
	defer begun("ROLLBACK").ended()
	return t.Tx.Rollback()
}

func (t *tracedTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	defer begun(sql).ended()
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *tracedTx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	s := begun(sql)
	rows, err := t.Tx.Query(ctx, sql, args...)
	return tracedRows{rows, s}, err
}

// AppendArrow implements warehouse.ArrowTx.
func (t *tracedTx) AppendArrow(ctx context.Context, table warehouse.Table, rows array.RecordReader) (int64, error) {
	into, ok := t.Tx.(warehouse.ArrowTx)
	if !ok {
		return 0, fmt.Errorf("appending to %s: not built in", table)
	}
	defer begun("append to " + table.Name).ended()
	return into.AppendArrow(ctx, table, rows)
}

// Predicate implements warehouse.PredicateTx.
func (t *tracedTx) Predicate(test func(values []int64, answers []bool), pure bool) (call func(x string) string, drop func()) {
	return t.Tx.(warehouse.PredicateTx).Predicate(test, pure)
}

// Memory implements warehouse.PredicateTx; 0 keeps the ledger from asking for a predicate.
func (t *tracedTx) Memory() int64 {
	if lender, ok := t.Tx.(warehouse.PredicateTx); ok {
		return lender.Memory()
	}
	return 0
}

// Beside implements warehouse.SnapshotTx.
func (t *tracedTx) Beside(ctx context.Context) (warehouse.Tx, error) {
	sharing, ok := t.Tx.(warehouse.SnapshotTx)
	if !ok {
		return nil, errors.New("snapshots are not shared")
	}
	tx, err := sharing.Beside(ctx)
	return &tracedTx{Tx: tx}, err
}

type tracedRows struct {
	tidegate.RowReader
	s span
}

func (r tracedRows) Close() error {
	defer r.s.ended()
	return r.RowReader.Close()
}
