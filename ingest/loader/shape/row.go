package shape

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/clock"
	"github.com/tidegate/tidegate/ingest/judge"
)

// maxDiscards bounds the discard rows of one event. What is beyond is still in
// its row's `_unmapped`.
const maxDiscards = 1000

// rowBuilder collects the row at hand.
type rowBuilder struct {
	table    *Table
	cells    []Cell
	from     []*node // per cell, the path it came from; nil for reserved columns
	unmapped []pair
	quiet    bool // misfits leave no trace: another row of the event keeps them
}

// discard is a value that found no place, with where it should have gone.
type discard struct {
	table  *Table
	column string
	typ    string // type of the column, empty when there is none
	value  Value
	reason string
}

func (s *Shaper) start(t *Table) {
	t.rows++
	s.row = rowBuilder{table: t, cells: s.row.cells[:0], from: s.row.from[:0], unmapped: s.row.unmapped[:0]}
}

// put gives the row's column at i the value v.
func (s *Shaper) put(i int, v *Value, from *node) {
	if v.Kind == tidegate.Unknown {
		return
	}
	r := &s.row
	t := r.table
	rounded := v.rounded
	if typ := &t.Columns[i].Type; typ.Kind == v.Kind && v.Kind != tidegate.Decimal { // nearly always
		r.cells = append(r.cells, Cell{i, *v})
	} else {
		fitted, reason := fit(*typ, *v)
		if reason != "" {
			s.misfit(t.Columns[i].Name, typ.String(), *v, reason)
			return
		}
		r.cells, rounded = append(r.cells, Cell{i, fitted}), fitted.rounded
	}
	if rounded {
		s.unmap(t.Columns[i].Name, *v)
	}
	t.stamps[i] = stamp{t.rows, len(r.cells) - 1}
	r.from = append(r.from, from)
}

// give is put for the values that the server supplies and for the event's own members.
func (s *Shaper) give(i int, v Value) { s.put(i, &v, nil) }

// giveOr is give for a column that not every profile has; without it the value is kept
// in `_unmapped` under key.
func (s *Shaper) giveOr(i int, key string, v Value) {
	switch {
	case i >= 0:
		s.put(i, &v, nil)
	case v.Kind != tidegate.Unknown:
		s.unmap(key, v)
	}
}

func (s *Shaper) unmap(key string, v Value) {
	if !s.row.quiet {
		s.row.unmapped = append(s.row.unmapped, pair{key, v})
	}
}

// misfit keeps v in the row's `_unmapped` and as a discard.
func (s *Shaper) misfit(column, typ string, v Value, reason string) {
	if s.row.quiet {
		return
	}
	s.unmap(column, v)
	if len(s.discards) < maxDiscards {
		s.discards = append(s.discards, discard{s.row.table, column, typ, v, reason})
	}
}

// common fills the reserved columns that every event table has.
func (s *Shaper) common(t *Table) {
	f := &s.fields
	s.give(t.base[atID], text(s.id))
	s.give(t.base[atAnonymousID], f.anonymousID)
	s.give(t.base[atUserID], f.userID)
	s.give(t.base[atReceivedAt], moment(s.times.ReceivedAt))
	s.give(t.base[atSentAt], moment(s.times.SentAt))
	s.give(t.base[atOriginalTimestamp], moment(s.times.OriginalTimestamp))
	s.give(t.base[atTimestamp], moment(s.times.Timestamp))
	s.giveOr(t.base[atChannel], "channel", f.channel)
	s.addresses(t.base[atContextIP], t.base[atContextRequestIP], t.base[atContextPassedIP])
	s.give(t.base[atUUIDTS], moment(s.batch.LoadedAt))
	s.give(t.base[atOffset], s.offset)
	s.give(t.base[atLoadID], text(s.batch.LoadID))
	s.badTimes()
}

// addresses fills the address columns: what the client said wins over what the
// server saw, and both are kept.
func (s *Shaper) addresses(ip, requestIP, passedIP int) {
	seen := text(s.ev.RequestIP)
	passed := s.fields.contextIP
	if passed.Kind != tidegate.Unknown {
		s.give(ip, passed)
		if requestIP < 0 && !passed.same(seen) {
			s.giveOr(requestIP, "request_ip", seen)
		}
	} else {
		s.give(ip, seen)
	}
	if requestIP >= 0 {
		s.give(requestIP, seen)
	}
	if passedIP >= 0 {
		s.give(passedIP, passed)
	}
}

