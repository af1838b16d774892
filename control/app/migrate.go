package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Migrate copies what a hub keeps in one warehouse of p into another: the tables of
// its sources, the loader's books and the ledgers of the syncs whose models are there.
// Nothing in the first is changed. No hub may run on data meanwhile; told is called
// after each table.
//
//	each table, day by day ─▶ each ledger ─▶ the books, the cursor last ─▶ counts compared
//
// A day whose counts are equal is left out, another one is replaced in one
// transaction: a migration that was cut off goes on where it was, and one that is
// repeated brings over what came since. Until the cursor is there, a hub that is
// started on the new warehouse begins at the start of its journal, not in the middle.
func Migrate(ctx context.Context, p *project.Project, data, from, to string, now func() time.Time, told func(api.Migrated)) (err error) {
	m := migration{now: now, told: told, data: data}
	defer func() { err = errors.Join(err, m.desk.close()) }()
	if from == "" {
		from = project.KindWarehouse
	}
	if to == "" {
		to = project.KindWarehouse
	}
	if from == to {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "migrate.same", Subject: "warehouse " + to, Message: "both are the same warehouse", Hint: "name two of the project's warehouses with --from and --to"}
	}
	if m.from, err = m.open(ctx, p, data, from); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.from.Close()) }()
	if m.to, err = m.open(ctx, p, data, to); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.to.Close()) }()
	tables, err := m.tables(ctx, p)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := m.table(ctx, t); err != nil {
			return fmt.Errorf("copying %s: %w", t, err)
		}
	}
	if err := m.ledgers(ctx, p, from); err != nil {
		return err
	}
	for _, t := range loader.Books() {
		if err := m.whole(ctx, t); err != nil {
			return fmt.Errorf("copying %s: %w", t, err)
		}
	}
	return nil
}

type migration struct {
	from, to side
	now      func() time.Time
	told     func(api.Migrated)
	data     string
	desk     localLedgers // where the ledgers of warehouses without transactions are worked on
}

// side is one of the two warehouses.
type side struct {
	loader.Warehouse
	dialect sqltext.Dialect
}

func (m *migration) open(ctx context.Context, p *project.Project, data, name string) (side, error) {
	wh, err := openNamed(ctx, fileSecrets(data, m.now), p, data, name, slog.New(slog.DiscardHandler), m.now)
	if err != nil {
		return side{}, err
	}
	dialect, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return side{}, errors.Join(fmt.Errorf("no SQL dialect is called %q", wh.Dialect()), wh.Close())
	}
	return side{wh, dialect}, nil
}

// tables are those of the project's sources. Views and what dbt makes are not the
// hub's to copy.
func (m *migration) tables(ctx context.Context, p *project.Project) ([]warehouse.Table, error) {
	lister, ok := m.from.Warehouse.(warehouse.Lister)
	if !ok {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.not_listable", Message: "the warehouse to copy from cannot list its tables"}
	}
	all, err := lister.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	return slices.DeleteFunc(all, func(t warehouse.Table) bool {
		return !slices.ContainsFunc(p.Sources, func(s tidegate.Source) bool { return s.Name == t.Schema })
	}), nil
}

// byDay is the column by whose days a table is cut.
const byDay = "received_at"

// table copies one table day by day.
func (m *migration) table(ctx context.Context, t warehouse.Table) error {
	schema, err := m.from.Describe(ctx, t)
	if err != nil {
		return err
	}
	at := schema.Index(byDay)
	if at < 0 || schema[at].Type.Kind != tidegate.Timestamp {
		return m.whole(ctx, t)
	}
	if _, err := m.to.Ensure(ctx, t, shape.WithCardinality(schema)); err != nil {
		return err
	}
	had, err := m.from.days(ctx, t)
	if err != nil {
		return err
	}
	has, err := m.to.days(ctx, t)
	if err != nil {
		return err
	}
	out := api.Migrated{Table: t.String()}
	for _, d := range had {
		out.Rows += d.rows
		if has.rows(d.day) == d.rows {
			continue
		}
		n, err := m.replace(ctx, t, schema, &d.day, has.rows(d.day) > 0)
		if err != nil {
			return fmt.Errorf("the rows of %s: %w", orNever(d.day), err)
		}
		out.Copied += n
	}
	return m.compare(ctx, t, out)
}

func orNever(day string) string {
	if day == "" {
		return "no day"
	}
	return day
}

// whole copies a table at once, replacing what is there.
func (m *migration) whole(ctx context.Context, t warehouse.Table) error {
	schema, err := m.from.Describe(ctx, t)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := m.to.Ensure(ctx, t, schema); err != nil {
		return err
	}
	out := api.Migrated{Table: t.String()}
	if out.Rows, err = m.from.count(ctx, t); err != nil {
		return err
	}
	if out.Copied, err = m.replace(ctx, t, schema, nil, true); err != nil {
		return err
	}
	return m.compare(ctx, t, out)
}

