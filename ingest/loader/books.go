package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// The loader's own tables, in the schema `_tidegate` beside the rows that they
// speak of, so that both are lost or kept together.
const (
	cursorName     = "cursor"
	countsName     = "counts"
	seenName       = "seen"
	hourlyName     = "hourly"
	hourlyRowsName = "hourly_rows"
)

// BooksSchema is where a hub's own loader keeps its tables.
const BooksSchema = "_tidegate"

var (
	cursorTable = warehouse.Table{Schema: BooksSchema, Name: cursorName}
	countsTable = warehouse.Table{Schema: BooksSchema, Name: countsName}
)

// Books lists the tables in which a hub's own loader keeps its place and its counts,
// the cursor last.
func Books() []warehouse.Table {
	list := evolve.Log{Schema: BooksSchema}.Tables()
	for _, name := range []string{seenName, hourlyName, hourlyRowsName, countsName, cursorName} {
		list = append(list, warehouse.Table{Schema: BooksSchema, Name: name})
	}
	return list
}

// own names one of this loader's own tables.
func (l *Loader) own(name string) warehouse.Table {
	return warehouse.Table{Schema: l.opts.Books, Name: name}
}

func schemaOf(pairs ...any) tidegate.Schema {
	var s tidegate.Schema
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, tidegate.Column{Name: pairs[i].(string), Type: tidegate.Type{Kind: pairs[i+1].(tidegate.Kind)}})
	}
	return s
}

func cursorSchema() tidegate.Schema {
	return schemaOf("partition", tidegate.Int, "next_position", tidegate.Int, "load_id", tidegate.String, "updated_at", tidegate.Timestamp, "journal", tidegate.String)
}

func countsSchema() tidegate.Schema {
	return schemaOf("source", tidegate.String, "accepted", tidegate.Int, "loaded", tidegate.Int,
		"duplicate", tidegate.Int, "dead", tidegate.Int, "updated_at", tidegate.Timestamp, "suppressed", tidegate.Int, "dropped", tidegate.Int)
}

// openWarehouse makes sure of the loader's tables, reads the cursor and goes to its
// place in the journal. The cursor in the warehouse wins over the journal's own.
func (l *Loader) openWarehouse(ctx context.Context) error {
	wh := l.opts.Warehouse
	if _, err := wh.Ensure(ctx, l.own(countsName), countsSchema()); err != nil {
		return fmt.Errorf("making sure of the counts' table: %w", err)
	}
	if _, err := wh.Ensure(ctx, l.own(seenName), seenSchema()); err != nil {
		return fmt.Errorf("making sure of the message ids' table: %w", err)
	}
	if err := l.openHourly(ctx); err != nil {
		return err
	}
	if err := l.history().Prepare(ctx, wh); err != nil {
		return err
	}
	index, err := l.dialect.Index("_tidegate_seen_hi", l.opts.Books, seenName, "hi")
	if err == nil && index != "" {
		_, err = wh.Exec(ctx, string(index))
	}
	if err != nil {
		return fmt.Errorf("indexing the message ids: %w", err)
	}
	// Last: whoever finds the cursor finds the other books too.
	if _, err := wh.Ensure(ctx, l.own(cursorName), cursorSchema()); err != nil {
		return fmt.Errorf("making sure of the cursor's table: %w", err)
	}
	position, mark, found, err := l.cursor(ctx)
	if err != nil {
		return err
	}
	if err := l.buildFilter(ctx); err != nil {
		return err
	}
	if lister, ok := wh.(warehouse.Lister); ok {
		tables, err := lister.Tables(ctx)
		if err != nil {
			return fmt.Errorf("listing the tables: %w", err)
		}
		for _, t := range tables {
			l.perSource[t.Schema]++
		}
	}
	if err = l.opts.Reader.Fits(mark); err == nil {
		err = l.opts.Reader.Seek(position)
	}
	if err != nil {
		return fmt.Errorf("going to offset %s of the journal: %w", position, l.parted(err))
	}
	if found && mark == "" {
		if err := l.adopt(ctx, position); err != nil {
			return err
		}
	}
	l.position, l.reading, l.open = position, position, true
	l.forgetTables()
	// What an earlier process or attempt loaded may not be checkpointed yet.
	l.checkpoint.loaded(l.opts.Now(), 0, false)
	l.advance(func(*Stats) {})
	return nil
}