// badTimes keeps times that could not be read or that another one overruled.
func (s *Shaper) badTimes() {
	f := &s.fields
	original := f.originalTimestamp.Kind != tidegate.Unknown
	if s.flag.Has(clock.BadOriginal) {
		if original {
			s.badTime("original_timestamp", f.originalTimestamp)
		}
		s.badTime("timestamp", f.timestamp)
	} else if original && f.timestamp.Kind != tidegate.Unknown && !f.timestamp.same(f.originalTimestamp) {
		s.unmap("timestamp", f.timestamp)
	}
	if s.flag.Has(clock.BadSentAt) {
		s.badTime("sent_at", f.sentAt)
	}
}

func (s *Shaper) badTime(column string, v Value) {
	if v.Kind == tidegate.Unknown {
		return
	}
	if _, ok := clock.Parse(string(v.Text)); ok {
		s.unmap(column, v)
		return
	}
	s.misfit(column, tidegate.Timestamp.String(), v, BadTime)
}

// leavesOf puts every value of the event into its column; with contextOnly those
// of its context.
func (s *Shaper) leavesOf(contextOnly bool) {
	for i := range s.leaves {
		l := &s.leaves[i]
		if l.node == nil || contextOnly && !l.node.context {
			continue
		}
		s.leaf(l.node, &l.value)
	}
	if !s.src.rules.ContextTraits || s.kind != tidegate.Identify {
		return
	}
	for i := range s.leaves {
		if l := &s.leaves[i]; l.node != nil && l.node.alias != "" {
			s.alias(l)
		}
	}
}

// alias repeats a member of context.traits without the prefix where traits has
// none of that name. Its value is in the prefixed column anyway.
func (s *Shaper) alias(l *leaf) {
	t := s.row.table
	if t.lay.reserved[l.node.alias] {
		return
	}
	i := t.column(l.node.alias)
	if i >= 0 && t.stamps[i].row == t.rows {
		return
	}
	s.place(l.node, l.node.alias, i, &l.value)
}

// leaf puts the value of a path into its column. The node remembers where the column is
// in tracks and in one other table.
func (s *Shaper) leaf(n *node, v *Value) {
	t := s.row.table
	if n.column == "" {
		s.misfit(n.path, "", *v, NoName)
		return
	}
	at := &n.at[t.slot]
	if at.table != t || at.index < 0 { // another path may have made it meanwhile
		at.table, at.index = t, t.column(n.column)
		if at.index >= 0 && t.paths[at.index] != n.path {
			s.meetPath(t, at.index, n.path)
		}
	}
	s.place(n, n.column, at.index, v)
}

// place puts v into the column name, which is the i-th, or none yet.
func (s *Shaper) place(n *node, name string, i int, v *Value) {
	t := s.row.table
	switch {
	case i < 0 && t.lay.reserved[name]:
		s.misfit(name, "", *v, ReservedName)
	case i < 0 && len(t.Columns) >= s.src.rules.MaxColumns:
		s.unmap(name, *v)
	case i < 0:
		from := Origin{Source: s.src.name, Name: n.path, MessageID: s.id, Offset: s.ev.Offset}
		s.put(t.grow(column(name, v.Kind), from), v, n)
	case t.reserved[i]:
		s.clash(i, *v)
	case t.stamps[i].row == t.rows:
		s.collide(i, n, *v)
	default:
		s.put(i, v, n)
	}
}

// clash handles a property that has the name of a reserved column: the server's
// value stays.
func (s *Shaper) clash(i int, v Value) {
	t := s.row.table
	if t.stamps[i].row == t.rows {
		if fitted, reason := fit(t.Columns[i].Type, v); reason == "" && s.row.cells[t.stamps[i].cell].Value.same(fitted) {
			return
		}
	}
	s.misfit(t.Columns[i].Name, t.Columns[i].Type.String(), v, ReservedName)
}

// collide handles two properties of one column: the one whose path sorts last wins.
func (s *Shaper) collide(i int, n *node, v Value) {
	t, r := s.row.table, &s.row
	held := &r.cells[t.stamps[i].cell]
	other := r.from[t.stamps[i].cell]
	fitted, reason := fit(t.Columns[i].Type, v)
	if reason != "" {
		s.misfit(n.path, t.Columns[i].Type.String(), v, reason)
		return
	}
	if held.Value.same(fitted) {
		return
	}
	loser, lost := n, v
	if other.path < n.path {
		loser, lost = other, held.Value
		held.Value, r.from[t.stamps[i].cell] = fitted, n
		if fitted.rounded {
			s.unmap(t.Columns[i].Name, v)
		}
	}
	s.misfit(loser.path, t.Columns[i].Type.String(), lost, NameCollision)
}

// unmapProperties keeps the properties of an event that has no table for them.
func (s *Shaper) unmapProperties() {
	for i := range s.leaves {
		if l := &s.leaves[i]; l.node != nil && !l.node.context {
			s.unmap(l.node.path, l.value)
		}
	}
}

