package sftest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// engine runs one statement of a session.
type engine struct {
	s    *Server
	one  *session
	told request
}

// more is what an answer has beyond a result; only PUT has something.
func (o *outcome) more() map[string]any { return o.extra }

func (e *engine) run(ctx context.Context) (*outcome, error) {
	ts, err := lex(e.told.SQL)
	if err != nil {
		return nil, err
	}
	statements := split(ts)
	switch {
	case len(statements) == 0:
		return nil, failure("000900", "42601", "SQL compilation error:\nEmpty SQL statement.")
	case len(statements) > 1 || slices.ContainsFunc(ts, func(t token) bool { return t.is("->>") }):
		return nil, failure("000008", "0A000", "Actual statement count %d did not match the desired statement count 1.", len(statements))
	}
	ts = statements[0]
	if err := e.placed(); err != nil {
		return nil, err
	}
	if e.told.Describe {
		return e.describeOnly(ctx, ts)
	}
	switch lead := strings.ToLower(ts[0].value); lead {
	case "begin":
		return e.begin(ctx)
	case "commit", "rollback":
		return e.finish(ctx, lead == "commit")
	case "select", "with", "(":
		if strings.Contains(strings.ToUpper(e.told.SQL), "CURRENT_TRANSACTION()") {
			return e.name(), nil
		}
		return e.read(ctx, ts)
	case "explain":
		return e.explain(ctx, ts)
	case "describe", "desc":
		if ts[1].is("transaction") {
			return e.state(ts[2].value)
		}
	case "show":
		return e.read(ctx, mustLex(`SELECT table_name AS "name", table_schema AS "schema_name" FROM main.sf_tables ORDER BY 1`))
	case "insert", "update", "delete", "merge":
		return e.write(ctx, lead, ts)
	case "copy":
		return e.copy(ctx, ts)
	case "put":
		return e.put(ts)
	case "remove":
		return e.remove(ts)
	case "create", "alter", "drop":
		return e.define(ctx, ts)
	}
	return nil, syntax(ts[0].line, ts[0].col, ts[0].value)
}

// placed refuses what needs a database or a virtual warehouse in a session that has none.
func (e *engine) placed() error {
	asks := strings.Contains(strings.ToUpper(e.told.SQL), "CURRENT_DATABASE()")
	switch {
	case asks:
	case e.one.where["database"] == "":
		return failure("090105", "22000", "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name.")
	case e.one.where["warehouse"] == "":
		return failure("000606", "57P03", "No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' command.\n")
	}
	return nil
}

func mustLex(sql string) []token {
	ts, err := lex(sql)
	if err != nil {
		panic(err)
	}
	return ts
}

func (e *engine) begin(context.Context) (*outcome, error) {
	if !e.one.open {
		e.s.mu.Lock()
		e.s.births++
		e.one.tx = strconv.Itoa(1_600_000_000_000 + e.s.births)
		e.s.states[e.one.tx] = "running"
		e.s.mu.Unlock()
		e.one.open = true
	}
	return says("Statement executed successfully."), nil
}

// finish ends the transaction; without one it does nothing, as with Snowflake.
func (e *engine) finish(ctx context.Context, commit bool) (*outcome, error) {
	if !e.one.open {
		return says("Statement executed successfully."), nil
	}
	if !commit {
		e.s.undo(e.one)
		return says("Statement executed successfully."), nil
	}
	if e.one.begun {
		if _, err := e.one.conn.ExecContext(ctx, "COMMIT"); err != nil {
			e.s.undo(e.one)
			return nil, err
		}
	}
	e.s.mu.Lock()
	e.s.states[e.one.tx] = "committed"
	for _, f := range e.one.files {
		e.s.copied[f] = true
	}
	e.s.mu.Unlock()
	e.s.free(e.one)
	return says("Statement executed successfully."), nil
}

// undo rolls back what a session has open.
func (s *Server) undo(one *session) {
	if !one.open {
		return
	}
	if one.begun {
		_, _ = one.conn.ExecContext(context.Background(), "ROLLBACK")
	}
	s.mu.Lock()
	s.states[one.tx] = "rolled back"
	s.mu.Unlock()
	s.free(one)
}

func (s *Server) free(one *session) {
	if one.begun {
		<-s.writer
	}
	one.open, one.begun, one.tx, one.files = false, false, "", nil
}

// lockTimeout is how long a statement waits for the one that writes.
const lockTimeout = 2 * time.Minute

