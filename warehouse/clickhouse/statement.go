package clickhouse

import (
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// tokens reads SQL as the server's lexer does, as far as it takes to tell words
// from texts and comments.
type tokens struct {
	sql string
	at  int
	// start is where the last token begins.
	start int
	// quoted says that the last token was a quoted name.
	quoted bool
}

// text stands for any literal text.
const text = "'"

// next returns the next word (folded to lower case unless it was quoted), number or
// single character; "" at the end. A parameter is returned as it is written: "$1".
func (t *tokens) next() string {
	t.space()
	t.start, t.quoted = t.at, false
	if t.at >= len(t.sql) {
		return ""
	}
	switch c := t.sql[t.at]; {
	case c == '\'':
		t.pass(c)
		return text
	case c == '"' || c == '`':
		t.pass(c)
		t.quoted = true
		return unquote(t.sql[t.start:t.at])
	case c == '$':
		if token := t.dollar(); token != "" {
			return token
		}
	case wordStart(c):
		for t.at < len(t.sql) && wordPart(t.sql[t.at]) {
			t.at++
		}
		return strings.ToLower(t.sql[t.start:t.at])
	case c >= '0' && c <= '9':
		for t.at < len(t.sql) && (wordPart(t.sql[t.at]) || t.sql[t.at] == '.') {
			t.at++
		}
		return t.sql[t.start:t.at]
	}
	t.at++
	return t.sql[t.start:t.at]
}

// dollar reads a parameter ($1) or a heredoc ($tag$ … $tag$).
func (t *tokens) dollar() string {
	end := t.at + 1
	digits := true
	for end < len(t.sql) && wordPart(t.sql[end]) && t.sql[end] != '$' {
		digits = digits && t.sql[end] >= '0' && t.sql[end] <= '9'
		end++
	}
	if end < len(t.sql) && t.sql[end] == '$' {
		tag := t.sql[t.at : end+1]
		if i := strings.Index(t.sql[end+1:], tag); i >= 0 {
			t.at = end + 1 + i + len(tag)
			return text
		}
	}
	if digits && end > t.at+1 {
		t.at = end
		return t.sql[t.start:end]
	}
	return ""
}

// pass goes behind a text between marks, in which a backslash hides what follows and a doubled mark is part of it.
func (t *tokens) pass(mark byte) {
	for t.at++; t.at < len(t.sql); t.at++ {
		switch {
		case t.sql[t.at] == '\\':
			t.at++
		case t.sql[t.at] != mark:
		case t.at+1 < len(t.sql) && t.sql[t.at+1] == mark:
			t.at++
		default:
			t.at++
			return
		}
	}
	t.at = len(t.sql)
}

func unquote(s string) string {
	mark := s[:1]
	s = strings.TrimSuffix(s[1:], mark)
	s = strings.ReplaceAll(s, mark+mark, mark)
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// space passes white space and comments.
func (t *tokens) space() {
	for t.at < len(t.sql) {
		switch rest := t.sql[t.at:]; {
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				t.at += i
			} else {
				t.at = len(t.sql)
			}
		case strings.HasPrefix(rest, "/*"):
			if i := strings.Index(rest[2:], "*/"); i >= 0 {
				t.at += i + 4
			} else {
				t.at = len(t.sql)
			}
		case strings.IndexByte(" \t\n\r\f\v", rest[0]) >= 0:
			t.at++
		case strings.HasPrefix(rest, "\u00a0"):
			t.at += 2
		default:
			return
		}
	}
}

func wordStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func wordPart(c byte) bool { return wordStart(c) || c >= '0' && c <= '9' }

// query is a statement that only reads, as it is sent.
type query struct {
	sql string
	// plain is a SELECT, whose columns can be described and converted.
	plain  bool
	params []param
	as     []string // see call
}

// compile refuses what is not one reading statement, as far as the text tells, and
// puts named parameters of the server in the places of $1, $2 …; the server
// runs it read-only, and refuses the rest.
func compile(sql string, args []any) (*query, error) {
	if err := sqlcheck.Text(sql); err != nil {
		return nil, err
	}
	t := &tokens{sql: sql}
	lead := t.next()
	for lead == "(" {
		lead = t.next()
	}
	q := &query{}
	switch lead {
	case "":
		return nil, sqlcheck.Empty()
	case "select", "with":
		q.plain = true
	case "values": // which this engine has as a function of tables only
		q.plain = true
		list := strings.TrimRight(sql[t.at:], "; \t\r\n")
		sql = "SELECT * FROM values(" + list + "\n)"
	case "explain":
		if !t.explainsQuery() {
			return nil, refused("the statement that is explained is not a query")
		}
	case "show", "describe", "desc":
	default:
		return nil, refused("the statement is not a query")
	}
	end, err := checkTokens(sql)
	if err != nil {
		return nil, err
	}
	q.sql, q.params, err = bindArgs(sql[:end], args)
	return q, err
}

// explainsQuery passes kind and settings of an EXPLAIN and says whether a query follows.
func (t *tokens) explainsQuery() bool {
	for {
		switch word := t.next(); word {
		case "select", "with", "(":
			return true
		case "ast", "syntax", "query", "tree", "plan", "pipeline", "estimate", "analyze", "=", ",":
		case "", "insert", "create", "drop", "delete", "alter", "update", "table", "current":
			return false
		default: // a setting or its value
			if !wordPart(word[0]) && word != text {
				return false
			}
			mark := *t
			if after := t.next(); after != "=" && after != "," && after != "select" && after != "with" && after != "(" {
				return false
			}
			*t = mark
		}
	}
}

// checkTokens reads the whole text, refuses what does more than read here, and
// returns where the statement ends: before its last semicolon.
func checkTokens(sql string) (end int, err error) {
	t := &tokens{sql: sql}
	end = -1
	before := ""
	for word := t.next(); word != ""; word = t.next() {
		quoted := t.quoted
		switch {
		case word == ";" && !quoted:
			if end < 0 {
				end = t.start
			}
			continue
		case end >= 0:
			return 0, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: "there is more than one statement", Hint: "send one statement at a time"}
		case word == "(" && leaves[before]:
			return 0, refused("the function " + before + " leaves the database, or does more than read")
		case word == "outfile" && before == "into":
			return 0, refused("a result is not written to a file")
		case word == "format" && !quoted && before != "." && before != "as" && t.endsInFormat():
			return 0, refused("the format of the answer is not the statement's to say")
		}
		before = word
		if quoted {
			before = strings.ToLower(word)
		}
	}
	if end < 0 {
		end = len(sql)
	}
	return end, nil
}

