package rstest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// token is a piece of SQL. All tokens in a row are the text.
type token struct {
	kind byte // w word, q quoted name, s text, p anything else, or a blank for white space and comments
	text string
}

func (t token) is(word string) bool { return t.kind == 'w' && strings.EqualFold(t.text, word) }

// lex cuts SQL as Redshift does: a backslash escapes in every text.
func lex(sql string) []token {
	var list []token
	for at := 0; at < len(sql); {
		start, kind := at, byte('p')
		c := sql[at]
		switch {
		case strings.IndexByte(" \t\n\r\f\v", c) >= 0:
			kind, at = ' ', at+1
		case strings.HasPrefix(sql[at:], "--"):
			kind = ' '
			if n := strings.IndexByte(sql[at:], '\n'); n >= 0 {
				at += n
			} else {
				at = len(sql)
			}
		case strings.HasPrefix(sql[at:], "/*"):
			kind, at = ' ', comment(sql, at)
		case c == '"':
			kind, at = 'q', quoted(sql, at, '"', false)
		case c == '\'':
			kind, at = 's', quoted(sql, at, '\'', true)
		case (c == 'e' || c == 'E') && at+1 < len(sql) && sql[at+1] == '\'':
			kind, at = 's', quoted(sql, at+1, '\'', true)
		case letter(c):
			for kind = 'w'; at < len(sql) && (letter(sql[at]) || sql[at] == '$' || sql[at] >= '0' && sql[at] <= '9'); at++ {
			}
		default:
			at++
		}
		list = append(list, token{kind, sql[start:at]})
	}
	return list
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func comment(sql string, at int) int {
	depth := 0
	for at < len(sql) {
		switch {
		case strings.HasPrefix(sql[at:], "/*"):
			depth++
			at += 2
		case strings.HasPrefix(sql[at:], "*/"):
			at += 2
			if depth--; depth == 0 {
				return at
			}
		default:
			at++
		}
	}
	return at
}

func quoted(sql string, at int, mark byte, escapes bool) int {
	for at++; at < len(sql); at++ {
		switch {
		case escapes && sql[at] == '\\':
			at++
		case sql[at] != mark:
		case at+1 < len(sql) && sql[at+1] == mark:
			at++
		default:
			return at + 1
		}
	}
	return len(sql)
}

// refusal is an error of the double's own.
func refusal(code, message string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", Code: code, Message: message}
}

// never are words and pairs of words that Redshift's grammar or catalogue does not know.
var never = [][]string{
	{"on", "conflict"},
	{"returning"},
	{"jsonb"},
	{"json"},
	{"bytea"},
	{"regclass"},
	{"to_regclass"},
	{"to_regnamespace"},
	{"create", "index"},
	{"create", "unique"},
	{"array", "["},
	{"deferrable"},
	{"distinct", "on"},
	{"on", "commit"},
	{"for", "update"},
	{"savepoint"},
	{"filter", "("},
	{"lateral"},
	{"is", "distinct"},
	{"collate", `"C"`},
	{"unnest"},
	{"string_agg"},
	{"array_agg"},
	{"hashtextextended"},
	{"to_jsonb"},
	{"gen_random_uuid"},
	{"txid_current"},
	{"txid_status"},
	{"pg_advisory_lock"},
	{"pg_advisory_xact_lock"},
	{"access", "share"},
	{"explain", "analyze"},
	{"explain", "verbose", "analyze"},
	{"encode", "("},
	{"trim_scale"},
	{"materialized", "("},
	{"lock_timeout"},
	{"pg_locks"},
	{"tablesample"},
}

// rewrite turns a statement of Redshift into one of PostgreSQL, or refuses it.
func (c *Cluster) rewrite(sql string, inTransaction bool) (string, *pgproto3.ErrorResponse) {
	var out strings.Builder
	tokens := lex(sql)
	for len(tokens) > 0 {
		end := slices.IndexFunc(tokens, func(t token) bool { return t.text == ";" })
		statement := tokens
		if end >= 0 {
			statement = tokens[:end]
		}
		text, refused := c.statement(statement, inTransaction)
		if refused != nil {
			return "", refused
		}
		out.WriteString(text)
		if end < 0 {
			break
		}
		out.WriteByte(';')
		tokens = tokens[end+1:]
	}
	return out.String(), nil
}

func significant(tokens []token) []token {
	return slices.DeleteFunc(slices.Clone(tokens), func(t token) bool { return t.kind == ' ' })
}

func (c *Cluster) statement(tokens []token, inTransaction bool) (string, *pgproto3.ErrorResponse) {
	words := significant(tokens)
	if refused := refuse(words, inTransaction); refused != nil {
		return "", refused
	}
	tokens, keys := takeKeys(slices.Clone(tokens))
	casts(tokens)
	for i := range tokens {
		c.token(tokens, i)
	}
	var out strings.Builder
	for _, t := range tokens {
		out.WriteString(t.text)
	}
	if keys != "" {
		at := slices.IndexFunc(tokens, func(t token) bool { return t.text == "(" })
		var name strings.Builder
		for _, t := range tokens[:at] {
			if !slices.Contains([]string{"create", "temp", "table", "if", "not", "exists"}, strings.ToLower(t.text)) {
				name.WriteString(t.text)
			}
		}
		out.WriteString("; COMMENT ON TABLE " + strings.TrimSpace(name.String()) + " IS '" + keys + "'")
	}
	return c.late(words, out.String()), nil
}

func refuse(words []token, inTransaction bool) *pgproto3.ErrorResponse {
	for i := range words {
		for _, pattern := range never {
			if len(words) < i+len(pattern) {
				continue
			}
			if slices.EqualFunc(words[i:i+len(pattern)], pattern, func(t token, p string) bool {
				return t.kind != 'q' && t.kind != 's' && strings.EqualFold(t.text, p) || t.text == p
			}) {
				return refusal("42601", fmt.Sprintf(`syntax error at or near "%s"`, words[i].text))
			}
		}
		if words[i].is("values") && i > 0 && (words[i-1].text == "(" && i > 1 && words[i-2].is("from")) || i == 0 && words[i].is("values") {
			return refusal("42601", `syntax error at or near "VALUES"`)
		}
		if words[i].kind == 'q' && (strings.Contains(words[i].text[1:len(words[i].text)-1], `"`) || len(words[i].text) > 129) {
			return refusal("42602", "invalid name "+words[i].text)
		}
	}
	if len(words) < 3 || !words[0].is("alter") || !words[1].is("table") {
		return nil
	}
	adds := 0
	for i, w := range words {
		if w.is("add") {
			adds++
		}
		if !w.is("type") || i == 0 {
			continue
		}
		switch {
		case !words[i+1].is("varchar"):
			return refusal("0A000", "ALTER COLUMN TYPE to "+words[i+1].text+" is not supported")
		case inTransaction:
			return refusal("25001", "ALTER TABLE ALTER COLUMN cannot run inside a transaction block")
		}
	}
	if adds > 1 {
		return refusal("42601", `syntax error at or near ","`)
	}
	return nil
}

// takeKeys takes the keys out of a CREATE TABLE and returns them as a comment for the table.
func takeKeys(tokens []token) ([]token, string) {
	words := significant(tokens)
	if len(words) < 3 || !words[0].is("create") || !words[1].is("table") && !words[2].is("table") {
		return tokens, ""
	}
	var keys struct {
		Dist string   `json:"dist"`
		Sort []string `json:"sort"`
	}
	var rest []token
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch {
		case t.is("compound"), t.is("interleaved"):
		case t.is("diststyle"):
			for i++; tokens[i].kind == ' '; i++ {
			}
		case t.is("distkey"), t.is("sortkey"):
			var names []string
			for i++; tokens[i].text != ")"; i++ {
				if tokens[i].kind == 'q' || tokens[i].kind == 'w' {
					names = append(names, strings.Trim(tokens[i].text, `"`))
				}
			}
			if t.is("distkey") {
				keys.Dist = names[0]
			} else {
				keys.Sort = names
			}
		default:
			rest = append(rest, t)
		}
	}
	if keys.Dist == "" && len(keys.Sort) == 0 {
		return rest, ""
	}
	text, err := json.Marshal(keys)
	if err != nil {
		panic(err)
	}
	return rest, string(text)
}

