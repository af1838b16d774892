package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// TableDiff is how a shadow's table differs from the live one, row by row of equal id.
type TableDiff struct {
	Table   string `json:"table"`
	Shadow  int64  `json:"shadow" doc:"Rows of the shadow."`
	Same    int64  `json:"same"`
	Added   int64  `json:"added" doc:"Rows that only the shadow has."`
	Changed int64  `json:"changed"`
	// Missing are rows of the range that only the live table has; not told of a replay that
	// left events out by a filter.
	Missing *int64 `json:"missing,omitempty"`
	// Columns are changed rows by column; OnlyShadow and OnlyLive are columns of one side.
	Columns    map[string]int64 `json:"columns,omitempty"`
	OnlyShadow []string         `json:"only_shadow,omitempty"`
	OnlyLive   []string         `json:"only_live,omitempty"`
	// Types are columns of different types, which are compared as the wider of the two.
	Types  map[string][2]string `json:"types,omitempty" doc:"Columns whose types differ: the live one and the shadow's."`
	Sample []RowDiff            `json:"sample,omitempty"`
}

// RowDiff is one row that differs. Values are as text; a side without the row has none.
type RowDiff struct {
	ID     string               `json:"id"`
	What   string               `json:"what" enum:"added,changed,missing"`
	Fields map[string][2]string `json:"fields,omitempty" doc:"Per changed column the live value and the shadow's."`
}

const sampleRows = 5

// own are columns that say how a row came to be, not what it says.
var own = []string{shape.OffsetColumn, shape.LoadIDColumn, "uuid_ts"}

// apart are tables that are no rows of events, or of users.
var apart = []string{shape.DiscardsTable, shape.DeadLettersTable, shape.ViolationsTable}

type comparer struct {
	wh           Warehouse
	d            sqltext.Dialect
	live, shadow string
	of           Range
	whole        bool // nothing was left out
	// kinds are the types of the columns of the table at hand, by side.
	kinds map[string]map[string]tidegate.Type
	// mixed are the columns of two types, the live one's and the shadow's before it was widened.
	mixed map[string][2]tidegate.Type
}

// Compare holds the tables of a shadow against the live ones. whole says that the
// shadow has every event of the range.
func Compare(ctx context.Context, wh Warehouse, liveSchema, shadow string, of Range, whole bool) ([]TableDiff, error) {
	d, ok := sqltext.Find(wh.Dialect())
	lister, canList := wh.(warehouse.Lister)
	if !ok || !canList {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "replay.not_comparable", Message: "this warehouse cannot list its tables", Hint: "compare the schemas yourself"}
	}
	tables, err := lister.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	c := comparer{wh: wh, d: d, live: liveSchema, shadow: shadow, of: of, whole: whole, kinds: map[string]map[string]tidegate.Type{}}
	var names []string
	for _, t := range tables {
		if (t.Schema == shadow || t.Schema == liveSchema) && !slices.Contains(apart, t.Name) && !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	var all []TableDiff
	for _, name := range names {
		diff, ok, err := c.table(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("comparing %s: %w", name, err)
		}
		if ok {
			all = append(all, diff)
		}
	}
	slices.SortFunc(all, func(a, b TableDiff) int { return strings.Compare(a.Table, b.Table) })
	return all, nil
}

func (c *comparer) describe(ctx context.Context, schema, name string) ([]string, error) {
	s, err := c.wh.Describe(ctx, warehouse.Table{Schema: schema, Name: name})
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil, nil
	}
	var columns []string
	kinds := map[string]tidegate.Type{}
	for _, col := range s {
		columns = append(columns, col.Name)
		kinds[col.Name] = col.Type
	}
	side := "l"
	if schema == c.shadow {
		side = "s"
	}
	c.kinds[side] = kinds
	return columns, err
}

