package loader

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// The hourly books are two tables beside the rows they speak of:
//
//	hourly       source, hour            → what became of the events received in that hour
//	hourly_rows  source, table, hour     → how many rows of that hour the table was given
//
// Every load appends what it adds, in the transaction of its rows, and every
// checkpoint makes one row of the rows that an hour has got by then. A reader adds
// up, so that it need not know how far that has come. Rows of `users` are merged,
// not added, and are in no book.

const hourMicros = int64(time.Hour / time.Microsecond)

// hourOf is the hour of t, in hours since 1970.
func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// sourceHour is what events are counted by.
type sourceHour struct {
	source string
	hour   int64
}

// hourly counts the rows of one sheet by source and hour.
type hourly []hourCount

type hourCount struct {
	sourceHour
	rows int64
}

func (h *hourly) add(source string, hour int64) {
	for i := len(*h) - 1; i >= 0; i-- { // nearly always the last
		if c := &(*h)[i]; c.hour == hour && c.source == source {
			c.rows++
			return
		}
	}
	*h = append(*h, hourCount{sourceHour{source, hour}, 1})
}

func (ld *load) tallyOf(k sourceHour) *tally {
	t := ld.tallies[k]
	if t == nil {
		t = &tally{}
		ld.tallies[k] = t
	}
	return t
}

// perSource adds the hours up.
func (ld *load) perSource() map[string]tally {
	all := make(map[string]tally)
	for k, t := range ld.tallies {
		sum := all[k.source]
		sum.add(*t)
		all[k.source] = sum
	}
	return all
}

func (t *tally) add(o tally) {
	t.loaded += o.loaded
	t.duplicate += o.duplicate
	t.dead += o.dead
	t.suppressed += o.suppressed
	t.dropped += o.dropped
}

func hourlySchema() tidegate.Schema {
	return schemaOf("source", tidegate.String, "hour", tidegate.Timestamp, "accepted", tidegate.Int, "loaded", tidegate.Int,
		"duplicate", tidegate.Int, "dead", tidegate.Int, "suppressed", tidegate.Int, "dropped", tidegate.Int)
}

func hourlyRowsSchema() tidegate.Schema {
	return schemaOf("source", tidegate.String, "table_schema", tidegate.String, "table_name", tidegate.String,
		"hour", tidegate.Timestamp, "rows", tidegate.Int)
}

func (l *Loader) openHourly(ctx context.Context) error {
	if _, err := l.opts.Warehouse.Ensure(ctx, l.own(hourlyName), hourlySchema()); err != nil {
		return fmt.Errorf("making sure of the hourly books: %w", err)
	}
	if _, err := l.opts.Warehouse.Ensure(ctx, l.own(hourlyRowsName), hourlyRowsSchema()); err != nil {
		return fmt.Errorf("making sure of the hourly books of tables: %w", err)
	}
	return nil
}

// writeHourly appends what ld adds to the hourly books, in the transaction of its rows.
func (l *Loader) writeHourly(ctx context.Context, tx warehouse.Tx, ld *load) error {
	events := make([][]any, 0, len(ld.tallies))
	for k, t := range ld.tallies {
		events = append(events, []any{k.source, k.hour * hourMicros, t.read(), t.loaded, t.duplicate, t.dead, t.suppressed, t.dropped})
		l.touched.add(k.hour)
	}
	if err := l.writeBook(ctx, tx, ld.once, hourlyName, hourlySchema(), events); err != nil {
		return err
	}
	var added [][]any
	for _, s := range ld.sheets {
		for _, c := range s.hourly {
			added = append(added, []any{c.source, s.table.Name.Schema, s.table.Name.Name, c.hour * hourMicros, c.rows})
		}
	}
	return l.writeBook(ctx, tx, ld.once, hourlyRowsName, hourlyRowsSchema(), added)
}

// writeBook appends lines of texts, whole numbers and times (in microseconds) to a book.
func (l *Loader) writeBook(ctx context.Context, tx warehouse.Tx, id, book string, schema tidegate.Schema, lines [][]any) error {
	if len(lines) == 0 {
		return nil
	}
	fields := make([]arrow.Field, len(schema))
	for i, c := range schema {
		fields[i] = arrow.Field{Name: c.Name, Type: newCells(c.Type.Kind).typ}
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, line := range lines {
		for i, v := range line {
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				f.Append(v.(string))
			case *array.TimestampBuilder:
				f.Append(arrow.Timestamp(v.(int64)))
			case *array.Int64Builder:
				f.Append(v.(int64))
			}
		}
	}
	record := b.NewRecordBatch()
	defer record.Release()
	return l.writeRecord(ctx, tx, id+" "+book, rows{l.own(book), record, schema})
}

