package snowflake

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/internal/sqlcheck"
	"github.com/tidegate/tidegate/warehouse"
)

const page = "; docs/warehouses/snowflake.md has all grants"

// rule says what an error of Snowflake means; text, when it is set, must be in the message.
type rule struct {
	from, to int // numbers; 0: any
	text     string
	action   tidegate.Action
	after    time.Duration
	code     string
	hint     string
}

// rules are tried in order; what none names is a Retry.
var rules = []rule{
	// Logging in.
	{390144, 390144, "", tidegate.Halt, 0, "auth.refused", "Snowflake refuses the key: look whether RSA_PUBLIC_KEY of the user is the public half of private_key (DESC USER), and whether the clock is right"},
	{390100, 390100, "", tidegate.Halt, 0, "auth.refused", "correct user and password; a user of TYPE = SERVICE has no password, and needs private_key"},
	{390102, 390102, "", tidegate.Halt, 0, "auth.refused", "the user is locked after failed attempts: wait 15 minutes, or ALTER USER … SET MINS_TO_UNLOCK = 0"},
	{390101, 390101, "", tidegate.Halt, 0, "auth.refused", "the user is disabled: ALTER USER … SET DISABLED = FALSE"},
	{390318, 390318, "", tidegate.Halt, 0, "auth.expired", "the OAuth token has expired: set a new one, or use private_key, which does not expire"},
	{390114, 390117, "", tidegate.Retry, 0, "warehouse.session", ""},
	{390104, 390112, "", tidegate.Retry, 0, "warehouse.session", ""},
	{390186, 390189, "", tidegate.Halt, 0, "warehouse.permission", "GRANT ROLE … TO USER …, or correct role" + page},
	{390201, 390201, "", tidegate.Halt, 0, "warehouse.permission", "correct database, warehouse or schema, or grant USAGE on it to the role" + page},
	{390420, 390429, "", tidegate.Halt, 0, "warehouse.permission", "a network policy refuses this machine's address: add it to ALLOWED_NETWORK_RULE_LIST"},
	{394300, 394399, "", tidegate.Halt, 0, "auth.refused", "the user must have a second factor here: use private_key and a user of TYPE = SERVICE"},
	{394400, 394600, "", tidegate.Halt, 0, "auth.refused", "the programmatic access token is wrong, expired or not allowed for this user: make a new one with ALTER USER … ADD PROGRAMMATIC ACCESS TOKEN"},
	{390300, 390999, "", tidegate.Halt, 0, "auth.refused", "check the credentials"},
	{390190, 390199, "", tidegate.Halt, 0, "auth.refused", "check the credentials"},
	{260008, 260008, "", tidegate.Halt, 0, "auth.refused", "correct account: there is none at this address, or it refuses this machine"},
	{260000, 260999, "", tidegate.Retry, 0, "warehouse.connection", "check the network, and account"},
	{261000, 264999, "", tidegate.Retry, 0, "warehouse.connection", "check the network; the storage behind stages (SYSTEM$ALLOWLIST() names its hosts) must be reachable, too"},
	// Computing.
	{606, 607, "", tidegate.Halt, 0, "warehouse.no_compute", ""},
	{90073, 90073, "", tidegate.Throttle, 15 * time.Minute, "warehouse.quota", "a resource monitor has suspended the virtual warehouse: raise its quota, or wait for its next interval"},
	{90064, 90072, "", tidegate.Retry, 0, "warehouse.busy", ""},
	{666, 666, "", tidegate.Halt, 0, "warehouse.billing", "the account is suspended: see Admin, Billing"},
	{630, 630, "", tidegate.Halt, 0, "warehouse.timeout", "the statement ran longer than statement_timeout, or than the virtual warehouse lets it: make it smaller, the warehouse larger, or the limit higher"},
	{604, 605, "", tidegate.Retry, 0, "warehouse.interrupted", "the statement was cancelled by somebody else"},
	{625, 625, "", tidegate.Retry, 0, "warehouse.lock", "another transaction holds the table: SHOW LOCKS names it"},
	{0, 0, "has locked", tidegate.Retry, 0, "warehouse.lock", "another transaction holds the table: SHOW LOCKS names it"},
	{0, 0, "deadlock", tidegate.Retry, 0, "warehouse.conflict", ""},
	{600, 603, "", tidegate.Retry, 0, "warehouse.engine", ""},
	// The catalogue.
	{3001, 3001, "", tidegate.Halt, 0, "warehouse.permission", ""},
	{2003, 2003, "", tidegate.Halt, 0, "sql.unknown", ""},
	{2043, 2043, "", tidegate.Halt, 0, "sql.unknown", ""},
	{90105, 90106, "", tidegate.Halt, 0, "sql.unknown", "write the name with its schema, or grant the role USAGE on the database and the schema" + page},
	{2002, 2002, "", tidegate.Halt, 0, "warehouse.exists", "choose another name"},
	{1430, 1430, "", tidegate.Halt, 0, "warehouse.exists", "choose another name"},
	{2037, 2037, "", tidegate.Halt, 0, "warehouse.conflict", ""},
	// Statements.
	{1003, 1003, "", tidegate.Halt, 0, "sql.syntax", "correct the statement at the marked position"},
	{904, 904, "", tidegate.Halt, 0, "sql.unknown", "correct the column's name; a name in quotes is compared with its case"},
	{2140, 2141, "", tidegate.Halt, 0, "sql.unknown", "correct the function's name"},
	{8, 8, "", tidegate.Halt, 0, "sql.refused", "send one statement at a time"},
	{100051, 100051, "", tidegate.Halt, 0, "sql.value", "use DIV0 or NULLIF"},
	{100078, 100078, "", tidegate.Reject, 0, "warehouse.value", "the column is too short for the value: ALTER TABLE … ALTER COLUMN … SET DATA TYPE VARCHAR"},
	{100072, 100072, "", tidegate.Reject, 0, "warehouse.value", "the column takes no NULL: give the value, or ALTER TABLE … ALTER COLUMN … DROP NOT NULL"},
	{100000, 100199, "", tidegate.Halt, 0, "sql.value", "correct the value that cannot be converted, or use TRY_CAST in the query"},
	{0, 0, "Maximum number of parameters", tidegate.Halt, 0, "sql.limit", "give fewer values at once"},
	{900, 2999, "", tidegate.Halt, 0, "sql.binding", "correct the statement as the message says"},
	{90000, 93999, "", tidegate.Halt, 0, "sql.refused", "correct what the message names"},
}

