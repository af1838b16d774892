// Package model compiles a tidegate.Model against the warehouse: one read-only
// statement, its columns, its primary key and the tables that it reads. It also
// owns how one cell of a row is written as JSON (value.go), because keys and
// payloads must agree on it.
//
// A compiled Model is immutable and safe for concurrent use. The package does
// not read rows, compare them or know destinations. Nothing about a model is
// guessed: a primary key column that is missing, or of a kind that cannot
// identify a row, is a Halt fault before any run (Invariant 6).
package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse"
)

// The published limits of a model.
const (
	MaxColumns    = 512       // columns of the result
	MaxColumnName = 128       // bytes of a column's name
	MaxKeyColumns = 16        // columns of the primary key
	MaxQueryChars = 65_535    // characters of the SQL text
	MaxRowBytes   = 512 << 10 // encoded bytes of one mapped row
	MaxValueBytes = 128 << 10 // encoded bytes of one value
)

// Model is a compiled model.
type Model struct {
	Name string
	// SQL is the statement to be read, without a trailing semicolon.
	SQL string
	// Schema is what the statement returns.
	Schema tidegate.Schema
	// PrimaryKey names the columns that identify a row, in key order.
	PrimaryKey []string
	// Args are the values of the parameters $1, $2, … of SQL. A statement that
	// embeds SQL numbers its own parameters from len(Args)+1.
	Args []any
	// Tables are the tables that the statement reads; nil where the warehouse
	// cannot tell.
	Tables []warehouse.Table
	// Incremental is the column that grows whenever a row changes; empty when the
	// model is read whole every time. FullEvery is how often it is read whole all the same.
	Incremental string
	FullEvery   time.Duration
	// Lookups names, for every lookup that the model was compiled with, the
	// column of Schema that holds its value.
	Lookups map[tidegate.Lookup]string
}

// Compile is Catalog.Compile for a model that refers to no other.
func Compile(ctx context.Context, wh warehouse.Warehouse, def tidegate.Model) (*Model, error) {
	return Catalog{}.compile(ctx, wh, def, nil)
}