// extras keeps the members that the protocol does not know.
func (s *Shaper) extras() {
	for _, p := range s.fields.extra {
		s.unmap(p.key, p.value)
	}
}

// finish adds `_unmapped` (at column unmapped, unless that is negative) and hands
// the row out.
func (s *Shaper) finish(unmapped int, emit func(Row) error) error {
	r := &s.row
	if unmapped >= 0 && len(r.unmapped) > 0 {
		object := s.object(r.unmapped)
		r.cells = append(r.cells, Cell{unmapped, jsonText(object)})
		if k := r.table.Columns[unmapped].Type.Kind; k != tidegate.JSON && k != tidegate.String {
			return fmt.Errorf("shaping a row of %s: column %s is %s, not json", r.table.Name, UnmappedColumn, k)
		}
		r.cells[len(r.cells)-1].Value.Kind = r.table.Columns[unmapped].Type.Kind
	}
	return emit(Row{Table: r.table, Cells: r.cells})
}

// object writes pairs as a JSON object. A key that is taken gets "#2", "#3" …
func (s *Shaper) object(pairs []pair) []byte {
	start := len(s.parser.arena)
	out := append(s.parser.arena, '{')
	taken := make(map[string]int, len(pairs))
	for i, p := range pairs {
		if i > 0 {
			out = append(out, ',')
		}
		key := p.key
		for n := taken[p.key] + 1; ; n++ {
			if n > 1 {
				key = fmt.Sprintf("%s#%d", p.key, n)
			}
			if _, there := taken[key]; !there || n == 1 && taken[p.key] == 0 {
				taken[p.key] = n
				break
			}
		}
		if key != p.key {
			taken[key] = 1
		}
		out = append(appendQuoted(out, []byte(key)), ':')
		out = p.value.appendJSON(out)
	}
	s.parser.arena = append(out, '}')
	return s.parser.arena[start:len(s.parser.arena):len(s.parser.arena)]
}

// emitDiscards hands out the rows of tidegate_discards.
func (s *Shaper) emitDiscards(ctx context.Context, emit func(Row) error) error {
	if len(s.discards) == 0 {
		return nil
	}
	t, err := s.table(ctx, DiscardsTable)
	if err != nil {
		return err
	}
	for _, d := range s.discards {
		s.start(t)
		for i, v := range []Value{
			text(d.table.Name.Name), text(s.id), text(d.column),
			{Kind: tidegate.String, Text: d.value.AppendText(nil)},
			text(d.typ), text(d.value.typeName()),
			text(d.reason), text(s.id), s.offset,
			moment(s.times.ReceivedAt), moment(s.batch.LoadedAt),
		} {
			s.give(t.base[i], v)
		}
		if err := s.finish(-1, emit); err != nil {
			return err
		}
	}
	return nil
}

// typeName names what the value is, as the client sent it.
func (v Value) typeName() string {
	if v.number && v.Kind == tidegate.String {
		return "number"
	}
	return v.Kind.String()
}

// Dead gives emit the row of tidegate_dead_letters for an event that does not
// become rows: code is stable, reason is for people.
func (s *Shaper) Dead(ctx context.Context, ev *tidegate.Event, id, code, reason string, batch Batch, emit func(Row) error) error {
	s.begin()
	s.ev, s.id = ev, id
	s.of(ev.Source)
	t, err := s.table(ctx, DeadLettersTable)
	if err != nil {
		return err
	}
	s.start(t)
	for i, v := range []Value{
		text(ev.Source), text(ev.Offset.String()), text(id), moment(ev.ReceivedAt), text(code), text(reason),
		text(printable(ev.Body)), text(printable(ev.Context)), moment(batch.LoadedAt),
	} {
		s.give(t.base[i], v)
	}
	return s.finish(-1, emit)
}

// Violations gives emit the rows of tidegate_violations for the ways in which an event
// breaks its plan. Whether the event becomes rows too is another matter.
func (s *Shaper) Violations(ctx context.Context, ev *tidegate.Event, id string, list []judge.Violation, batch Batch, emit func(Row) error) error {
	s.begin()
	s.ev, s.id = ev, id
	s.of(ev.Source)
	t, err := s.table(ctx, ViolationsTable)
	if err != nil {
		return err
	}
	for _, v := range list {
		s.start(t)
		for i, value := range []Value{
			text(v.Plan),
			{Kind: tidegate.Int, Int: int64(v.Version), number: true},
			text(v.Event), text(v.Kind), text(v.Path), text(v.Message), text(v.Action),
			text(id), text(ev.Offset.String()), moment(ev.ReceivedAt), moment(batch.LoadedAt),
		} {
			s.give(t.base[i], value)
		}
		if err := s.finish(-1, emit); err != nil {
			return err
		}
	}
	return nil
}
