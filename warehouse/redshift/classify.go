package redshift

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/pgwire"
)

func isRedshift(version string) bool { return strings.Contains(version, "Redshift") }

// rule says what an error of the server means: by the beginning of its SQLSTATE and by a part of its message.
type rule struct {
	state  string
	says   string
	action tidegate.Action
	code   string
	hint   string
}

// rules are tried in order. Most errors of the engine below PostgreSQL's surface have the state XX000 and are told by their words.
var rules = []rule{
	{"", "1023", tidegate.Retry, "warehouse.conflict", ""},
	{"", "Serializable isolation violation", tidegate.Retry, "warehouse.conflict", ""},
	{"", "conflict with concurrent transaction", tidegate.Retry, "warehouse.conflict", ""},
	{"", "1018", tidegate.Retry, "warehouse.conflict", ""}, // a table that was replaced meanwhile
	{"", "could not open relation with OID", tidegate.Retry, "warehouse.conflict", ""},
	{"XX000", "Access Denied", tidegate.Halt, "warehouse.permission", "allow the role (or the key) by which Redshift reads the bucket s3:GetObject and s3:ListBucket; docs/warehouses/redshift.md has the policy"},
	{"XX000", "AccessDenied", tidegate.Halt, "warehouse.permission", "allow the role (or the key) by which Redshift reads the bucket s3:GetObject and s3:ListBucket; docs/warehouses/redshift.md has the policy"},
	{"XX000", "authorized to assume", tidegate.Halt, "warehouse.permission", "associate the role of iam_role with the cluster or the namespace, and let redshift.amazonaws.com assume it"},
	{"XX000", "uthorized to get credentials of role", tidegate.Halt, "warehouse.permission", "associate the role of iam_role with the cluster or the namespace, and let redshift.amazonaws.com assume it"},
	{"XX000", "InvalidAccessKeyId", tidegate.Halt, "auth.refused", "correct access_key_id, or give Redshift a role (iam_role)"},
	{"XX000", "ExpiredToken", tidegate.Halt, "auth.expired", "give a new session_token, or give Redshift a role (iam_role)"},
	{"XX000", "PermanentRedirect", tidegate.Halt, "warehouse.region", "set region to that of the bucket"},
	{"XX000", "specified bucket does not exist", tidegate.Halt, "warehouse.bucket", "correct bucket, or create it"},
	{"XX000", "Query Monitoring Rule", tidegate.Halt, "warehouse.limit", "a query monitoring rule stopped the statement: raise its limit for the query group of this warehouse"},
	{"XX000", "Disk Full", tidegate.Retry, "warehouse.disk", "the cluster's disk is full"},
	{"25006", "", tidegate.Halt, "sql.refused", "a query only reads; nothing was changed"},
	{"XX000", "read-only", tidegate.Halt, "sql.refused", "a query only reads; nothing was changed"},
	{"28", "", tidegate.Halt, "auth.refused", "check user and password"},
	{"3D000", "", tidegate.Halt, "warehouse.database", "correct the database's name, or create it"},
	{"42501", "", tidegate.Halt, "warehouse.permission", "grant the user what it lacks, see docs/warehouses/redshift.md"},
	{"42601", "", tidegate.Halt, "sql.syntax", "correct the statement at the marked position"},
	{"42P01", "", tidegate.Halt, "sql.unknown", "correct the table's name, or create it"},
	{"42703", "", tidegate.Halt, "sql.unknown", "correct the column's name"},
	{"42883", "", tidegate.Halt, "sql.unknown", "correct the function's name or the types of what it is given"},
	{"3F000", "", tidegate.Halt, "sql.unknown", "correct the schema's name, or create it"},
	{"42", "", tidegate.Halt, "sql.binding", "correct the name or the type at the marked position"},
	{"08P01", "", tidegate.Halt, "sql.binding", "give one value per parameter"},
	{"22", "", tidegate.Halt, "sql.value", "correct the value that cannot be converted, or turn it into NULL in the query"},
	{"23", "", tidegate.Reject, "warehouse.constraint", "the row has no value where the table demands one"},
	{"2BP01", "", tidegate.Halt, "sql.dependency", "a view depends on it: drop the view, let the load pass, and create it again WITH NO SCHEMA BINDING"},
	{"0A000", "", tidegate.Halt, "sql.unsupported", "Redshift cannot do this"},
	{"40", "", tidegate.Retry, "warehouse.conflict", ""},
	{"55", "", tidegate.Retry, "warehouse.busy", "another transaction holds the table; look for long ones in svv_transactions"},
	{"57014", "", tidegate.Retry, "warehouse.interrupted", "the statement was cancelled by the server: statement_timeout, workload management, or an administrator"},
	{"57P", "", tidegate.Retry, "warehouse.connection", "the cluster stops, starts or resumes"},
	{"08", "", tidegate.Retry, "warehouse.connection", ""},
	{"53100", "", tidegate.Retry, "warehouse.disk", "the cluster's disk is full"},
	{"53300", "", tidegate.Retry, "warehouse.busy", "there is no connection left; lower max_connections of this warehouse, or raise the user's connection limit"},
	{"53", "", tidegate.Retry, "warehouse.busy", ""},
	{"54", "", tidegate.Halt, "sql.limit", "the statement or the table is larger than the server allows"},
}

