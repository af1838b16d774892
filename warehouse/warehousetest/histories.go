package warehousetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// LongEnv names the environment variable that makes the campaigns long.
const LongEnv = "TIDEGATE_LONG"

// HistoriesEnv names the environment variable that says how many columns the histories of
// an adapter have, whatever its Engine says.
const HistoriesEnv = "TIDEGATE_HISTORIES"

// The histories of an engine that says nothing, and of every engine in a long campaign.
const (
	fewHistories  = 60
	longHistories = 10_000
)

func checkHistories(t *testing.T, b *bench) {
	t.Helper()
	n := b.Histories
	if n == 0 {
		n = fewHistories
	}
	if os.Getenv(LongEnv) != "" {
		n = max(n, longHistories)
	}
	if text := os.Getenv(HistoriesEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", HistoriesEnv, err)
		}
	}
	told, err := Histories(t.Context(), b.Engine, b.w, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(told)
}

// Histories plays random histories until n columns have had theirs and compares types, order of
// columns and values with an oracle, which knows the rules of the contract only. The
// history of a column is what it is asked to become, in which rows it is, and what becomes
// of its values. Tables have one to ninety columns, as each statement costs the same for
// many as for one. told says how much there was; an error tells the shortest history found that goes wrong.
func Histories(ctx context.Context, e Engine, w warehouse.Warehouse, n int) (told string, err error) {
	p := &player{bench: &bench{Engine: e, w: w}}
	columns, tables, steps := 0, 0, 0
	for seed := uint64(0); columns < n; seed++ {
		random := rand.New(rand.NewPCG(seed, 21))
		h := imagine(random, e.Dialect, []int{1, 4, 40, 90, 90, 90}[random.IntN(6)], 2+random.IntN(6))
		if err := p.play(ctx, h); err != nil {
			if ctx.Err() != nil {
				return "", err
			}
			h, err = p.shrink(ctx, h, err)
			return "", fmt.Errorf("history %d, cut down:\n%s\n%w", seed, h, err)
		}
		columns += h.columns()
		tables++
		steps += len(h)
	}
	return fmt.Sprintf("%d histories of columns, in %d tables, %d steps of Ensure and Load", columns, tables, steps), nil
}

// columns counts the columns of a history beside its key.
func (h history) columns() int {
	var o oracle
	for _, s := range h {
		o.ensure(s.asked)
	}
	return len(o.columns) - 1
}

// player plays histories on one warehouse, each in a table of its own.
type player struct {
	*bench
	tables int
}

// play returns how the warehouse differs from the oracle.
func (p *player) play(ctx context.Context, h history) error {
	p.tables++
	table := warehouse.Table{Schema: "histories", Name: fmt.Sprint("h", p.tables)}
	var o oracle
	for i, s := range h {
		if err := p.step(ctx, table, &o, i, s); err != nil {
			return fmt.Errorf("in step %d: %w", i+1, err)
		}
		// Reading everything every time would take most of the time of wide tables.
		if i == len(h)-1 || len(o.columns) < 8 {
			if err := p.compare(ctx, table, &o); err != nil {
				return fmt.Errorf("after step %d: %w", i+1, err)
			}
		}
	}
	return p.drop(ctx, table)
}

// drop keeps the engine's catalogue small, where bookkeeping can.
func (p *player) drop(ctx context.Context, table warehouse.Table) error {
	x, ok := p.w.(warehouse.Execer)
	if !ok {
		return nil
	}
	name, err := p.Dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	_, err = x.Exec(ctx, string("DROP TABLE "+name))
	return err
}

func (p *player) step(ctx context.Context, table warehouse.Table, o *oracle, at int, s step) error {
	before := slices.Clone(o.columns)
	o.ensure(p.named(s.asked))
	load := warehouse.Load{ID: fmt.Sprint("step ", at), Table: table, KeepExisting: s.mode == keepExisting}
	if s.mode != appended {
		load.Key = []string{keyName}
	}
	x, transactional := p.w.(warehouse.Execer)
	if s.fate == inTx && transactional {
		return p.stepInTx(ctx, x, o, load, s)
	}
	if err := p.ask(ctx, table, o, before, s); err != nil {
		return err
	}
	switch s.fate {
	case broken:
		if _, err := p.w.Load(ctx, load, &failing{RowReader: s.reader(), left: len(s.rows), err: errReader}); !errors.Is(err, errReader) {
			return fmt.Errorf("a load whose reader broke says %w", err)
		}
	case rolledBack:
		if transactional {
			if err := rollBack(ctx, x, load, s); err != nil {
				return err
			}
		}
	case raced:
		return p.race(ctx, o, load, s)
	default:
	}
	if err := loads(ctx, p.w, load, s.reader(), o.load(s)); err != nil || s.fate != repeated {
		return err
	}
	other := s.reader()
	if len(s.rows) == 0 {
		other = tidegate.Rows(tidegate.Schema{s.asked[0]}, tidegate.Row{int64(-1)})
	}
	return loads(ctx, p.w, load, other, 0)
}

// reader reads the rows of the step, whose schema is what they have.
func (s step) reader() tidegate.RowReader {
	schema := make(tidegate.Schema, len(s.loaded))
	for i, c := range s.loaded {
		schema[i] = s.asked[c]
	}
	return tidegate.Rows(schema, s.rows...)
}

