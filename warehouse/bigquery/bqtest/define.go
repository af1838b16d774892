package bqtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	bq "google.golang.org/api/bigquery/v2"
)

// define carries out CREATE, ALTER and DROP.
func (r *runner) define(ctx context.Context, ts []token) error {
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
		return r.s.schema(ctx, verb, ts[at].value, exists)
	case is("view"):
		exists := is("if", "not", "exists") || is("if", "exists")
		return r.view(ctx, verb, ts[at:], exists, replace)
	case is("table"):
		exists := is("if", "not", "exists") || is("if", "exists")
		dataset, table, n := tableAt(ts[at:])
		if dataset == "" && r.query.DefaultDataset != nil {
			dataset = r.query.DefaultDataset.DatasetId
		}
		t := target{dataset, table}
		switch rest := ts[at+n:]; verb {
		case "create":
			return r.createTable(ctx, t, rest, exists, replace)
		case "alter":
			return r.alterTable(ctx, t, rest)
		default:
			return r.s.dropTable(ctx, t, exists)
		}
	}
	return syntax(ts[0].line, ts[0].col, "Unexpected statement")
}

// view makes or drops a view.
func (r *runner) view(ctx context.Context, verb string, ts []token, exists, replace bool) error {
	dataset, table, n := tableAt(ts)
	if dataset == "" && r.query.DefaultDataset != nil {
		dataset = r.query.DefaultDataset.DatasetId
	}
	t := target{dataset, table}
	if verb == "drop" {
		sql := "DROP VIEW "
		if exists {
			sql += "IF EXISTS "
		}
		_, err := r.s.db.ExecContext(ctx, sql+t.quoted())
		return err
	}
	if n >= len(ts) || !ts[n].is("as") || len(r.query.QueryParameters) > 0 {
		return syntax(ts[0].line, ts[0].col, "Expected the query of a view, without parameters")
	}
	body, _, err := r.duck(ts[n+1:], false)
	if err != nil {
		return err
	}
	sql := "CREATE "
	switch {
	case replace:
		sql += "OR REPLACE VIEW "
	case exists:
		sql += "VIEW IF NOT EXISTS "
	default:
		sql += "VIEW "
	}
	_, err = r.s.db.ExecContext(ctx, sql+t.quoted()+" AS "+body)
	return err
}

type target struct{ dataset, table string }

func (t target) quoted() string { return quoteName(t.dataset) + "." + quoteName(t.table) }
func (t target) key() string    { return t.dataset + "." + t.table }

// tableAt reads the path of a table.
func tableAt(ts []token) (dataset, table string, n int) {
	var parts []string
	for n < len(ts) {
		if ts[n].kind == name {
			parts = append(parts, strings.Split(ts[n].value, ".")...)
		} else {
			parts = append(parts, ts[n].value)
		}
		n++
		if n >= len(ts) || !ts[n].is(".") {
			break
		}
		n++
	}
	if len(parts) > 1 {
		dataset = parts[len(parts)-2]
	}
	return dataset, parts[len(parts)-1], n
}

var datasetName = regexp.MustCompile(`^[a-zA-Z0-9_]+$`)

// schema makes or drops a dataset.
func (s *Server) schema(ctx context.Context, verb, id string, exists bool) error {
	s.mu.Lock()
	_, there := s.datasets[id]
	s.mu.Unlock()
	if verb == "drop" {
		if !there && exists {
			return nil
		}
		if !there {
			return notFound("Dataset %s:%s", Project, id)
		}
		if _, err := s.db.ExecContext(ctx, "DROP SCHEMA "+quoteName(id)); err != nil {
			return failure(http.StatusBadRequest, "resourceInUse", "Dataset %s:%s is still in use", Project, id)
		}
		s.mu.Lock()
		delete(s.datasets, id)
		s.mu.Unlock()
		return nil
	}
	if there && exists {
		return nil
	}
	_, err := s.createDataset(ctx, &bq.Dataset{DatasetReference: &bq.DatasetReference{DatasetId: id}})
	return err
}

func (s *Server) createDataset(ctx context.Context, d *bq.Dataset) (any, error) {
	id := d.DatasetReference.DatasetId
	if !datasetName.MatchString(id) {
		return nil, failure(http.StatusBadRequest, "invalid", "Invalid dataset ID %q. Dataset IDs must be alphanumeric (plus underscores) and must be at most 1024 characters long.", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.datasets[id]; there {
		return nil, failure(http.StatusConflict, "duplicate", "Already Exists: Dataset %s:%s", Project, id)
	}
	if _, err := s.db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+quoteName(id)); err != nil {
		return nil, err
	}
	s.births++
	d.CreationTime, d.Id = s.births, Project+":"+id
	d.DatasetReference.ProjectId = Project
	s.datasets[id] = d
	return d, nil
}

// checkName keeps BigQuery's rules of the names of columns and tables.
func checkName(what, id string) error {
	extra := ""
	if what == "field" {
		extra = "&%=+:'<>#|"
	}
	most := 300
	if what == "table" {
		most = 1024
	}
	bad := id == "" || utf8.RuneCountInString(id) > most
	for _, r := range id {
		bad = bad || !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Pc, unicode.Pd, unicode.Zs) && !strings.ContainsRune(extra, r)
	}
	for _, prefix := range []string{"_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER"} {
		bad = bad || what == "field" && strings.HasPrefix(strings.ToUpper(id), prefix)
	}
	if bad {
		return failure(http.StatusBadRequest, "invalid", "Invalid %s name %q.", what, id)
	}
	return nil
}