// touched is the range of hours whose books have grown.
type touched struct {
	some     bool
	from, to int64
}

func (t *touched) add(hour int64) {
	if !t.some {
		*t = touched{true, hour, hour}
	}
	t.from, t.to = min(t.from, hour), max(t.to, hour)
}

// compactHourly makes one line of the lines that an hour has.
func (l *Loader) compactHourly(ctx context.Context) error {
	if !l.touched.some {
		return nil
	}
	tx, err := l.opts.Warehouse.Begin(ctx)
	if err == nil {
		if err = l.compactBooks(ctx, tx); err == nil {
			err = tx.Commit()
		} else {
			err = errors.Join(err, tx.Rollback())
		}
	}
	if err != nil {
		return fmt.Errorf("adding the hourly books up: %w", err)
	}
	l.touched = touched{}
	return nil
}

func (l *Loader) compactBooks(ctx context.Context, tx warehouse.Tx) error {
	for _, book := range []struct {
		name   string
		schema tidegate.Schema
		keys   int
		sql    string
	}{
		{hourlyName, hourlySchema(), 2, "source, hour, " + sums(l.dialect, "accepted", "loaded", "duplicate", "dead", "suppressed", "dropped")},
		{hourlyRowsName, hourlyRowsSchema(), 4, "source, table_schema, table_name, hour, " + sums(l.dialect, "rows")},
	} {
		where := " WHERE hour >= " + string(l.dialect.Placeholder(1)) + " AND hour <= " + string(l.dialect.Placeholder(2))
		from, to := time.Unix(l.touched.from*3600, 0).UTC(), time.Unix(l.touched.to*3600, 0).UTC()
		table := string(l.table(l.own(book.name)))
		group := " GROUP BY source, hour"
		if book.name == hourlyRowsName {
			group += ", table_schema, table_name"
		}
		var lines [][]any
		many := false
		err := warehouse.Each(ctx, tx, "SELECT "+book.sql+", count(*) FROM "+table+" AS b"+where+group, []any{from, to}, func(row tidegate.Row) error {
			line := slices.Clone([]any(row[:len(row)-1]))
			for i, v := range line {
				if at, ok := v.(time.Time); ok {
					line[i] = at.UnixMicro()
				}
			}
			many = many || asInt(row[len(row)-1]) > 1
			lines = append(lines, line)
			return nil
		})
		if err != nil {
			return err
		}
		if !many {
			continue
		}
		if _, err := tx.Exec(ctx, "DELETE FROM "+table+where, from, to); err != nil {
			return err
		}
		once := fmt.Sprintf("books up to %s at %d", l.position, l.opts.Now().UnixMicro())
		if err := l.writeBook(ctx, tx, once, book.name, book.schema, lines); err != nil {
			return err
		}
	}
	return nil
}

// sums adds up columns of our own, as ints: engines make larger numbers of sums.
func sums(d sqltext.Dialect, columns ...string) string {
	whole, err := d.Type(tidegate.Type{Kind: tidegate.Int})
	quoted, err2 := d.Idents(columns)
	if err = errors.Join(err, err2); err != nil {
		panic(fmt.Sprintf("naming columns of our own: %v", err))
	}
	all := make([]sqltext.Text, len(quoted))
	for i, c := range quoted {
		all[i] = "CAST(sum(b." + c + ") AS " + whole + ")"
	}
	return string(sqltext.Join(all, ", "))
}

// HourCounts is what became of the events of one source that were received in one hour.
type HourCounts struct {
	Hour time.Time `json:"hour"`
	Counts
}

// TableHour is how many rows, received in one hour, one table was given.
type TableHour struct {
	Schema string    `json:"schema"`
	Table  string    `json:"table"`
	Hour   time.Time `json:"hour"`
	Rows   int64     `json:"rows"`
}

// Period bounds what is read of the books: From ≤ hour < To, of one source or all.
type Period struct {
	From, To time.Time
	Source   string
}

// where is the condition of p and its values, the first of which is bound to $first.
func (p Period) where(d sqltext.Dialect) (string, []any) {
	text, args := " WHERE hour >= "+string(d.Placeholder(1))+" AND hour < "+string(d.Placeholder(2)), []any{p.From.UTC(), p.To.UTC()}
	if p.Source != "" {
		text, args = text+" AND source = "+string(d.Placeholder(3)), append(args, p.Source)
	}
	return text, args
}

