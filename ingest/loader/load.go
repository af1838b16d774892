package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/warehouse"
)

// load is one transaction in the making.
type load struct {
	id        string // of its rows: the offset of the first event
	once      string // of its loads for the warehouse: never used before, because the cursor decides what is loaded
	at        time.Time
	next      tidegate.Offset
	sheets    []*sheet // in the order in which their tables first got a row
	byTable   map[*shape.Table]*sheet
	users     map[*shape.Table]*users
	missing   []missing
	sheetsOut []rows
	prints    []fingerprint // of the loaded events
	tallies   map[string]*tally
	rows      int64
	bytes     int
	ddl       bool // a table or column had to be made
}

// missing is columns that a table needs before the rows come.
type missing struct {
	table   warehouse.Table
	columns tidegate.Schema
}

// rows is what one table gets.
type rows struct {
	table  warehouse.Table
	record arrow.RecordBatch
	schema tidegate.Schema
}

// prepared is a batch with the load made of it.
type prepared struct {
	batch *batch
	load  *load
}

// prepareFirst waits for events and prepares them; nil when there is something
// else to do first.
func (l *Loader) prepareFirst(ctx context.Context) (*prepared, error) {
	b := &l.batches[0]
	if err := l.collect(ctx, b); err != nil || len(b.events) == 0 {
		return nil, err
	}
	ld, err := l.prepare(ctx, b.events, b.next, nil)
	return &prepared{b, ld}, err
}

// loadAndPrepare writes cur and, while there is more than fits in one batch,
// prepares the next meanwhile. The goroutine has the reader, the tables' pictures and
// the shaper to itself until it is waited for; the commit does not touch them.
func (l *Loader) loadAndPrepare(ctx context.Context, cur *prepared) error {
	var next *prepared
	var nextErr error
	var worker sync.WaitGroup
	if l.full(cur.batch) {
		worker.Go(func() { next, nextErr = l.prepareNext(ctx, cur) })
	}
	err := l.commit(ctx, cur.load)
	worker.Wait()
	if refusesData(err) {
		defer clear(l.poison)
		l.open = false // what was read ahead is read again
		l.forgetTables()
		return l.halve(ctx, cur.batch.events, cur.batch.next, err)
	}
	if err != nil {
		return err
	}
	l.committed(cur.load)
	l.ahead = next
	return nextErr
}

func (l *Loader) prepareNext(ctx context.Context, cur *prepared) (*prepared, error) {
	b := &l.batches[0]
	if cur.batch == b {
		b = &l.batches[1]
	}
	b.clear()
	if err := l.takeAll(b); err != nil || len(b.events) == 0 {
		return nil, err
	}
	ld, err := l.prepare(ctx, b.events, b.next, cur.load.prints)
	return &prepared{b, ld}, err
}

// halve loads events of which the warehouse refused some: both halves are tried,
// down to the event at fault, which becomes a dead letter. Nothing is read ahead
// meanwhile.
func (l *Loader) halve(ctx context.Context, events []tidegate.Event, next tidegate.Offset, refusal error) error {
	if len(events) == 1 {
		if _, tried := l.poison[events[0].Offset]; tried {
			return refusal // not even the dead letter gets in: this is not about the data
		}
		l.poison[events[0].Offset] = tidegate.FaultOf(refusal).Error()
		return l.loadPart(ctx, events, next)
	}
	half := len(events) / 2
	if err := l.loadPart(ctx, events[:half], events[half].Offset); err != nil {
		return err
	}
	return l.loadPart(ctx, events[half:], next)
}

func (l *Loader) loadPart(ctx context.Context, events []tidegate.Event, next tidegate.Offset) error {
	ld, err := l.prepare(ctx, events, next, nil)
	if err != nil {
		return err
	}
	err = l.commit(ctx, ld)
	if refusesData(err) {
		l.forgetTables()
		return l.halve(ctx, events, next, err)
	}
	if err == nil {
		l.committed(ld)
	}
	return err
}

func refusesData(err error) bool {
	var f *tidegate.Fault
	return errors.As(err, &f) && f.Action == tidegate.Reject
}

