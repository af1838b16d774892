package warehouse

import (
	"context"

	"github.com/tidegate/tidegate"
)

// Querier is what a Warehouse and a Tx have in common for those who read.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error)
}

// Each hands the rows of a query to use, one by one. A row is valid until use returns.
func Each(ctx context.Context, q Querier, sql string, args []any, use func(tidegate.Row) error) error {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	return tidegate.EachRow(ctx, rows, use)
}
