package dbt

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Reading is a SQL text of the project that reads tables by their names.
type Reading struct {
	Sync  string
	Model string // the model of the project that the text is of
	SQL   string
	// Names are names in the text that stand for dbt models: name → reference.
	Names map[string]string
	// Wanted are the columns that are read of the text's result: what `SELECT *` passes on.
	Wanted []string
}

// CompareReadings says what going from old to now does to SQL texts that read
// what dbt builds. It looks at their words, not at their meaning: a column that is
// dropped counts as read where a text names both its table and it, rather a
// question too many than a break too late.
func CompareReadings(old, now Side, list []Reading) ([]Finding, error) {
	var out []Finding
	for _, r := range list {
		c := readingCheck{old: old, now: now, r: r, text: lex(r.SQL)}
		if err := c.run(); err != nil {
			return nil, fmt.Errorf("checking model %s of sync %s: %w", r.Model, r.Sync, err)
		}
		out = append(out, c.findings...)
	}
	return out, nil
}

type readingCheck struct {
	old, now Side
	r        Reading
	text     lexed
	findings []Finding
}

func (c *readingCheck) add(breaks bool, code string, m *Model, column, message, hint string) {
	c.findings = append(c.findings, Finding{
		Code: code, Sync: c.r.Sync, Model: m.String(), Column: column, Breaks: breaks,
		Message: fmt.Sprintf("model %s of the project reads it, and %s", c.r.Model, message), Hint: hint,
	})
}

func (c *readingCheck) run() error {
	for _, id := range slices.Sorted(maps.Keys(c.old.Manifest.Models)) {
		before := c.old.Manifest.Models[id]
		byName := c.named(before)
		if before.Readable() != nil || !byName && !c.text.reads(before.Schema, before.Alias) {
			continue
		}
		after := c.now.Manifest.Models[id]
		switch {
		case after == nil:
			c.add(true, "dbt.model_dropped", before, "", "it is dropped, disabled or renamed", "bring it back, or change the SQL with it")
		case after.Readable() != nil:
			c.add(true, "dbt.model_unreadable", after, "", after.Readable().Error(), "materialize it as a table, a view or incrementally")
		case !byName && before.Table() != after.Table():
			c.add(true, "dbt.model_moved", after, "", fmt.Sprintf("it moves from %s to %s", before.Table(), after.Table()), "change the SQL with it, or let a model of the project name the dbt model and use that")
		default:
			if err := c.columns(before, after); err != nil {
				return err
			}
		}
	}
	return nil
}

// named says whether a name in the text stands for m.
func (c *readingCheck) named(m *Model) bool {
	for _, name := range slices.Sorted(maps.Keys(c.r.Names)) {
		if found, err := c.old.Manifest.Find(c.r.Names[name]); err == nil && found.ID == m.ID && c.text.reads("", name) {
			return true
		}
	}
	return false
}

func (c *readingCheck) columns(before, after *Model) error {
	was, err := c.old.columns(before)
	if err != nil {
		return err
	}
	now, err := c.now.columns(after)
	if err != nil {
		return err
	}
	for _, col := range was.List {
		if !c.text.words[strings.ToLower(col.Name)] && !(c.text.star && slices.ContainsFunc(c.r.Wanted, func(w string) bool { return strings.EqualFold(w, col.Name) })) {
			continue
		}
		is, has := find(now.List, col.Name)
		switch {
		case !has:
			c.add(true, "dbt.column_dropped", after, col.Name, "the change drops this column, which the SQL names", "bring it back, or change the SQL with it")
		case was.From == now.From && !sameType(col.Type, is.Type):
			c.add(false, "dbt.column_type", after, col.Name, fmt.Sprintf("the type of this column changes from %s to %s", col.Type, is.Type), "look at what the SQL makes of it")
		}
	}
	return nil
}

// SQLWords are the names that a SQL text holds, in lower case and sorted.
func SQLWords(sql string) []string { return slices.Sorted(maps.Keys(lex(sql).words)) }

// lexed is a SQL text as its words.
type lexed struct {
	tokens []string        // identifiers without their quotes, in lower case, and single marks
	words  map[string]bool // the identifiers
	ctes   map[string]bool // names that WITH gives
	star   bool            // all columns of something are read
}

var sqlToken = regexp.MustCompile(`(?s)--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|` + "`[^`]*`" + `|[0-9][0-9A-Za-z_.]*|[A-Za-z_][A-Za-z0-9_$]*|[.,*()]`)

func lex(sql string) lexed {
	l := lexed{words: map[string]bool{}, ctes: map[string]bool{}}
	for _, t := range sqlToken.FindAllString(sql, -1) {
		switch {
		case strings.HasPrefix(t, "--"), strings.HasPrefix(t, "/*"), t[0] == '\'':
			continue
		case t[0] == '"' || t[0] == '`':
			t = strings.ReplaceAll(t[1:len(t)-1], `""`, `"`)
			l.words[strings.ToLower(t)] = true
		case !strings.Contains(".,*()0123456789", t[:1]):
			l.words[strings.ToLower(t)] = true
		}
		l.tokens = append(l.tokens, strings.ToLower(t))
	}
	for i, t := range l.tokens {
		switch before := l.at(i - 1); {
		case t == "*" && (before == "select" || before == "distinct" || before == "all" || before == "," || before == "."):
			l.star = true
		case l.at(i+1) == "as" && l.at(i+2) == "(" && (before == "with" || before == "," || before == "recursive"):
			l.ctes[t] = true
		}
	}
	return l
}

func (l lexed) at(i int) string {
	if i < 0 || i >= len(l.tokens) {
		return ""
	}
	return l.tokens[i]
}

// reads says whether the text names a table: with its schema, or alone after
// FROM, JOIN or a comma where no WITH gives that name to something else.
func (l lexed) reads(schema, table string) bool {
	schema, table = strings.ToLower(schema), strings.ToLower(table)
	for i, t := range l.tokens {
		if t != table {
			continue
		}
		switch l.at(i - 1) {
		case ".":
			if schema != "" && l.at(i-2) == schema {
				return true
			}
		case "from", "join", ",":
			if !l.ctes[table] {
				return true
			}
		}
	}
	return false
}