// checkShape checks what needs no warehouse.
func checkShape(def tidegate.Model) error {
	var problems []error
	var set []string
	for name, value := range map[string]string{"sql": strings.TrimSpace(def.SQL), "table": def.Table, "file": def.File, "dbt": def.Dbt} {
		if value != "" {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	chars := utf8.RuneCountInString(strings.TrimSpace(def.SQL))
	switch {
	case len(set) == 0:
		problems = append(problems, fault(def.Name, "model.invalid", "it has none of sql, table, file and dbt", "set one of them"))
	case len(set) > 1:
		problems = append(problems, fault(def.Name, "model.invalid", "it has "+strings.Join(set, " and "), "set only one of sql, table, file and dbt"))
	case chars > MaxQueryChars:
		problems = append(problems, fault(def.Name, "model.limit",
			fmt.Sprintf("the query has %d characters, the limit is %d", chars, MaxQueryChars),
			"make the long part a view in the warehouse and select from it"))
	case len(def.Uses) > 0 && def.SQL == "":
		problems = append(problems, fault(def.Name, "model.invalid", "only a model of SQL uses others", "remove uses, or write sql"))
	case len(def.Uses) > MaxUses:
		problems = append(problems, fault(def.Name, "model.limit", fmt.Sprintf("it uses %d models, the limit is %d", len(def.Uses), MaxUses), "make views of some of them"))
	}
	if len(def.PrimaryKey) == 0 {
		problems = append(problems, fault(def.Name, "model.key", "it has no primary_key", "name the columns that identify a row, for example primary_key: [id]"))
	}
	if len(def.PrimaryKey) > MaxKeyColumns {
		problems = append(problems, fault(def.Name, "model.limit", fmt.Sprintf("its primary_key has %d columns, the limit is %d", len(def.PrimaryKey), MaxKeyColumns), "use fewer columns, or one column that combines them"))
	}
	return errors.Join(problems...)
}

// describe asks the warehouse for the columns of sql. It asks twice: EXPLAIN
// proves that the text is one whole statement, and the empty SELECT around it
// that it is a query. A text that closes our parenthesis and opens its own
// passes the second and fails the first.
func describe(ctx context.Context, wh warehouse.Warehouse, name, sql string, args []any) (tidegate.Schema, error) {
	if _, err := columnsOf(ctx, wh, "EXPLAIN "+sql, args); err != nil {
		return nil, refused(name, err)
	}
	schema, err := columnsOf(ctx, wh, "SELECT * FROM (\n"+sql+"\n) AS model LIMIT 0", args)
	if err != nil {
		return nil, refused(name, err)
	}
	return schema, nil
}

func columnsOf(ctx context.Context, wh warehouse.Warehouse, sql string, args []any) (schema tidegate.Schema, err error) {
	rows, err := wh.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	return append(tidegate.Schema(nil), rows.Schema()...), nil
}

// refused names the model in the warehouse's own words; only what the author of
// the model can mend becomes a fault of the model.
func refused(name string, err error) error {
	f := tidegate.FaultOf(err)
	if f.Action != tidegate.Halt {
		return fmt.Errorf("describing model %q: %w", name, err)
	}
	hint := f.Hint
	if hint == "" {
		hint = "correct the model's SQL; it must be a single SELECT"
	}
	message := f.Message
	if message == "" {
		message = err.Error()
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "model.query", Subject: subject(name), Message: message, Hint: hint, Err: err}
}

func checkSchema(name string, schema tidegate.Schema) error {
	var problems []error
	if len(schema) > MaxColumns {
		problems = append(problems, fault(name, "model.limit", fmt.Sprintf("the query returns %d columns, the limit is %d", len(schema), MaxColumns), "select only the columns that a sync needs"))
	}
	seen := make(map[string]bool, len(schema))
	for _, c := range schema {
		if len(c.Name) > MaxColumnName {
			problems = append(problems, fault(name, "model.limit", fmt.Sprintf("the column name %.40q… has %d bytes, the limit is %d", c.Name, len(c.Name), MaxColumnName), "give the column a shorter alias"))
		}
		if IsLookupColumn(c.Name) {
			problems = append(problems, fault(name, "model.query", fmt.Sprintf("the column %q has a name that lookups use", c.Name), "give the column another alias"))
		}
		if folded := strings.ToLower(c.Name); seen[folded] {
			problems = append(problems, fault(name, "model.query", fmt.Sprintf("two columns are called %q", c.Name), "give one of them another alias"))
		} else {
			seen[folded] = true
		}
	}
	return errors.Join(problems...)
}

func checkKey(def tidegate.Model, schema tidegate.Schema) error {
	var problems []error
	seen := make(map[string]bool, len(def.PrimaryKey))
	for i, column := range def.PrimaryKey {
		path := fmt.Sprintf("%s primary_key[%d]", subject(def.Name), i)
		at := schema.Index(column)
		switch {
		case seen[column]:
			problems = append(problems, keyFault(path, fmt.Sprintf("column %q is named twice", column), "name every key column once"))
		case at < 0:
			problems = append(problems, keyFault(path, fmt.Sprintf("the query returns no column %q", column), hintFor(column, schema.Names())))
		case !canIdentify(schema[at].Type.Kind):
			problems = append(problems, keyFault(path, fmt.Sprintf("column %q is %s, which cannot identify a row", column, schema[at].Type), "cast it to an integer or to text in the query"))
		}
		seen[column] = true
	}
	return errors.Join(problems...)
}

// canIdentify refuses kinds whose equality is not that of their text.
func canIdentify(k tidegate.Kind) bool {
	switch k {
	case tidegate.Bool, tidegate.Int, tidegate.Decimal, tidegate.String, tidegate.Bytes, tidegate.Date, tidegate.Timestamp:
		return true
	case tidegate.Unknown, tidegate.Float, tidegate.JSON:
		return false
	}
	return false
}

func subject(name string) string { return fmt.Sprintf("model %s", name) }

func fault(name, code, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: code, Subject: subject(name), Message: message, Hint: hint}
}

func keyFault(subject, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "model.key", Subject: subject, Message: message, Hint: hint}
}

func hintFor(word string, known []string) string {
	if hint := config.DidYouMean(word, known); hint != "" {
		return hint
	}
	if len(known) > 12 {
		known = append(append([]string(nil), known[:12]...), "…")
	}
	return "it returns " + strings.Join(known, ", ")
}