// cursor returns the cursor and its mark, and sets it in a new warehouse, where there was none.
//
// Another loader may be setting its own at the same moment, may have moved it on since this
// one found none, or be about to commit that. So of several rows all are brought to where
// the furthest is, and written in any case: one of two writers of a row fails, and reads the
// cursor again. From then on whoever sees one of them sees all, and they move together. (To
// remove the others would not do: DuckDB lets one writer delete a row that another changes.)
func (l *Loader) cursor(ctx context.Context) (at tidegate.Offset, mark string, found bool, err error) {
	wh, table, name, p := l.opts.Warehouse, l.own(cursorName), l.table(l.own(cursorName)), l.dialect.Placeholder
	at, mark, rows, err := readCursor(ctx, wh, l.dialect, table, "journal")
	if err != nil {
		return at, mark, false, err
	}
	if found = rows > 0; !found {
		now, begin := l.opts.Now().UTC(), l.opts.Reader.Mark(l.opts.Begin)
		if l.dialect.Units() {
			err = putCursor(ctx, wh, table, fmt.Sprintf("the beginning at %d", now.UnixMicro()), l.opts.Begin.Position, "", begin, now)
		} else {
			_, err = wh.Exec(ctx, string("INSERT INTO "+name+" ("+partition(l.dialect)+", next_position, load_id, updated_at, journal) VALUES ("+l.marks(5)+")"),
				int64(0), l.opts.Begin.Position, "", now, begin)
		}
		if err != nil {
			return at, mark, false, fmt.Errorf("setting the cursor for the first time: %w", err)
		}
		if at, mark, rows, err = readCursor(ctx, wh, l.dialect, table, "journal"); err != nil {
			return at, mark, false, err
		}
	}
	if rows > 1 && !l.dialect.Units() {
		var of any // NULL where an older version loaded
		if mark != "" {
			of = mark
		}
		n, err := wh.Exec(ctx, string("UPDATE "+name+" SET next_position = "+p(1)+", journal = "+p(2)+" WHERE "+partition(l.dialect)+" = 0 AND next_position <= "+p(3)), at.Position, of, at.Position)
		if err == nil && n != rows {
			err = errStale
		}
		if err != nil {
			return at, mark, false, fmt.Errorf("bringing the cursors of several loaders together: %w", err)
		}
	}
	return at, mark, found, nil
}

// adopt makes the cursor that an earlier version left one of this journal.
func (l *Loader) adopt(ctx context.Context, at tidegate.Offset) error {
	mark := l.opts.Reader.Mark(at)
	if mark == "" {
		return nil
	}
	var err error
	if l.dialect.Units() {
		err = setCursorInUnit(ctx, l.opts.Warehouse, l.dialect, l.own(cursorName), at, mark)
	} else {
		p := l.dialect.Placeholder
		_, err = l.opts.Warehouse.Exec(ctx, string("UPDATE "+l.table(l.own(cursorName))+" SET journal = "+p(1)+" WHERE "+partition(l.dialect)+" = 0 AND next_position = "+p(2)), mark, at.Position)
	}
	if err != nil {
		return fmt.Errorf("noting which journal the cursor is of: %w", err)
	}
	return nil
}

// parted tells, of a place that the journal does not have, what brings the two together again.
func (l *Loader) parted(err error) error {
	f := tidegate.FaultOf(err)
	if l.opts.Books != BooksSchema || !errors.Is(err, journal.ErrTrimmed) && !errors.Is(err, journal.ErrAhead) && !errors.Is(err, journal.ErrReplaced) {
		return err
	}
	told := *f
	told.Message = "warehouse and journal do not belong together: " + f.Message
	told.Hint = "one of them was lost or put back: bring it back as it was if you can, otherwise stop the server and see `tidegate warehouse rejoin`"
	return &told
}

