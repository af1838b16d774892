package redshift

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
)

// Query implements warehouse.Warehouse: one statement, checked by its text, in
// a read-only transaction that lasts as long as the reader. Rows come as the
// leader node makes them; what is not read yet waits there.
func (w *Warehouse) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := pgwire.CheckQuery(sql, true); err != nil {
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
	err = s.control(ctx, "BEGIN READ ONLY")
	var r *pgwire.Reader
	if err == nil {
		r, err = s.Start(ctx, sql, args)
	}
	if err != nil {
		s.endReading(ctx)
		return nil, err
	}
	r.Hurry = true
	r.Done = func(error) { s.endReading(ctx) }
	return r, nil
}

// endReading ends the transaction of a query.
func (s *session) endReading(ctx context.Context) {
	s.Rollback(ctx)
	s.End()
}

// all runs a query and returns all that it returns.
func (w *Warehouse) all(ctx context.Context, sql string) ([]tidegate.Row, error) {
	r, err := w.read(ctx, sql, nil)
	if err != nil {
		return nil, err
	}
	return tidegate.AllRows(ctx, r)
}

// describeResult asks for all columns as text.
func describeResult(fields []pgconn.FieldDescription) pgwire.Columns {
	columns := make([]column, len(fields))
	for i, f := range fields {
		columns[i] = newColumn(f.Name, f.DataTypeOID, f.TypeModifier)
	}
	cell := func(i int, raw []byte) (any, error) { return columns[i].cell(raw) }
	return pgwire.Columns{Schema: schemaOf(columns), Cell: cell}
}
