package sqltext

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	columns := func(names ...string) (s tidegate.Schema) {
		for _, name := range names {
			s = append(s, tidegate.Column{Name: name})
		}
		return s
	}
	table := columns("id", "Name", "note")
	for _, c := range []struct {
		name string
		rows tidegate.Schema
		key  []string
		want Matched
		err  string
	}{
		{"all", columns("note", "name", "ID"), []string{"id"}, Matched{At: []int{2, 1, 0}, Keys: []int{2}, IsKey: []bool{false, false, true}}, ""},
		{"some", columns("name"), nil, Matched{At: []int{1}, Lack: []int{0, 2}, IsKey: []bool{false}}, ""},
		{"a key of two", columns("name", "id"), []string{"id", "NAME"}, Matched{At: []int{1, 0}, Lack: []int{2}, Keys: []int{1, 0}, IsKey: []bool{true, true}}, ""},
		{"none", nil, nil, Matched{}, "the rows have no columns"},
		{"a column that is not there", columns("id", "age"), nil, Matched{}, `column "age"`},
		{"a key that is not there", columns("id"), []string{"name"}, Matched{}, `column "name"`},
		{"one column twice", columns("id", "ID"), nil, Matched{}, `column "ID"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Match(table, c.rows, c.key)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			said := ""
			if err != nil {
				if said = tidegate.FaultOf(err).Subject; said == "" {
					said = err.Error()
				}
			}
			if said != c.err {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	m := Merge{Table: "t1", Source: "rows AS r", Order: "o", Columns: []Text{"a", "b"}, Values: []Text{"r.x", "r.y"}, Lack: []Text{"c"}}
	keyed := m
	keyed.Key = []int{1}
	kept := keyed
	kept.Keep, kept.Where = true, true
	kept.Group = func(i int, column Text) Text { return "g(" + Staged(i) + " " + column + ")" }
	for _, c := range []struct {
		m    Merge
		want Text
	}{
		{m, "INSERT INTO t1 (a, b) SELECT r.x, r.y FROM rows AS r"},
		{keyed, "MERGE INTO t1 AS t USING (SELECT * FROM (SELECT r.x AS c0, r.y AS c1, o AS n FROM rows AS r) AS q QUALIFY ROW_NUMBER() OVER (PARTITION BY q.c1 ORDER BY q.n DESC) = 1) AS s ON t.b = s.c1" +
			" WHEN MATCHED THEN UPDATE SET a = s.c0, b = s.c1, c = NULL WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.c0, s.c1)"},
		{kept, "MERGE INTO t1 AS t USING (SELECT * FROM (SELECT r.x AS c0, r.y AS c1, o AS n FROM rows AS r) AS q WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY g(c1 q.c1) ORDER BY q.n) = 1) AS s ON t.b = s.c1" +
			" WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.c0, s.c1)"},
	} {
		if diff := cmp.Diff(c.want, c.m.Text()); diff != "" {
			t.Error(diff)
		}
	}
}