// readCursor reads the cursor and its mark, which is the text of the column of or, where
// there is none yet, an expression. Of several rows (see cursor) the furthest counts.
func readCursor(ctx context.Context, wh warehouse.Warehouse, d sqltext.Dialect, table warehouse.Table, of sqltext.Text) (at tidegate.Offset, mark string, rows int64, err error) {
	name, err := d.Table(table.Schema, table.Name)
	if err != nil {
		return at, "", 0, fmt.Errorf("reading the cursor: %w", err)
	}
	err = warehouse.Each(ctx, wh, string("SELECT next_position, "+of+" FROM "+name+" WHERE "+partition(d)+" = 0"), nil, func(row tidegate.Row) error {
		if position := asInt(row[0]); rows == 0 || position > at.Position {
			at.Position = position
			mark, _ = row[1].(string) // NULL where an older version loaded
		}
		rows++
		return nil
	})
	if err != nil {
		return at, "", 0, fmt.Errorf("reading the cursor: %w", err)
	}
	return at, mark, rows, nil
}

// partition is the cursor's column of that name, which is a keyword to some engines.
func partition(d sqltext.Dialect) sqltext.Text {
	quoted, err := d.Ident("partition")
	if err != nil {
		panic(fmt.Sprintf("quoting a column of our own: %v", err))
	}
	return quoted
}

// marks returns n placeholders with commas between.
func (l *Loader) marks(n int) sqltext.Text {
	all := make([]sqltext.Text, n)
	for i := range all {
		all[i] = l.dialect.Placeholder(i + 1)
	}
	return sqltext.Join(all, ", ")
}

// moveCursor sets the cursor inside the transaction that loads the rows below it.
// Another loader that moved it meanwhile makes this one start again.
func (l *Loader) moveCursor(ctx context.Context, tx warehouse.Tx, from tidegate.Offset, ld *load) error {
	if l.dialect.Units() {
		return l.moveCursorInUnit(ctx, tx, from, ld)
	}
	p := l.dialect.Placeholder
	moved, err := tx.Exec(ctx, string("UPDATE "+l.table(l.own(cursorName))+" SET next_position = "+p(1)+", load_id = "+p(2)+", updated_at = "+p(3)+
		", journal = "+p(4)+" WHERE "+partition(l.dialect)+" = 0 AND next_position = "+p(5)), ld.next.Position, ld.id, ld.at, l.opts.Reader.Mark(ld.next), from.Position)
	if err != nil {
		return fmt.Errorf("moving the cursor: %w", err)
	}
	if moved < 1 { // two loaders that started at the same moment may each have set a row, see cursor
		return fmt.Errorf("moving the cursor from %s: %w", from, errStale)
	}
	return nil
}

// tally is what became of the events of one source in one batch.
type tally struct{ loaded, duplicate, dead, suppressed, dropped int64 }

func (t tally) read() int64 { return t.loaded + t.duplicate + t.dead + t.suppressed + t.dropped }

// count adds the tallies to the books. Invariant 2.
func (l *Loader) count(ctx context.Context, tx warehouse.Tx, once string, tallies map[string]tally, at time.Time) error {
	if l.dialect.Units() {
		return l.countInUnit(ctx, tx, once, tallies, at)
	}
	p := l.dialect.Placeholder
	update := "UPDATE " + l.table(l.own(countsName)) + " SET accepted = accepted + " + p(1) + ", loaded = loaded + " + p(2) +
		", duplicate = duplicate + " + p(3) + ", dead = dead + " + p(4) +
		", suppressed = COALESCE(suppressed, 0) + " + p(5) + ", dropped = COALESCE(dropped, 0) + " + p(6) + // NULL where an older version counted
		", updated_at = " + p(7) + " WHERE source = " + p(8)
	insert := "INSERT INTO " + l.table(l.own(countsName)) + " (accepted, loaded, duplicate, dead, suppressed, dropped, updated_at, source) VALUES (" + l.marks(8) + ")"
	for source, t := range tallies {
		args := []any{t.read(), t.loaded, t.duplicate, t.dead, t.suppressed, t.dropped, at, source}
		n, err := tx.Exec(ctx, string(update), args...)
		if err == nil && n == 0 {
			_, err = tx.Exec(ctx, string(insert), args...)
		}
		if err != nil {
			return fmt.Errorf("counting the events of source %s: %w", source, err)
		}
	}
	return nil
}

