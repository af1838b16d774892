package model

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// MaxPreviewRows is the most rows that a preview shows.
const MaxPreviewRows = 1000

// Preview is a first look at a model.
type Preview struct {
	Rows  []tidegate.Row
	Count int64 // of all rows
	// Cost is what the warehouse thinks that reading the model costs; nil where it does not say.
	Cost *warehouse.Estimate
}

// Preview reads the first rows of the model and counts all of them. The order is
// the query's own.
func (m *Model) Preview(ctx context.Context, wh warehouse.Warehouse, limit int) (Preview, error) {
	limit = min(max(limit, 0), MaxPreviewRows)
	out := Preview{Rows: []tidegate.Row{}}
	rows, err := allRows(ctx, wh, fmt.Sprintf("SELECT * FROM (\n%s\n) AS q LIMIT %d", m.SQL, limit), m.Args)
	if err != nil {
		return out, refused(m.Name, err)
	}
	out.Rows = rows
	counted, err := allRows(ctx, wh, "SELECT count(*) AS n FROM (\n"+m.SQL+"\n) AS q", m.Args)
	if err != nil {
		return out, refused(m.Name, err)
	}
	if len(counted) == 1 {
		out.Count, _ = counted[0][0].(int64)
	}
	if estimator, ok := wh.(warehouse.Estimator); ok && len(m.Args) == 0 { // an estimate takes no values
		cost, err := estimator.Estimate(ctx, m.SQL)
		if err != nil {
			return out, fmt.Errorf("estimating the cost of model %s: %w", m.Name, err)
		}
		out.Cost = &cost
	}
	return out, nil
}

func allRows(ctx context.Context, wh warehouse.Warehouse, sql string, args []any) ([]tidegate.Row, error) {
	rows, err := wh.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return tidegate.AllRows(ctx, rows)
}
