package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// DeadLetter is one dead letter.
type DeadLetter struct {
	Source     string    `json:"source"`
	Offset     string    `json:"offset"`
	MessageID  string    `json:"message_id"`
	ReceivedAt time.Time `json:"received_at"`
	Code       string    `json:"code"`
	Reason     string    `json:"reason"`
	Body       string    `json:"body,omitempty"`
	Context    string    `json:"-"`
}

// letters are the dead letters of one source.
type letters struct {
	wh      Warehouse
	dialect sqltext.Dialect
	table   string // quoted
	name    warehouse.Table
}

// place is the place within the journal that an offset's text says.
func (l letters) place() string { return string(l.dialect.Place("journal_offset")) }

// lettersOf returns the dead letters of a source; ok is false when it has no table of them.
func lettersOf(ctx context.Context, wh Warehouse, schema, table string) (l letters, ok bool, err error) {
	d, found := sqltext.Find(wh.Dialect())
	if !found {
		return l, false, fmt.Errorf("reading dead letters: no SQL dialect called %q", wh.Dialect())
	}
	name := warehouse.Table{Schema: schema, Name: table}
	if _, err := wh.Describe(ctx, name); errors.Is(err, warehouse.ErrNoTable) {
		return l, false, nil
	} else if err != nil {
		return l, false, fmt.Errorf("describing %s: %w", name, err)
	}
	quoted, err := d.Table(schema, table)
	if err != nil {
		return l, false, fmt.Errorf("quoting %s: %w", name, err)
	}
	return letters{wh: wh, dialect: d, table: string(quoted), name: name}, true, nil
}

