package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Load implements warehouse.Warehouse: one transaction of its own.
func (w *Warehouse) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	t, err := w.begin(ctx, beginWriting)
	if err != nil {
		return 0, err
	}
	n, err := t.Load(ctx, l, rows)
	if err != nil {
		return 0, errors.Join(err, t.Rollback())
	}
	if err := t.Commit(); err != nil {
		return 0, fmt.Errorf("loading into %s: %w", l.Table, err)
	}
	return n, nil
}

// Load writes rows and remembers the load in one transaction (Invariant 3).
// After an error the transaction can only be rolled back.
func (t *tx) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	t.wrote = true
	n, err := t.load(ctx, l, rows)
	if err != nil {
		return 0, t.Fail(fmt.Errorf("loading into %s: %w", l.Table, err))
	}
	return n, nil
}

func (t *tx) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := l.CheckID(); err != nil {
		return 0, err
	}
	// Another transaction that runs the same load makes this wait for its end. If
	// it commits, the load is seen; where this snapshot is older, that is a Retry.
	claimed, err := t.s.Exec(ctx, "INSERT INTO _tidegate.loads (load_id, table_schema, table_name, loaded_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		l.ID, l.Table.Schema, l.Table.Name, t.w.now())
	if err != nil {
		return 0, fmt.Errorf("claiming the load: %w", err)
	}
	if claimed == 0 {
		return 0, nil
	}
	columns, err := t.s.describe(ctx, l.Table)
	if err != nil {
		return 0, err
	}
	p, err := planLoad(t.w.dialect, l, columns, rows.Schema())
	if err != nil {
		return 0, err
	}
	n, err := t.write(ctx, p, feedRows(ctx, p, rows))
	if err != nil {
		return 0, err
	}
	if _, err := t.s.Exec(ctx, "UPDATE _tidegate.loads SET rows = $4 WHERE load_id = $1 AND table_schema = $2 AND table_name = $3", l.ID, l.Table.Schema, l.Table.Name, n); err != nil {
		return 0, fmt.Errorf("remembering the load: %w", err)
	}
	return n, nil
}

// loadPlan is a load with its names quoted and its columns matched.
type loadPlan struct {
	warehouse.Load
	table   sqltext.Text
	columns []column       // of the table that are written, in the reader's order
	quoted  []sqltext.Text // their names
	isKey   []bool         // per written column
	keys    []int          // written columns that are the key
	// casts says that a column is of a type that only the server can read from text.
	casts bool
}

func planLoad(d sqltext.Dialect, l warehouse.Load, have []column, rows tidegate.Schema) (*loadPlan, error) {
	table, err := d.Table(l.Table.Schema, l.Table.Name)
	if err != nil {
		return nil, err
	}
	m, err := sqltext.Match(schemaOf(have), rows, l.Key)
	if err != nil {
		return nil, err
	}
	p := &loadPlan{Load: l, table: table, isKey: m.IsKey, keys: m.Keys}
	for _, at := range m.At {
		name, err := d.Ident(have[at].name)
		if err != nil {
			return nil, err
		}
		p.columns = append(p.columns, have[at])
		p.quoted = append(p.quoted, name)
		p.casts = p.casts || !have[at].binaryIn()
	}
	return p, nil
}

// write brings the rows into the table: directly when they are appended as they
// are, otherwise by way of a temporary table.
func (t *tx) write(ctx context.Context, p *loadPlan, rows feed) (int64, error) {
	if len(p.keys) == 0 && !p.casts {
		return t.s.copyIn(ctx, p.table, p.quoted, p, rows, false)
	}
	if len(p.keys) > 0 {
		if err := t.takeTurn(ctx, p); err != nil {
			return 0, err
		}
	}
	staged := make([]sqltext.Text, len(p.columns)+1)
	defs := make([]sqltext.Text, len(p.columns)+1)
	for i := range p.columns {
		staged[i] = "c" + sqltext.Text(strconv.Itoa(i))
		defs[i] = p.quoted[i] + " AS " + staged[i]
		if !p.columns[i].binaryIn() {
			defs[i] = "NULL::text AS " + staged[i]
		}
	}
	staged[len(p.columns)], defs[len(p.columns)] = "n", "0::bigint AS n"
	const staging sqltext.Text = "pg_temp._tidegate_load"
	if err := t.s.control(ctx, "CREATE TEMPORARY TABLE _tidegate_load ON COMMIT DROP AS SELECT "+sqltext.Join(defs, ", ")+" FROM "+p.table+" WITH NO DATA"); err != nil {
		return 0, fmt.Errorf("staging: %w", err)
	}
	if _, err := t.s.copyIn(ctx, staging, staged, p, rows, true); err != nil {
		return 0, err
	}
	n, err := t.merge(ctx, p, staging, staged)
	if err != nil {
		return 0, err
	}
	if err := t.s.control(ctx, "DROP TABLE "+staging); err != nil {
		return 0, fmt.Errorf("unstaging: %w", err)
	}
	return n, nil
}

