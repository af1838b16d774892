package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	bq "cloud.google.com/go/bigquery"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// The ways in which rows get to BigQuery, outside of transactions: Config.Staging.
const (
	stagingAuto         = "auto"
	stagingLoadJobs     = "load_jobs"
	stagingStorageWrite = "storage_write"
)

// streamMost is how much memory rows may take, about, that auto streams. What is more is
// worth the seconds that a load job takes, which is free.
const streamMost = 8 << 20

// bring brings the rows of a load into its table, by the way that is set:
//
//	load_jobs ───────────────────────────────▶ load job
//	storage_write ───────────────────────────▶ stream, one statement
//	auto ──up to streamMost──▶ stream, one statement
//	   │                        └─its quota is used up─▶ load job
//	   └──more───────────────▶ load job
func (w *Warehouse) bring(ctx context.Context, p *loadPlan, id string, rows tidegate.RowReader) (int64, error) {
	if w.storage == nil {
		return w.loadByJob(ctx, p, id, rows)
	}
	if w.staging == stagingStorageWrite {
		s, err := w.stream(ctx, p, rows)
		if err != nil {
			return 0, err
		}
		return w.merge(ctx, p, id, s)
	}
	kept, err := keep(ctx, rows, streamMost)
	if err != nil {
		return 0, err
	}
	if !kept.whole {
		return w.loadByJob(ctx, p, id, kept)
	}
	s, err := w.stream(ctx, p, kept)
	var f *tidegate.Fault
	if errors.As(err, &f) && f.Action == tidegate.Throttle {
		kept.again()
		return w.loadByJob(ctx, p, id, kept)
	}
	if err != nil {
		return 0, err
	}
	return w.merge(ctx, p, id, s)
}

// stage is a table of staged rows, which are all there and will not change.
type stage struct {
	name string
	rows int64
}

// stream writes rows into a table of their own by the Storage Write API. Without rows there is no table.
func (w *Warehouse) stream(ctx context.Context, p *loadPlan, rows tidegate.RowReader) (s stage, err error) {
	enc := newEncoder(p, rows)
	first, err := enc.batch(ctx)
	if errors.Is(err, io.EOF) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := w.makeStaging(ctx); err != nil {
		return s, err
	}
	s.name = "stage_" + newID()
	defer func() {
		if err != nil {
			w.unstage(ctx, s.name)
		}
	}()
	if err := w.makeStage(ctx, s.name, enc.fields); err != nil {
		return s, fmt.Errorf("making a table for staged rows: %w", err)
	}
	if s.rows, err = w.storage.write(ctx, w, stagingDataset, s.name, enc, first); err != nil {
		return s, fmt.Errorf("staging: %w", err)
	}
	return s, nil
}

// makeStage makes a table of staged rows. Its name is new, so that one that is there is this one.
func (w *Warehouse) makeStage(ctx context.Context, name string, fields bq.Schema) error {
	t := w.api.Dataset(stagingDataset).Table(name)
	return w.try(ctx, "", func(ctx context.Context) error {
		err := t.Create(ctx, &bq.TableMetadata{Schema: fields, ExpirationTime: w.now().Add(stagingLife)})
		if is(err, http.StatusConflict) {
			return nil
		}
		return err
	})
}

// merge brings staged rows into the table by one statement, under the job id of the load,
// and drops them.
func (w *Warehouse) merge(ctx context.Context, p *loadPlan, id string, s stage) (int64, error) {
	if s.name == "" {
		return 0, w.nothing(ctx, id)
	}
	defer w.unstage(ctx, s.name)
	from, err := w.dialect.Table(stagingDataset, s.name)
	if err != nil {
		return 0, err
	}
	sql := p.write(p.streamedValues(), wholly(from, len(p.columns)+1, s.rows), "r.n")
	res, err := w.run(ctx, request{op: "load", id: id, sql: string(sql)})
	if err != nil || res.was {
		return 0, err
	}
	return res.changed, nil
}

// errPartly is what BigQuery says when a statement does not see all rows of a stage.
const errPartly = "staged rows are missing"

// wholly is a source of all rows of a stage, called r: where a statement would see fewer, or
// none, it fails and changes nothing (Invariant 3). The count is a row of its own, so that it
// is looked at however few rows there are.
func wholly(from sqltext.Text, columns int, rows int64) sqltext.Text {
	nulls := make([]sqltext.Text, columns)
	for i := range nulls {
		nulls[i] = "NULL"
	}
	return "(SELECT * FROM " + from + " UNION ALL SELECT " + sqltext.Join(nulls, ", ") + " FROM (SELECT COUNT(*) AS c FROM " + from + ") AS k WHERE IF(k.c = " +
		sqltext.Text(strconv.FormatInt(rows, 10)) + ", FALSE, ERROR('" + errPartly + "'))) AS r"
}

// streamedValues are the written columns, read from a stage. What has one form on the wire has its type there
// already; the rest are texts, which are read as those of a load job are.
func (p *loadPlan) streamedValues() []sqltext.Text {
	values := p.values(func(i int) sqltext.Text { return "r." + sqltext.Staged(i) })
	for i := range p.columns {
		if wireOf(&p.columns[i]).engine == p.columns[i].engine {
			values[i] = "r." + sqltext.Staged(i)
		}
	}
	return values
}

// keeper is a reader that has the beginning of its rows in memory.
type keeper struct {
	tidegate.RowReader
	rows  []tidegate.Row
	at    int
	whole bool // there are no others
}

// cellSize is about what a cell takes in memory beside its text.
const cellSize = 40

// keep reads rows until they take most bytes of memory, about, or end.
func keep(ctx context.Context, rows tidegate.RowReader, most int) (*keeper, error) {
	k := &keeper{RowReader: rows}
	for size := 0; size < most; {
		row, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			k.whole = true
			return k, nil
		}
		if err != nil {
			return nil, err
		}
		own := append(tidegate.Row(nil), row...)
		for i, v := range own {
			size += cellSize
			switch text := v.(type) {
			case []byte:
				own[i] = append([]byte{}, text...) // the reader's memory
				size += len(text)
			case string:
				size += len(text)
			case tidegate.JSONText:
				size += len(text)
			}
		}
		k.rows = append(k.rows, own)
	}
	return k, nil
}

// again goes back to the first row. All rows must have been kept.
func (k *keeper) again() { k.at = 0 }

// Next implements tidegate.RowReader.
func (k *keeper) Next(ctx context.Context) (tidegate.Row, error) {
	if k.at == len(k.rows) {
		if k.whole {
			return nil, io.EOF
		}
		k.rows, k.at = nil, 0
		return k.RowReader.Next(ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading rows: %w", err)
	}
	row := k.rows[k.at]
	if !k.whole {
		k.rows[k.at] = nil
	}
	k.at++
	return row, nil
}