// Counts is what became of a source's events, over all time.
type Counts struct {
	Source    string `json:"source"`
	Accepted  int64  `json:"accepted"` // read from the journal: the sum of all that follow
	Loaded    int64  `json:"loaded"`
	Duplicate int64  `json:"duplicate"`
	Dead      int64  `json:"dead"`
	// Suppressed are events of people of whom nothing may be kept, Dropped those that a
	// rule left out.
	Suppressed int64 `json:"suppressed"`
	Dropped    int64 `json:"dropped"`
}

// ReadCounts reads the books of a warehouse that a Loader fills, by source.
func ReadCounts(ctx context.Context, wh warehouse.Warehouse) ([]Counts, error) {
	columns := "suppressed, dropped"
	if schema, err := wh.Describe(ctx, countsTable); err != nil {
		return nil, fmt.Errorf("describing the counts: %w", err)
	} else if !slices.ContainsFunc(schema, func(c tidegate.Column) bool { return c.Name == "dropped" }) {
		columns = "0, 0" // no loader of this version was here yet
	}
	var all []Counts
	err := warehouse.Each(ctx, wh, `SELECT source, accepted, loaded, duplicate, dead, `+columns+` FROM _tidegate.counts ORDER BY source`, nil, func(row tidegate.Row) error {
		source, _ := row[0].(string)
		all = append(all, Counts{source, asInt(row[1]), asInt(row[2]), asInt(row[3]), asInt(row[4]), asInt(row[5]), asInt(row[6])})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the counts: %w", err)
	}
	return all, nil
}

// checkpoint says when the warehouse's own file is to be brought up to date.
type checkpoint struct {
	opts  *Options
	dirty bool // something was loaded since the last one
	bytes int64
	next  time.Time
	// busy is since when others wrote whenever one was tried; zero when none was put off.
	busy time.Time
	told bool // that it was put off for long
}

// checkpointPatience is how long checkpoints may be put off before somebody is told.
const checkpointPatience = 10 * time.Minute

func (c *checkpoint) loaded(now time.Time, bytes int64, ddl bool) {
	if !c.dirty {
		c.dirty, c.next = true, now.Add(c.opts.CheckpointEvery)
	}
	c.bytes += bytes
	if soon := now.Add(c.opts.CheckpointAfterDDL); ddl && soon.Before(c.next) {
		c.next = soon
	}
	if c.bytes >= c.opts.CheckpointBytes && c.busy.IsZero() {
		c.next = now
	}
}

// putOff lets the checkpoint wait for those who write. It returns true once, when it has
// waited for long.
func (c *checkpoint) putOff(now time.Time) (tell bool) {
	if c.busy.IsZero() {
		c.busy = now
	}
	c.next = now.Add(c.opts.CheckpointAfterDDL)
	tell = !c.told && now.Sub(c.busy) >= checkpointPatience
	c.told = c.told || tell
	return tell
}

func (c *checkpoint) at() (time.Time, bool) { return c.next, c.dirty }

func (c *checkpoint) due(now time.Time) bool { return c.dirty && !now.Before(c.next) }

// tryCheckpoint is runCheckpoint while loading goes on. While others write, a sync's plan for
// example, the engine refuses: events do not wait for them, the checkpoint does.
func (l *Loader) tryCheckpoint(ctx context.Context) error {
	err := l.runCheckpoint(ctx)
	if !errors.Is(err, warehouse.ErrBusy) {
		return err
	}
	if l.checkpoint.putOff(l.opts.Now()) {
		l.opts.Log.WarnContext(ctx, "the warehouse cannot be checkpointed, because others keep writing; the journal keeps what is loaded until then", "since", l.checkpoint.busy)
	}
	return nil
}

// runCheckpoint makes everything loaded durable in the warehouse's own file and
// then lets the journal go up to there.
func (l *Loader) runCheckpoint(ctx context.Context) error {
	l.ahead.settle() // the reader is one goroutine's
	if err := l.compactHourly(ctx); err != nil {
		return err
	}
	position := l.position
	if r, ok := l.opts.Warehouse.(warehouse.Recoverer); ok {
		if err := r.Checkpoint(ctx); err != nil {
			return fmt.Errorf("checkpointing the warehouse: %w", err)
		}
	}
	l.mu.Lock()
	lost := l.recovered
	l.mu.Unlock()
	if lost { // what was loaded may be gone; the next step reads the cursor again
		return nil
	}
	crashpoint.Hit(crashpoint.LoadAfterCheckpoint)
	if err := l.opts.Reader.Commit(ctx, position); err != nil {
		return fmt.Errorf("telling the journal that everything below %s is loaded: %w", position, err)
	}
	crashpoint.Hit(crashpoint.LoadAfterTrim)
	l.checkpoint = checkpoint{opts: l.checkpoint.opts}
	l.advance(func(s *Stats) { s.Checkpointed = position })
	return nil
}

var errNoCursor = &tidegate.Fault{Action: tidegate.Halt, Code: "load.no_cursor", Subject: "warehouse", Message: "no loader ever worked here, so there is no cursor to set"}

// Cursor returns where the loader of a warehouse goes on, and the mark that the journal
// gave that place: empty when an older version loaded.
func Cursor(ctx context.Context, wh Warehouse) (at tidegate.Offset, mark string, err error) {
	dialect, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return at, "", fmt.Errorf("reading the cursor: no SQL dialect called %q", wh.Dialect())
	}
	schema, err := describeCursor(ctx, wh)
	if err != nil {
		return at, "", fmt.Errorf("reading the cursor: %w", err)
	}
	of := sqltext.Text("journal")
	if schema.Index("journal") < 0 {
		of = "''"
	}
	at, mark, rows, err := readCursor(ctx, wh, dialect, cursorTable, of)
	if err == nil && rows == 0 {
		err = errNoCursor
	}
	return at, mark, err
}