func (c *comparer) table(ctx context.Context, name string) (diff TableDiff, ok bool, err error) {
	liveColumns, err1 := c.describe(ctx, c.live, name)
	shadowColumns, err2 := c.describe(ctx, c.shadow, name)
	if err := errors.Join(err1, err2); err != nil {
		return diff, false, err
	}
	isEvents := func(columns []string) bool {
		return columns == nil || slices.Contains(columns, "id") && slices.Contains(columns, shape.OffsetColumn)
	}
	if !isEvents(liveColumns) || !isEvents(shadowColumns) {
		return diff, false, nil // the shadow's own books
	}
	diff = TableDiff{Table: name}
	var missing int64
	switch {
	case liveColumns == nil:
		diff.Shadow, err = c.count(ctx, "SELECT count(*) FROM "+c.name(c.shadow, name))
		diff.Added = diff.Shadow
		if c.whole {
			diff.Missing = &missing
		}
		return diff, diff.Shadow > 0, err
	case shadowColumns == nil:
		if !c.whole {
			return diff, false, nil
		}
		missing, err = c.count(ctx, "SELECT count(*) FROM "+c.name(c.live, name)+" l WHERE "+c.inRange())
		diff.Missing = &missing
		return diff, missing > 0, err
	}
	return diff, true, c.both(ctx, name, liveColumns, shadowColumns, &diff)
}

// both compares a table that both sides have.
func (c *comparer) both(ctx context.Context, name string, liveColumns, shadowColumns []string, diff *TableDiff) error {
	var compared []string
	for _, col := range shadowColumns {
		switch {
		case slices.Contains(own, col) || col == "id":
		case c.merged(name) && c.kinds["s"][col].Kind == tidegate.JSON: // of which a part is compared with the whole
		case slices.Contains(liveColumns, col):
			compared = append(compared, col)
		default:
			diff.OnlyShadow = append(diff.OnlyShadow, col)
		}
	}
	for _, col := range liveColumns {
		if !slices.Contains(shadowColumns, col) {
			diff.OnlyLive = append(diff.OnlyLive, col)
		}
	}
	var err error
	if diff.Shadow, err = c.count(ctx, "SELECT count(*) FROM "+c.name(c.shadow, name)); err != nil {
		return err
	}
	if err := c.meet(ctx, name, compared, diff); err != nil {
		return err
	}
	met := c.name(c.shadow, name) + " s JOIN " + c.name(c.live, name) + " l ON l.id = s.id"
	joined := met + c.comparable(name)
	if err := c.changed(ctx, joined, compared, diff); err != nil {
		return err
	}
	matched, err := c.count(ctx, "SELECT count(*) FROM "+joined)
	if err != nil {
		return err
	}
	there := matched
	if joined != met {
		if there, err = c.count(ctx, "SELECT count(*) FROM "+met); err != nil {
			return err
		}
	}
	diff.Same, diff.Added = matched-diff.Changed, max(diff.Shadow-there, 0)
	if c.whole {
		missing, err := c.count(ctx, "SELECT count(*) FROM "+c.name(c.live, name)+" l LEFT JOIN "+c.name(c.shadow, name)+" s ON s.id = l.id WHERE s.id IS NULL AND "+c.inRange())
		if err != nil {
			return err
		}
		diff.Missing = &missing
	}
	return c.alone(ctx, name, diff)
}

