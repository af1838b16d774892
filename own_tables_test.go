package tidegate_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	ownName   = regexp.MustCompile("_tidegate[`\"]?\\.[`\"]?([a-z]+)|Schema: \"_tidegate\", Name: \"([a-z]+)\"")
	ownPrefix = regexp.MustCompile(`["@ .]_tidegate_[a-z_]*[a-z_]`)
	ownTable  = regexp.MustCompile(`CREATE TABLE IF NOT EXISTS _tidegate\.([a-z]+)`)
	ownSchema = regexp.MustCompile(`(?s)func loadsSchema\(\).*?\n}`)
	fieldName = regexp.MustCompile(`Name: "([a-z_]+)"`)
	firstWord = regexp.MustCompile(`[a-z_]+`)
	shownName = regexp.MustCompile("`([^`]+)`")
)

var ledgerTable = regexp.MustCompile(`\b(?:names|sql|s|n)\.of\("([a-z_]+)"\)|ofRun\([^)]*"([a-z_]+)"\)`)

// eventColumns are documented with the event tables.
var eventColumns = []string{"_tidegate_offset", "_tidegate_load_id"}

// columnsIn are the columns of a CREATE TABLE, from behind its name on.
func columnsIn(text string) []string {
	var columns []string
	depth, from := 0, 0
	for i := strings.IndexByte(text, '('); i < len(text); i++ {
		switch text[i] {
		case '(':
			if depth++; depth == 1 {
				from = i + 1
			}
		case ')', ',':
			if depth == 1 {
				if word := firstWord.FindString(text[from:i]); word != "" {
					columns = append(columns, word)
				}
				from = i + 1
			}
			if text[i] == ')' {
				if depth--; depth == 0 {
					return columns
				}
			}
		}
	}
	return columns
}

// ownTables are the names that an adapter gives to what it makes for itself, with their columns
// where it makes them by a statement of its own.
func ownTables(t *testing.T, adapter string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("warehouse", adapter, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string][]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		for _, m := range ownName.FindAllStringSubmatch(text, -1) {
			if name := "_tidegate." + m[1] + m[2]; own[name] == nil {
				own[name] = []string{}
			}
		}
		for _, name := range ownPrefix.FindAllString(text, -1) {
			if name = strings.TrimLeft(name, `"@ .`); !slices.Contains(eventColumns, name) {
				own[name] = nil
			}
		}
		for _, at := range ownTable.FindAllStringSubmatchIndex(text, -1) {
			name := "_tidegate." + text[at[2]:at[3]]
			own[name] = append(own[name], columnsIn(text[at[3]:])...)
		}
		for _, m := range fieldName.FindAllStringSubmatch(ownSchema.FindString(text), -1) {
			own["_tidegate.loads"] = append(own["_tidegate.loads"], m[1])
		}
	}
	return own
}

// TestOwnTablesAreDocumented: docs/warehouses/tables.md names what each adapter makes for
// itself and its columns, and nothing else.
func TestOwnTablesAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/warehouses/tables.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, adapter := range map[string]string{"DuckDB": "duckdb", "PostgreSQL": "postgres", "Redshift": "redshift", "ClickHouse": "clickhouse", "BigQuery": "bigquery", "Snowflake": "snowflake"} {
		_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
		if !found {
			t.Errorf("the page has no section %s", heading)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		shown := map[string]string{}
		for line := range strings.Lines(section) {
			cells := strings.Split(line, " | ")
			if len(cells) < 3 {
				continue
			}
			for _, m := range shownName.FindAllStringSubmatch(cells[0], -1) {
				shown[strings.TrimSuffix(m[1], "…")] = cells[1]
			}
		}
		own := ownTables(t, adapter)
		if len(own["_tidegate.loads"]) < 5 {
			t.Errorf("%s: the columns of loads are %v", adapter, own["_tidegate.loads"])
		}
		for name, columns := range own {
			for _, column := range columns {
				if !strings.Contains(shown[name], "`"+column+"`") {
					t.Errorf("%s: the page does not name the column %s of %s", adapter, column, name)
				}
			}
		}
		if have, want := slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(own)); !slices.Equal(have, want) {
			t.Errorf("%s: the page has %v, the code %v", adapter, have, want)
		}
	}
}

// TestLedgerTablesAreDocumented there too.
func TestLedgerTablesAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/warehouses/tables.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("sync/ledger/*.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ledgerTable.FindAllStringSubmatch(string(text), -1) {
			kinds[m[1]+m[2]] = true
		}
	}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile("`SYNC__(?:RUN__)?([a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		shown[m[1]] = true
	}
	if have, want := slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(kinds)); !slices.Equal(have, want) {
		t.Errorf("the page has %v, the code %v", have, want)
	}
}