func (r *runner) createTable(ctx context.Context, t target, ts []token, exists, replace bool) error {
	s := r.s
	s.mu.Lock()
	_, there := s.datasets[t.dataset]
	s.mu.Unlock()
	if !there {
		return notFound("Dataset %s:%s was not found in location US", Project, t.dataset)
	}
	if err := checkName("table", t.table); err != nil {
		return err
	}
	_, err := s.fields(ctx, t.dataset, t.table)
	if err == nil && exists {
		return nil
	}
	if err == nil && !replace {
		return failure(http.StatusConflict, "duplicate", "Already Exists: Table %s:%s", Project, t.key())
	}
	place, defs, query, err := r.creation(ts)
	if err != nil {
		return err
	}
	made := target{t.dataset, t.table}
	if err == nil && replace {
		made.table = "__new_" + t.table
	}
	statements := []string{"BEGIN TRANSACTION"}
	create := "CREATE TABLE " + made.quoted()
	var args []any
	var body string
	if len(query) > 0 {
		if body, args, err = r.duck(query, false); err != nil {
			return err
		}
	}
	switch {
	case defs != "":
		statements = append(statements, create+" ("+defs+")")
		if body != "" {
			statements = append(statements, "INSERT INTO "+made.quoted()+" "+body)
		}
	default:
		statements = append(statements, create+" AS "+body)
	}
	if replace {
		statements = append(statements, "DROP TABLE IF EXISTS "+t.quoted(), "ALTER TABLE "+made.quoted()+" RENAME TO "+quoteName(t.table))
	}
	for _, statement := range append(statements, "COMMIT") {
		with := args
		if !strings.HasSuffix(statement, body) || body == "" {
			with = nil
		}
		if _, err := r.session.conn.ExecContext(ctx, statement, with...); err != nil {
			_, _ = r.session.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.births++
	place.born = s.births
	s.layouts[t.key()] = place
	return nil
}

// creation reads what follows the name of a table that is made.
func (r *runner) creation(ts []token) (place layout, defs string, query []token, err error) {
	at := 0
	if at < len(ts) && ts[at].is("(") {
		end := closing(ts, at)
		if end < 0 {
			return place, "", nil, syntax(ts[at].line, ts[at].col, "Expected )")
		}
		for i := at + 1; i < end; i++ {
			if ts[i].kind == name {
				if err := checkName("field", ts[i].value); err != nil {
					return place, "", nil, err
				}
			}
		}
		if defs, _, err = r.duck(ts[at+1:end], true); err != nil {
			return place, "", nil, err
		}
		at = end + 1
	}
	for at < len(ts) {
		switch {
		case ts[at].is("partition"):
			for at++; at < len(ts) && !ts[at].is("cluster", "as", "options"); at++ {
				if ts[at].kind == name {
					place.day = ts[at].value
				}
			}
		case ts[at].is("cluster"):
			for at++; at < len(ts) && !ts[at].is("as", "options"); at++ {
				if ts[at].kind == name {
					place.cluster = append(place.cluster, ts[at].value)
				}
			}
			if len(place.cluster) > 4 {
				return place, "", nil, failure(http.StatusBadRequest, "invalidQuery", "A table can have at most 4 clustering columns")
			}
		case ts[at].is("options"):
			at = closing(ts, at+1) + 1
		case ts[at].is("as"):
			return place, defs, ts[at+1:], nil
		default:
			return place, "", nil, syntax(ts[at].line, ts[at].col, "Unexpected %q", ts[at].value)
		}
	}
	return place, defs, nil, nil
}

// alterTable carries out the actions one by one, together.
func (r *runner) alterTable(ctx context.Context, t target, ts []token) error {
	fields, err := r.s.fields(ctx, t.dataset, t.table)
	if err != nil {
		return err
	}
	var statements []string
	from, depth := 0, 0
	for i := 0; i <= len(ts); i++ {
		switch {
		case i < len(ts) && ts[i].is("("):
			depth++
		case i < len(ts) && ts[i].is(")"):
			depth--
		case i == len(ts) || depth == 0 && ts[i].is(","):
			action := ts[from:i]
			from = i + 1
			if err := checkAction(fields, action); err != nil {
				return err
			}
			text, _, err := r.duck(action, true)
			if err != nil {
				return err
			}
			statements = append(statements, "ALTER TABLE "+t.quoted()+" "+text)
		}
	}
	for _, statement := range append([]string{"BEGIN TRANSACTION"}, append(statements, "COMMIT")...) {
		if _, err := r.session.conn.ExecContext(ctx, statement); err != nil {
			_, _ = r.session.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return err
		}
	}
	return nil
}

// widens is what SET DATA TYPE may do.
var widens = map[string][]string{
	"INTEGER": {"numeric", "bignumeric", "float64"}, "NUMERIC": {"numeric", "bignumeric", "float64"}, "BIGNUMERIC": {"bignumeric", "float64"},
}

// checkAction refuses what BigQuery's ALTER TABLE does not do.
func checkAction(fields []*bq.TableFieldSchema, action []token) error {
	for i, t := range action {
		if t.kind == name {
			if err := checkName("field", t.value); err != nil {
				return err
			}
		}
		if !t.is("type") || i+1 >= len(action) {
			continue
		}
		column, wanted := action[2].value, strings.ToLower(action[i+1].value)
		for _, f := range fields {
			if !strings.EqualFold(f.Name, column) {
				continue
			}
			allowed := false
			for _, w := range widens[f.Type] {
				allowed = allowed || w == wanted
			}
			if !allowed {
				return failure(http.StatusBadRequest, "invalidQuery", "ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type (%s) is assignable to the new type (%s)", f.Type, strings.ToUpper(wanted))
			}
		}
	}
	return nil
}

func (s *Server) dropTable(ctx context.Context, t target, exists bool) error {
	if _, err := s.fields(ctx, t.dataset, t.table); err != nil {
		if exists {
			return nil
		}
		return err
	}
	if _, err := s.db.ExecContext(ctx, "DROP TABLE "+t.quoted()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.layouts, t.key())
	return nil
}

// fields are the columns of a table, as they are for everybody.
func (s *Server) fields(ctx context.Context, dataset, table string) ([]*bq.TableFieldSchema, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = $1 AND table_name = $2 ORDER BY column_index", dataset, table)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var fields []*bq.TableFieldSchema
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return nil, err
		}
		fields = append(fields, s.fieldOf(target{dataset, table}, name, typ))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, notFound("Table %s:%s.%s", Project, dataset, table)
	}
	return fields, nil
}