// prepare makes the load of events, of which next follows the last. before are the
// fingerprints of a load that is being committed.
func (l *Loader) prepare(ctx context.Context, events []tidegate.Event, next tidegate.Offset, before []fingerprint) (*load, error) {
	ld := &load{
		id: events[0].Offset.String(), at: l.opts.Now().UTC().Truncate(time.Microsecond), next: next,
		byTable: make(map[*shape.Table]*sheet), users: make(map[*shape.Table]*users), tallies: make(map[string]*tally),
	}
	ld.once = fmt.Sprintf("load %s at %d", ld.id, ld.at.UnixMicro())
	if err := l.shapeAll(ctx, ld, events, before); err != nil {
		return nil, err
	}
	for i := range events {
		ld.bytes += len(events[i].Body)
	}
	for _, s := range ld.sheets {
		ld.need(s.table)
		record, schema := s.record()
		ld.sheetsOut = append(ld.sheetsOut, rows{s.table.Name, record, schema})
	}
	for t, u := range ld.users {
		ld.need(t)
		u.columns = slices.Clone(t.Columns)
	}
	return ld, nil
}

// need notes the columns of t that the warehouse has not been asked for yet.
func (ld *load) need(t *shape.Table) {
	if t.Known < len(t.Columns) {
		ld.missing = append(ld.missing, missing{t.Name, slices.Clone(t.Columns[t.Known:])})
		t.Known = len(t.Columns)
	}
}

// commit writes ld in one transaction, after the tables and columns that it needs.
func (l *Loader) commit(ctx context.Context, ld *load) error {
	if err := l.ensure(ctx, ld); err != nil {
		return err
	}
	tx, err := l.opts.Warehouse.Begin(ctx)
	if err != nil {
		return fmt.Errorf("beginning to load at %s: %w", ld.id, err)
	}
	if err := l.write(ctx, tx, ld); err != nil {
		return errors.Join(err, rollback(tx))
	}
	crashpoint.Hit(crashpoint.LoadAfterRows)
	if err := tx.Commit(); err != nil {
		return errors.Join(fmt.Errorf("committing the load at %s: %w", ld.id, err), rollback(tx))
	}
	crashpoint.Hit(crashpoint.LoadAfterCommit)
	return nil
}