// writes waits until nobody else writes; done ends the turn of a statement that
// is a transaction of its own. What a transaction reads is what is committed until
// it writes itself, and then nobody else commits.
func (e *engine) writes(ctx context.Context) (done func(), err error) {
	if e.one.begun {
		return func() {}, nil
	}
	late := time.NewTimer(lockTimeout)
	defer late.Stop()
	select {
	case e.s.writer <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, failure("000625", "57014", "Statement '01b' has locked table 'T' in transaction 1 and this lock has not yet been released.")
	}
	if !e.one.open {
		return func() { <-e.s.writer }, nil
	}
	if _, err := e.one.conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		<-e.s.writer
		return nil, err
	}
	e.one.begun = true
	return func() {}, nil
}

func (e *engine) name() *outcome {
	o := &outcome{kind: 0x1000, json: true, total: 1, columns: []rowType{{Name: "T", Type: "text", Length: longest}}, rows: [][]*string{{nil}}}
	if e.one.open {
		o.rows[0][0] = &e.one.tx
	}
	return o
}

func (e *engine) state(id string) (*outcome, error) {
	e.s.mu.Lock()
	state, ok := e.s.states[id]
	e.s.mu.Unlock()
	if !ok {
		return nil, failure("002003", "02000", "Transaction '%s' does not exist or not authorized.", id)
	}
	return &outcome{json: true, total: 1, columns: []rowType{{Name: "id", Type: "fixed", Precision: 19}, {Name: "state", Type: "text"}}, rows: [][]*string{{&id, &state}}}, nil
}

// duck is a statement in DuckDB's SQL, with its arguments.
func (e *engine) duck(ts []token, files func(string) (string, int)) (string, []any, error) {
	w := rewriter{binds: map[string]string{}, files: files, where: e.one.where}
	used := 0
	for _, t := range ts {
		if t.kind == param {
			n, _ := strconv.Atoi(t.value)
			used = max(used, n)
		}
	}
	args := make([]any, 0, len(e.told.Bindings))
	for n := 1; n <= used; n++ {
		b, ok := e.told.Bindings[strconv.Itoa(n)]
		if !ok {
			return "", nil, failure("002049", "42601", "SQL compilation error: Bind variable :%d not set.", n)
		}
		w.binds[strconv.Itoa(n)] = map[string]string{"FIXED": "BIGINT", "REAL": "DOUBLE", "BOOLEAN": "BOOLEAN", "TEXT": "VARCHAR"}[b.Type]
		args = append(args, b.Value)
	}
	if len(e.told.Bindings) > used {
		return "", nil, failure("002049", "42601", "SQL compilation error: %d values are bound, and %d are used", len(e.told.Bindings), used)
	}
	w.all(ts)
	return w.out.String(), args, nil
}

