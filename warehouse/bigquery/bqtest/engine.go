package bqtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
	bq "google.golang.org/api/bigquery/v2"
)

// query runs the statements of a query job.
func (s *Server) query(ctx context.Context, j *job, q *bq.JobConfigurationQuery) (*outcome, error) {
	ts, err := lex(q.Query)
	if err != nil {
		return nil, err
	}
	statements := split(ts)
	if len(statements) == 0 {
		return nil, syntax(1, 1, "Unexpected end of statement")
	}
	work, id, err := s.sessionOf(j.told, q)
	if err != nil {
		return nil, err
	}
	work.mu.Lock()
	defer work.mu.Unlock()
	if work.conn == nil { // a session of this job alone
		if work.conn, err = s.db.Conn(ctx); err != nil {
			return nil, err
		}
		defer func() {
			if work.open {
				_, _ = work.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			}
			_ = work.conn.Close()
		}()
	}
	if err := s.bytesAllowed(ctx, q); err != nil {
		return nil, err
	}
	noted, err := s.corpus.before(ctx, s, work, q)
	if err != nil {
		return nil, err
	}
	r := runner{s: s, who: j.who, session: work, id: id, query: q}
	var last *outcome
	for _, statement := range statements {
		out, err := r.run(ctx, statement)
		if err != nil {
			if work.open { // as BigQuery does
				_, _ = work.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
				work.open = false
			}
			return nil, s.told(err, q)
		}
		last = out
	}
	if len(statements) > 1 {
		last.kind, last.affected = "SCRIPT", 0
	}
	return last, s.corpus.after(noted)
}

// sessionOf finds the session that a job runs in, or makes one for it alone.
func (s *Server) sessionOf(told *bq.Job, q *bq.JobConfigurationQuery) (*session, string, error) {
	id := ""
	if told.Statistics.SessionInfo != nil {
		id = told.Statistics.SessionInfo.SessionId
	}
	for _, p := range q.ConnectionProperties {
		if p.Key == "session_id" {
			id = p.Value
		}
	}
	if id == "" {
		return &session{}, "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.sessions[id]
	if found == nil {
		return nil, "", failure(http.StatusBadRequest, "invalid", "Session %s is not found or has expired", id)
	}
	return found, id, nil
}

// split cuts a script at its semicolons.
func split(ts []token) [][]token {
	var all [][]token
	from := 0
	for i := 0; i <= len(ts); i++ {
		if i == len(ts) || ts[i].is(";") {
			if i > from {
				all = append(all, ts[from:i])
			}
			from = i + 1
		}
	}
	return all
}

// runner runs the statements of one job.
type runner struct {
	s       *Server
	session *session
	who     denial
	id      string
	query   *bq.JobConfigurationQuery
}

func (r *runner) run(ctx context.Context, ts []token) (*outcome, error) {
	conn := r.session.conn
	if err := r.who.statement(ts); err != nil {
		return nil, err
	}
	switch lead := strings.ToLower(ts[0].value); lead {
	case "begin":
		if r.session.open {
			return nil, failure(http.StatusBadRequest, "invalidQuery", "Transactions cannot be nested")
		}
		if _, err := conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
			return nil, err
		}
		r.session.open = true
		_, err := conn.ExecContext(ctx, "SELECT count(*) FROM main.__pin") // here is the snapshot
		return &outcome{kind: "BEGIN_TRANSACTION"}, err
	case "commit", "rollback":
		if !r.session.open {
			return nil, failure(http.StatusBadRequest, "invalidQuery", "There is no active transaction")
		}
		r.session.open = false
		_, err := conn.ExecContext(ctx, strings.ToUpper(lead))
		return &outcome{kind: strings.ToUpper(lead) + "_TRANSACTION"}, err
	case "call":
		return r.call(ctx)
	case "select", "with", "from", "(":
		return r.read(ctx, ts)
	case "insert", "update", "delete", "merge":
		return r.write(ctx, lead, ts)
	case "create", "alter", "drop":
		if r.session.open {
			return nil, failure(http.StatusBadRequest, "invalidQuery", "DDL statements other than CREATE TEMP TABLE are not supported inside a transaction")
		}
		return &outcome{kind: strings.ToUpper(lead)}, r.define(ctx, ts)
	}
	return nil, syntax(ts[0].line, ts[0].col, "Unexpected %q", ts[0].value)
}