// ReadHourly reads the hourly books of a warehouse that a Loader fills. A warehouse
// without them has none.
func ReadHourly(ctx context.Context, wh warehouse.Warehouse, d sqltext.Dialect, p Period) ([]HourCounts, error) {
	where, args := p.where(d)
	var all []HourCounts
	err := readBook(ctx, wh, hourlyName, "SELECT source, hour, "+sums(d, "accepted", "loaded", "duplicate", "dead", "suppressed", "dropped")+
		" FROM _tidegate.hourly AS b"+where+" GROUP BY source, hour ORDER BY source, hour", args, func(row tidegate.Row) {
		source, _ := row[0].(string)
		hour, _ := row[1].(time.Time)
		all = append(all, HourCounts{hour, Counts{source, asInt(row[2]), asInt(row[3]), asInt(row[4]), asInt(row[5]), asInt(row[6]), asInt(row[7])}})
	})
	return all, err
}

// ReadHourlyRows reads how many rows the tables were given. With a source it tells
// of all that came into the tables to which that source's events went.
func ReadHourlyRows(ctx context.Context, wh warehouse.Warehouse, d sqltext.Dialect, p Period) ([]TableHour, error) {
	where, args := " WHERE hour >= "+string(d.Placeholder(1))+" AND hour < "+string(d.Placeholder(2)), []any{p.From.UTC(), p.To.UTC()}
	if p.Source != "" {
		where += " AND table_schema || '.' || table_name IN (SELECT table_schema || '.' || table_name FROM _tidegate.hourly_rows WHERE source = " + string(d.Placeholder(3)) + ")"
		args = append(args, p.Source)
	}
	var all []TableHour
	err := readBook(ctx, wh, hourlyRowsName, "SELECT table_schema, table_name, hour, "+sums(d, "rows")+
		" FROM _tidegate.hourly_rows AS b"+where+" GROUP BY table_schema, table_name, hour ORDER BY table_schema, table_name, hour", args, func(row tidegate.Row) {
		schema, _ := row[0].(string)
		table, _ := row[1].(string)
		hour, _ := row[2].(time.Time)
		all = append(all, TableHour{schema, table, hour, asInt(row[3])})
	})
	return all, err
}

func readBook(ctx context.Context, wh warehouse.Warehouse, book, sql string, args []any, use func(tidegate.Row)) error {
	_, err := wh.Describe(ctx, warehouse.Table{Schema: BooksSchema, Name: book})
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil
	}
	if err == nil {
		err = warehouse.Each(ctx, wh, sql, args, func(row tidegate.Row) error { use(row); return nil })
	}
	if err != nil {
		return fmt.Errorf("reading the hourly books: %w", err)
	}
	return nil
}

// Unbook takes the rows of a table that a condition chooses out of the hourly books,
// in the transaction that deletes them. where begins with " WHERE" and may call the table
// d; args are its values. A table that is in no book, as those of a replay's, stays out.
func Unbook(ctx context.Context, tx warehouse.Tx, d sqltext.Dialect, table warehouse.Table, where string, args ...any) error {
	quoted, err := d.Table(table.Schema, table.Name)
	if err != nil {
		return fmt.Errorf("taking rows of %s out of the books: %w", table, err)
	}
	booked := false
	err = warehouse.Each(ctx, tx, "SELECT count(*) AS n FROM _tidegate.hourly_rows WHERE table_schema = "+string(d.Placeholder(1))+" AND table_name = "+string(d.Placeholder(2)),
		[]any{table.Schema, table.Name}, func(row tidegate.Row) error { booked = asInt(row[0]) > 0; return nil })
	if err != nil {
		return fmt.Errorf("looking whether %s is in the books: %w", table, err)
	}
	if !booked {
		return nil
	}
	hours := map[time.Time]int64{} // summed here: each engine says "the hour of" in words of its own
	err = warehouse.Each(ctx, tx, "SELECT received_at, count(*) AS n FROM "+string(quoted)+" AS d"+where+" GROUP BY received_at", args, func(row tidegate.Row) error {
		at, _ := row[0].(time.Time)
		hours[at.UTC().Truncate(time.Hour)] += asInt(row[1])
		return nil
	})
	columns, e := d.Idents([]string{"source", "table_schema", "table_name", "hour", "rows"})
	values := make([]string, len(columns))
	for i := range values {
		values[i] = string(d.Placeholder(i + 1))
	}
	insert := "INSERT INTO _tidegate.hourly_rows (" + string(sqltext.Join(columns, ", ")) + ") VALUES (" + strings.Join(values, ", ") + ")"
	for _, hour := range slices.SortedFunc(maps.Keys(hours), time.Time.Compare) {
		if err = errors.Join(err, e); err == nil {
			_, err = tx.Exec(ctx, insert, "", table.Schema, table.Name, hour, -hours[hour])
		}
	}
	if err != nil {
		return fmt.Errorf("taking rows of %s out of the books: %w", table, err)
	}
	return nil
}
