package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/warehouse"
)

// part is events of one batch, as far as one transaction takes them, and the load made
// of them.
//
// A transaction has one part, or behind schedule as many as it takes until a table has
// Options.TransactionRows new rows: exactly that many, which is why it may end inside a
// batch. Engines keep rows in groups; a transaction that brings whole groups writes
// them once, compressed, while what is smaller is written to a log first and again
// later.
type part struct {
	batch    *batch
	from, to int // of the batch's events
	load     *load
}

func (p *part) events() []tidegate.Event { return p.batch.events[p.from:p.to] }

// next is the offset after the part's last event.
func (p *part) next() tidegate.Offset { return p.batch.offset(p.to) }

// filling is how much the transaction in the making holds.
type filling struct {
	rows   map[*shape.Table]int
	events int
}

func (f *filling) clear() {
	clear(f.rows)
	f.events = 0
}

// add counts ld in, and says whether the transaction is to end with it.
func (f *filling) add(ld *load, limit int) (full bool) {
	for _, s := range ld.sheets {
		f.rows[s.table] += s.rows
		full = full || f.rows[s.table] >= limit
	}
	f.events += ld.events
	// Events that are spread over many tables must become visible too.
	return full || f.events >= 2*limit
}

// transaction is parts that are written together.
type transaction struct {
	tx    warehouse.Tx
	parts []*load
}

// prints are the ids of the events that are not committed yet.
func (t *transaction) prints() [][]fingerprint {
	all := make([][]fingerprint, len(t.parts))
	for i, ld := range t.parts {
		all[i] = ld.prints
	}
	return all
}

// more says whether there is something to load right after p.
func (l *Loader) more(p *part) bool { return p.to < len(p.batch.events) || l.full(p.batch) }

// prepareFirst waits for events and prepares them; nil when there is something
// else to do first.
func (l *Loader) prepareFirst(ctx context.Context) (*part, error) {
	b := &l.batches[0]
	if err := l.collect(ctx, b); err != nil || len(b.events) == 0 {
		return nil, err
	}
	return l.prepareBatch(ctx, b, nil)
}

// prepareNext prepares what follows cur: the rest of its batch, or the next batch.
func (l *Loader) prepareNext(ctx context.Context, cur *part, before [][]fingerprint) (*part, error) {
	if cur.to < len(cur.batch.events) {
		return l.preparePart(ctx, cur.batch, cur.to)
	}
	b := &l.batches[0]
	if cur.batch == b {
		b = &l.batches[1]
	}
	b.clear()
	if err := l.takeAll(b); err != nil || len(b.events) == 0 {
		return nil, err
	}
	return l.prepareBatch(ctx, b, before)
}

func (l *Loader) prepareBatch(ctx context.Context, b *batch, before [][]fingerprint) (*part, error) {
	var err error
	if b.found, err = l.peekAll(ctx, b.found[:0], b.events, before); err != nil {
		return nil, err
	}
	if b.verdicts, err = l.judgeAll(ctx, b.verdicts[:0], b.events, b.found); err != nil {
		return nil, err
	}
	return l.preparePart(ctx, b, 0)
}

func (l *Loader) preparePart(ctx context.Context, b *batch, from int) (*part, error) {
	ld, err := l.prepare(ctx, examined{b.events, b.found, b.verdicts}.from(from), l.opts.TransactionRows)
	if err != nil {
		return nil, err
	}
	p := &part{batch: b, from: from, to: from + ld.events, load: ld}
	ld.next = p.next()
	if ld.last = l.filling.add(ld, l.opts.TransactionRows); ld.last {
		l.filling.clear()
	}
	return p, nil
}

// transact writes cur and what follows it in one transaction, up to what fits, and
// prepares the next part while one is written or committed. The goroutine has the
// reader, the tables' pictures and the shaper to itself until it is waited for;
// writing does not touch them.
func (l *Loader) transact(ctx context.Context, cur *part) error {
	var t transaction
	for {
		t.parts = append(t.parts, cur.load)
		var next *part
		var nextErr error
		var worker sync.WaitGroup
		if before := t.prints(); l.more(cur) {
			worker.Go(func() { next, nextErr = l.prepareNext(ctx, cur, before) })
		}
		last := cur.load.last || !l.more(cur) || l.position.Position < l.careful || l.dialect.Units()
		err := l.write(ctx, &t, cur.load)
		if err == nil && last {
			err = t.commit()
		}
		worker.Wait()
		// Tables are altered outside of the transaction, which therefore must not hold
		// rows of them.
		if err == nil && !last && (next == nil || nextErr != nil || len(next.load.missing) > 0) {
			last = true
			err = t.commit()
		}
		if last && !cur.load.last { // earlier than the one who prepared could know
			l.filling.clear()
			if next != nil && !next.load.last {
				l.filling.add(next.load, l.opts.TransactionRows)
			}
		}
		switch {
		case err != nil:
			return l.failed(ctx, &t, cur, err)
		case last:
			l.committed(&t)
			l.ahead = next
			if next == nil {
				l.spare.clear()
			} else {
				l.spare.put(cur.load.sheets)
				l.setPending(next.batch.oldest)
				l.pause(ctx, cur.load.events)
			}
			return nextErr
		}
		l.pause(ctx, cur.load.events)
		l.spare.put(cur.load.sheets)
		cur = next
	}
}

