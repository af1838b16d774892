package sftest

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// stored is a name as the catalogue has it.
func stored(t token) string {
	if t.kind == word {
		return sqltext.Upper(t.value)
	}
	return t.value
}

// tableAt reads the path of a table.
func tableAt(ts []token) (schema, table string, n int) {
	var parts []string
	for n < len(ts) {
		parts = append(parts, stored(ts[n]))
		n++
		if n >= len(ts) || !ts[n].is(".") {
			break
		}
		n++
	}
	if len(parts) > 1 {
		schema = parts[len(parts)-2]
	}
	return schema, parts[len(parts)-1], n
}

// define carries out CREATE, ALTER and DROP. Snowflake commits what is open before.
func (e *engine) define(ctx context.Context, ts []token) (*outcome, error) {
	if e.one.open {
		if _, err := e.finish(ctx, true); err != nil {
			return nil, err
		}
	}
	done, err := e.writes(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	at := 1
	is := func(words ...string) bool {
		for i, w := range words {
			if at+i >= len(ts) || !ts[at+i].is(w) {
				return false
			}
		}
		at += len(words)
		return true
	}
	verb := strings.ToLower(ts[0].value)
	replace := verb == "create" && is("or", "replace")
	switch {
	case is("schema"):
		exists := is("if", "not", "exists") || is("if", "exists")
		return e.schema(ctx, verb, stored(ts[at]), exists)
	case is("stage"):
		_ = is("if", "not", "exists")
		schema, stage, _ := tableAt(ts[at:])
		e.s.mu.Lock()
		e.s.stages[schema+"."+stage] = true
		e.s.mu.Unlock()
		return says("Stage area " + stage + " successfully created."), nil
	case is("view"):
		return e.view(ctx, verb, replace, ts[at:])
	case is("table"):
		exists := is("if", "not", "exists") || is("if", "exists")
		schema, table, n := tableAt(ts[at:])
		if schema == "" {
			schema = "PUBLIC"
		}
		path := quoteName(schema) + "." + quoteName(table)
		switch rest := ts[at+n:]; verb {
		case "create":
			return e.create(ctx, schema, table, rest, exists, replace)
		case "alter":
			return e.alter(ctx, schema, table, rest)
		default:
			clause := ""
			if exists {
				clause = "IF EXISTS "
			}
			_, err := e.one.conn.ExecContext(ctx, "DROP TABLE "+clause+path)
			return says("dropped"), err
		}
	}
	return nil, syntax(ts[0].line, ts[0].col, ts[0].value)
}

// view makes a view, or drops it.
func (e *engine) view(ctx context.Context, verb string, replace bool, ts []token) (*outcome, error) {
	clause := ""
	if verb == "drop" && ts[0].is("if") {
		clause, ts = "IF EXISTS ", ts[2:]
	}
	schema, name, n := tableAt(ts)
	path := quoteName(schema) + "." + quoteName(name)
	if verb == "drop" {
		_, err := e.one.conn.ExecContext(ctx, "DROP VIEW "+clause+path)
		return says("dropped"), err
	}
	if replace {
		clause = "OR REPLACE "
	}
	rest := ts[n:]
	if rest[0].is("copy") && rest[1].is("grants") {
		rest = rest[2:]
	}
	var w rewriter
	_, err := e.one.conn.ExecContext(ctx, "CREATE "+clause+"VIEW "+path+" "+w.sub(rest))
	return says("View " + name + " successfully created."), err
}

func (e *engine) schema(ctx context.Context, verb, id string, exists bool) (*outcome, error) {
	clause, end := "", ""
	switch {
	case verb == "create" && exists:
		clause = "IF NOT EXISTS "
	case verb == "drop" && exists:
		clause = "IF EXISTS "
	}
	if verb == "drop" {
		end = " CASCADE"
	}
	_, err := e.one.conn.ExecContext(ctx, strings.ToUpper(verb)+" SCHEMA "+clause+quoteName(id)+end)
	return says("done"), err
}

// definitions reads what stands between the parentheses of a CREATE TABLE, or behind ADD COLUMN.
func (e *engine) definitions(schema, table string, ts []token) (defs []string, err error) {
	from, depth := 0, 0
	for i := 0; i <= len(ts); i++ {
		switch {
		case i < len(ts) && ts[i].is("("):
			depth++
		case i < len(ts) && ts[i].is(")"):
			depth--
		case i == len(ts) || depth == 0 && ts[i].is(","):
			def := ts[from:i]
			from = i + 1
			if len(def) < 2 {
				return nil, syntax(1, 0, ",")
			}
			name := stored(def[0])
			if name == "" || len([]rune(name)) > 255 {
				return nil, failure("000002", "42601", "Object name '%s' is too long", name)
			}
			typ, n := (&rewriter{}).typeAt(def, 1)
			if n == 0 || 1+n != len(def) {
				return nil, syntax(def[1].line, def[1].col, def[1].value)
			}
			key := schema + "." + table + "." + name
			e.s.mu.Lock()
			delete(e.s.lengths, key)
			if length, err := strconv.ParseInt(def[min(3, len(def)-1)].value, 10, 64); err == nil && typ == "VARCHAR" {
				e.s.lengths[key] = length
			}
			e.s.mu.Unlock()
			defs = append(defs, quoteName(name)+" "+typ)
		}
	}
	return defs, nil
}

func (e *engine) create(ctx context.Context, schema, table string, ts []token, exists, replace bool) (*outcome, error) {
	path := quoteName(schema) + "." + quoteName(table)
	if columns, err := e.describe(ctx, "SELECT * FROM "+path, nil); err == nil && len(columns) > 0 && !replace {
		if exists {
			return says(table + " already exists, statement succeeded."), nil
		}
		return nil, failure("002002", "42710", "SQL compilation error:\nObject '%s' already exists.", table)
	}
	end := closing(ts, 0)
	if end < 0 {
		return nil, syntax(1, 0, table)
	}
	defs, err := e.definitions(schema, table, ts[1:end])
	if err != nil {
		return nil, err
	}
	made := path
	if replace {
		made = quoteName(schema) + "." + quoteName("__new_"+table)
	}
	statements := []string{"BEGIN TRANSACTION", "CREATE TABLE " + made + " (" + strings.Join(defs, ", ") + ")"}
	if as := slices.IndexFunc(ts[end:], func(t token) bool { return t.is("as") }); as > 0 {
		text, _, err := e.duck(ts[end+as+1:], nil)
		if err != nil {
			return nil, err
		}
		statements = append(statements, "INSERT INTO "+made+" "+text)
	}
	if replace {
		statements = append(statements, "DROP TABLE IF EXISTS "+path, "ALTER TABLE "+made+" RENAME TO "+quoteName(table))
	}
	return says("Table " + table + " successfully created."), e.together(ctx, append(statements, "COMMIT"))
}

func (e *engine) together(ctx context.Context, statements []string) error {
	for _, statement := range statements {
		if _, err := e.one.conn.ExecContext(ctx, statement); err != nil {
			_, _ = e.one.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return err
		}
	}
	return nil
}

func (e *engine) alter(ctx context.Context, schema, table string, ts []token) (*outcome, error) {
	path := quoteName(schema) + "." + quoteName(table)
	columns, err := e.describe(ctx, "SELECT * FROM "+path, nil)
	if err != nil {
		return nil, err
	}
	statements := []string{"BEGIN TRANSACTION"}
	switch {
	case ts[0].is("add"):
		defs, err := e.definitions(schema, table, ts[2:])
		if err != nil {
			return nil, err
		}
		for _, def := range defs {
			for _, c := range columns {
				if strings.HasPrefix(def, quoteName(c.Name)+" ") {
					return nil, failure("001430", "42601", "SQL compilation error:\nambiguous column name '%s': column already exists", c.Name)
				}
			}
			statements = append(statements, "ALTER TABLE "+path+" ADD COLUMN "+def)
		}
	case ts[0].is("alter") && len(ts) > 6 && ts[3].is("set"):
		defs, err := e.definitions(schema, table, append([]token{ts[2]}, ts[6:]...))
		if err != nil {
			return nil, err
		}
		typ := strings.TrimPrefix(defs[0], quoteName(stored(ts[2]))+" ")
		for _, c := range columns {
			if c.Name != stored(ts[2]) {
				continue
			}
			want := typeOf(c.Name, typ)
			if want.Type != c.Type || want.Scale != c.Scale || want.Precision < c.Precision {
				return nil, failure("002108", "22000", "SQL compilation error: cannot change column %s from type %s(%d,%d) to %s(%d,%d)", c.Name, c.Type, c.Precision, c.Scale, want.Type, want.Precision, want.Scale)
			}
		}
		statements = append(statements, "ALTER TABLE "+path+" ALTER COLUMN "+quoteName(stored(ts[2]))+" TYPE "+typ)
	default:
		return nil, syntax(ts[0].line, ts[0].col, ts[0].value)
	}
	return says("Statement executed successfully."), e.together(ctx, append(statements, "COMMIT"))
}