// ask ensures the columns of the step, all of them or by several callers at once. Then the
// order of what is new is the engine's own.
func (p *player) ask(ctx context.Context, table warehouse.Table, o *oracle, before tidegate.Schema, s step) error {
	if s.together == 1 {
		got, err := p.w.Ensure(ctx, table, s.asked)
		if err == nil {
			err = differ("ensured columns", o.columns, got)
		}
		return err
	}
	var group sync.WaitGroup
	errs := make([]error, s.together)
	for caller := range s.together {
		part := tidegate.Schema{s.asked[0]}
		for i, c := range s.asked[1:] {
			if i == 0 || i%s.together == caller {
				part = append(part, c)
			}
		}
		group.Go(func() { _, errs[caller] = p.w.Ensure(ctx, table, part) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	got, err := p.w.Describe(ctx, table)
	if err != nil {
		return err
	}
	sorted := func(s tidegate.Schema) tidegate.Schema {
		s = slices.Clone(s)
		slices.SortFunc(s[len(before):], func(a, b tidegate.Column) int { return strings.Compare(a.Name, b.Name) })
		return s
	}
	if len(got) >= len(before) {
		if err := differ("columns that several asked for", sorted(o.columns), sorted(got)); err != nil {
			return err
		}
		o.columns = got // no row has the new ones yet
		return nil
	}
	return differ("columns that several asked for", o.columns, got)
}

func (p *player) stepInTx(ctx context.Context, x warehouse.Execer, o *oracle, load warehouse.Load, s step) (err error) {
	tx, err := x.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	got, err := tx.Ensure(ctx, load.Table, s.asked)
	if err == nil {
		err = differ("ensured columns", o.columns, got)
	}
	if err == nil {
		err = loads(ctx, tx, load, s.reader(), o.load(s))
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// rollBack loads in a transaction that never was.
func rollBack(ctx context.Context, x warehouse.Execer, load warehouse.Load, s step) error {
	tx, err := x.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Load(ctx, load, s.reader())
	return errors.Join(err, tx.Rollback())
}

// race brings one load three times at once and then once more: it is written once. Who
// loses may be told to retry, so that only the last must succeed.
func (p *player) race(ctx context.Context, o *oracle, load warehouse.Load, s step) error {
	var group sync.WaitGroup
	var wrote [3]int64
	var errs [3]error
	for caller := range wrote {
		group.Go(func() {
			wrote[caller], errs[caller] = p.w.Load(ctx, load, s.reader())
			if errs[caller] != nil && tidegate.FaultOf(errs[caller]).Action == tidegate.Retry {
				errs[caller] = nil
			}
		})
	}
	group.Wait()
	last, err := p.w.Load(ctx, load, s.reader())
	if err := errors.Join(append(errs[:], err)...); err != nil {
		return err
	}
	want := o.load(s)
	if got := wrote[0] + wrote[1] + wrote[2] + last; got != want {
		return fmt.Errorf("four calls with one load wrote %d rows, want %d", got, want)
	}
	return nil
}

// loader is what Warehouse and Tx have in common.
type loader interface {
	Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error)
}

func loads(ctx context.Context, w loader, load warehouse.Load, rows tidegate.RowReader, want int64) error {
	got, err := w.Load(ctx, load, rows)
	if err == nil && got != want {
		err = fmt.Errorf("a load wrote %d rows, want %d", got, want)
	}
	return err
}

// compare reads the table and compares it with the oracle.
func (p *player) compare(ctx context.Context, table warehouse.Table, o *oracle) error {
	got, err := p.w.Describe(ctx, table)
	if err != nil {
		return err
	}
	if err := differ("described columns", o.columns, got); err != nil {
		return err
	}
	names, err := p.Dialect.Idents(o.columns.Names())
	if err != nil {
		return err
	}
	name, err := p.Dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	key := names[o.index(keyName)]
	rows, err := tryRead(ctx, p.w, string("SELECT "+sqltext.Join(names, ", ")+" FROM "+name+" ORDER BY "+key))
	if err != nil {
		return err
	}
	instants := cmp.Comparer(func(x, y time.Time) bool { return x.Equal(y) })
	documents := cmp.Comparer(func(x, y tidegate.JSONText) bool {
		return x == y || p.RewritesJSON && sameDocument(string(x), string(y), p.RoundsJSON) || sameText(unquoted(x), unquoted(y))
	})
	return differ("rows", o.read(), rows, cmp.Comparer(sameText), instants, documents)
}

func differ(what string, want, got any, options ...cmp.Option) error {
	if d := cmp.Diff(want, got, options...); d != "" {
		return fmt.Errorf("%s (-want +got):\n%s", what, d)
	}
	return nil
}

// sameText compares texts of string columns. Engines write a float that is whole "7" or
// "7.0", and a time with or without a T, a zone and the zeros at its end.
func sameText(x, y string) bool {
	if x == y || strings.TrimSuffix(x, ".0") == strings.TrimSuffix(y, ".0") {
		return true
	}
	a, ok1 := instant(x)
	b, ok2 := instant(y)
	return ok1 && ok2 && a.Equal(b)
}

func instant(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07", "2006-01-02 15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// unquoted is the text of a JSON string.
func unquoted(j tidegate.JSONText) string { return strings.Trim(string(j), `"`) }
