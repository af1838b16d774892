package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
)

// Query implements warehouse.Warehouse: one statement, checked by its text, in
// a read-only transaction that lasts as long as the reader. Rows come as the
// server makes them; what is not read yet waits at the server.
func (w *Warehouse) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := pgwire.CheckQuery(sql, false); err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	r, err := w.read(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	return r, nil
}

// read runs a statement of which it is known that it reads.
func (w *Warehouse) read(ctx context.Context, sql string, args []any) (*pgwire.Reader, error) {
	s, err := w.session(ctx, w.pools.Read)
	if err != nil {
		return nil, err
	}
	// READ COMMITTED, so that the snapshot is taken after the locks; see the package comment.
	err = s.control(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
	var r *pgwire.Reader
	if err == nil {
		r, err = s.Start(ctx, sql, args)
	}
	if err != nil {
		s.endReading(ctx)
		return nil, err
	}
	r.Hurry = true
	r.Done = func(error) { s.endReading(context.WithoutCancel(ctx)) }
	return r, nil
}

// endReading ends the transaction and what a query could leave behind it.
func (s *session) endReading(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgwire.Grace)
	defer cancel()
	if s.control(ctx, "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()") != nil {
		s.Dirty = true
	}
	s.End()
}

// describeResult asks for columns in binary where they are read so.
func describeResult(fields []pgconn.FieldDescription) pgwire.Columns {
	columns := columnsOf(fields)
	formats := make([]int16, len(columns))
	for i := range columns {
		formats[i] = columns[i].format()
	}
	cell := func(i int, raw []byte) (any, error) { return columns[i].cell(raw) }
	return pgwire.Columns{Schema: schemaOf(columns), Formats: formats, Cell: cell}
}