func describeCursor(ctx context.Context, wh Warehouse) (tidegate.Schema, error) {
	schema, err := wh.Describe(ctx, cursorTable)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil, errNoCursor
	}
	return schema, err
}

// SetCursor makes the loader of a warehouse go on at next, a place of the journal that
// made the mark. It is the repair for a
// warehouse and a journal that no longer belong together (the loader stops with
// the journal's fault and waits, Invariant 8): events that the warehouse has
// already are left out by their ids, those below next that it lacks stay out. No
// loader may be running.
func SetCursor(ctx context.Context, wh Warehouse, next tidegate.Offset, mark string) error {
	dialect, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return fmt.Errorf("setting the cursor: no SQL dialect called %q", wh.Dialect())
	}
	schema, err := describeCursor(ctx, wh)
	if err == nil && schema.Index("journal") < 0 {
		_, err = wh.Ensure(ctx, cursorTable, cursorSchema())
	}
	if err == nil && dialect.Units() {
		err = setCursorInUnit(ctx, wh, dialect, cursorTable, next, mark)
	} else if err == nil {
		err = setCursor(ctx, wh, dialect, next, mark)
	}
	if err != nil {
		return fmt.Errorf("setting the cursor: %w", err)
	}
	return nil
}

func setCursor(ctx context.Context, wh Warehouse, d sqltext.Dialect, next tidegate.Offset, mark string) error {
	name, err := d.Table(cursorTable.Schema, cursorTable.Name)
	if err != nil {
		return err
	}
	n, err := wh.Exec(ctx, string("UPDATE "+name+" SET next_position = "+d.Placeholder(1)+", journal = "+d.Placeholder(2)+" WHERE "+partition(d)+" = 0"), next.Position, mark)
	if err == nil && n == 0 {
		err = errNoCursor
	}
	return err
}
