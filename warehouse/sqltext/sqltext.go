// Package sqltext writes SQL text for every dialect from one set of rules that
// are data: how an identifier is quoted, how long it may be, which words are
// reserved, how a type is called and how a parameter is written.
//
// The type Text makes the compiler find a missing quote: a constant of the
// program is a Text, a quoted identifier is a Text, and a plain string is not,
// so that "SELECT " + name does not compile while "SELECT " + quoted does.
// Values never become Text; they are parameters.
//
// Invariants: a quoted identifier, parsed back by its engine, is exactly one
// identifier equal to the name that went in; names with NUL, control
// characters or broken UTF-8 are refused, never repaired in silence; shortening
// and numbering of names depend on nothing but the names.
//
// It does not talk to an engine and does not know events. All functions are
// pure and safe for concurrent use.
package sqltext

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
)

// Text is SQL text made of the program's own constants and quoted identifiers.
// Convert a string to it only for SQL that a user wrote as a whole statement.
type Text string

// Dialect is how one engine writes SQL. Take one from DuckDB or Find.
type Dialect struct {
	name        string
	quote       byte // the character around an identifier, doubled inside it
	backslash   bool // inside it is escaped by a backslash instead, and so is a backslash
	maxName     int  // longest identifier that the engine takes
	fitName     int  // longest identifier that we make; at most maxName
	maxBytes    bool // both count bytes rather than characters
	defaultPath string
	types       map[tidegate.Kind]Text
	decimal     Text // "DECIMAL", followed by (precision,scale)
	maxDecimal  int
	maxScale    int // of a decimal, where it is less than its digits; 0: it is not
	reserved    map[string]struct{}
	system      map[string]struct{} // names that every table has a column of already
	indexes     bool                // large tables need indexes for looking rows up
	units       bool                // there are no transactions, only units of loads
	skipping    Text                // of an index that skips what it does not hold; empty for an index of rows
	placeholder func(n int) Text
	// place and hour are expressions where the engine has no split_part or no epoch to extract; nil: as in SQL of the others.
	place, hour func(column Text) Text
	// number is a text as a float, and NULL where it is none; nil: as with TRY_CAST.
	number func(text Text) Text
	// jsonText is a document as its text, where a cast does not make it one; nil: it does.
	jsonText func(column Text) Text
	// decimalOf names a decimal where not all of them have one name; nil: decimal is the name.
	decimalOf func(precision, scale int) Text
	// illegal says why the engine takes a name for none, quoted or not; "" when it takes it. nil: it takes all.
	illegal func(what namePart, name string) string
	// plain turns a name that illegal refuses somewhere into one that it takes everywhere.
	plain func(name string) (plain string, changed bool)
	// hash is how rows are hashed.
	hash Hash
	// viewGrants stands before the AS of a view that is made anew, so that it keeps its grants; viewBinding
	// stands at its end, so that it binds no table.
	viewGrants, viewBinding Text
	// upper says that names are made in upper case, as the engine makes of those that are not quoted; only
	// ASCII letters have a case here. An adapter hands them out in lower case.
	upper bool
}

// namePart is what a name is of; engines differ in what each may hold.
type namePart uint8

const (
	columnName namePart = iota
	tableName
	schemaName
)

// dialects lists every dialect.
func dialects() []Dialect {
	return []Dialect{BigQuery(), ClickHouse(), DuckDB(), Postgres(), Redshift(), Snowflake()}
}

// Find returns the dialect that an Execer names ("duckdb").
func Find(name string) (Dialect, bool) {
	for _, d := range dialects() {
		if d.name == name {
			return d, true
		}
	}
	return Dialect{}, false
}

// Name is what Execer.Dialect returns for this dialect.
func (d Dialect) Name() string { return d.name }

// MaxName is the length of the longest identifier that Fit makes, in bytes or
// characters as the engine counts. Check lets longer ones pass where the engine
// does: the columns of a stranger's table are called what they are called.
func (d Dialect) MaxName() int { return d.fitName }

// DefaultSchema is the schema of a name that has none ("main").
func (d Dialect) DefaultSchema() string { return d.defaultPath }

