package bigquery

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/iterator"

	"github.com/tidegate/tidegate/warehouse"
)

// maxListed bounds the tables that are listed.
const maxListed = 1_000_000

// listed is how many names a page of a list has.
const listed = 1000

// Tables implements warehouse.Lister: tables and views of all datasets that are
// not hidden. Lists cost nothing.
func (w *Warehouse) Tables(ctx context.Context) ([]warehouse.Table, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	var tables []warehouse.Table
	var names []string
	for token := ""; ; {
		var datasets []*bq.Dataset
		err := w.try(ctx, "", func(ctx context.Context) error {
			datasets = nil
			next, err := iterator.NewPager(w.api.Datasets(ctx), listed, token).NextPage(&datasets)
			if err == nil {
				token = next
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("listing datasets: %w", err)
		}
		for _, d := range datasets {
			names = append(names, d.DatasetID)
		}
		if token == "" || len(names) > maxListed {
			break
		}
	}
	for _, dataset := range names {
		found, err := w.tablesIn(ctx, dataset)
		if err != nil {
			return nil, fmt.Errorf("listing the tables of %s: %w", dataset, err)
		}
		if tables = append(tables, found...); len(tables) > maxListed {
			break
		}
	}
	slices.SortFunc(tables, func(a, b warehouse.Table) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
	return tables, nil
}

func (w *Warehouse) tablesIn(ctx context.Context, dataset string) ([]warehouse.Table, error) {
	var tables []warehouse.Table
	for token := ""; ; {
		var page []*bq.Table
		err := w.try(ctx, "", func(ctx context.Context) error {
			page = nil
			next, err := iterator.NewPager(w.api.Dataset(dataset).Tables(ctx), listed, token).NextPage(&page)
			if is(err, http.StatusNotFound) { // dropped meanwhile
				next, err = "", nil
			}
			if err == nil {
				token = next
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, t := range page {
			tables = append(tables, warehouse.Table{Schema: dataset, Name: t.TableID})
		}
		if token == "" || len(tables) > maxListed {
			return tables, nil
		}
	}
}

// TablesOf implements warehouse.TableFinder by a dry run: BigQuery names the
// tables that it would read, those below views included. Tables of other projects
// have the project before the dataset.
func (w *Warehouse) TablesOf(ctx context.Context, sql string) ([]warehouse.Table, error) {
	stats, err := w.dryRun(ctx, sql, nil)
	if err != nil {
		return nil, fmt.Errorf("finding the tables of a query: %w", err)
	}
	return w.referenced(stats), nil
}

func (w *Warehouse) referenced(stats *bq.JobStatistics) []warehouse.Table {
	query, ok := stats.Details.(*bq.QueryStatistics)
	if !ok {
		return nil
	}
	tables := make([]warehouse.Table, len(query.ReferencedTables))
	for i, t := range query.ReferencedTables {
		tables[i] = warehouse.Table{Schema: t.DatasetID, Name: t.TableID}
		if t.ProjectID != w.project {
			tables[i].Schema = t.ProjectID + "." + t.DatasetID
		}
	}
	return tables
}

// Estimate implements warehouse.Estimator by a dry run. Bytes is what the query
// would be billed for on demand, before the minimum of 10 MB a table.
func (w *Warehouse) Estimate(ctx context.Context, sql string) (warehouse.Estimate, error) {
	none := warehouse.Estimate{Rows: -1, Bytes: -1}
	stats, err := w.dryRun(ctx, sql, nil)
	if err != nil {
		return none, fmt.Errorf("estimating a query: %w", err)
	}
	none.Bytes = stats.TotalBytesProcessed
	return none, nil
}

// dryRun asks what a query would do. It costs nothing.
func (w *Warehouse) dryRun(ctx context.Context, sql string, args []any) (*bq.JobStatistics, error) {
	if err := checkQuery(sql); err != nil {
		return nil, err
	}
	bound, params, err := bind(sql, args)
	if err != nil {
		return nil, err
	}
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	q := w.statement(request{api: w.reading, op: "estimate", sql: bound, args: params})
	q.DryRun = true
	stats := &bq.JobStatistics{}
	err = w.try(ctx, sql, func(ctx context.Context) error {
		j, err := q.Run(ctx)
		if err != nil {
			return err
		}
		status := j.LastStatus()
		if status != nil && status.Statistics != nil {
			stats = status.Statistics
		}
		return jobFault(status, sql)
	})
	return stats, err
}
