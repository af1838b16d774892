package loader

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// users merges the identify calls of one batch: one row per user with, in every
// column, the latest value that is not NULL. Later means received later, and of
// one moment further on in the journal. A document, which the native profile has
// instead of columns, is merged so member by member.
type users struct {
	table    warehouse.Table
	columns  tidegate.Schema // of the table, as the batch left them
	document int             // the column that is one, or -1
	byID     map[string]*user
	order    []string
}

type user struct {
	cells    []any     // as table.Columns, as far as it reaches
	stamps   []arrival // per cell
	members  []member  // of the document
	earliest arrival
}

type member struct {
	shape.Member
	at arrival
}

// arrival orders identify calls.
type arrival struct {
	received int64 // µs
	position int64
}

func (a arrival) before(b arrival) bool {
	return a.received < b.received || a.received == b.received && a.position < b.position
}

func newUsers(t *shape.Table) *users {
	return &users{table: t.Name, document: t.Document(), byID: make(map[string]*user)}
}

func (u *users) fold(row shape.Row) {
	id, received := row.Value("id"), row.Value("received_at")
	at := arrival{received.Int, position(string(row.Value(shape.OffsetColumn).Text))}
	who := u.byID[string(id.Text)]
	if who == nil {
		who = &user{earliest: at}
		u.byID[string(id.Text)] = who
		u.order = append(u.order, string(id.Text))
	}
	if at.before(who.earliest) {
		who.earliest = at
	}
	for _, c := range row.Cells {
		if v := c.Value.Any(); c.Column == u.document {
			who.mergeDocument(v, at)
		} else {
			who.set(c.Column, v, at)
		}
	}
}

// mergeDocument keeps the later of every member.
func (w *user) mergeDocument(v any, at arrival) {
	text, _ := v.(tidegate.JSONText)
	members, err := shape.Members([]byte(text))
	if err != nil {
		return // no object: an engine's own doing, and identify calls hold what it was
	}
	for _, m := range members {
		if m.Empty() {
			continue
		}
		i := slices.IndexFunc(w.members, func(have member) bool { return have.Key == m.Key })
		switch {
		case i < 0:
			w.members = append(w.members, member{m, at})
		case !at.before(w.members[i].at):
			w.members[i] = member{m, at}
		}
	}
}

// row is w as a row with so many columns.
func (w *user) row(columns, document int) tidegate.Row {
	row := slices.Concat(w.cells, make([]any, columns-len(w.cells)))
	if document >= 0 && len(w.members) > 0 {
		members := make([]shape.Member, len(w.members))
		for i, m := range w.members {
			members[i] = m.Member
		}
		row[document] = tidegate.JSONText(shape.Object(members))
	}
	return row
}

// set keeps the later of what the cell holds and v.
func (w *user) set(i int, v any, at arrival) {
	for len(w.cells) <= i {
		w.cells = append(w.cells, nil)
		w.stamps = append(w.stamps, arrival{})
	}
	if v == nil || w.cells[i] != nil && at.before(w.stamps[i]) {
		return
	}
	w.cells[i], w.stamps[i] = v, at
}

// position reads the place within its partition out of an offset's text.
func position(offset string) int64 {
	_, after, _ := strings.Cut(offset, ":")
	n, _ := strconv.ParseInt(after, 10, 64)
	return n
}

// mergeUsers lays the batch's users over those of the warehouse. Where an identify
// call was received before the row that is there, that row cannot say which of its
// values are newer, so the user is made anew of all his identify calls.
func (l *Loader) mergeUsers(ctx context.Context, tx warehouse.Tx, id string, u *users) error {
	var late []string
	err := l.eachUser(ctx, tx, u.table, "id", "", u.order, func(schema tidegate.Schema, row tidegate.Row) {
		who := u.byID[asString(row, schema.Index("id"))]
		if who == nil {
			return
		}
		at := arrivalOf(schema, row)
		if who.earliest.before(at) {
			late = append(late, asString(row, schema.Index("id")))
			return
		}
		who.lay(u, schema, row, at)
	})
	if err != nil {
		return err
	}
	calls, only := warehouse.Table{Schema: u.table.Schema, Name: shape.IdentifiesTable}, sqltext.Text("")
	if u.document >= 0 {
		calls.Name, only = shape.EventsTable, "type = 'identify' AND "
	}
	err = l.eachUser(ctx, tx, calls, "user_id", only, late, func(schema tidegate.Schema, row tidegate.Row) {
		if who := u.byID[asString(row, schema.Index("user_id"))]; who != nil {
			who.lay(u, schema, row, arrivalOf(schema, row))
		}
	})
	if err != nil {
		return fmt.Errorf("reading earlier identify calls: %w", err)
	}
	rows := make([]tidegate.Row, 0, len(u.order))
	for _, id := range u.order {
		rows = append(rows, u.byID[id].row(len(u.columns), u.document))
	}
	_, err = tx.Load(ctx, warehouse.Load{ID: id, Table: u.table, Key: []string{"id"}}, tidegate.Rows(u.columns, rows...))
	return err
}

// lay puts what an earlier row holds under the batch's values.
func (w *user) lay(u *users, schema tidegate.Schema, row tidegate.Row, at arrival) {
	for from, c := range schema {
		i := slices.IndexFunc(u.columns, func(own tidegate.Column) bool { return strings.EqualFold(own.Name, c.Name) })
		switch {
		case i < 0 || row[from] == nil || c.Name == "id" || u.columns[i].Type != c.Type:
		case i == u.document:
			w.mergeDocument(row[from], at)
		default:
			w.set(i, row[from], at)
		}
	}
}

func arrivalOf(schema tidegate.Schema, row tidegate.Row) arrival {
	var a arrival
	if i := schema.Index("received_at"); i >= 0 {
		if at, ok := row[i].(time.Time); ok {
			a.received = at.UnixMicro()
		}
	}
	a.position = position(asString(row, schema.Index(shape.OffsetColumn)))
	return a
}

func asString(row tidegate.Row, i int) string {
	if i < 0 {
		return ""
	}
	s, _ := row[i].(string)
	return s
}

// eachUser calls use for the rows of table whose column is one of ids and for which only holds.
func (l *Loader) eachUser(ctx context.Context, tx warehouse.Tx, table warehouse.Table, column string, only sqltext.Text, ids []string, use func(tidegate.Schema, tidegate.Row)) error {
	name, err := l.dialect.Ident(column)
	if err != nil {
		return err
	}
	const atOnce = 1000
	for len(ids) > 0 {
		part := ids[:min(atOnce, len(ids))]
		ids = ids[len(part):]
		args := make([]any, len(part))
		for i, id := range part {
			args[i] = id
		}
		rows, err := tx.Query(ctx, string("SELECT * FROM "+l.table(table)+" WHERE "+only+name+" IN ("+l.marks(len(part))+")"), args...)
		if err != nil {
			return err
		}
		schema := rows.Schema()
		if err := tidegate.EachRow(ctx, rows, func(row tidegate.Row) error { use(schema, row); return nil }); err != nil {
			return err
		}
	}
	return nil
}