// call ends the session.
func (r *runner) call(ctx context.Context) (*outcome, error) {
	if r.id == "" {
		return nil, failure(http.StatusBadRequest, "invalidQuery", "There is no session")
	}
	if r.session.open {
		_, _ = r.session.conn.ExecContext(ctx, "ROLLBACK")
		r.session.open = false
	}
	r.s.mu.Lock()
	delete(r.s.sessions, r.id)
	r.s.mu.Unlock()
	return &outcome{kind: "CALL"}, r.session.conn.Close()
}

// duck is a statement in DuckDB's SQL.
func (r *runner) duck(ts []token, ddl bool) (string, []any, error) {
	w := rewriter{ddl: ddl, params: map[string]string{}}
	var args []any
	used := map[string]bool{}
	for _, t := range ts {
		if t.kind == param {
			used[t.value] = true
		}
	}
	for _, p := range r.query.QueryParameters {
		if !used[p.Name] {
			continue
		}
		delete(used, p.Name)
		w.params[p.Name] = types[strings.ToLower(p.ParameterType.Type)]
		var v any
		if p.ParameterValue != nil {
			v = p.ParameterValue.Value
		}
		switch text, _ := v.(string); p.ParameterType.Type {
		case "BYTES":
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return "", nil, failure(http.StatusBadRequest, "invalid", "Invalid value for BYTES: %v", err)
			}
			v = b
		case "NUMERIC":
			w.params[p.Name] = "DECIMAL(38,9)"
		}
		args = append(args, sql.Named(p.Name, v))
	}
	for missing := range used {
		return "", nil, failure(http.StatusBadRequest, "invalidQuery", "Query parameter '%s' not found", missing)
	}
	w.all(ts)
	return w.out.String(), args, nil
}

// prepare names the dataset of names without one.
func (r *runner) prepare(ctx context.Context) {
	dataset := "main"
	if d := r.query.DefaultDataset; d != nil {
		r.s.mu.Lock()
		if _, there := r.s.datasets[d.DatasetId]; there {
			dataset = d.DatasetId
		}
		r.s.mu.Unlock()
	}
	// A session keeps its transaction's catalogue; the setting is no part of it.
	_, _ = r.session.conn.ExecContext(ctx, "SET search_path = "+quoteText(quoteName(dataset)+`,"main"`))
}

func (r *runner) write(ctx context.Context, lead string, ts []token) (*outcome, error) {
	where := false
	for _, t := range ts {
		where = where || t.is("where")
	}
	if !where && (lead == "update" || lead == "delete") {
		return nil, failure(http.StatusBadRequest, "invalidQuery", "%s must have a WHERE clause at [1:1]", strings.ToUpper(lead))
	}
	r.prepare(ctx)
	text, args, err := r.duck(ts, false)
	if err != nil {
		return nil, err
	}
	result, err := r.session.conn.ExecContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	n, err := result.RowsAffected()
	return &outcome{kind: strings.ToUpper(lead), affected: n}, err
}

// read runs a query and keeps its whole result, as BigQuery does.
func (r *runner) read(ctx context.Context, ts []token) (*outcome, error) {
	r.prepare(ctx)
	text, args, err := r.duck(ts, false)
	if err != nil {
		return nil, err
	}
	columns, err := r.describe(ctx, text, args)
	if err != nil {
		return nil, err
	}
	out := &outcome{kind: "SELECT"}
	names, casts, wrap := make([]string, len(columns)), make([]string, len(columns)), false
	for i, c := range columns {
		field := fieldOf(c.name, c.typ)
		out.fields = append(out.fields, field)
		names[i] = fmt.Sprintf("c%d", i)
		casts[i] = names[i]
		if field.Type == "JSON" {
			casts[i], wrap = "CAST("+names[i]+" AS VARCHAR)", true
		}
	}
	if wrap {
		text = "SELECT " + strings.Join(casts, ", ") + " FROM (" + text + ") AS q(" + strings.Join(names, ", ") + ")"
	}
	rows, err := r.session.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	cells, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]any, len(cells))
		for i, v := range cells {
			if row[i], err = apiValue(out.fields[i], v); err != nil {
				return nil, err
			}
		}
		out.rows = append(out.rows, row)
	}
	return out, rows.Err()
}

type duckColumn struct{ name, typ string }