// Units says that what the engine's adapter begins is no transaction but a unit
// (see warehouse.Tx): all or none, but its reads see neither a snapshot nor its own writes,
// and no statement in it tells how many rows it touched.
func (d Dialect) Units() bool { return d.units }

// Reserved says whether word, in any case, is a keyword that cannot stand as a
// bare identifier, or the name of a column that every table has. Quoted
// identifiers need not care for keywords; table and column naming rules that
// promise usable bare names do.
func (d Dialect) Reserved(word string) bool {
	word = strings.ToLower(word)
	_, keyword := d.reserved[word]
	_, system := d.system[word]
	return keyword || system
}

// Index is the statement that makes an index of a table where it is missing,
// by which rows are found by equality; "" where the engine finds them without.
func (d Dialect) Index(name, schema, table string, columns ...string) (Text, error) {
	if !d.indexes {
		return "", nil
	}
	index, err := d.Ident(name)
	if err != nil {
		return "", err
	}
	on, err := d.Table(schema, table)
	if err != nil {
		return "", err
	}
	quoted, err := d.Idents(columns)
	if err != nil {
		return "", err
	}
	if d.skipping != "" {
		return "ALTER TABLE " + on + " ADD INDEX IF NOT EXISTS " + index + " (" + Join(quoted, ", ") + ") TYPE " + d.skipping, nil
	}
	return "CREATE INDEX IF NOT EXISTS " + index + " ON " + on + " (" + Join(quoted, ", ") + ")", nil
}

// Place is the position that an offset's text, partition:position, in column says, as an int.
func (d Dialect) Place(column Text) Text {
	if d.place != nil {
		return d.place(column)
	}
	return "CAST(split_part(" + column + ", ':', 2) AS " + d.types[tidegate.Int] + ")"
}

// Number is what text, an expression, says as a float, and NULL where it says none.
func (d Dialect) Number(text Text) Text {
	if d.number != nil {
		return d.number(text)
	}
	return "TRY_CAST(" + text + " AS " + d.types[tidegate.Float] + ")"
}

// AsText is what column, of type t, says as a text.
func (d Dialect) AsText(column Text, t tidegate.Type) Text {
	if t.Kind == tidegate.JSON && d.jsonText != nil {
		return d.jsonText(column)
	}
	return "CAST(" + column + " AS " + d.types[tidegate.String] + ")"
}

// Hour is how many whole hours after 1970 the timestamp in column is, whatever the
// session's time zone, as an int.
func (d Dialect) Hour(column Text) Text {
	if d.hour != nil {
		return d.hour(column)
	}
	return "CAST(floor(extract(epoch FROM " + column + ") / 3600) AS " + d.types[tidegate.Int] + ")"
}

// Placeholder is the n-th parameter of a statement, counted from 1.
func (d Dialect) Placeholder(n int) Text { return d.placeholder(n) }

// Check says whether name can be an identifier as it stands: a *tidegate.Fault
// (Reject, code "sql.identifier") tells why not.
func (d Dialect) Check(name string) error { return d.check(columnName, name) }

func (d Dialect) check(what namePart, name string) error {
	switch {
	case name == "":
		return nameFault(name, "is empty")
	case !utf8.ValidString(name):
		return nameFault(name, "is not valid UTF-8")
	case strings.IndexFunc(name, unfit) >= 0:
		return nameFault(name, "holds a control character")
	case d.length(name) > d.maxName:
		return nameFault(name, fmt.Sprintf("is longer than the %d that %s allows", d.maxName, d.name))
	}
	if d.illegal != nil {
		if why := d.illegal(what, name); why != "" {
			return nameFault(name, why)
		}
	}
	return nil
}

// unfit finds what no identifier may hold: controls, and the characters that
// change how a terminal or a log shows the rest of the line.
func unfit(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' || unicode.Is(unicode.Bidi_Control, r)
}

