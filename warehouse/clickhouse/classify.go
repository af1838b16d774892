package clickhouse

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// serverError is what the server said, beneath a fault.
type serverError struct {
	code    int
	message string
}

func (e *serverError) Error() string { return fmt.Sprintf("code %d: %s", e.code, e.message) }

// codeOf is the server's code of an error, 0 when it is none of the server.
func codeOf(err error) int {
	var e *serverError
	if errors.As(err, &e) {
		return e.code
	}
	return 0
}

// rule says what an error of the server means by its code.
type rule struct {
	action tidegate.Action
	code   string
	hint   string
}

const page = "; docs/warehouses/clickhouse.md has all grants"

// rules are the server's error codes; what is not named is a Retry.
var rules = map[int]rule{
	6:   {tidegate.Halt, "sql.value", "correct the value that cannot be converted, or use the function's …OrNull form"},
	27:  {tidegate.Halt, "sql.value", "correct the value that cannot be converted"},
	34:  {tidegate.Halt, "sql.binding", "give the function the values that it takes"},
	35:  {tidegate.Halt, "sql.binding", "give the function the values that it takes"},
	36:  {tidegate.Halt, "sql.binding", "correct what the function or setting is given"},
	41:  {tidegate.Halt, "sql.value", "correct the time that cannot be read, or use parseDateTimeBestEffortOrNull"},
	42:  {tidegate.Halt, "sql.binding", "give the function as many values as it takes"},
	43:  {tidegate.Halt, "sql.binding", "correct the types of what the function is given"},
	46:  {tidegate.Halt, "sql.unknown", "correct the function's name"},
	47:  {tidegate.Halt, "sql.unknown", "correct the column's name"},
	53:  {tidegate.Halt, "sql.binding", "correct the types that do not fit together"},
	57:  {tidegate.Retry, "warehouse.conflict", ""},
	60:  {tidegate.Halt, "sql.unknown", "correct the table's name, or create it"},
	62:  {tidegate.Halt, "sql.syntax", "correct the statement at the marked position"},
	70:  {tidegate.Halt, "sql.value", "correct the value that cannot be converted"},
	72:  {tidegate.Halt, "sql.value", "correct the value that cannot be read as a number"},
	81:  {tidegate.Halt, "sql.unknown", "correct the schema's name, or create it"},
	115: {tidegate.Halt, "warehouse.version", "use ClickHouse 24.8 or newer"},
	117: {tidegate.Halt, "warehouse.engine", "the server cannot read the rows; look for a table whose columns were changed by hand"},
	153: {tidegate.Halt, "sql.value", "a division by zero; use intDivOrZero or nullIf"},
	158: {tidegate.Halt, "sql.limit", "the query reads more rows than the user may (max_rows_to_read)"},
	159: {tidegate.Retry, "warehouse.interrupted", "the statement took longer than the user may (max_execution_time)"},
	160: {tidegate.Halt, "sql.limit", "the server expects the query to be too slow; make it smaller"},
	164: {tidegate.Halt, "sql.refused", "a query only reads; nothing was changed. If the user's profile says readonly = 1, make it 2"},
	184: {tidegate.Halt, "sql.binding", "an aggregate stands where none can be"},
	192: {tidegate.Halt, "auth.refused", "check user and password"},
	193: {tidegate.Halt, "auth.refused", "check user and password"},
	194: {tidegate.Halt, "auth.refused", "check user and password"},
	195: {tidegate.Halt, "auth.refused", "the user may not connect from this address"},
	202: {tidegate.Retry, "warehouse.busy", "the server runs as many queries as it may; lower max_connections of this warehouse"},
	209: {tidegate.Retry, "warehouse.connection", ""},
	210: {tidegate.Retry, "warehouse.connection", ""},
	215: {tidegate.Halt, "sql.binding", "group by the column, or take an aggregate of it"},
	225: {tidegate.Halt, "warehouse.cluster", "replicated tables need ClickHouse Keeper; configure it, or leave cluster out"},
	241: {tidegate.Retry, "warehouse.memory", "the statement needs more memory than it may (max_memory_usage); make the query smaller"},
	242: {tidegate.Retry, "warehouse.busy", "the table is read-only: its replica has lost ClickHouse Keeper"},
	243: {tidegate.Retry, "warehouse.disk", "the server's disk is full"},
	252: {tidegate.Retry, "warehouse.busy", "the table has too many parts that are not merged yet; the server catches up by itself"},
	291: {tidegate.Halt, "auth.refused", "grant the user access to the database" + page},
	349: {tidegate.Reject, "warehouse.value", "the row has no value in a column that needs one"},
	394: {tidegate.Retry, "warehouse.interrupted", "the statement was cancelled at the server"},
	395: {tidegate.Halt, "sql.value", "the query raised the error by itself (throwIf)"},
	396: {tidegate.Halt, "sql.limit", "the result is larger than the user may read (max_result_rows, max_result_bytes)"},
	456: {tidegate.Halt, "sql.binding", "give every parameter a value"},
	457: {tidegate.Halt, "sql.binding", "correct the parameter's value or type"},
	473: {tidegate.Retry, "warehouse.busy", ""},
	497: {tidegate.Halt, "warehouse.permission", "grant the user what it lacks" + page},
	516: {tidegate.Halt, "auth.refused", "check user and password"},
	701: {tidegate.Halt, "warehouse.cluster", "correct cluster, or define it at the server (system.clusters shows those that there are)"},
	999: {tidegate.Retry, "warehouse.busy", "ClickHouse Keeper does not answer"},
}

