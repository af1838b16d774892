package snowflake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// inlineBytes is about how many bytes of rows travel with a statement; more go by
// files, which costs three calls more and is faster from there on.
const inlineBytes = 1 << 20

// stage is where files wait to be copied. It is an internal one: the files are
// in Snowflake's own storage, and go when they are in the table.
const stage sqltext.Text = `@"_TIDEGATE"."LOADS"`

// Load implements warehouse.Warehouse: a transaction of its own (Invariant 3).
func (w *Warehouse) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	n, err := w.load(ctx, l, rows)
	if err != nil {
		return 0, fmt.Errorf("loading into %s: %w", l.Table, err)
	}
	return n, nil
}

func (w *Warehouse) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	t, err := w.begin(ctx)
	if err != nil {
		return 0, err
	}
	n, err := t.load(ctx, l, rows)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, errors.Join(t.Fail(err), t.Rollback())
	}
	err = t.Commit()
	if errors.Is(err, errLoaded) { // meanwhile, by another session
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// folder is where the files of a load are in the stage: the same load has the same
// files. Of them Snowflake itself remembers for 64 days that they were copied.
func folder(l warehouse.Load) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q %q", l.Table.Schema, l.Table.Name, l.ID)
	return hex.EncodeToString(h.Sum(nil))[:40]
}

func (t *tx) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (n int64, err error) {
	if err := l.CheckID(); err != nil {
		return 0, err
	}
	if err := t.held.Take(ctx, &t.w.tables, l.Table); err != nil {
		return 0, err
	}
	found, err := t.w.describe(ctx, t.on(), l.Table)
	if err != nil {
		return 0, err
	}
	p, err := planLoad(l, found, rows.Schema())
	if err != nil {
		return 0, err
	}
	if was, err := t.loaded(ctx, l); err != nil || was {
		return 0, err
	}
	lines := &lines{cells: p.cells(rows)}
	few, err := lines.take(ctx, inlineBytes)
	switch {
	case errors.Is(err, io.EOF): // that was all
		if len(few) > 0 {
			n, err = t.run(ctx, request{op: "load", sql: string(p.inline()), args: []any{list(few)}})
		} else {
			n, err = 0, nil
		}
	case err == nil:
		n, err = t.copy(ctx, p, lines, few)
	}
	if err != nil {
		return 0, err
	}
	t.loads = append(t.loads, tidegate.Row{l.ID, l.Table.Schema, l.Table.Name, n, t.w.now().UTC()})
	return n, nil
}

// list is lines of JSON as one array.
func list(lines []byte) string {
	all := make([]byte, 0, len(lines)+2)
	all = append(append(all, '['), lines[:len(lines)-1]...)
	for i, b := range all {
		if b == '\n' { // inside of texts it is \n
			all[i] = ','
		}
	}
	return string(append(all, ']'))
}

// copy puts the rows into files and the files into the table.
func (t *tx) copy(ctx context.Context, p *loadPlan, rows *lines, first []byte) (int64, error) {
	path := folder(p.Load)
	if err := t.w.makeStage(ctx, t); err != nil {
		return 0, err
	}
	// What an earlier attempt left there would be copied, too.
	if _, err := t.w.do(ctx, t.on(), request{op: "load", sql: "REMOVE " + string(stage) + "/" + path + "/"}); err != nil {
		return 0, fmt.Errorf("clearing the stage: %w", err)
	}
	t.paths = append(t.paths, path)
	if err := t.w.upload(ctx, t.on(), path, rows, first); err != nil {
		return 0, err
	}
	return t.run(ctx, request{op: "load", sql: string(p.copied(path))})
}

// makeStage makes the stage, once; outside of the transaction, for Snowflake would commit it.
func (w *Warehouse) makeStage(ctx context.Context, t *tx) error {
	w.mu.Lock()
	there := w.staged
	w.mu.Unlock()
	if there {
		return nil
	}
	err := t.apart(ctx, func(o on) error {
		_, err := w.do(ctx, o, request{op: "schema", sql: "CREATE STAGE IF NOT EXISTS " + string(stage[1:]) + " FILE_FORMAT = (TYPE = JSON COMPRESSION = GZIP) COMMENT = 'Rows of Tidegate that wait to be copied'"})
		return err
	})
	if err != nil {
		return fmt.Errorf("making the stage: %w", err)
	}
	w.mu.Lock()
	w.staged = true
	w.mu.Unlock()
	return nil
}

// lines writes rows as lines of JSON: an array of the row's number and of texts, so
// that every value is read by SQL and none by a guess.
type lines struct {
	cells celltext.Cells
	done  bool
}

// take returns lines of about size bytes; with the last of all rows it returns io.EOF.
func (l *lines) take(ctx context.Context, size int) (lines []byte, err error) {
	if l.done {
		return nil, io.EOF
	}
	for len(lines) < size {
		line, err := l.row(ctx, lines)
		if errors.Is(err, io.EOF) {
			l.done = true
			return lines, io.EOF
		}
		if err != nil {
			return nil, err
		}
		lines = line
	}
	return lines, nil
}

func (l *lines) row(ctx context.Context, dst []byte) ([]byte, error) {
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, l.cells.Read, 10)
	at := 0
	null := func(until int) {
		for ; at < until; at++ {
			dst = append(dst, ",null"...)
		}
	}
	start := len(dst)
	err := l.cells.Next(ctx, func(i int, text []byte) (err error) {
		null(i)
		at++
		dst, err = celltext.AppendQuoted(append(dst, ','), text)
		return err
	})
	if err != nil {
		return dst[:start], err
	}
	null(len(l.cells.Columns))
	return append(dst, ']', '\n'), nil
}