// takeTurn lets one keyed load at a time work on a table: two that insert the
// same new key do not see each other. Behind an older snapshot it is a Retry.
func (t *tx) takeTurn(ctx context.Context, p *loadPlan) error {
	_, err := t.s.Exec(ctx, "INSERT INTO _tidegate.keyed AS k (table_schema, table_name, loads) VALUES ($1, $2, 1) ON CONFLICT (table_schema, table_name) DO UPDATE SET loads = k.loads + 1",
		p.Table.Schema, p.Table.Name)
	if err != nil {
		return fmt.Errorf("waiting for other loads into the table: %w", err)
	}
	return t.index(ctx, p)
}

// merge moves the staged rows into the table and returns how many were written.
func (t *tx) merge(ctx context.Context, p *loadPlan, staging sqltext.Text, staged []sqltext.Text) (int64, error) {
	values := make([]sqltext.Text, len(p.columns))
	for i := range p.columns {
		values[i] = "s." + staged[i]
		if !p.columns[i].binaryIn() {
			typ, err := t.typeName(ctx, p.columns[i].oid)
			if err != nil {
				return 0, err
			}
			values[i] = "s." + staged[i] + "::" + typ
		}
	}
	insert := "INSERT INTO " + p.table + " (" + sqltext.Join(p.quoted, ", ") + ") SELECT " + sqltext.Join(values, ", ") + " FROM "
	if len(p.keys) == 0 {
		return t.move(ctx, string(insert+staging+" AS s ORDER BY s.n"), p)
	}
	keys := make([]sqltext.Text, len(p.keys))
	match := make([]sqltext.Text, 0, 2*len(p.keys))
	for i, at := range p.keys {
		keys[i] = staged[at]
		match = append(match, "t."+p.quoted[at]+" = "+values[at])
		if p.hashed(at) {
			match = append(match, keyHash("t."+p.quoted[at])+" = "+keyHash("s."+staged[at]))
		}
	}
	on := sqltext.Join(match, " AND ")
	key, order := sqltext.Join(keys, ", "), sqltext.Text(" DESC")
	if p.KeepExisting {
		order = ""
	}
	once := "(SELECT DISTINCT ON (" + key + ") * FROM " + staging + " ORDER BY " + key + ", n" + order + ") AS s"
	if p.KeepExisting {
		return t.move(ctx, string(insert+once+" WHERE NOT EXISTS (SELECT 1 FROM "+p.table+" AS t WHERE "+on+") ORDER BY s.n"), p)
	}
	if _, err := t.s.Exec(ctx, string("DELETE FROM "+p.table+" AS t USING "+staging+" AS s WHERE "+on)); err != nil {
		return 0, fmt.Errorf("matching keys: %w", err)
	}
	return t.move(ctx, string(insert+once+" ORDER BY s.n"), p)
}

func (t *tx) move(ctx context.Context, sql string, p *loadPlan) (int64, error) {
	result := t.s.PG.ExecParams(ctx, sql, nil, nil, nil, nil).Read()
	if result.Err != nil {
		return 0, fmt.Errorf("inserting: %w", t.s.loadFault(ctx, result.Err, sql, p))
	}
	return result.CommandTag.RowsAffected(), nil
}

// typeName is what a type is called in SQL.
func (t *tx) typeName(ctx context.Context, oid uint32) (sqltext.Text, error) {
	rows, err := t.s.Rows(ctx, "SELECT format_type($1::oid, NULL)", int64(oid))
	if err != nil {
		return "", fmt.Errorf("naming a type: %w", err)
	}
	name, _ := rows[0][0].(string)
	return sqltext.Text(name), nil // the server quotes it
}

var copyContext = regexp.MustCompile(`^COPY .*, line (\d+), column (.+)$`)

