package loader

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// arrowDuck has transactions that append Arrow, in the slowest way there is, so that
// what the loader does with that capability is tested in every build.
type arrowDuck struct{ duck }

func (w arrowDuck) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := w.duck.Begin(ctx)
	return arrowTx{tx}, err
}

type arrowTx struct{ warehouse.Tx }

func (tx arrowTx) AppendArrow(ctx context.Context, t warehouse.Table, rdr array.RecordReader) (int64, error) {
	var columns []string
	var schema tidegate.Schema
	for _, f := range rdr.Schema().Fields() {
		columns = append(columns, fmt.Sprintf("%q", f.Name))
		schema = append(schema, tidegate.Column{Name: f.Name, Type: tidegate.Type{Kind: tidegate.String}})
	}
	insert := fmt.Sprintf("INSERT INTO %q.%q (%s) VALUES (%s)", t.Schema, t.Name, strings.Join(columns, ", "), strings.Join(slices.Repeat([]string{"?"}, len(columns)), ", "))
	var n int64
	for rdr.Next() {
		r := &recordRows{record: rdr.RecordBatch(), schema: schema}
		if err := tidegate.EachRow(ctx, r, func(row tidegate.Row) error {
			n++
			_, err := tx.Exec(ctx, insert, row...)
			return err
		}); err != nil {
			return n, err
		}
	}
	return n, rdr.Err()
}

// Load is for users, and for our own few rows, once Arrow is there.
func (tx arrowTx) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if l.Table.Name != "users" && l.Table.Schema != "_tidegate" {
		return 0, fmt.Errorf("rows of %s came one by one", l.Table)
	}
	return tx.Tx.Load(ctx, l, rows)
}

func TestArrowAndRowsGiveTheSameTables(t *testing.T) {
	t.Parallel()
	events := append(mixed(30), track("typed", "t1", "u", map[string]any{"d": 1.25, "day": "2026-01-02", "flag": true, "list": []int{1}}))
	prepare := func(wh duck) {
		if _, err := wh.Exec(t.Context(), "CREATE SCHEMA web"); err != nil {
			t.Fatal(err)
		}
		if _, err := wh.Exec(t.Context(), "CREATE TABLE web.typed (d DECIMAL(10,2), day DATE, list JSON)"); err != nil {
			t.Fatal(err)
		}
	}
	var got []map[string][]string
	for _, arrowed := range []bool{false, true} {
		d, tp := tempDuck(t), newTape()
		prepare(d)
		end := tp.add("web", epoch(), events...)
		o := options(tp, d)
		if arrowed {
			o.Warehouse = arrowDuck{d}
		}
		loadAll(t, o, end)
		got = append(got, everything(t, d, "web"))
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("tables differ (-rows +arrow):\n%s", diff)
	}
	if line := got[1]["typed"]; len(line) != 1 || !strings.Contains(line[0], "d=1.25 day=2026-01-02 list=[1]") {
		t.Errorf("web.typed: %q", line)
	}
}