func (r *runner) describe(ctx context.Context, text string, args []any) ([]duckColumn, error) {
	rows, err := r.session.conn.QueryContext(ctx, "DESCRIBE "+text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var columns []duckColumn
	for rows.Next() {
		var c duckColumn
		var null, key, def, extra any
		if err := rows.Scan(&c.name, &c.typ, &null, &key, &def, &extra); err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	return columns, rows.Err()
}

var decimalType = regexp.MustCompile(`^DECIMAL\((\d+),(\d+)\)$`)

// fieldOf is a column of DuckDB as the API describes it.
func fieldOf(name, typ string) *bq.TableFieldSchema {
	f := &bq.TableFieldSchema{Name: name, Mode: "NULLABLE", Type: "STRING"}
	if element, list := strings.CutSuffix(typ, "[]"); list {
		f = fieldOf(name, element)
		f.Mode = "REPEATED"
		return f
	}
	switch typ {
	case "BOOLEAN":
		f.Type = "BOOLEAN"
	case "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER":
		f.Type = "INTEGER"
	case "DOUBLE", "FLOAT":
		f.Type = "FLOAT"
	case "BLOB":
		f.Type = "BYTES"
	case "DATE":
		f.Type = "DATE"
	case "TIMESTAMP WITH TIME ZONE":
		f.Type = "TIMESTAMP"
	case "TIMESTAMP":
		f.Type = "DATETIME"
	case "JSON":
		f.Type = "JSON"
	}
	if m := decimalType.FindStringSubmatch(typ); m != nil {
		f.Precision, _ = strconv.ParseInt(m[1], 10, 64)
		f.Scale, _ = strconv.ParseInt(m[2], 10, 64)
		f.Type = "BIGNUMERIC"
		if f.Scale <= 9 && f.Precision-f.Scale <= 29 {
			f.Type = "NUMERIC"
		}
	}
	return f
}

// apiValue is a value as the API writes it: a text, nil, or a list of {"v": …}.
func apiValue(f *bq.TableFieldSchema, v any) (any, error) {
	switch n := v.(type) {
	case nil:
		return nil, nil
	case []any:
		element := *f
		element.Mode = "NULLABLE"
		list := make([]any, len(n))
		for i := range n {
			item, err := apiValue(&element, n[i])
			if err != nil {
				return nil, err
			}
			list[i] = map[string]any{"v": item}
		}
		return list, nil
	case bool:
		return strconv.FormatBool(n), nil
	case []byte:
		return base64.StdEncoding.EncodeToString(n), nil
	case float64:
		switch {
		case math.IsInf(n, 1):
			return "Infinity", nil
		case math.IsInf(n, -1):
			return "-Infinity", nil
		}
		return strconv.FormatFloat(n, 'G', -1, 64), nil
	case duckdb.Decimal:
		text := n.String()
		if strings.Contains(text, ".") {
			text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		}
		return text, nil
	case time.Time:
		switch f.Type {
		case "DATE":
			return n.UTC().Format(time.DateOnly), nil
		case "DATETIME":
			return n.UTC().Format("2006-01-02T15:04:05.999999"), nil
		}
		return strconv.FormatInt(n.UnixMicro(), 10), nil
	case *big.Int:
		return n.String(), nil
	case string:
		if f.Type == "JSON" {
			return document(n)
		}
		return n, nil
	}
	return fmt.Sprint(v), nil
}

// document writes JSON as BigQuery keeps it: keys sorted, no white space, numbers
// as 64-bit integers and doubles.
func document(text string) (string, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(rounded(v)); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func rounded(v any) any {
	switch n := v.(type) {
	case json.Number:
		if _, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
			return n
		}
		if _, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
			return n
		}
		f, _ := n.Float64()
		return f
	case []any:
		for i := range n {
			n[i] = rounded(n[i])
		}
	case map[string]any:
		for k := range n {
			n[k] = rounded(n[k])
		}
	}
	return v
}

var (
	caret       = regexp.MustCompile(`(?s)LINE (\d+): (.*)\n( *)\^`)
	nearWord    = regexp.MustCompile(`at or near "([^"]*)"`)
	lostColumn  = regexp.MustCompile(`(?:Referenced column|column) "([^"]+)" not found`)
	lostTable   = regexp.MustCompile(`Table with name (.+?) does not exist`)
	lostMacro   = regexp.MustCompile(`Function with name "?([^" ]+)"? does not exist`)
	conflicting = regexp.MustCompile(`(?i)conflict|write-write|has been altered|altered by|was updated by`)
)

// told is an error of DuckDB in BigQuery's words.
func (s *Server) told(err error, q *bq.JobConfigurationQuery) error {
	var own *apiError
	if errors.As(err, &own) {
		return err
	}
	message := err.Error()
	at := ""
	if m := caret.FindStringSubmatch(message); m != nil {
		column := max(1, len(m[3])-len("LINE "+m[1]+": ")+1)
		at = fmt.Sprintf(" at [%s:%d]", m[1], column)
	}
	first, _, _ := strings.Cut(message, "\n")
	bad := func(format string, args ...any) error {
		return failure(http.StatusBadRequest, "invalidQuery", "%s", fmt.Sprintf(format, args...)+at)
	}
	switch {
	case strings.Contains(message, "Parser Error"):
		if m := nearWord.FindStringSubmatch(message); m != nil {
			return bad("Syntax error: Unexpected identifier %q", m[1])
		}
		return bad("Syntax error: %s", first)
	case lostColumn.MatchString(message):
		return bad("Unrecognized name: %s", lostColumn.FindStringSubmatch(message)[1])
	case lostMacro.MatchString(message):
		return bad("Function not found: %s", lostMacro.FindStringSubmatch(message)[1])
	case lostTable.MatchString(message):
		dataset := "?"
		if q.DefaultDataset != nil {
			dataset = q.DefaultDataset.DatasetId
		}
		return failure(http.StatusNotFound, "notFound", "Not found: Table %s:%s.%s was not found in location US", Project, dataset, lostTable.FindStringSubmatch(message)[1])
	case strings.Contains(message, "Catalog Error") && strings.Contains(message, "does not exist"):
		return failure(http.StatusNotFound, "notFound", "Not found: %s", first)
	case strings.Contains(message, "Conversion Error"):
		return bad("Bad value: %s", first)
	case strings.Contains(message, "Transaction") && conflicting.MatchString(message), strings.Contains(message, "Catalog write-write"):
		return failure(http.StatusBadRequest, "invalidQuery", "Transaction is aborted due to concurrent update against table: %s", first)
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return failure(http.StatusServiceUnavailable, "backendError", "%s", first)
	}
	return bad("%s", first)
}

// bytesOf is how many bytes the tables of a query have, as on-demand billing counts them: ten megabytes a table at least.
func (s *Server) bytesOf(ctx context.Context, q *bq.JobConfigurationQuery) (processed int64, tables []*bq.TableReference, err error) {
	ts, err := lex(q.Query)
	if err != nil {
		return 0, nil, err
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = conn.Close() }()
	r := runner{s: s, session: &session{conn: conn}, query: q}
	r.prepare(ctx)
	text, args, err := r.duck(ts, false)
	if err != nil {
		return 0, nil, err
	}
	if _, err := r.describe(ctx, text, args); err != nil {
		return 0, nil, s.told(err, q)
	}
	seen := map[target]bool{}
	for i, t := range ts {
		if i == 0 || !ts[i-1].is("from", "join", ",") || t.kind != word && t.kind != name {
			continue
		}
		var path target
		path.dataset, path.table, _ = tableAt(ts[i:])
		if path.dataset == "" && q.DefaultDataset != nil {
			path.dataset = q.DefaultDataset.DatasetId
		}
		fields, err := s.fields(ctx, path.dataset, path.table)
		if err != nil || seen[path] {
			continue // no table but a query's own name
		}
		seen[path] = true
		var n int64
		if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM "+path.quoted()).Scan(&n); err != nil {
			return 0, nil, err
		}
		processed += n * int64(len(fields)) * 8
		tables = append(tables, &bq.TableReference{ProjectId: Project, DatasetId: path.dataset, TableId: path.table})
	}
	return processed, tables, nil
}

const leastBilled = 10 << 20

// bytesAllowed refuses a query that would be billed for more than its maximum.
func (s *Server) bytesAllowed(ctx context.Context, q *bq.JobConfigurationQuery) error {
	if q.MaximumBytesBilled == 0 {
		return nil
	}
	processed, tables, err := s.bytesOf(ctx, q)
	if err != nil {
		return err
	}
	billed := max(processed, leastBilled*int64(len(tables)))
	if billed > q.MaximumBytesBilled {
		return failure(http.StatusBadRequest, "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: %d. %d or higher required.", q.MaximumBytesBilled, billed)
	}
	return nil
}

func (s *Server) dryRun(j *bq.Job) (any, error) {
	q := j.Configuration.Query
	if q == nil {
		return nil, failure(http.StatusBadRequest, "invalid", "a load has no dry run")
	}
	processed, tables, err := s.bytesOf(s.life(), q)
	if err != nil {
		return nil, err
	}
	told := *j
	told.Status = &bq.JobStatus{State: "DONE"}
	told.Statistics = &bq.JobStatistics{TotalBytesProcessed: processed, Query: &bq.JobStatistics2{StatementType: "SELECT", TotalBytesProcessed: processed, ReferencedTables: tables}}
	return &told, nil
}