// marks returns n placeholders from the first'th on.
func (l letters) marks(first, n int) string {
	all := make([]sqltext.Text, n)
	for i := range all {
		all[i] = l.dialect.Placeholder(first + i)
	}
	return string(sqltext.Join(all, ", "))
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func num(v any) int64 {
	n, _ := v.(int64)
	return n
}

// after reads up to limit letters behind a position, in the order of the journal.
func (l letters) after(ctx context.Context, behind int64, code string, limit int) ([]DeadLetter, error) {
	p := l.dialect.Placeholder
	where, args := l.place()+" > "+string(p(1)), []any{behind}
	if code != "" {
		where, args = where+" AND code = "+string(p(2)), append(args, code)
	}
	var all []DeadLetter
	err := warehouse.Each(ctx, l.wh, "SELECT source, journal_offset, message_id, received_at, code, reason, body, context FROM "+l.table+
		" WHERE "+where+" ORDER BY "+l.place()+" LIMIT "+strconv.Itoa(limit), args, func(row tidegate.Row) error {
		at, _ := row[3].(time.Time)
		all = append(all, DeadLetter{str(row[0]), str(row[1]), str(row[2]), at, str(row[4]), str(row[5]), str(row[6]), str(row[7])})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading dead letters of %s: %w", l.name.Schema, err)
	}
	return all, nil
}

// markDead notes which of items are dead letters now.
func (r *Replayer) markDead(ctx context.Context, items []item) error {
	for _, source := range sourcesOf(items) {
		l, ok, err := lettersOf(ctx, r.o.Warehouse, r.o.Schema(source), shape.DeadLettersTable)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		known := map[string]bool{}
		for part := range slices.Chunk(idsOf(items, source), 500) {
			err := warehouse.Each(ctx, r.o.Warehouse, "SELECT DISTINCT message_id FROM "+l.table+" WHERE message_id IN ("+l.marks(1, len(part))+")", part, func(row tidegate.Row) error {
				known[str(row[0])] = true
				return nil
			})
			if err != nil {
				return fmt.Errorf("looking dead letters of %s up: %w", source, err)
			}
		}
		for i := range items {
			if items[i].ev.Source == source && known[items[i].id] {
				items[i].dead = true
			}
		}
	}
	return nil
}

func sourcesOf(items []item) []string {
	var all []string
	for i := range items {
		if !slices.Contains(all, items[i].ev.Source) {
			all = append(all, items[i].ev.Source)
		}
	}
	return all
}

func idsOf(items []item, source string) []any {
	var ids []any
	for i := range items {
		if items[i].ev.Source == source {
			ids = append(ids, items[i].id)
		}
	}
	return ids
}

// bury takes away the dead letters and violations of replayed events, but for those
// that their copies have left. It returns how many events are no dead letters any more.
func (r *Replayer) bury(ctx context.Context, dead []item, fresh map[string]bool) (resolved int64, err error) {
	for _, source := range sourcesOf(dead) {
		ids := idsOf(dead, source)
		for _, table := range []string{shape.DeadLettersTable, shape.ViolationsTable} {
			l, ok, err := lettersOf(ctx, r.o.Warehouse, r.o.Schema(source), table)
			if err != nil {
				return resolved, err
			}
			if !ok {
				continue
			}
			for part := range slices.Chunk(ids, 500) {
				again, err := l.replace(ctx, part, fresh)
				if err != nil {
					return resolved, fmt.Errorf("taking replayed dead letters of %s away: %w", source, err)
				}
				if table == shape.DeadLettersTable {
					resolved += int64(len(part)) - int64(len(again))
				}
			}
		}
	}
	return resolved, nil
}

// replace deletes the rows of ids but for those with a fresh offset, and returns the ids
// that have such a row. What is deleted is taken out of the hourly books with it.
func (l letters) replace(ctx context.Context, ids []any, fresh map[string]bool) (again map[string]bool, err error) {
	tx, err := l.wh.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	again = map[string]bool{}
	old := map[string]bool{}
	err = warehouse.Each(ctx, tx, "SELECT DISTINCT message_id, journal_offset FROM "+l.table+" WHERE message_id IN ("+l.marks(1, len(ids))+")", ids, func(row tidegate.Row) error {
		if offset := str(row[1]); fresh[offset] {
			again[str(row[0])] = true
		} else {
			old[offset] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	offsets := make([]any, 0, len(old))
	for o := range old {
		offsets = append(offsets, o)
	}
	for part := range slices.Chunk(offsets, 500) {
		where := " WHERE journal_offset IN (" + l.marks(1, len(part)) + ")"
		if err := loader.Unbook(ctx, tx, l.dialect, l.name, where, part...); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM "+l.table+where, part...); err != nil {
			return nil, err
		}
	}
	return again, tx.Commit()
}

// deadChunks reads dead letters, source by source, and finds their events: in the
// journal while it holds them, else in what the warehouse kept.
func (r *Replayer) deadChunks(ctx context.Context, what What, next tidegate.Offset, counts *Totals, use func([]item, tidegate.Offset) error) error {
	// A place is a position in the list of sources (the partition) and in the journal.
	for n := int(next.Partition); n < len(what.Sources); n++ {
		l, ok, err := lettersOf(ctx, r.o.Warehouse, r.o.Schema(what.Sources[n]), shape.DeadLettersTable)
		if err != nil {
			return err
		}
		at := what.Range.From.Position - 1
		if int32(n) == next.Partition && next.Position > 0 {
			at = next.Position - 1
		}
		for ok {
			if err := ctx.Err(); err != nil {
				return err
			}
			found, err := l.after(ctx, at, what.Code, chunkEvents)
			if err != nil {
				return err
			}
			items, last, err := r.bodies(what, found, counts)
			if err != nil {
				return err
			}
			if len(found) > 0 {
				if err := use(items, tidegate.Offset{Partition: int32(n), Position: last + 1}); err != nil {
					return err
				}
				at = last
			}
			ok = len(found) > 0 && last < what.Range.To.Position && (len(found) == chunkEvents || found[len(found)-1].Offset != tidegate.Offset{Position: last}.String())
		}
	}
	return nil
}

// bodies finds the events of letters that are wanted, and the position of the last letter.
func (r *Replayer) bodies(what What, found []DeadLetter, counts *Totals) (items []item, last int64, err error) {
	var bytes int
	seen := map[string]bool{}
	for i := range found {
		letter := &found[i]
		offset, err := parseOffset(letter.Offset)
		if err != nil {
			return nil, last, err
		}
		last = offset.Position
		if last >= what.Range.To.Position {
			break
		}
		counts.Read++
		ev, kept, err := r.event(offset)
		if err != nil {
			return nil, last, err
		}
		if kept = kept && live.FactsOf(&ev).ID == letter.MessageID; !kept { // of a journal that was lost another event may be there
			ev = rebuilt(letter, offset)
		}
		if r.o.Hidden != nil && r.o.Hidden.Out(&ev) {
			counts.Hidden++
			continue
		}
		facts := live.FactsOf(&ev)
		if what.Filter != nil && !what.Filter.Wants(&ev, facts) || seen[letter.MessageID] {
			continue
		}
		seen[letter.MessageID] = true
		if !kept {
			counts.Rebuilt++
		}
		counts.want(ev.Source, facts.Type)
		items = append(items, item{ev: ev, id: letter.MessageID, dead: true})
		if bytes += len(ev.Body); bytes > chunkBytes {
			break // the rest comes with the next chunk
		}
	}
	return items, last, nil
}

// event reads the event at offset from the journal; kept is false when it is gone.
func (r *Replayer) event(offset tidegate.Offset) (ev tidegate.Event, kept bool, err error) {
	reader, err := r.o.Journal.OpenAt(offset)
	if errors.Is(err, journal.ErrTrimmed) || errors.Is(err, journal.ErrAhead) {
		return ev, false, nil
	} else if err != nil {
		return ev, false, fmt.Errorf("opening the journal at %s: %w", offset, err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	entry, ok, err := reader.TryNext()
	if errors.Is(err, journal.ErrTrimmed) || err == nil && !ok {
		return ev, false, nil
	} else if err != nil {
		return ev, false, fmt.Errorf("reading the journal at %s: %w", offset, err)
	}
	payload, err := envelope.AppendPlain(nil, entry.Payload)
	if err != nil {
		return ev, false, fmt.Errorf("unpacking frame %s: %w", entry.First, err)
	}
	events, err := envelope.Decode(nil, payload, entry.First)
	if err != nil {
		return ev, false, fmt.Errorf("decoding frame %s: %w", entry.First, err)
	}
	for i := range events {
		if events[i].Offset == offset && !tidegate.Withheld(events[i].Refusal) {
			return events[i], true, nil
		}
	}
	return ev, false, nil // damage took its place
}

// rebuilt is the event as far as its dead letter tells. Its refusal is judged again.
func rebuilt(l *DeadLetter, offset tidegate.Offset) tidegate.Event {
	ev := tidegate.Event{Offset: offset, Source: l.Source, ReceivedAt: l.ReceivedAt, Body: []byte(l.Body), MessageID: l.MessageID, Refusal: l.Code}
	if l.Context != "" {
		ev.Context = []byte(l.Context)
	}
	return ev
}

func parseOffset(text string) (tidegate.Offset, error) {
	a, b, ok := strings.Cut(text, ":")
	partition, err1 := strconv.ParseInt(a, 10, 32)
	at, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return tidegate.Offset{}, fmt.Errorf("reading dead letters: %q is no offset", text)
	}
	return tidegate.Offset{Partition: int32(partition), Position: at}, nil
}