var (
	exception = regexp.MustCompile(`Code: (\d+)\. DB::Exception: (?s:(.*))`)
	trailer   = regexp.MustCompile(`(?s)\s*\(version [^)]*\).*$`)
	codeName  = regexp.MustCompile(`\s*\([A-Z][A-Z0-9_]+\)\s*$`)
	inLine    = regexp.MustCompile(`position (\d+)`)
	needed    = regexp.MustCompile(`grant ([A-Z][A-Z0-9_ ,()\w]*? ON [^\s]+)`)
	named     = regexp.MustCompile("(?:identifier|name) [`']([^`']+)[`']")
)

// failure says what an error of the driver means; sql is what ran.
func (c *client) failure(ctx context.Context, err error, sql string) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("running a statement: %w", cause)
	}
	var (
		fault   *tidegate.Fault
		server  *driver.Exception
		answer  *driver.HTTPError
		waiting = errors.Is(err, driver.ErrAcquireConnTimeout)
	)
	switch {
	case errors.As(err, &fault):
		return err
	case errors.As(err, &server):
		return serverFault(int(server.Code), server.Message, sql, c.user)
	case errors.As(err, &answer):
		f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.connection", Message: fmt.Sprintf("the server answered with status %d", answer.StatusCode), Hint: "check host and port: is this ClickHouse's HTTP interface?"}
		if answer.StatusCode == http.StatusNotFound || answer.StatusCode/100 == 3 {
			f.Action = tidegate.Halt
		}
		return f
	case waiting:
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.busy", Message: "no connection became free", Hint: "raise max_connections of this warehouse"}
	}
	return connectError(ctx, err)
}

// told returns the error that the server wrote into an answer which had begun well, nil when there is none.
func told(answer []byte, sql, user string) error {
	at := bytes.LastIndex(answer, []byte("Code: "))
	if at < 0 {
		return nil
	}
	message, _, _ := strings.Cut(string(answer[at:]), "\r\n")
	m := exception.FindStringSubmatch(message)
	if m == nil {
		return nil
	}
	code, _ := strconv.Atoi(m[1])
	return serverFault(code, m[2], sql, user)
}

func serverFault(code int, message, sql, user string) *tidegate.Fault {
	message = codeName.ReplaceAllString(trailer.ReplaceAllString(strings.TrimSpace(message), ""), "")
	if at := strings.Index(message, ". Expected one of"); at > 0 {
		message = message[:at]
	}
	if at := strings.Index(message, " in scope "); at > 0 {
		message = message[:at]
	}
	const longest = 500
	if len(message) > longest {
		message = strings.ToValidUTF8(message[:longest], "") + "…"
	}
	f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Err: &serverError{code, message}}
	if r, ok := rules[code]; ok {
		f.Action, f.Code, f.Hint = r.action, r.code, r.hint
	}
	if m := needed.FindStringSubmatch(message); code == 497 && m != nil {
		f.Hint = "GRANT " + strings.TrimRight(m[1], ".") + " TO " + user + page
	}
	f.Message = strings.Join(strings.Fields(message), " ") + place(code, message, sql)
	return f
}

// place shows the line of the statement that the server complains of.
func place(code int, message, sql string) string {
	if m := inLine.FindStringSubmatch(message); code == 62 && m != nil {
		if position, err := strconv.Atoi(m[1]); err == nil && position > 0 && position <= len(sql)+1 {
			return sqlcheck.Excerpt(sql, position-1)
		}
	}
	m := named.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	parts := strings.Split(m[1], ".")
	t := &tokens{sql: sql}
	for word := t.next(); word != ""; word = t.next() {
		if strings.EqualFold(word, parts[0]) || strings.EqualFold(word, m[1]) {
			return sqlcheck.Excerpt(sql, t.start)
		}
	}
	return ""
}

// connectError says what it means that no answer could be had, or not the whole of it.
func connectError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("running a statement: %w", cause)
	}
	f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.connection", Message: "the connection broke: " + redacted(err), Err: err, Hint: "when it does so every time: the port may want TLS, or be that of another protocol or program"}
	var (
		unknown   x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verifying *tls.CertificateVerificationError
		header    tls.RecordHeaderError
		notFound  *net.DNSError
		dialling  *net.OpError
	)
	switch {
	case errors.As(err, &unknown), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verifying):
		f.Action, f.Code, f.Hint = tidegate.Halt, "warehouse.tls", "set root_cert to the certificate that the server's comes from, and host to the name in it"
	case errors.As(err, &header), errors.Is(err, http.ErrSchemeMismatch):
		f.Action, f.Code, f.Hint = tidegate.Halt, "warehouse.tls", "the port speaks no TLS: use the HTTPS port (8443), or set tls: disable where the network is trusted"
	case errors.As(err, &notFound) && notFound.IsNotFound:
		f.Hint = "the name of the host is not known: correct it"
	case errors.As(err, &dialling) && dialling.Op == "dial":
		f.Message, f.Hint = "the server cannot be reached: "+redacted(err), "check host, port and the network between; the port is that of the HTTP interface (8123, 8443), or of the native protocol (9000, 9440) with protocol: native"
	}
	return f
}

// redacted is the text of an error of the network in one line, without the address asked, which holds the statement.
func redacted(err error) string {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

// lost says whether err is about the connection, so that nobody knows what the server did.
func lost(err error) bool {
	f := tidegate.FaultOf(err)
	return f != nil && f.Code == "warehouse.connection"
}