// failed gives t up. Data that the warehouse refused is searched for at fault: in a
// transaction of several parts by loading them again one by one.
func (l *Loader) failed(ctx context.Context, t *transaction, cur *part, err error) error {
	err = errors.Join(err, t.rollback())
	if !refusesData(err) {
		return err
	}
	if len(t.parts) > 1 {
		l.reset()
		l.careful = cur.next().Position
		return nil
	}
	defer clear(l.poison)
	l.open = false // what was read ahead is read again
	l.forgetTables()
	return l.halve(ctx, cur.events(), cur.next(), err)
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
	found, err := l.peekAll(ctx, nil, events, nil)
	if err != nil {
		return err
	}
	verdicts, err := l.judgeAll(ctx, nil, events, found)
	if err != nil {
		return err
	}
	ld, err := l.prepare(ctx, examined{events, found, verdicts}, len(events)+1)
	if err != nil {
		return err
	}
	ld.next = next
	t := transaction{parts: []*load{ld}}
	if err = l.write(ctx, &t, ld); err == nil {
		err = t.commit()
	}
	if err == nil {
		l.committed(&t)
		return nil
	}
	err = errors.Join(err, t.rollback())
	if refusesData(err) {
		l.forgetTables()
		return l.halve(ctx, events, next, err)
	}
	return err
}

func refusesData(err error) bool {
	var f *tidegate.Fault
	return errors.As(err, &f) && f.Action == tidegate.Reject
}

// write adds ld to t, which it begins when ld is its first part, after the tables and
// columns that ld needs.
func (l *Loader) write(ctx context.Context, t *transaction, ld *load) error {
	from := l.position
	if t.tx == nil {
		if err := l.ensure(ctx, ld); err != nil {
			return err
		}
		tx, err := l.opts.Warehouse.Begin(ctx)
		if err != nil {
			return fmt.Errorf("beginning to load at %s: %w", ld.id, err)
		}
		t.tx = tx
	} else {
		from = t.parts[len(t.parts)-2].next
	}
	// First, so that a loader that lost its place stops before it writes rows.
	if err := l.moveCursor(ctx, t.tx, from, ld); err != nil {
		return err
	}
	return l.writeRows(ctx, t.tx, ld)
}

func (t *transaction) commit() error {
	crashpoint.Hit(crashpoint.LoadAfterRows)
	if err := t.tx.Commit(); err != nil {
		return fmt.Errorf("committing the load at %s: %w", t.parts[0].id, err)
	}
	crashpoint.Hit(crashpoint.LoadAfterCommit)
	return nil
}

func (t *transaction) rollback() error {
	if t.tx == nil {
		return nil
	}
	if err := t.tx.Rollback(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// committed makes the loads of t known.
func (l *Loader) committed(t *transaction) {
	var loaded Stats
	var bytes int64
	var ddl bool
	named := make(map[warehouse.Table]bool)
	for _, ld := range t.parts {
		l.filter.commit(len(ld.prints))
		bytes, ddl = bytes+ld.bytes, ddl || ld.ddl
		for _, n := range ld.tallies {
			loaded.Loaded += n.loaded
			loaded.Duplicate += n.duplicate
			loaded.Dead += n.dead
			loaded.Suppressed += n.suppressed
			loaded.Dropped += n.dropped
		}
		loaded.Rows += ld.rows
		ld.tables(named)
	}
	end := t.parts[len(t.parts)-1]
	l.position = end.next
	l.checkpoint.loaded(l.opts.Now(), bytes, ddl)
	l.advance(func(s *Stats) {
		s.Loaded += loaded.Loaded
		s.Duplicate += loaded.Duplicate
		s.Dead += loaded.Dead
		s.Suppressed += loaded.Suppressed
		s.Dropped += loaded.Dropped
		s.Rows += loaded.Rows
		s.Batches++
		s.LastLoad = end.at
	})
	if l.opts.OnLoad != nil {
		l.opts.OnLoad(sorted(named))
	}
	if l.opts.OnFates != nil {
		for _, ld := range t.parts {
			l.opts.OnFates(ld.fates)
		}
	}
}

func sorted(names map[warehouse.Table]bool) []warehouse.Table {
	all := make([]warehouse.Table, 0, len(names))
	for t := range names {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b warehouse.Table) int {
		return strings.Compare(a.Schema+"\x00"+a.Name, b.Schema+"\x00"+b.Name)
	})
	return all
}