// changed counts rows of equal id that differ, by column too.
func (c *comparer) changed(ctx context.Context, joined string, compared []string, diff *TableDiff) error {
	if len(compared) == 0 {
		return nil
	}
	conditions := make([]string, len(compared))
	sums := make([]string, len(compared))
	for i, col := range compared {
		conditions[i] = c.differ(col)
		if c.merged(diff.Table) { // what an event before the range said of the user is no difference
			conditions[i] = "(" + c.text("s", col) + " IS NOT NULL AND " + conditions[i] + ")"
		}
		sums[i] = "CAST(coalesce(sum(CASE WHEN " + conditions[i] + " THEN 1 ELSE 0 END), 0) AS " + c.kind(tidegate.Int) + ")"
	}
	differ := strings.Join(conditions, " OR ")
	err := warehouse.Each(ctx, c.wh, "SELECT CAST(coalesce(sum(CASE WHEN "+differ+" THEN 1 ELSE 0 END), 0) AS "+c.kind(tidegate.Int)+"), "+strings.Join(sums, ", ")+" FROM "+joined, nil, func(row tidegate.Row) error {
		diff.Changed = num(row[0])
		for i, col := range compared {
			if n := num(row[i+1]); n > 0 {
				if diff.Columns == nil {
					diff.Columns = map[string]int64{}
				}
				diff.Columns[col] = n
			}
		}
		return nil
	})
	if err != nil || diff.Changed == 0 {
		return err
	}
	var values []string
	for i, col := range compared {
		values = append(values, c.text("l", col), c.text("s", col), "CAST(CASE WHEN "+conditions[i]+" THEN 1 ELSE 0 END AS "+c.kind(tidegate.Int)+")")
	}
	return warehouse.Each(ctx, c.wh, "SELECT s.id, "+strings.Join(values, ", ")+" FROM "+joined+" WHERE "+differ+" ORDER BY s.id LIMIT "+strconv.Itoa(sampleRows), nil, func(row tidegate.Row) error {
		d := RowDiff{ID: str(row[0]), What: "changed", Fields: map[string][2]string{}}
		for i, col := range compared {
			if num(row[3+3*i]) > 0 {
				d.Fields[col] = [2]string{shown(row[1+3*i]), shown(row[2+3*i])}
			}
		}
		diff.Sample = append(diff.Sample, d)
		return nil
	})
}

// differs says that two texts are not the same, in words that every engine has.
func differs(a, b string) string {
	return "(" + a + " <> " + b + " OR " + a + " IS NULL AND " + b + " IS NOT NULL OR " + a + " IS NOT NULL AND " + b + " IS NULL)"
}

// alone adds rows that one side alone has to the sample.
func (c *comparer) alone(ctx context.Context, name string, diff *TableDiff) error {
	l, s := c.name(c.live, name), c.name(c.shadow, name)
	limit := " ORDER BY 1 LIMIT " + strconv.Itoa(sampleRows)
	if diff.Added > 0 {
		if err := c.ids(ctx, diff, "added", "SELECT s.id FROM "+s+" s LEFT JOIN "+l+" l ON l.id = s.id WHERE l.id IS NULL"+limit); err != nil {
			return err
		}
	}
	if diff.Missing != nil && *diff.Missing > 0 {
		return c.ids(ctx, diff, "missing", "SELECT l.id FROM "+l+" l LEFT JOIN "+s+" s ON s.id = l.id WHERE s.id IS NULL AND "+c.inRange()+limit)
	}
	return nil
}

func (c *comparer) ids(ctx context.Context, diff *TableDiff, what, sql string) error {
	return warehouse.Each(ctx, c.wh, sql, nil, func(row tidegate.Row) error {
		diff.Sample = append(diff.Sample, RowDiff{ID: str(row[0]), What: what})
		return nil
	})
}

// inRange says that a live row is of the range. Its numbers are our own.
func (c *comparer) inRange() string {
	at := string(c.d.Place("l." + shape.OffsetColumn))
	return at + " >= " + strconv.FormatInt(c.of.From.Position, 10) + " AND " + at + " < " + strconv.FormatInt(c.of.To.Position, 10)
}

func (c *comparer) count(ctx context.Context, sql string) (n int64, err error) {
	err = warehouse.Each(ctx, c.wh, sql, nil, func(row tidegate.Row) error { n = num(row[0]); return nil })
	return n, err
}

// name and text quote names that the warehouse itself told.
func (c *comparer) name(schema, table string) string {
	quoted, err := c.d.Table(schema, table)
	if err != nil {
		return `""` // the engine says what is wrong with it
	}
	return string(quoted)
}

func (c *comparer) text(side, column string) string {
	quoted, err := c.d.Ident(column)
	if err != nil {
		return "NULL"
	}
	other := map[string]string{"l": "s", "s": "l"}[side]
	return c.alike(sqltext.Text(side)+"."+quoted, c.kinds[side][column], c.kinds[other][column])
}

// kind is a type in the engine's words.
func (c *comparer) kind(k tidegate.Kind) string {
	name, err := c.d.Type(tidegate.Type{Kind: k})
	if err != nil {
		panic(err) // every engine has texts and ints
	}
	return string(name)
}

func shown(v any) string {
	if v == nil {
		return "NULL"
	}
	s := str(v)
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