// catalogue answers for datasets and tables.
func (s *Server) catalogue(method string, body []byte, dataset, collection, table string) (any, error) {
	ctx := s.life()
	switch {
	case dataset == "" && method == http.MethodPost:
		var d bq.Dataset
		if err := json.Unmarshal(body, &d); err != nil || d.DatasetReference == nil {
			return nil, failure(http.StatusBadRequest, "parseError", "%v", err)
		}
		return s.createDataset(ctx, &d)
	case dataset == "":
		return s.listDatasets(), nil
	}
	s.mu.Lock()
	d := s.datasets[dataset]
	s.mu.Unlock()
	switch {
	case d == nil:
		return nil, notFound("Dataset %s:%s", Project, dataset)
	case collection == "" && method == http.MethodGet:
		return d, nil
	case collection == "tables" && table == "" && method == http.MethodPost:
		return s.insertTable(ctx, dataset, body)
	case collection == "tables" && table == "":
		return s.listTables(ctx, dataset)
	case collection == "tables" && method == http.MethodGet:
		return s.table(ctx, dataset, table)
	case collection == "tables" && method == http.MethodDelete:
		return nil, s.dropTable(ctx, target{dataset, table}, false)
	}
	return nil, notFound("%s %s/%s/%s", method, dataset, collection, table)
}

func (s *Server) table(ctx context.Context, dataset, table string) (any, error) {
	fields, err := s.fields(ctx, dataset, table)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.layouts[target{dataset, table}.key()]
	t := &bq.Table{
		TableReference: &bq.TableReference{ProjectId: Project, DatasetId: dataset, TableId: table}, Type: "TABLE", CreationTime: place.born,
		Schema: &bq.TableSchema{Fields: fields},
	}
	if place.day != "" {
		t.TimePartitioning = &bq.TimePartitioning{Type: "DAY", Field: place.day}
	}
	if len(place.cluster) > 0 {
		t.Clustering = &bq.Clustering{Fields: place.cluster}
	}
	return t, nil
}

func (s *Server) listDatasets() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &bq.DatasetList{}
	for id, d := range s.datasets {
		if !strings.HasPrefix(id, "_") { // hidden
			list.Datasets = append(list.Datasets, &bq.DatasetListDatasets{DatasetReference: d.DatasetReference, Id: d.Id})
		}
	}
	sort.Slice(list.Datasets, func(i, j int) bool { return list.Datasets[i].Id < list.Datasets[j].Id })
	return list
}

func (s *Server) listTables(ctx context.Context, dataset string) (any, error) {
	names, err := s.tables(ctx, dataset)
	if err != nil {
		return nil, err
	}
	list := &bq.TableList{}
	for _, id := range names {
		list.Tables = append(list.Tables, &bq.TableListTables{TableReference: &bq.TableReference{ProjectId: Project, DatasetId: dataset, TableId: id}, Type: "TABLE", Id: fmt.Sprintf("%s:%s.%s", Project, dataset, id)})
	}
	return list, nil
}
