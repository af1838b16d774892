package privacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Warehouse is where rows of people are.
type Warehouse interface {
	warehouse.Warehouse
	warehouse.Execer
}

// Eraser deletes people from the tables of one source.
type Eraser struct {
	Warehouse Warehouse
	Schema    string
	People    []Person
	Now       func() time.Time

	d       sqltext.Dialect
	users   []any // user ids
	devices []any // anonymous ids that were asked for
	linked  []any // anonymous ids that identify calls link to users; only rows of nobody else
	// Values are what else is known of these people: what a destination may know them by.
	values map[string]bool
}

// Values returns the ids and e-mail addresses by which other systems may know the
// people. They are known after Erase.
func (e *Eraser) Values() map[string]bool { return e.values }

// Linked returns the anonymous ids that belong to the people. They are known after Erase.
func (e *Eraser) Linked() []Person {
	var all []Person
	for _, id := range e.linked {
		all = append(all, Person{AnonymousID, id.(string)})
	}
	return all
}

// tables without a person's id in a column of their own.
var apart = []string{shape.DiscardsTable, shape.ViolationsTable, shape.DeadLettersTable}

// Erase deletes and writes down what it found. Called again it goes on with what is
// left.
func (e *Eraser) Erase(ctx context.Context, receipt *Receipt) error {
	d, ok := sqltext.Find(e.Warehouse.Dialect())
	lister, canList := e.Warehouse.(warehouse.Lister)
	if !ok || !canList {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "privacy.not_erasable", Subject: "warehouse", Message: "this warehouse cannot list its tables", Hint: "delete the people's rows yourself"}
	}
	e.d, e.values = d, map[string]bool{}
	for _, p := range e.People {
		e.values[p.ID] = true
		if p.Kind == UserID {
			e.users = append(e.users, p.ID)
		} else {
			e.devices = append(e.devices, p.ID)
		}
	}
	all, err := lister.Tables(ctx)
	if err != nil {
		return fmt.Errorf("listing the tables: %w", err)
	}
	var tables []table
	for _, t := range all {
		if t.Schema != e.Schema {
			continue
		}
		s, err := e.Warehouse.Describe(ctx, t)
		if errors.Is(err, warehouse.ErrNoTable) {
			continue
		} else if err != nil {
			return fmt.Errorf("describing %s: %w", t, err)
		}
		tables = append(tables, table{t, s})
	}
	if err := e.link(ctx, tables); err != nil {
		return err
	}
	if err := e.deadLetters(ctx, tables, receipt); err != nil {
		return err
	}
	if err := e.details(ctx, tables, receipt); err != nil {
		return err
	}
	// The identify calls go last: until then a deletion that was interrupted finds the
	// anonymous ids by them again.
	slices.SortStableFunc(tables, func(a, b table) int { return rank(a.name.Name) - rank(b.name.Name) })
	for _, t := range tables {
		if err := e.rows(ctx, t, receipt); err != nil {
			return fmt.Errorf("deleting from %s: %w", t.name, err)
		}
	}
	return nil
}

func rank(name string) int {
	switch name {
	case shape.IdentifiesTable:
		return 2
	case shape.UsersTable:
		return 1
	}
	return 0
}

type table struct {
	name   warehouse.Table
	schema tidegate.Schema
}

func (t table) has(column string) bool { return t.schema.Index(column) >= 0 }

func find(tables []table, name string) (table, bool) {
	i := slices.IndexFunc(tables, func(t table) bool { return t.name.Name == name })
	if i < 0 {
		return table{}, false
	}
	return tables[i], true
}

// text is the type of texts in the engine's words.
func (e *Eraser) text() string {
	name, err := e.d.Type(tidegate.Type{Kind: tidegate.String})
	if err != nil {
		return "VARCHAR" // every engine has texts
	}
	return string(name)
}