// replace copies the rows of one day, of all days when it is nil, and those
// without one when it is empty. What is there of them goes in the same transaction.
func (m *migration) replace(ctx context.Context, t warehouse.Table, schema tidegate.Schema, day *string, there bool) (n int64, err error) {
	where, args, err := m.from.day(schema, day)
	if err != nil {
		return 0, err
	}
	columns, err := m.from.dialect.Idents(schema.Names())
	if err != nil {
		return 0, err
	}
	name, err := m.from.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return 0, err
	}
	rows, err := m.from.Query(ctx, string("SELECT "+sqltext.Join(columns, ", ")+" FROM "+name+where), args...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	id := fmt.Sprintf("migrate %s at %d", t, m.now().UnixMicro())
	if day != nil {
		id += " " + *day
	}
	tx, err := m.to.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if there {
		gone, args, err := m.to.day(schema, day)
		if err != nil {
			return 0, err
		}
		target, err := m.to.dialect.Table(t.Schema, t.Name)
		if err != nil {
			return 0, err
		}
		if _, err := tx.Exec(ctx, string("DELETE FROM "+target+gone), args...); err != nil {
			return 0, fmt.Errorf("making room: %w", err)
		}
	}
	if n, err = tx.Load(ctx, warehouse.Load{ID: id, Table: t}, rows); err != nil {
		return 0, err
	}
	return n, tx.Commit()
}

// day is the condition that a row is of the day.
func (s side) day(schema tidegate.Schema, day *string) (sqltext.Text, []any, error) {
	if day == nil {
		return " WHERE 1 = 1", nil, nil // some engines delete nothing without a condition
	}
	column, err := s.dialect.Ident(schema[schema.Index(byDay)].Name)
	if err != nil {
		return "", nil, err
	}
	if *day == "" {
		return " WHERE " + column + " IS NULL", nil, nil
	}
	from, err := time.Parse(time.DateOnly, *day)
	if err != nil {
		return "", nil, fmt.Errorf("reading a day: %w", err)
	}
	p := s.dialect.Placeholder
	return " WHERE " + column + " >= " + p(1) + " AND " + column + " < " + p(2), []any{from, from.AddDate(0, 0, 1)}, nil
}

// dayRows is how many rows a table has of a day, "" meaning none.
type dayRows struct {
	day  string
	rows int64
}

type days []dayRows

func (d days) rows(day string) int64 {
	for _, one := range d {
		if one.day == day {
			return one.rows
		}
	}
	return 0
}

// maxDays bounds the days of a table: 270 years of them.
const maxDays = 100_000

// days counts a table's rows by the days (UTC) of their arrival.
func (s side) days(ctx context.Context, t warehouse.Table) (days, error) {
	name, err := s.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	column, err := s.dialect.Ident(byDay)
	if err != nil {
		return nil, err
	}
	var out days
	err = warehouse.Each(ctx, s, string("SELECT CAST("+column+" AS DATE), count(*) FROM "+name+" GROUP BY 1 ORDER BY 1"), nil, func(row tidegate.Row) error {
		if len(out) == maxDays {
			return fmt.Errorf("counting the days: there are more than %d", maxDays)
		}
		one := dayRows{}
		one.rows, _ = row[1].(int64)
		if day, ok := row[0].(tidegate.CalendarDate); ok {
			one.day = day.Time().Format(time.DateOnly)
		}
		out = append(out, one)
		return nil
	})
	return out, err
}

func (s side) count(ctx context.Context, t warehouse.Table) (n int64, err error) {
	name, err := s.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return 0, err
	}
	err = warehouse.Each(ctx, s, string("SELECT count(*) FROM "+name), nil, func(row tidegate.Row) error {
		n, _ = row[0].(int64)
		return nil
	})
	return n, err
}

// compare counts both sides when a table is done.
func (m *migration) compare(ctx context.Context, t warehouse.Table, out api.Migrated) error {
	n, err := m.to.count(ctx, t)
	if err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	if n != out.Rows {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "migrate.counts", Subject: t.String(), Message: fmt.Sprintf("%d rows are there, %d should be", n, out.Rows),
			Hint: "something else writes into one of the two tables: stop it and migrate again",
		}
	}
	m.told(out)
	return nil
}

// ledgers copies what destinations confirmed, for the syncs whose models are read there.
func (m *migration) ledgers(ctx context.Context, p *project.Project, from string) error {
	if from == project.KindWarehouse {
		from = ""
	}
	of := map[string]string{}
	for _, model := range p.Models {
		of[model.Name] = model.Warehouse
	}
	for _, s := range p.Syncs {
		if of[s.Model] != from || s.Ledger.Placement == placedLocal {
			continue
		}
		there, err := ledger.Exists(ctx, m.from, tidegate.DefaultWorkspace, s.Name)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		n, err := m.ledger(ctx, s)
		if err != nil {
			return err
		}
		m.told(api.Migrated{Table: "ledger of " + s.Name, Rows: n, Copied: n})
	}
	return nil
}

func (m *migration) ledger(ctx context.Context, s tidegate.Sync) (int64, error) {
	opts := ledger.Options{Now: m.now, HashOnly: s.Ledger.Payloads == "hash"}
	open := func(of side) (*ledger.Ledger, error) {
		opts := opts
		db, err := placeLedger(of.Warehouse, s.Ledger.Placement, &opts, func() (database, error) {
			return m.desk.open(ctx, m.data, slog.New(slog.DiscardHandler), m.now)
		})
		if err != nil {
			return nil, err
		}
		return ledger.Open(ctx, db, tidegate.DefaultWorkspace, s.Name, opts)
	}
	had, err := open(m.from)
	if err != nil {
		return 0, fmt.Errorf("opening the ledger of sync %s: %w", s.Name, err)
	}
	has, err := open(m.to)
	if err != nil {
		return 0, fmt.Errorf("opening the new ledger of sync %s: %w", s.Name, err)
	}
	if err := ledger.Copy(ctx, had, has); err != nil {
		return 0, err
	}
	size, err := has.Size(ctx)
	return size.Confirmed, err
}
