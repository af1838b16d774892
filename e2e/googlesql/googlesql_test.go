// Package googlesql has GoogleSQL's own parser and analyser read what the BigQuery adapter
// says. It is a module of its own, for the library is Google's C++ turned into Go: building it takes
// minutes and six gigabytes, and nothing else of Tidegate needs it.
//
// The statements come from the adapter's own tests (TIDEGATE_BIGQUERY_CORPUS, written by
// warehouse/bigquery/bqtest), each with the tables that there were when it ran. What a
// statement does to rows is not seen here.
package googlesql

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	google "github.com/goccy/go-googlesql"
)

// statement is one line of the corpus, as bqtest.Statement.
type statement struct {
	SQL        string             `json:"sql"`
	Dataset    string             `json:"dataset"`
	Parameters map[string]string  `json:"parameters"`
	Tables     map[string][]field `json:"tables"`
}

type field struct{ Name, Type string }

// corpusEnv names the environment variable with the path of the corpus.
const corpusEnv = "TIDEGATE_BIGQUERY_CORPUS"

func TestMain(m *testing.M) {
	if err := google.Init(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestCorpus parses and analyses every statement.
func TestCorpus(t *testing.T) {
	path := os.Getenv(corpusEnv)
	if path == "" {
		t.Skipf("%s is not set: `make googlesql` sets it", corpusEnv)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := newAnalyser(t)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	kinds := map[string]int{}
	n := 0
	for lines.Scan() {
		var s statement
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		n++
		kinds[lead(s.SQL)]++
		if n%10 == 0 {
			runtime.GC() // the library frees its C++ objects when ours are collected
		}
		if err := a.analyse(s); err != nil {
			t.Errorf("%v\n%.2000s\ntables: %.2000v", err, s.SQL, s.Tables)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"SELECT", "CREATE TABLE", "CREATE OR", "ALTER TABLE", "INSERT INTO", "MERGE INTO", "UPDATE", "DELETE FROM", "DROP TABLE", "BEGIN TRANSACTION"} {
		if kinds[kind] == 0 {
			t.Errorf("no statement begins with %s: the corpus is not what the adapter says", kind)
		}
	}
	t.Logf("%d statements: %v", n, kinds)
}

// TestFindsMistakes: an analyser that takes everything proves nothing.
func TestFindsMistakes(t *testing.T) {
	a := newAnalyser(t)
	tables := map[string][]field{"d.t": {{"n", "INT64"}, {"s", "STRING"}, {"j", "JSON"}}}
	for _, sql := range []string{
		"SELECT nope FROM d.t", "SELECT n FROM d.none", "SELECT n FROM d.t WHERE s = 1", "SELECT NO_SUCH(n) FROM d.t", "INSERT INTO d.t (n) SELECT 'x'",
		"MERGE INTO d.t AS t USING (SELECT 'x' AS n) AS s ON t.n = s.n WHEN NOT MATCHED THEN INSERT (n) VALUES (s.n)",
		"UPDATE d.t SET n = 1", "SELECT FROM d.t", "SELECT SUBSTR(n, 1) FROM d.t", "SELECT n FROM d.t WHERE n = @p2", "CREATE TABLE d.x (n INT)) ", "SELECT 1; SELEC 2",
	} {
		if err := a.analyse(statement{SQL: sql, Tables: tables, Parameters: map[string]string{"p1": "STRING"}}); err == nil {
			t.Errorf("%s was taken", sql)
		}
	}
	for _, sql := range []string{"SELECT n, s FROM `d`.`t` WHERE s = @p1", "BEGIN TRANSACTION; UPDATE d.t SET n = 1 WHERE TRUE; COMMIT TRANSACTION"} {
		if err := a.analyse(statement{SQL: sql, Tables: tables, Parameters: map[string]string{"p1": "STRING"}}); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// lead is what a statement begins with.
func lead(sql string) string {
	words := strings.Fields(strings.ToUpper(sql))
	switch {
	case len(words) == 0:
		return ""
	case len(words) == 1 || strings.HasPrefix(words[0], "SELECT") || words[0] == "UPDATE" || words[0] == "WITH":
		return words[0]
	}
	return strings.TrimSuffix(words[0]+" "+words[1], ";")
}

type analyser struct {
	t        *testing.T
	language *google.LanguageOptions
	types    *google.TypeFactory
	builtins *google.SimpleCatalog // functions, and aliases of types
}

func newAnalyser(t *testing.T) *analyser {
	t.Helper()
	a := &analyser{t: t}
	a.language = must(google.NewLanguageOptions())(t)
	check(t, a.language.EnableMaximumLanguageFeaturesForDevelopment())
	check(t, a.language.SetSupportsAllStatementKinds())
	a.types = must(google.NewTypeFactory())(t)
	a.builtins = must(google.NewSimpleCatalog("builtins", a.types))(t)
	check(t, a.builtins.AddBuiltinFunctionsAndTypes(&google.BuiltinFunctionOptions{LanguageOptions: a.language}))
	for _, alias := range []string{"BIGINT", "INTEGER", "INT", "DECIMAL", "BIGDECIMAL"} { // which BigQuery has and the library has not
		kind := map[string]string{"DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC"}[alias]
		if kind == "" {
			kind = "INT64"
		}
		_ = must(a.builtins.AddTypeIfNotPresent(alias, a.typeOf(kind)))(t)
	}
	return a
}

// must is for calls that fail only when the library is broken.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// analyse reads all statements of a script, one after another.
func (a *analyser) analyse(s statement) error {
	options := must(google.NewAnalyzerOptions2())(a.t)
	check(a.t, options.SetLanguage(a.language))
	for name, typ := range s.Parameters {
		check(a.t, options.AddQueryParameter(name, a.typeOf(typ)))
	}
	if strings.HasPrefix(s.SQL, "CALL BQ.") { // a procedure of BigQuery's own, which no catalogue here has
		_, err := google.ParseStatement(s.SQL, must(google.NewParserOptions())(a.t))
		return err
	}
	catalog := a.catalog(s)
	at := must(google.NewParseResumeLocationFromString(s.SQL))(a.t)
	for {
		position := must(at.BytePosition())(a.t)
		if nothing(s.SQL[position:]) {
			return nil
		}
		if _, err := google.AnalyzeNextStatement(at, options, catalog, a.types); err != nil {
			return err
		}
	}
}

var comments = regexp.MustCompile(`(?s)/\*.*?\*/|(?m:(--|#).*$)`)

// nothing says whether no statement is left in a text.
func nothing(rest string) bool {
	return strings.Trim(comments.ReplaceAllString(rest, ""), " \t\r\n;") == ""
}

// catalog has the tables of a statement, by dataset and name, and those of its own dataset by name.
func (a *analyser) catalog(s statement) *google.MultiCatalog {
	root := must(google.NewSimpleCatalog("tables", a.types))(a.t)
	datasets := map[string]*google.SimpleCatalog{}
	for name, fields := range s.Tables {
		dataset, table, _ := strings.Cut(name, ".")
		made := must(google.NewSimpleTable(table, 0))(a.t)
		for _, f := range fields {
			check(a.t, made.AddColumn2(must(google.NewSimpleColumn(table, f.Name, a.typeOf(f.Type), false, true))(a.t), false))
		}
		if datasets[dataset] == nil {
			datasets[dataset] = must(google.NewSimpleCatalog(dataset, a.types))(a.t)
			check(a.t, root.AddCatalog(datasets[dataset]))
		}
		check(a.t, datasets[dataset].AddTable(made))
		if dataset == s.Dataset {
			check(a.t, root.AddTable(made))
		}
	}
	return must(google.NewMultiCatalogCreate("project", []google.CatalogNode{a.builtins, root}))(a.t)
}

// typeOf is a type by its name in the API or in SQL.
func (a *analyser) typeOf(name string) google.Googlesql_TypeNode {
	if element, ok := strings.CutPrefix(name, "ARRAY<"); ok {
		return must(a.types.MakeArrayType2(a.typeOf(strings.TrimSuffix(element, ">"))))(a.t)
	}
	kinds := map[string]google.TypeKind{
		"INTEGER": google.TypeKindTypeInt64, "INT64": google.TypeKindTypeInt64, "FLOAT": google.TypeKindTypeDouble, "FLOAT64": google.TypeKindTypeDouble,
		"BOOLEAN": google.TypeKindTypeBool, "BOOL": google.TypeKindTypeBool, "STRING": google.TypeKindTypeString, "BYTES": google.TypeKindTypeBytes,
		"DATE": google.TypeKindTypeDate, "TIMESTAMP": google.TypeKindTypeTimestamp, "DATETIME": google.TypeKindTypeDatetime, "TIME": google.TypeKindTypeTime,
		"JSON": google.TypeKindTypeJson, "NUMERIC": google.TypeKindTypeNumeric, "BIGNUMERIC": google.TypeKindTypeBignumeric,
	}
	kind, ok := kinds[name]
	if !ok {
		a.t.Fatalf("the corpus has a type %s", name)
	}
	return must(a.types.MakeSimpleType(kind))(a.t)
}