// casts turns CAST (… AS SUPER), which makes a JSON string of a text, into PostgreSQL's function for it.
func casts(tokens []token) {
	for i := range tokens {
		if !tokens[i].is("cast") || i+1 >= len(tokens) || tokens[i+1].text != "(" {
			continue
		}
		depth, as, last := 0, -1, -1
		for j := i + 1; j < len(tokens); j++ {
			switch {
			case tokens[j].text == "(":
				depth++
			case tokens[j].text == ")":
				depth--
			case depth == 1 && tokens[j].is("as"):
				as = j
			case depth == 1 && tokens[j].kind == 'w':
				last = j
			}
			if depth == 0 {
				break
			}
		}
		if as > 0 && last > as && tokens[last].is("super") {
			tokens[i].text, tokens[i+1].text, tokens[as].text, tokens[last].text = "to_jsonb", "((", ")", "::text"
		}
	}
}

// renamed are types, functions and tables that are called otherwise.
var renamed = map[string]string{
	"super": "jsonb", "varbyte": "bytea", "pg_attribute": "rs_attribute", "version": "rs_version",
	"query_group": "rs.query_group", "enable_case_sensitive_identifier": "rs.enable_case_sensitive_identifier",
}

func (c *Cluster) token(tokens []token, i int) {
	t := &tokens[i]
	switch t.kind {
	case 'q':
		t.text = `"` + c.short(lower(t.text[1:len(t.text)-1])) + `"`
	case 's':
		if strings.Contains(t.text, `\`) && t.text[0] == '\'' {
			t.text = "E" + t.text
		}
	case 'w':
		to, ok := renamed[strings.ToLower(t.text)]
		if first := i == 0 || len(significant(tokens[:i])) == 0; first && t.is("begin") {
			to, ok = "BEGIN ISOLATION LEVEL REPEATABLE READ", true
		}
		if !ok {
			return
		}
		if t.is("version") && (i+1 == len(tokens) || tokens[i+1].text != "(") {
			return
		}
		if t.is("varbyte") && i+3 < len(tokens) && tokens[i+1].text == "(" {
			for j := i + 1; j < len(tokens); j++ {
				last := tokens[j].text == ")"
				tokens[j].text = ""
				if last {
					break
				}
			}
		}
		t.text = to
	}
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// aliased marks names that PostgreSQL would cut.
const aliased = "_rs_"

// short is a name of at most 63 bytes for one of at most 127.
func (c *Cluster) short(name string) string {
	if len(name) <= 63 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	alias := strings.ToValidUTF8(name[:30], "") + aliased + hex.EncodeToString(sum[:8])
	c.names.Store(alias, name)
	return alias
}

// long is the name behind an alias.
func (c *Cluster) long(name string) string {
	if strings.Contains(name, aliased) {
		if v, ok := c.names.Load(name); ok {
			return v.(string)
		}
	}
	return name
}
