package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	load   *load
	events []tidegate.Event // what it was made of, while careful
	// careful says that the part is a transaction by itself and its events are at hand
	// until it is committed, because the warehouse refused what it is a part of.
	careful bool
	more    bool      // there is something to load right after it
	oldest  time.Time // when the first frame of its batch was appended
}

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

// prepareFirst prepares what is left of the batch, or waits for events and prepares them;
// nil when there is something else to do first.
func (l *Loader) prepareFirst(ctx context.Context) (*part, error) {
	var p *part
	var err error
	if l.prepared < len(l.batch.events) {
		p, err = l.preparePart(ctx)
	} else {
		l.prepared = 0
		if err := l.collect(ctx, &l.batch); err != nil || len(l.batch.events) == 0 {
			return nil, err
		}
		p, err = l.prepareBatch(ctx)
	}
	if err == nil {
		l.ahead.before = append(l.ahead.before, p.load)
	}
	return p, err
}

// prepareNext prepares what follows the part before: the rest of its batch, or the next
// batch; nil when there is none.
func (l *Loader) prepareNext(ctx context.Context) (*part, error) {
	if l.prepared < len(l.batch.events) {
		return l.preparePart(ctx)
	}
	l.prepared = 0
	l.batch.clear()
	if err := l.takeAll(&l.batch); err != nil || len(l.batch.events) == 0 {
		return nil, err
	}
	return l.prepareBatch(ctx)
}

func (l *Loader) prepareBatch(ctx context.Context) (*part, error) {
	b := &l.batch
	var err error
	if b.found, err = l.peekAll(ctx, b.found[:0], b.events, l.ahead.prints()); err != nil {
		return nil, err
	}
	if b.verdicts, err = l.judgeAll(ctx, b.verdicts[:0], b.events, b.found); err != nil {
		return nil, err
	}
	return l.preparePart(ctx)
}

func (l *Loader) preparePart(ctx context.Context) (*part, error) {
	b, from := &l.batch, l.prepared
	ld, err := l.prepare(ctx, examined{b.events, b.found, b.verdicts}.from(from), l.opts.TransactionRows)
	if err != nil {
		return nil, err
	}
	l.prepared += ld.events
	ld.next = b.offset(l.prepared)
	p := &part{load: ld, careful: b.offset(from).Position < l.careful, more: l.prepared < len(b.events) || l.full(b), oldest: b.oldest}
	if p.careful {
		p.events = b.events[from:l.prepared]
	}
	full := l.filling.add(ld, l.opts.TransactionRows)
	if ld.last = full || p.careful || l.dialect.Units(); ld.last {
		l.filling.clear()
	}
	return p, nil
}

// transact writes cur and what follows it in one transaction, up to what fits, while
// the parts after it are prepared.
func (l *Loader) transact(ctx context.Context, cur *part) error {
	var t transaction
	for {
		t.parts = append(t.parts, cur.load)
		l.prepareAhead(ctx, cur)
		last := cur.load.last || !cur.more
		err := l.write(ctx, &t, cur.load)
		var next *part
		var nextErr error
		if err == nil && !last {
			next, nextErr = l.ahead.peek()
			// Tables are altered outside of the transaction, which therefore must not hold
			// rows of them.
			if last = next == nil || len(next.load.missing) > 0; last {
				l.refill()
			}
		}
		if err == nil && last {
			err = t.commit()
		}
		switch {
		case err != nil:
			return l.failed(ctx, &t, cur, err)
		case last:
			l.committed(&t)
			return l.afterward(ctx, cur, nextErr)
		}
		l.pause(ctx, cur.load.events)
		l.spare.put(cur.load.sheets)
		cur = l.ahead.take()
	}
}

// refill counts anew what the parts that are ready bring: the transaction before them
// ends earlier than the one who prepared them could know.
func (l *Loader) refill() {
	l.ahead.settle()
	l.filling.clear()
	for _, p := range l.ahead.parts {
		l.filling.add(p.load, l.opts.TransactionRows)
		if p.load.last {
			l.filling.clear()
		}
	}
}

// afterward makes ready for what follows a transaction whose last part was cur: the next
// one, or the wait for events, during which no memory is kept for a backlog.
func (l *Loader) afterward(ctx context.Context, cur *part, err error) error {
	if err != nil {
		return err
	}
	if !cur.more {
		l.spare.clear()
		return nil
	}
	l.spare.put(cur.load.sheets)
	l.pause(ctx, cur.load.events)
	next, err := l.ahead.peek()
	if err == nil && next != nil {
		l.setPending(next.oldest)
	}
	return err
}

// failed gives t up. Data that the warehouse refused is searched for at fault: carefully,
// which is part by part, until the part is found that it refuses.
func (l *Loader) failed(ctx context.Context, t *transaction, cur *part, err error) error {
	err = errors.Join(err, t.rollback())
	if !refusesData(err) {
		return err
	}
	if !cur.careful {
		l.reset()
		l.careful = cur.load.next.Position
		return nil
	}
	defer clear(l.poison)
	l.open = false // so that reading goes on after what is loaded now
	l.forgetTables()
	return l.halve(ctx, cur.events, cur.load.next, err)
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
		l.inFilter += len(ld.prints)
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
	l.ahead.committed(len(t.parts))
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
