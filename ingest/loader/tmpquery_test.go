package loader

import (
	"context"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

type txQuery struct{ *duckdb.Warehouse }

type txRows struct {
	tidegate.RowReader
	tx warehouse.Tx
}

func (r txRows) Close() error { _ = r.RowReader.Close(); return r.tx.Rollback() }

func (w txQuery) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	tx, err := w.Begin(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		_ = tx.Rollback()
		return nil, err
	}
	return txRows{rows, tx}, nil
}

type duck = txQuery