func (e *engine) describe(ctx context.Context, text string, args []any) ([]rowType, error) {
	rows, err := e.one.conn.QueryContext(ctx, "DESCRIBE "+text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var columns []rowType
	for rows.Next() {
		var name, typ string
		var null, key, def, extra any
		if err := rows.Scan(&name, &typ, &null, &key, &def, &extra); err != nil {
			return nil, err
		}
		columns = append(columns, typeOf(name, typ))
	}
	return columns, rows.Err()
}

func (e *engine) describeOnly(ctx context.Context, ts []token) (*outcome, error) {
	text, args, err := e.duck(ts, nil)
	if err != nil {
		return nil, err
	}
	columns, err := e.describe(ctx, text, args)
	if err != nil {
		return nil, err
	}
	if n := len(ts); n >= 3 && ts[n-2].is(".") { // SELECT * FROM a.b
		e.s.mu.Lock()
		for i := range columns {
			if length, ok := e.s.lengths[ts[n-3].value+"."+ts[n-1].value+"."+columns[i].Name]; ok && columns[i].Type == "text" {
				columns[i].Length = length
			}
		}
		e.s.mu.Unlock()
	}
	return &outcome{kind: 0x1000, json: true, columns: columns, rows: [][]*string{}}, nil
}

// read runs a query and keeps its whole result, as Snowflake does.
func (e *engine) read(ctx context.Context, ts []token) (*outcome, error) {
	text, args, err := e.duck(ts, e.allFiles)
	if err != nil {
		return nil, err
	}
	return e.collect(ctx, text, args, e.s.JSON)
}

func (e *engine) collect(ctx context.Context, text string, args []any, asJSON bool) (*outcome, error) {
	columns, err := e.describe(ctx, text, args)
	if err != nil {
		return nil, err
	}
	names, casts, wrap := make([]string, len(columns)), make([]string, len(columns)), false
	for i, c := range columns {
		names[i] = fmt.Sprintf("c%d", i)
		casts[i] = names[i]
		if c.Type == "variant" {
			casts[i], wrap = "CAST("+names[i]+" AS VARCHAR)", true
		}
	}
	if wrap {
		text = "SELECT " + strings.Join(casts, ", ") + " FROM (" + text + ") AS q(" + strings.Join(names, ", ") + ")"
	}
	rows, err := e.one.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	return e.s.collect(rows, columns, asJSON)
}

// explain tells the tables of a query, as the plan has them, or shows DuckDB's plan.
func (e *engine) explain(ctx context.Context, ts []token) (*outcome, error) {
	if !ts[1].is("using") {
		text, args, err := e.duck(ts[1:], nil)
		if err != nil {
			return nil, err
		}
		if _, err := e.describe(ctx, text, args); err != nil {
			return nil, err
		}
		return e.collect(ctx, "SELECT "+quoteText(text)+" AS \"operation\"", nil, true)
	}
	query := ts[3:]
	text, args, err := e.duck(query, nil)
	if err != nil {
		return nil, err
	}
	if _, err := e.describe(ctx, text, args); err != nil {
		return nil, err
	}
	type operation struct {
		ID        int      `json:"id"`
		Operation string   `json:"operation"`
		Objects   []string `json:"objects,omitempty"`
	}
	operations, bytes := []operation{{0, "Result", nil}}, int64(0)
	for i := 1; i < len(query); i++ {
		if !query[i-1].is("from", "join", ",") || query[i].kind != word && query[i].kind != name {
			continue
		}
		schema, table, n := tableAt(query[i:])
		if n > 1 || query[i].kind == word {
			if schema == "" {
				schema = "PUBLIC"
			}
			var rows int64
			if err := e.one.conn.QueryRowContext(ctx, "SELECT count(*) FROM "+quoteName(schema)+"."+quoteName(table)).Scan(&rows); err != nil {
				continue // no table but a name of the query's own
			}
			bytes += rows * 16
			operations = append(operations, operation{len(operations), "TableScan", []string{Database + "." + object(schema) + "." + object(table)}})
		}
	}
	plan, err := json.Marshal(map[string]any{"GlobalStats": map[string]any{"partitionsTotal": 1, "partitionsAssigned": 1, "bytesAssigned": bytes}, "Operations": [][]operation{operations}})
	if err != nil {
		return nil, err
	}
	content := string(plan)
	return &outcome{json: true, total: 1, columns: []rowType{{Name: "content", Type: "text", Length: longest}}, rows: [][]*string{{&content}}}, nil
}

// object is a name as a plan writes it.
func object(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r >= 0x80 || !part(byte(r)) }) < 0 && sqltext.Upper(name) == name {
		return name
	}
	return quoteName(name)
}

func (e *engine) write(ctx context.Context, lead string, ts []token) (*outcome, error) {
	done, err := e.writes(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	text, args, err := e.duck(ts, e.allFiles)
	if err != nil {
		return nil, err
	}
	result, err := e.one.conn.ExecContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return nil, err
	}
	switch lead {
	case "insert":
		return counts(0x3100, "number of rows inserted", n), nil
	case "update":
		return counts(0x3200, "number of rows updated", n, "number of multi-joined rows updated", 0), nil
	case "delete":
		return counts(0x3300, "number of rows deleted", n), nil
	}
	return counts(0x3400, "number of rows inserted", n, "number of rows updated", 0), nil
}

// stageDir is where the files of a path are.
func (s *Server) stageDir(path string) string {
	return filepath.Join(s.dir, "stage", filepath.FromSlash(strings.ReplaceAll(path, "..", "")))
}

func (s *Server) filesOf(path string) []string {
	found, _ := filepath.Glob(filepath.Join(s.stageDir(path), "*"))
	slices.Sort(found)
	return found
}

func lines(files ...string) string {
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = quoteText(f)
	}
	return "(SELECT json FROM read_ndjson_objects([" + strings.Join(quoted, ", ") + "], compression = 'gzip'))"
}