// numberOf is the number of Snowflake's or its driver's error; 0: err is none.
func numberOf(err error) int {
	var f *sf.SnowflakeError
	if errors.As(err, &f) {
		return f.Number
	}
	return 0
}

// missing says whether err means that something does not exist, or that the role may not know that it does.
func missing(err error) bool { n := numberOf(err); return n == 2003 || n == 2043 }

// exists says whether err means that something was made by somebody else.
func exists(err error) bool { n := numberOf(err); return n == 2002 || n == 1430 }

// lost says whether err leaves open what became of the statement.
func lost(err error) bool {
	switch tidegate.FaultOf(err).Code {
	case "warehouse.connection", "warehouse.session", "warehouse.interrupted", "warehouse.engine":
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// classify says what a failed call means: the context's own error when that
// interrupted it, otherwise a fault. sql is what ran.
func (w *Warehouse) classify(ctx context.Context, o on, err error, sql string) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("calling Snowflake: %w", cause)
	}
	var own *tidegate.Fault
	if errors.As(err, &own) {
		return err
	}
	var answer *sf.SnowflakeError
	if !errors.As(err, &answer) {
		return connectionLost(ctx, err)
	}
	message := answer.Message
	if len(answer.MessageArgs) > 0 {
		message = "the driver's error " + strconv.Itoa(answer.Number) // its message may hold an address
		if strings.Count(answer.Message, "%") == len(answer.MessageArgs) {
			message = strings.TrimSpace(fmt.Sprintf(answer.Message, answer.MessageArgs...))
		}
	}
	f := faultOf(answer.Number, message, sql, w.role(o))
	f.Err = err
	return f
}

// lasting says whether another attempt within a minute fails as this one did: there is no such host,
// nobody listens there, it is not who it should be, or it may not be called.
func lasting(err error) bool {
	f := tidegate.FaultOf(egress.Fault(context.Background(), err))
	return f.Action == tidegate.Halt || f.Code == "network.dns" || f.Code == "network.connect" || f.Code == "network.tls"
}

func connectionLost(ctx context.Context, err error) error {
	f := tidegate.FaultOf(egress.Fault(ctx, err))
	lost := &tidegate.Fault{Action: f.Action, Code: "warehouse.connection", Message: "Snowflake cannot be reached: " + oneLine(f.Message), Hint: "correct account (or endpoint), or mend the network between", Err: err}
	if f.Code == "network.tls" {
		lost.Hint = "Snowflake's certificate is not accepted: correct account or endpoint, or let the proxy between leave *.snowflakecomputing.com alone"
	}
	if strings.Contains(err.Error(), "HTTP Status: 429") {
		lost.Action, lost.After, lost.Code, lost.Message = tidegate.Throttle, 10*time.Second, "warehouse.rate_limited", "Snowflake says that there are too many calls"
		lost.Hint = "lower max_connections"
	}
	return lost
}