func serverFault(pg *pgconn.PgError, sql, user string) *tidegate.Fault {
	message := pg.Message
	if pg.Detail != "" && strings.Trim(message, "0123456789: ") == "" { // "1023", and what it is about in the detail
		message = strings.TrimSuffix(message, ":") + ": " + strings.Join(strings.Fields(pg.Detail), " ")
	}
	f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Message: message + pgwire.Mark(sql, int(pg.Position)), Err: pg}
	for _, r := range rules {
		if strings.HasPrefix(pg.Code, r.state) && matches(message, r.says) {
			f.Action, f.Code, f.Hint = r.action, r.code, r.hint
			break
		}
	}
	switch {
	case pg.Code == "42501":
		f.Hint = grant(pg.Message, user)
	case pg.Code == "42601" && strings.Contains(pg.Message, "multiple commands"):
		f.Hint = "send one statement at a time"
	case f.Code == "sql.unknown" && pg.Hint != "":
		f.Hint = pg.Hint
	}
	return f
}

// matches says whether a message says something; a number must stand at its beginning.
func matches(message, says string) bool {
	if strings.Trim(says, "0123456789") == "" {
		rest, ok := strings.CutPrefix(message, says)
		return ok && strings.TrimLeft(rest, "0123456789") == rest
	}
	return strings.Contains(message, says)
}

var denied = regexp.MustCompile(`^(?:permission denied (?:for|to create temporary tables in) |must be owner of )(materialized view|\w+) "?([^"]+)"?$`)

// grant is the statement that gives user what a refusal says it lacks.
func grant(message, user string) string {
	const page = "; docs/warehouses/redshift.md has all grants"
	m := denied.FindStringSubmatch(message)
	if m == nil {
		return "grant the user " + user + " what it lacks" + page
	}
	kind, name := m[1], m[2]
	switch {
	case strings.HasPrefix(message, "must be owner"):
		return fmt.Sprintf("ALTER TABLE %s OWNER TO %s", name, user) + page
	case strings.Contains(message, "temporary tables"):
		return fmt.Sprintf("GRANT TEMPORARY ON DATABASE %s TO %s", name, user) + page
	case kind == "database":
		return fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", name, user) + page
	case kind == "schema":
		return fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; and CREATE too where it loads", name, user) + page
	case kind == "function":
		return fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s TO %s", name, user) + page
	case kind == "language", kind == "role":
		return fmt.Sprintf("GRANT USAGE ON %s %s TO %s", strings.ToUpper(kind), name, user) + page
	}
	return fmt.Sprintf("GRANT SELECT ON %s TO %s; and INSERT, UPDATE, DELETE where it loads", name, user) + page
}

// loadFault is an error of the server about the rows of a load.
func (s *session) loadFault(ctx context.Context, err error, sql string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22") && ctx.Err() == nil {
		return &tidegate.Fault{Action: tidegate.Reject, Code: "warehouse.value", Message: pg.Message, Hint: "correct the value, or widen the column with Ensure", Err: pg}
	}
	return s.Fault(ctx, err, sql)
}

// copyFault is an error of a COPY. Of a value that it refused the server says more in a system table, which
// is read over another connection: this one may be in a transaction that failed.
func (s *session) copyFault(ctx context.Context, err error, p *loadPlan, st *staged, pid int64) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || ctx.Err() != nil || !strings.Contains(pg.Message, "load_error") {
		err := s.Fault(ctx, err, "")
		var f *tidegate.Fault
		if pg != nil && pg.Code == "XX000" && errors.As(err, &f) && f.Code == "warehouse.permission" { // of the bucket
			f.Hint = st.bucket.readable(pg.Message)
		}
		return err
	}
	other, err := s.w.session(ctx, s.w.pools.Write)
	if err != nil {
		return err
	}
	defer other.End()
	rows, err := other.Rows(ctx, "SELECT file_name, line_number, column_name, error_message FROM sys_load_error_detail WHERE session_id = $1 ORDER BY start_time DESC LIMIT 1", pid)
	if err != nil || len(rows) == 0 {
		f := serverFault(pg, "", s.User)
		f.Action, f.Code, f.Hint = tidegate.Reject, "warehouse.value", "look into sys_load_error_detail"
		return f
	}
	file, _ := rows[0][0].(string)
	line, _ := rows[0][1].(int64)
	name, _ := rows[0][2].(string)
	why, _ := rows[0][3].(string)
	row := line
	if o, ok := st.objectOf(strings.TrimSpace(file)); ok {
		row += o.first - 1
	}
	return celltext.Misfit(p.nameOf(strings.TrimSpace(name)), row, errors.New(strings.TrimSpace(why)))
}

// nameOf is the table's name for a staged column.
func (p *loadPlan) nameOf(staged string) string {
	for i, name := range p.staged {
		if string(name) == staged {
			return p.columns[i].name
		}
	}
	return staged
}
