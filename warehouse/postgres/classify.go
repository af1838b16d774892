package postgres

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
)

// rule says what an error of the server means by the beginning of its SQLSTATE.
type rule struct {
	state  string
	action tidegate.Action
	code   string
	hint   string
}

// rules are tried in order, so the longer state comes first; what none names is a Retry.
var rules = []rule{
	{"25006", tidegate.Halt, "sql.refused", "a query only reads; where it is Tidegate that writes, the server or the role is read-only: see default_transaction_read_only and pg_is_in_recovery()"},
	{"25P03", tidegate.Retry, "warehouse.connection", "the server ends idle transactions (idle_in_transaction_session_timeout); raise it for this role"},
	{"28", tidegate.Halt, "auth.refused", "check user and password, and the server's pg_hba.conf for this address"},
	{"3D000", tidegate.Halt, "warehouse.database", "correct the database's name, or create it"},
	{"42501", tidegate.Halt, "warehouse.permission", "grant the role what it lacks, see docs/warehouses/postgres.md"},
	{"42601", tidegate.Halt, "sql.syntax", "correct the statement at the marked position"},
	{"42P01", tidegate.Halt, "sql.unknown", "correct the table's name, or create it"},
	{"42703", tidegate.Halt, "sql.unknown", "correct the column's name"},
	{"42883", tidegate.Halt, "sql.unknown", "correct the function's name or the types of what it is given"},
	{"3F000", tidegate.Halt, "sql.unknown", "correct the schema's name, or create it"},
	{"42P", tidegate.Halt, "sql.binding", "correct the name or the type at the marked position"},
	{"42", tidegate.Halt, "sql.binding", "correct the name or the type at the marked position"},
	{"08P01", tidegate.Halt, "sql.binding", "give one value per parameter"},
	{"22", tidegate.Halt, "sql.value", "correct the value that cannot be converted, or turn it into NULL in the query"},
	{"23505", tidegate.Reject, "warehouse.constraint", "the row breaks a unique index of the table"},
	{"23", tidegate.Reject, "warehouse.constraint", "the row breaks a constraint of the table"},
	{"2BP01", tidegate.Halt, "sql.dependency", "drop what depends on it first"},
	{"0A000", tidegate.Halt, "sql.unsupported", "the server cannot do this; when a view or rule is in the way, drop it first"},
	{"40", tidegate.Retry, "warehouse.conflict", ""},
	{"55P03", tidegate.Retry, "warehouse.busy", "another transaction holds the table; look for long ones in pg_stat_activity"},
	{"55006", tidegate.Retry, "warehouse.busy", "another transaction uses it"},
	{"57014", tidegate.Retry, "warehouse.interrupted", "the statement was cancelled by the server: statement_timeout, or an administrator"},
	{"57P", tidegate.Retry, "warehouse.connection", "the server stops or starts"},
	{"08", tidegate.Retry, "warehouse.connection", ""},
	{"53100", tidegate.Retry, "warehouse.disk", "the server's disk is full"},
	{"53200", tidegate.Retry, "warehouse.memory", "the server is out of memory; lower work_mem, or make the query smaller"},
	{"53300", tidegate.Retry, "warehouse.busy", "the server has no connection left; lower max_connections of this warehouse, or raise the server's"},
	{"53", tidegate.Retry, "warehouse.busy", ""},
	{"54", tidegate.Halt, "sql.limit", "the statement or the table is larger than the server allows"},
	{"XX001", tidegate.Halt, "warehouse.corrupt", "the server reports damaged data: check its disk and restore the table"},
	{"XX002", tidegate.Halt, "warehouse.corrupt", "the server reports a damaged index: check its disk, then REINDEX"},
}

func serverFault(pg *pgconn.PgError, sql, user string) *tidegate.Fault {
	f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Message: pg.Message + pgwire.Mark(sql, int(pg.Position)), Err: pg}
	for _, r := range rules {
		if strings.HasPrefix(pg.Code, r.state) {
			f.Action, f.Code, f.Hint = r.action, r.code, r.hint
			break
		}
	}
	switch {
	case pg.Code == "42501":
		f.Hint = grant(pg.Message, user)
	case pg.Code == "28000" && strings.HasSuffix(pg.Message, "no encryption"): // no line of pg_hba.conf for it
		f.Code, f.Hint = "warehouse.tls", "set tls to verify-full (or require): the server takes encrypted connections only; otherwise check its pg_hba.conf for this address"
	case pg.Code == "53100" && strings.Contains(pg.Message, "shared memory"):
		f.Code, f.Hint = "warehouse.memory", "the server's /dev/shm is too small for what its workers share; in a container give it more (--shm-size=1g)"
	case pg.Code == "42601" && strings.Contains(pg.Message, "multiple commands"):
		f.Hint = "send one statement at a time"
	case f.Code == "sql.unknown" && pg.Hint != "":
		f.Hint = pg.Hint // "Perhaps you meant to reference the column …"
	case pg.Code == "0A000" && strings.Contains(pg.Message, "cached plan"):
		f.Action, f.Code, f.Hint = tidegate.Retry, "warehouse.conflict", ""
	}
	return f
}

var denied = regexp.MustCompile(`^(?:permission denied (?:for|to create temporary tables in) |must be owner of )(materialized view|foreign \w+|large object|\w+) "?([^"]+)"?$`)

// grant is the statement that gives user what a refusal says it lacks.
func grant(message, user string) string {
	const page = "; docs/warehouses/postgres.md has all grants"
	m := denied.FindStringSubmatch(message)
	if m == nil {
		return "grant the role " + user + " what it lacks" + page
	}
	kind, name := m[1], m[2]
	switch {
	case strings.HasPrefix(message, "must be owner"):
		return fmt.Sprintf("ALTER %s %s OWNER TO %s", strings.ToUpper(kind), name, user) + page
	case strings.Contains(message, "temporary tables"):
		return fmt.Sprintf("GRANT TEMPORARY ON DATABASE %s TO %s", name, user) + page
	case kind == "database":
		return fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", name, user) + page
	case kind == "schema":
		return fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; and CREATE too where it loads", name, user) + page
	case kind == "function":
		return fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s TO %s", name, user) + page
	case kind == "sequence":
		return fmt.Sprintf("GRANT SELECT ON SEQUENCE %s TO %s", name, user) + page
	}
	return fmt.Sprintf("GRANT SELECT ON %s TO %s; and INSERT, UPDATE, DELETE where it loads", name, user) + page
}