func nameFault(name, why string) error {
	shown := name
	if len(shown) > 80 {
		shown = strings.ToValidUTF8(shown[:80], "") + "…"
	}
	return &tidegate.Fault{
		Action:  tidegate.Reject,
		Code:    "sql.identifier",
		Subject: fmt.Sprintf("name %q", shown),
		Message: "the name " + why,
		Hint:    "rename it at its source, or map it to another name",
	}
}

// Ident quotes name, refusing what Check refuses.
func (d Dialect) Ident(name string) (Text, error) { return d.ident(columnName, name) }

func (d Dialect) ident(what namePart, name string) (Text, error) {
	if err := d.check(what, name); err != nil {
		return "", err
	}
	if d.upper {
		name = Upper(name)
	}
	q := string(d.quote)
	if d.backslash {
		return Text(q + strings.NewReplacer(`\`, `\\`, q, `\`+q).Replace(name) + q), nil
	}
	return Text(q + strings.ReplaceAll(name, q, q+q) + q), nil
}

// Upper returns name with its ASCII letters in upper case: two names are the same
// if and only if their Upper is (see Same).
func Upper(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}, name)
}

// Table quotes a table's name with its schema; an empty schema is left out.
func (d Dialect) Table(schema, name string) (Text, error) {
	n, err := d.ident(tableName, name)
	if err != nil {
		return "", err
	}
	if schema == "" {
		return n, nil
	}
	s, err := d.ident(schemaName, schema)
	if err != nil {
		return "", err
	}
	return s + "." + n, nil
}

// Idents quotes every name.
func (d Dialect) Idents(names []string) ([]Text, error) {
	out := make([]Text, len(names))
	for i, name := range names {
		q, err := d.Ident(name)
		if err != nil {
			return nil, err
		}
		out[i] = q
	}
	return out, nil
}

// Type is the dialect's name of t, or an error for Unknown and for a decimal
// that the engine cannot hold. A Decimal without precision is decimal(38,9).
func (d Dialect) Type(t tidegate.Type) (Text, error) {
	if t.Kind == tidegate.Decimal {
		if t.Precision == 0 {
			t.Precision, t.Scale = d.maxDecimal, 9
		}
		if t.Precision < 1 || t.Precision > d.maxDecimal || t.Scale < 0 || t.Scale > t.Precision {
			return "", fmt.Errorf("naming type %s: %s decimals have 1 to %d digits", t, d.name, d.maxDecimal)
		}
		if d.maxScale > 0 && t.Scale > d.maxScale {
			return "", fmt.Errorf("naming type %s: %s decimals have at most %d digits after the point", t, d.name, d.maxScale)
		}
		if d.decimalOf != nil {
			return d.decimalOf(t.Precision, t.Scale), nil
		}
		return Text(fmt.Sprintf("%s(%d,%d)", d.decimal, t.Precision, t.Scale)), nil
	}
	name, ok := d.types[t.Kind]
	if !ok {
		return "", fmt.Errorf("naming type %s: %s has no such type", t, d.name)
	}
	return name, nil
}

// Columns is the definition list of a CREATE TABLE: "a" BIGINT, "b" VARCHAR.
func (d Dialect) Columns(s tidegate.Schema) (Text, error) {
	defs := make([]Text, len(s))
	for i, c := range s {
		name, err := d.Ident(c.Name)
		if err != nil {
			return "", err
		}
		typ, err := d.Type(c.Type)
		if err != nil {
			return "", fmt.Errorf("column %q: %w", c.Name, err)
		}
		defs[i] = name + " " + typ
	}
	return Join(defs, ", "), nil
}

// Join puts sep between texts.
func Join(texts []Text, sep Text) Text {
	var b strings.Builder
	for i, t := range texts {
		if i > 0 {
			b.WriteString(string(sep))
		}
		b.WriteString(string(t))
	}
	return Text(b.String())
}

// Prefix puts prefix (an alias with its point, "t.") before every text.
func Prefix(prefix Text, texts []Text) []Text {
	out := make([]Text, len(texts))
	for i, t := range texts {
		out[i] = prefix + t
	}
	return out
}

func (d Dialect) length(name string) int {
	if d.maxBytes {
		return len(name)
	}
	return utf8.RuneCountInString(name)
}
