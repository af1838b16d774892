package replay

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/warehouse"
)

// TestComparesUsersAndOtherTypes: columns that have become wider on one side are no change, values that
// differ are; users are compared where both sides say the same events.
func TestComparesUsersAndOtherTypes(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.rules.set(false, 1)
	user := func(id, name, traits string) string {
		return fmt.Sprintf(`{"type":"identify","messageId":%q,"userId":%q,"traits":{%s}}`, id, name, traits)
	}
	r.send(user("a", "u1", `"plan":"pro","age":30`), user("b", "u2", `"plan":"free","age":40`))
	r.send(sold("c", "u1", `"total":1,"sum":2,"done":true`), sold("d", "u2", `"total":3,"sum":4,"done":false`))
	middle := r.journal.Durable()
	r.send(sold("e", "u1", `"total":5,"sum":6,"done":true`), user("f", "u2", `"plan":"pro"`), user("g", "u3", `"plan":"x"`))
	end := r.journal.Durable()
	// A column of floats and one of texts, on the live side only: as if others than these events had been there.
	for _, wide := range []tidegate.Column{{Name: "total", Type: tidegate.Type{Kind: tidegate.String}}, {Name: "sum", Type: tidegate.Type{Kind: tidegate.Float}}, {Name: "done", Type: tidegate.Type{Kind: tidegate.String}}} {
		r.widen("web", "sold", wide)
	}
	compare := func(schema string, of Range, filter *live.Filter) map[string]TableDiff {
		t.Helper()
		var counts Totals
		if err := Shadow(t.Context(), ShadowOptions{
			Journal: r.journal, Warehouse: r.wh, Judge: r.rules, Refusal: func([]byte) string { return "event.no_identity" }, Log: slog.New(slog.DiscardHandler), Now: time.Now,
			Schema: schema, Source: "web", Range: of, Filter: filter,
		}, &counts, func(tidegate.Offset) {}); err != nil {
			t.Fatal(err)
		}
		diffs, err := Compare(t.Context(), r.wh, "web", schema, of, filter == nil)
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]TableDiff{}
		for _, d := range diffs {
			byName[d.Table] = d
		}
		return byName
	}
	all := Range{To: end}
	got := compare("try_all", all, nil)
	if d := got["sold"]; d.Same != 3 || d.Changed+d.Added+*d.Missing != 0 || cmp.Diff(map[string][2]string{"total": {"string", "int"}, "sum": {"float", "int"}, "done": {"string", "bool"}}, d.Types) != "" {
		t.Errorf("everything: sold: %+v", d)
	}
	if d := got["users"]; d.Same != 3 || d.Changed+d.Added+*d.Missing != 0 {
		t.Errorf("everything: users: %+v", d)
	}
	// The first half: u2 was told of later, u3 is of later, and what is of u1 is the same.
	if d := compare("try_early", Range{To: middle}, nil)["users"]; d.Shadow != 2 || d.Same != 1 || d.Changed+d.Added+*d.Missing != 0 {
		t.Errorf("the first half: users: %+v", d)
	}
	// The second half: of u2 the age was told before.
	if d := compare("try_late", Range{From: middle, To: end}, nil)["users"]; d.Same != 2 || d.Changed+d.Added+*d.Missing != 0 {
		t.Errorf("the second half: users: %+v", d)
	}
	filter, err := live.Compile(live.Match{User: "u2"})
	if err != nil {
		t.Fatal(err)
	}
	if d := compare("try_some", all, filter)["users"]; d.Shadow != 1 || d.Same != 1 || d.Changed+d.Added != 0 || d.Missing != nil {
		t.Errorf("one user: users: %+v", d)
	}
	// The shadow's columns are the wider, and one value differs.
	r.rules.set(false, 10)
	r.widen("try_other", "sold", tidegate.Column{Name: "sum", Type: tidegate.Type{Kind: tidegate.String}})
	d := compare("try_other", all, nil)["sold"]
	if d.Same != 0 || d.Changed != 3 || d.Columns["total"] != 3 || len(d.Columns) != 1 || d.Types["sum"] != [2]string{"float", "string"} {
		t.Errorf("other rules: sold: %+v", d)
	}
}

// widen makes a column of a table, which it makes too when it is not there, as wide as c.
func (r *rig) widen(schema, table string, c tidegate.Column) {
	r.t.Helper()
	s := tidegate.Schema{c}
	if _, err := r.wh.Ensure(r.t.Context(), warehouse.Table{Schema: schema, Name: table}, s); err != nil {
		r.t.Fatal(err)
	}
}