func faultOf(number int, message, sql, role string) *tidegate.Fault {
	found := rule{action: tidegate.Retry, code: "warehouse.engine"}
	for _, r := range rules {
		if (r.to == 0 || number >= r.from && number <= r.to) && strings.Contains(message, r.text) {
			found = r
			break
		}
	}
	f := &tidegate.Fault{Action: found.action, Code: found.code, Message: oneLine(message) + excerpt(sql, message), Hint: found.hint, After: found.after}
	if f.Hint == "" {
		switch f.Code {
		case "warehouse.permission", "sql.unknown":
			f.Hint = grant(message, role)
		case "warehouse.no_compute":
			f.Hint = "set warehouse, and GRANT USAGE ON WAREHOUSE … TO ROLE " + shown(role) + "; one that is suspended needs AUTO_RESUME = TRUE, or OPERATE" + page
		}
	}
	return f
}

func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\ufffd")), " ")
	const most = 2000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

var (
	plainName = regexp.MustCompile(`^[A-Z_][A-Z0-9_$]*$`)
	operated  = regexp.MustCompile(`(?i)insufficient privileges to operate on ([a-z ]+?) '([^']+)'`)
	unknown   = regexp.MustCompile(`(?i)\b(database|schema|table|view|stage|warehouse|object|file format) '(.+?)' does not exist or not authorized`)
)

// shown is a name as it is written in a statement.
func shown(name string) string {
	if name == "" {
		return "…"
	}
	if name = stored(name); plainName.MatchString(name) {
		return name
	}
	return `"` + strings.Trim(name, `"`) + `"`
}

// grant says which GRANT is missing, by the kind of thing that a refusal names.
func grant(message, role string) string {
	to := " TO ROLE " + shown(role)
	if m := operated.FindStringSubmatch(message); m != nil {
		what := strings.ToUpper(strings.TrimSpace(m[1]))
		switch what {
		case "ACCOUNT":
			return "the role lacks a privilege on the account" + page
		case "DATABASE":
			return "GRANT USAGE, CREATE SCHEMA ON DATABASE " + m[2] + to + page
		case "SCHEMA":
			return "GRANT USAGE, CREATE TABLE, CREATE STAGE, CREATE VIEW ON SCHEMA " + m[2] + to + page
		case "WAREHOUSE":
			return "GRANT USAGE ON WAREHOUSE " + m[2] + to + ", and OPERATE where it is to wake up without AUTO_RESUME" + page
		case "VIEW", "MATERIALIZED VIEW":
			return "GRANT SELECT ON VIEW " + m[2] + to + page
		case "STAGE":
			return "GRANT READ, WRITE ON STAGE " + m[2] + to + page
		case "TABLE":
			return "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE " + m[2] + to + "; changing its columns takes OWNERSHIP" + page
		}
		return "grant the role the privilege on " + strings.ToLower(what) + " " + m[2] + page
	}
	if m := unknown.FindStringSubmatch(message); m != nil {
		switch what := strings.ToUpper(m[1]); what {
		case "DATABASE", "SCHEMA", "WAREHOUSE":
			return "correct the name, or GRANT USAGE ON " + what + " " + m[2] + to + page
		default:
			return "correct the name; or GRANT SELECT ON TABLE " + m[2] + to + ", and USAGE on its schema and database" + page
		}
	}
	return "correct the name, or grant the role what it lacks" + page
}

var position = regexp.MustCompile(`line (\d+) at position (-?\d+)`)

// excerpt shows the place that a message names.
func excerpt(sql, message string) string {
	m := position.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	line, _ := strconv.Atoi(m[1])
	before, _ := strconv.Atoi(m[2])
	return sqlcheck.ExcerptAt(sql, line, before)
}

func noTable(t warehouse.Table, cause error) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.no_table", Subject: "table " + t.String(), Message: "the table does not exist, or the role may not see it",
		Hint: tidegate.FaultOf(cause).Hint, Err: fmt.Errorf("%w: %w", warehouse.ErrNoTable, cause),
	}
}

func refused(why string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: why, Hint: "a query is one SELECT (or WITH … SELECT), SHOW, DESCRIBE or EXPLAIN that only reads"}
}