// loadFault is an error of the server about the rows of a load: what it says of
// a value is a Reject that names row and column.
func (s *session) loadFault(ctx context.Context, err error, sql string, p *loadPlan) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || !strings.HasPrefix(pg.Code, "22") && !strings.HasPrefix(pg.Code, "54000") || ctx.Err() != nil {
		return s.Fault(ctx, err, sql)
	}
	f := &tidegate.Fault{Action: tidegate.Reject, Code: "warehouse.value", Message: pg.Message, Hint: "correct the value, or widen the column with Ensure", Err: pg}
	if m := copyContext.FindStringSubmatch(pg.Where); m != nil {
		f.Subject = fmt.Sprintf("column %q", p.nameOf(m[2]))
		f.Message = "row " + m[1] + ": " + pg.Message
	}
	return f
}

// nameOf is the table's name for a column that the server calls c0, c1 … while it is staged.
func (p *loadPlan) nameOf(name string) string {
	if number, ok := strings.CutPrefix(name, "c"); ok && (len(p.keys) > 0 || p.casts) {
		if at, err := strconv.Atoi(number); err == nil && at < len(p.columns) {
			return p.columns[at].name
		}
	}
	return name
}

// maxIndexKeys bounds the columns of the index that finds keys; the server takes 32.
const maxIndexKeys = 16

// hashed says whether a column of a key of several is indexed by its hash: texts
// can be longer than an entry of a tree. A key of one text has an index of kind hash.
func (p *loadPlan) hashed(at int) bool {
	c := p.columns[at]
	return (c.oid == oidText || c.oid == oidVarchar) && len(p.keys) > 1 && len(p.keys) <= maxIndexKeys
}

func keyHash(name sqltext.Text) sqltext.Text { return "hashtextextended(" + name + ", 0)" }

// indexable says whether the key has an index of ours.
func (p *loadPlan) indexable() bool {
	for _, at := range p.keys {
		switch p.columns[at].oid {
		case oidText, oidVarchar, oidBool, oidInt2, oidInt4, oidInt8, oidNumeric, oidDate, oidTimestamp, oidTimestampTZ, oidUUID:
		default:
			return false
		}
	}
	return len(p.keys) <= maxIndexKeys
}

// index makes the index by which a keyed load finds the rows that it replaces,
// once per table and key, where the table is ours.
func (t *tx) index(ctx context.Context, p *loadPlan) error {
	if !p.indexable() {
		return nil
	}
	h := fnv.New64a()
	parts := make([]sqltext.Text, len(p.keys))
	for i, at := range p.keys {
		parts[i] = p.quoted[at]
		if p.hashed(at) {
			parts[i] = "(" + keyHash(p.quoted[at]) + ")"
		}
	}
	_, _ = h.Write([]byte(string(p.table) + "\x00" + string(sqltext.Join(parts, ","))))
	name := "_tidegate_key_" + hex.EncodeToString(h.Sum(nil))
	t.w.mu.Lock()
	known := t.w.indexed[name]
	t.w.mu.Unlock()
	if known {
		return nil
	}
	// CREATE INDEX IF NOT EXISTS locks the table also where the index exists.
	rows, err := t.s.Rows(ctx, `SELECT pg_has_role(c.relowner, 'USAGE') AND c.relkind = 'r'
		AND NOT EXISTS (SELECT 1 FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND x.relname = $2)
		FROM pg_class AS c WHERE c.oid = to_regclass($1)`, string(p.table), name)
	if err != nil {
		return fmt.Errorf("looking for the index of the key: %w", err)
	}
	if len(rows) > 0 && rows[0][0] == true {
		quoted, err := t.w.dialect.Ident(name)
		if err != nil {
			return err
		}
		using := sqltext.Text(" USING btree (")
		if text := p.columns[p.keys[0]]; len(p.keys) == 1 && (text.oid == oidText || text.oid == oidVarchar) {
			using = " USING hash ("
		}
		if err := t.s.control(ctx, "CREATE INDEX IF NOT EXISTS "+quoted+" ON "+p.table+using+sqltext.Join(parts, ", ")+")"); err != nil {
			return fmt.Errorf("indexing the key: %w", err)
		}
	}
	t.w.mu.Lock()
	t.w.indexed[name] = true
	t.w.mu.Unlock()
	return nil
}