// endsInFormat says whether the word format, just read, is the clause of that name.
func (t *tokens) endsInFormat() bool {
	ahead := *t
	name := ahead.next()
	if name == "" || !wordStart(name[0]) || name == "asc" || name == "desc" {
		return false
	}
	after := ahead.next()
	return after == "" || after == ";" || after == "settings"
}

// leaves are functions that a query may not call although it only reads: they reach
// files, programs and other servers with the rights of this one, or hold it up.
var leaves = func() map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(`file filecluster url urlcluster s3 s3cluster gcs oss cosn azureblobstorage azureblobstoragecluster hdfs hdfscluster
		iceberg icebergs3 icebergazure iceberghdfs iceberglocal icebergcluster deltalake deltalakes3 deltalakeazure deltalakelocal hudi paimon paimonlocal
		remote remotesecure mysql postgresql sqlite mongodb redis odbc jdbc executable input ytsaurus arrowflight python filesystem
		sleep sleepeachrow catboostevaluate demangle addresstoline addresstolinewithinlines addresstosymbol trap`) {
		set[name] = true
	}
	return set
}()

func refused(why string) *tidegate.Fault {
	return &tidegate.Fault{
		Action:  tidegate.Halt,
		Code:    "sql.refused",
		Message: why,
		Hint:    "a query is one SELECT, VALUES, EXPLAIN, SHOW or DESCRIBE that only reads, of tables in this server",
	}
}

// bindArgs turns $1, $2 … into parameters of the server, whose type follows from the value.
func bindArgs(sql string, args []any) (string, []param, error) {
	var b strings.Builder
	params := make([]param, len(args))
	t := &tokens{sql: sql}
	last, most := 0, 0
	for word := t.next(); word != ""; word = t.next() {
		if word[0] != '$' || len(word) < 2 || t.quoted {
			continue
		}
		n, err := strconv.Atoi(word[1:])
		if err != nil || n < 1 || n > len(args) {
			return "", nil, sqlcheck.Arguments(max(n, most), len(args))
		}
		most = max(most, n)
		p := &params[n-1]
		if p.name == "" {
			if *p, err = bindArg(n, args[n-1]); err != nil {
				return "", nil, err
			}
		}
		b.WriteString(sql[last:t.start])
		b.WriteString("{" + p.name + ":" + p.typ + "}")
		last = t.at
	}
	if most != len(args) {
		return "", nil, sqlcheck.Arguments(most, len(args))
	}
	b.WriteString(sql[last:])
	bound := params[:0]
	for _, p := range params {
		if p.name != "" {
			bound = append(bound, p)
		}
	}
	return b.String(), bound, nil
}

// endsTransaction says whether a statement is about transactions, which belong to Begin.
func endsTransaction(sql string) bool {
	t := &tokens{sql: sql}
	word := t.next()
	for word == ";" {
		word = t.next()
	}
	switch word {
	case "begin", "start", "commit", "rollback", "abort", "savepoint", "release":
		return true
	}
	return false
}

// translate puts the engine's words in the place of those of the SQL standard: its schemas
// are databases, and a DELETE of all rows says so.
func translate(sql string) string {
	t := &tokens{sql: sql}
	lead := t.next()
	second := t.next()
	switch {
	case (lead == "drop" || lead == "create") && second == "schema":
		return sql[:t.start] + "DATABASE" + sql[t.at:]
	case lead == "delete" && second == "from":
		for word := t.next(); word != ""; word = t.next() {
			if word == "where" && !t.quoted {
				return sql
			}
		}
		return strings.TrimRight(sql, "; \t\r\n") + " WHERE true"
	}
	return sql
}
