package loader

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// duck is the embedded warehouse with queries that read through a transaction, so
// that these tests depend on the loader's part of the contract only.
type duck struct{ *duckdb.Warehouse }

func (w duck) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	tx, err := w.Begin(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return duckRows{rows, tx}, nil
}

type duckRows struct {
	tidegate.RowReader
	tx warehouse.Tx
}

func (r duckRows) Close() error { return errors.Join(r.RowReader.Close(), r.tx.Rollback()) }