func (e *engine) allFiles(path string) (string, int) {
	files := e.s.filesOf(path)
	return lines(files...), len(files)
}

// copy loads the files of a path that the table does not have yet, one after another: all or none.
func (e *engine) copy(ctx context.Context, ts []token) (*outcome, error) {
	done, err := e.writes(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if !e.one.open {
		return nil, failure("000002", "0A000", "the double copies in transactions only")
	}
	columns := closing(ts, slices.IndexFunc(ts, func(t token) bool { return t.is("(") }))
	from := columns + 2
	end := closing(ts, from)
	if columns < 0 || end < 0 || !ts[columns+1].is("from") {
		return nil, syntax(ts[0].line, ts[0].col, "COPY")
	}
	_, table, _ := tableAt(ts[2:])
	at := slices.IndexFunc(ts, func(t token) bool { return t.is("@") })
	path, _ := stagePath(ts[at:])
	o := &outcome{kind: 0x3600, json: true, columns: []rowType{
		{Name: "file", Type: "text"},
		{Name: "status", Type: "text"},
		{Name: "rows_parsed", Type: "fixed", Precision: 19},
		{Name: "rows_loaded", Type: "fixed", Precision: 19},
		{Name: "error_limit", Type: "fixed", Precision: 19},
		{Name: "errors_seen", Type: "fixed", Precision: 19},
		{Name: "first_error", Type: "text"},
	}}
	for _, f := range e.s.filesOf(path) {
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		key := fmt.Sprint(table, " ", f, " ", info.Size())
		status, rows := "LOAD_SKIPPED", "0"
		e.s.mu.Lock()
		copied := e.s.copied[key]
		e.s.mu.Unlock()
		if !copied {
			text, args, err := e.duck(ts[from+1:end], func(string) (string, int) { return lines(f), 1 })
			if err != nil {
				return nil, err
			}
			into, _, err := e.duck(ts[2:columns+1], nil)
			if err != nil {
				return nil, err
			}
			result, err := e.one.conn.ExecContext(ctx, "INSERT INTO "+into+" "+text, args...)
			if err != nil {
				return nil, err
			}
			n, _ := result.RowsAffected()
			status, rows = "LOADED", strconv.FormatInt(n, 10)
			e.one.files = append(e.one.files, key)
		}
		name, one, none := filepath.Base(f), "1", "0"
		o.rows = append(o.rows, []*string{&name, &status, &rows, &rows, &one, &none, nil})
		o.total++
	}
	if o.total == 0 {
		return says("Copy executed with 0 files processed."), nil
	}
	return o, nil
}

// put tells the driver to copy the file itself.
func (e *engine) put(ts []token) (*outcome, error) {
	at := slices.IndexFunc(ts, func(t token) bool { return t.is("@") })
	if at < 0 || ts[1].kind != text {
		return nil, syntax(ts[0].line, ts[0].col, "PUT")
	}
	path, _ := stagePath(ts[at:])
	stage, _, _ := strings.Cut(path, "/")
	e.s.mu.Lock()
	there := e.s.stages[stage]
	e.s.mu.Unlock()
	if !there {
		return nil, failure("002003", "02000", "SQL compilation error:\nStage '%s' does not exist or not authorized.", stage)
	}
	file := strings.TrimPrefix(ts[1].value, "file://")
	_ = os.Remove(filepath.Join(e.s.stageDir(path), filepath.Base(file))) // the driver writes over a longer one
	o := says("")
	o.extra = map[string]any{
		"command": "UPLOAD", "src_locations": []string{file}, "autoCompress": false, "sourceCompression": "gzip", "overwrite": true, "parallel": 1,
		"stageInfo": map[string]any{"locationType": "LOCAL_FS", "location": e.s.stageDir(path)},
	}
	return o, nil
}

func (e *engine) remove(ts []token) (*outcome, error) {
	path, _ := stagePath(ts[1:])
	o := &outcome{json: true, columns: []rowType{{Name: "name", Type: "text"}, {Name: "result", Type: "text"}}, rows: [][]*string{}}
	for _, f := range e.s.filesOf(path) {
		name, result := filepath.Base(f), "removed"
		o.rows = append(o.rows, []*string{&name, &result})
		o.total++
	}
	return o, os.RemoveAll(e.s.stageDir(path))
}

// Staged are the files in the stage.
func (s *Server) Staged() (files []string) {
	_ = filepath.WalkDir(filepath.Join(s.dir, "stage"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	return files
}
