package loader

import (
	"os"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
)

// TestEveryColumnOfOurTablesIsDocumented: in docs/event-tables.md, where its table is.
func TestEveryColumnOfOurTablesIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/event-tables.md")
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]string{}
	for _, part := range strings.Split(string(text), "\n**`")[1:] {
		name, rest, _ := strings.Cut(part, "`")
		rest, _, _ = strings.Cut(rest, "\n## ")
		of["web."+name] = rest
	}
	for line := range strings.Lines(string(text)) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok {
			of[BooksSchema+"."+name] = rest
		}
	}
	wh, tp := tempDuck(t), newTape()
	end := tp.add("web", epoch(), track("Sold", "m1", "u", map[string]any{"n": 1}), track("Sold", "m2", "u", map[string]any{"n": "one"}), track("Sold", "blocked", "u", nil))
	o := options(tp, wh)
	o.Judge = &byName{}
	loadAll(t, o, end)
	tables := Books()
	for _, name := range []string{"tidegate_discards", "tidegate_dead_letters", "tidegate_violations"} {
		tables = append(tables, warehouse.Table{Schema: "web", Name: name})
	}
	for _, table := range tables {
		columns, err := wh.Describe(t.Context(), table)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range columns {
			if !strings.Contains(of[table.String()], "`"+c.Name+"`") {
				t.Errorf("docs/event-tables.md does not say what %s.%s holds", table, c.Name)
			}
		}
	}
}