// link finds the anonymous ids and e-mail addresses of the users.
func (e *Eraser) link(ctx context.Context, tables []table) error {
	for _, of := range []struct{ table, id, value string }{
		{shape.IdentifiesTable, "user_id", "anonymous_id"}, {shape.IdentifiesTable, "user_id", "email"}, {shape.UsersTable, "id", "email"}, {shape.UsersTable, "id", "phone"},
	} {
		t, ok := find(tables, of.table)
		if !ok || !t.has(of.id) || !t.has(of.value) {
			continue
		}
		for part := range slices.Chunk(e.users, 500) {
			sql := "SELECT DISTINCT CAST(" + e.ident(of.value) + " AS " + e.text() + ") FROM " + e.quoted(t.name) + " WHERE " + e.ident(of.id) + " IN (" + e.marks(1, len(part)) + ") AND " + e.ident(of.value) + " IS NOT NULL"
			err := warehouse.Each(ctx, e.Warehouse, sql, part, func(row tidegate.Row) error {
				text, _ := row[0].(string)
				if text == "" {
					return nil
				}
				e.values[text] = true
				if of.value == "anonymous_id" && !slices.Contains(e.devices, any(text)) && !slices.Contains(e.linked, any(text)) {
					e.linked = append(e.linked, text)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("finding what belongs to the people in %s: %w", t.name, err)
			}
		}
	}
	return nil
}

// condition says that a row of t is of these people; empty when it cannot be.
func (e *Eraser) condition(t table, first int) (where string, args []any) {
	add := func(column string, ids []any, rest string) {
		if len(ids) == 0 || !t.has(column) {
			return
		}
		if where != "" {
			where += " OR "
		}
		where += "(" + e.ident(column) + " IN (" + e.marks(first+len(args), len(ids)) + ")" + rest + ")"
		args = append(args, ids...)
	}
	if t.name.Name == shape.UsersTable {
		add("id", e.users, "")
		return where, args
	}
	add("user_id", e.users, "")
	add("anonymous_id", e.devices, "")
	add("previous_id", append(slices.Clone(e.users), e.devices...), "")
	if t.has("user_id") {
		add("anonymous_id", e.linked, " AND user_id IS NULL")
	}
	return where, args
}

// rows deletes the rows of one table.
func (e *Eraser) rows(ctx context.Context, t table, receipt *Receipt) error {
	if slices.Contains(apart, t.name.Name) {
		return nil
	}
	where, args := e.condition(t, 1)
	if where == "" {
		return nil
	}
	return e.erase(ctx, t.name, " WHERE "+where, args, receipt)
}

// erase deletes what a condition chooses, in one transaction with the hourly books, and
// counts what is left.
func (e *Eraser) erase(ctx context.Context, name warehouse.Table, where string, args []any, receipt *Receipt) error {
	found, err := e.count(ctx, name, where, args)
	if err != nil {
		return err
	}
	place := receipt.At("warehouse", name.String())
	if found > 0 {
		n, err := e.delete(ctx, name, where, args)
		if err != nil {
			return err
		}
		place.Found += max(found, n)
		place.Deleted += n
	}
	if place.Left, err = e.count(ctx, name, where, args); err != nil {
		return err
	}
	if found > place.Left && e.d.Units() { // what is done by the commit has no count of its own
		place.Deleted += found - place.Left
	}
	place.VerifiedAt = e.Now().UTC()
	return nil
}

func (e *Eraser) delete(ctx context.Context, name warehouse.Table, where string, args []any) (n int64, err error) {
	tx, err := e.Warehouse.Begin(ctx)
	if err != nil {
		return 0, err
	}
	if name.Name != shape.UsersTable {
		err = loader.Unbook(ctx, tx, e.d, name, where, args...)
	}
	if err == nil {
		n, err = tx.Exec(ctx, "DELETE FROM "+e.quoted(name)+where, args...)
	}
	if err != nil {
		return 0, errors.Join(err, tx.Rollback())
	}
	return n, tx.Commit()
}

// details deletes the discards and violations of the people's events.
func (e *Eraser) details(ctx context.Context, tables []table, receipt *Receipt) error {
	for _, name := range []string{shape.DiscardsTable, shape.ViolationsTable} {
		t, ok := find(tables, name)
		if !ok {
			continue
		}
		for _, main := range []string{shape.TracksTable, shape.IdentifiesTable, shape.PagesTable, shape.ScreensTable, shape.GroupsTable, shape.AliasesTable} {
			of, ok := find(tables, main)
			if !ok {
				continue
			}
			where, args := e.condition(of, 1)
			if where == "" {
				continue
			}
			if err := e.erase(ctx, t.name, " WHERE message_id IN (SELECT id FROM "+e.quoted(of.name)+" WHERE "+where+")", args, receipt); err != nil {
				return fmt.Errorf("deleting from %s: %w", t.name, err)
			}
		}
	}
	return nil
}

// deadLetters deletes the dead letters that speak of the people, whose ids stand in
// their bodies only, and their violations.
func (e *Eraser) deadLetters(ctx context.Context, tables []table, receipt *Receipt) error {
	t, ok := find(tables, shape.DeadLettersTable)
	if !ok {
		return nil
	}
	wanted := map[string]bool{}
	for _, ids := range [][]any{e.users, e.devices} {
		for _, id := range ids {
			wanted[id.(string)] = true
		}
	}
	linked := map[string]bool{}
	for _, id := range e.linked {
		linked[id.(string)] = true
	}
	var ids []any
	var d scan.Document
	err := warehouse.Each(ctx, e.Warehouse, "SELECT message_id, body FROM "+e.quoted(t.name), nil, func(row tidegate.Row) error {
		body, _ := row[1].(string)
		if err := d.Scan([]byte(body), maxBatch); err != nil {
			d = scan.Document{} // a dead letter of nobody whom we could name
		}
		user, device, previous := idText(d.UserID), idText(d.AnonymousID), idText(d.PreviousID)
		if wanted[string(user)] || wanted[string(device)] || wanted[string(previous)] || len(user) == 0 && linked[string(device)] {
			ids = append(ids, row[0])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading dead letters of %s: %w", e.Schema, err)
	}
	for _, name := range []string{shape.ViolationsTable, shape.DeadLettersTable} {
		if _, ok := find(tables, name); !ok {
			continue
		}
		of := warehouse.Table{Schema: e.Schema, Name: name}
		receipt.At("warehouse", of.String()).VerifiedAt = e.Now().UTC()
		for part := range slices.Chunk(ids, 500) {
			if err := e.erase(ctx, of, " WHERE message_id IN ("+e.marks(1, len(part))+")", part, receipt); err != nil {
				return fmt.Errorf("deleting from %s: %w", of, err)
			}
		}
	}
	return nil
}

func (e *Eraser) count(ctx context.Context, name warehouse.Table, where string, args []any) (n int64, err error) {
	err = warehouse.Each(ctx, e.Warehouse, "SELECT count(*) FROM "+e.quoted(name)+where, args, func(row tidegate.Row) error {
		n, _ = row[0].(int64)
		return nil
	})
	return n, err
}

func (e *Eraser) marks(first, n int) string {
	all := make([]sqltext.Text, n)
	for i := range all {
		all[i] = e.d.Placeholder(first + i)
	}
	return string(sqltext.Join(all, ", "))
}

// quoted and ident quote names that the warehouse itself told.
func (e *Eraser) quoted(t warehouse.Table) string {
	text, err := e.d.Table(t.Schema, t.Name)
	if err != nil {
		return `""` // the engine says what is wrong with it
	}
	return string(text)
}

func (e *Eraser) ident(name string) string {
	text, err := e.d.Ident(name)
	if err != nil {
		return `""`
	}
	return string(text)
}