func rollback(tx warehouse.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// committed makes the load known.
func (l *Loader) committed(ld *load) {
	for _, p := range ld.prints {
		l.filter = l.filter.add(p)
	}
	l.position = ld.next
	l.checkpoint.loaded(l.opts.Now(), ld.bytes, ld.ddl)
	l.advance(func(s *Stats) {
		for _, t := range ld.tallies {
			s.Loaded += t.loaded
			s.Duplicate += t.duplicate
			s.Dead += t.dead
		}
		s.Rows += ld.rows
		s.Batches++
		s.LastLoad = ld.at
	})
	if l.opts.OnLoad != nil {
		l.opts.OnLoad(ld.tables())
	}
}

// tables returns the tables that got rows, sorted.
func (ld *load) tables() []warehouse.Table {
	var names []warehouse.Table
	for t := range ld.byTable {
		names = append(names, t.Name)
	}
	for t := range ld.users {
		names = append(names, t.Name)
	}
	slices.SortFunc(names, func(a, b warehouse.Table) int {
		return strings.Compare(a.Schema+"\x00"+a.Name, b.Schema+"\x00"+b.Name)
	})
	return names
}

// peeked is what the first pass over a batch finds out about an event.
type peeked struct {
	id    string
	kind  tidegate.EventType
	print fingerprint
	err   error
	again bool // the id came before
}

// shapeAll turns events into the rows of ld.
func (l *Loader) shapeAll(ctx context.Context, ld *load, events []tidegate.Event, before []fingerprint) error {
	found, err := l.peekAll(ctx, events, before)
	if err != nil {
		return err
	}
	batch := shape.Batch{LoadID: ld.id, LoadedAt: ld.at}
	emit := func(row shape.Row) error { ld.put(row); return nil }
	var t *tally
	var source string
	for i := range events {
		ev, p := &events[i], &found[i]
		if t == nil || source != ev.Source {
			source = ev.Source
			if t = ld.tallies[source]; t == nil {
				t = &tally{}
				ld.tallies[source] = t
			}
		}
		var code, reason string
		switch {
		case ev.Refusal != "":
			code, reason = ev.Refusal, "refused on arrival"
		case p.err != nil:
			code, reason = shape.DeadCode(p.err), p.err.Error()
		case l.poison[ev.Offset] != "":
			code, reason = shape.CodeUnloadable, l.poison[ev.Offset]
		case p.again:
			t.duplicate++
			continue
		default:
			if code, reason, err = l.shapeOne(ctx, ev, p, batch, emit); err != nil {
				return err
			}
		}
		if code == "" {
			t.loaded++
			ld.prints = append(ld.prints, p.print)
			continue
		}
		t.dead++
		if err := l.shaper.Dead(ctx, ev, p.id, code, reason, batch, emit); err != nil {
			return err
		}
	}
	return nil
}

// shapeOne makes the rows of one event. When the event itself is at fault, code
// and reason say why.
func (l *Loader) shapeOne(ctx context.Context, ev *tidegate.Event, p *peeked, batch shape.Batch, emit func(shape.Row) error) (code, reason string, err error) {
	defer func() {
		// Invariant 7: our own mistake about one stranger's event must not become
		// a process that dies of it at every start.
		if r := recover(); r != nil {
			code, reason, err = shape.CodeUndecodable, fmt.Sprintf("making its rows panicked: %v", r), nil
			l.opts.Log.Error("making the rows of an event panicked; it is a dead letter now", "offset", ev.Offset.String(), "panic", fmt.Sprint(r))
		}
	}()
	err = l.shaper.Shape(ctx, ev, p.id, p.kind, batch, emit)
	if code := shape.DeadCode(err); code != "" {
		return code, err.Error(), nil
	}
	return "", "", err
}

// peekAll reads ids and marks the events whose id came before, in this batch or in
// any before it. before are the ids of the batch that is being committed.
func (l *Loader) peekAll(ctx context.Context, events []tidegate.Event, before []fingerprint) ([]peeked, error) {
	found := make([]peeked, len(events))
	first := make(map[fingerprint]bool, len(events)+len(before))
	for _, p := range before {
		first[p] = true
	}
	var ask []fingerprint
	var buf []byte
	for i := range events {
		ev, p := &events[i], &found[i]
		p.id, p.kind, p.err = shape.Peek(ev)
		if p.err != nil || ev.Refusal != "" || l.poison[ev.Offset] != "" {
			continue
		}
		p.print, buf = fingerprintOf(buf, ev.Source, p.id)
		if first[p.print] {
			p.again = true
			continue
		}
		first[p.print] = true
		if l.filter.perhaps(p.print) {
			ask = append(ask, p.print)
		}
	}
	if len(ask) == 0 {
		return found, nil
	}
	known, err := l.known(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i := range found {
		p := &found[i]
		p.again = p.again || known[p.print]
	}
	return found, nil
}

// put adds a row to its table's sheet; rows of users are merged first.
func (ld *load) put(row shape.Row) {
	ld.rows++
	t := row.Table
	if t.Name.Name == shape.UsersTable {
		u := ld.users[t]
		if u == nil {
			u = newUsers(t)
			ld.users[t] = u
		}
		u.fold(row)
		return
	}
	s := ld.byTable[t]
	if s == nil {
		s = &sheet{table: t}
		ld.byTable[t] = s
		ld.sheets = append(ld.sheets, s)
	}
	s.append(row)
}

// forgetTables drops the pictures of the tables, so that they are read from the
// warehouse again.
func (l *Loader) forgetTables() {
	l.tables = make(map[warehouse.Table]*shape.Table)
	l.shaper = shape.New(l.opts.Shape, l.lookup)
}

// lookup returns the loader's picture of a table, read from the warehouse when it
// is first needed.
func (l *Loader) lookup(ctx context.Context, name warehouse.Table) (*shape.Table, error) {
	if t, ok := l.tables[name]; ok {
		return t, nil
	}
	existing, err := l.opts.Warehouse.Describe(ctx, name)
	if errors.Is(err, warehouse.ErrNoTable) {
		existing, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", name, err)
	}
	if existing == nil {
		if l.perSource[name.Schema] >= l.opts.MaxTables && !shape.Fixed(name.Name) {
			return nil, nil
		}
		l.perSource[name.Schema]++
	}
	t := shape.NewTable(name, existing)
	l.tables[name] = t
	return t, nil
}
