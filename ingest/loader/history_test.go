package loader

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
)

// TestHistoryOfColumns: each column is told once, with the event that brought it, also
// when a load fails after the columns were made.
func TestHistoryOfColumns(t *testing.T) {
	t.Parallel()
	for name, failAt := range map[string]int{"all well": 0, "rows fail": 12, "rows fail later": 14} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wh := &flaky{duck: tempDuck(t), failAt: failAt, err: errPlanted}
			tp := newTape()
			tp.add("web", epoch(), track("E", "m1", "u", map[string]any{"a": 1, "userName": "x"}))
			end := tp.add("web", epoch(), track("E", "m2", "u", map[string]any{"a": 2, "b": true, "user_name": "y"}), track("e", "m3", "u", nil))
			loadAll(t, options(tp, wh), end)
			loadAll(t, options(tp, wh), tp.add("web", epoch(), track("E", "m4", "u", map[string]any{"userName": "z", "user_name": "w", "c": 1.5})))
			got := table(t, wh, `SELECT column_name, change, new_type, source, raw_name, message_id, journal_offset AS "offset" FROM _tidegate.schema_history
				WHERE table_schema = 'web' AND table_name = 'e' AND raw_name IS NOT NULL ORDER BY ALL`)
			want := []string{
				"column_name=a change=added new_type=int source=web raw_name=properties.a message_id=m1 offset=0:0",
				"column_name=b change=added new_type=bool source=web raw_name=properties.b message_id=m2 offset=0:1",
				"column_name=c change=added new_type=float source=web raw_name=properties.c message_id=m4 offset=0:3",
				"column_name=user_name change=added new_type=string source=web raw_name=properties.userName message_id=m1 offset=0:0",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			for _, sql := range []string{
				`SELECT table_schema || '.' || table_name || '.' || column_name AS twice FROM _tidegate.schema_history GROUP BY 1 HAVING count(*) > 1`,
				`SELECT table_name, column_name FROM duckdb_columns() AS c WHERE schema_name = 'web' AND NOT EXISTS
					(FROM _tidegate.schema_history h WHERE h.table_schema = c.schema_name AND h.table_name = c.table_name AND h.column_name = c.column_name)`,
			} {
				if got := table(t, wh, sql); len(got) > 0 {
					t.Errorf("%s: %q", sql, got)
				}
			}
			got = table(t, wh, "SELECT source, table_name, column_name, kept, other FROM _tidegate.collisions ORDER BY ALL")
			want = []string{
				"source=web table_name=e column_name=user_name kept=properties.user_name other=properties.userName",
				"source=web table_name=e kept=e other=E",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("collisions (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProfilesOfSources: each source has its own tables, and rules that change while the
// loader runs hold from the next event on.
func TestProfilesOfSources(t *testing.T) {
	t.Parallel()
	wh, tp := tempDuck(t), newTape()
	rules := map[string]*shape.Rules{"native": {Profile: shape.Native}, "bare": {SkipTracks: true, SkipUsers: true}}
	o := options(tp, wh)
	o.Shape.RulesOf = func(source string) *shape.Rules { return rules[source] }
	for _, source := range []string{"native", "bare", "web"} {
		tp.add(source, epoch(), track("E", "m1", "u", map[string]any{"a": 1}), identify("m2", "u", map[string]any{"x": 1, "y": "old"}))
	}
	end := tp.add("native", epoch().Add(time.Minute), identify("m3", "u", map[string]any{"y": "new", "z": nil, "w": []int{1}}))
	loadAll(t, o, end)
	// An identify call that was received before those that are loaded.
	end = tp.add("native", epoch().Add(-time.Minute), identify("m4", "u", map[string]any{"x": 0, "v": "early"}))
	loadAll(t, o, end)
	counts := map[string]int{}
	tables, err := wh.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		counts[table.Schema]++
	}
	delete(counts, "_tidegate")
	if diff := cmp.Diff(map[string]int{"native": 2, "bare": 2, "web": 4}, counts); diff != "" {
		t.Errorf("tables of the sources (-want +got):\n%s", diff)
	}
	members, err := shape.Members([]byte(table(t, wh, "SELECT traits::VARCHAR AS t FROM native.users")[0][len("t="):]))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range members {
		got[m.Key] = string(m.Value)
	}
	if diff := cmp.Diff(map[string]string{"x": "1", "y": `"new"`, "w": "[1]", "v": `"early"`}, got); diff != "" {
		t.Errorf("traits (-want +got):\n%s", diff)
	}

	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer run(t, l)()
	if err := l.Between(t.Context(), func(context.Context) error { rules["web"] = &shape.Rules{Profile: shape.Native}; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(t.Context(), tp.add("web", epoch(), track("E", "m5", "u", map[string]any{"a": "text"}))); err != nil {
		t.Fatal(err)
	}
	if got := table(t, wh, "SELECT event, properties::VARCHAR AS p FROM web.events"); len(got) != 1 || got[0] != `event=E p={"a":"text"}` {
		t.Errorf("web.events: %q", got)
	}
}

// TestBetween: visitors have the warehouse for themselves, events that came meanwhile are
// loaded after, and nobody waits for a loader that has stopped.
func TestBetween(t *testing.T) {
	t.Parallel()
	wh, tp := tempDuck(t), newTape()
	l, err := New(options(tp, wh))
	if err != nil {
		t.Fatal(err)
	}
	end := tp.add("web", epoch(), track("E", "m1", "u", map[string]any{"a": 1}))
	stop := run(t, l)
	if err := l.Wait(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		err := l.Between(t.Context(), func(ctx context.Context) error {
			end = tp.add("web", epoch(), track("E", "again"+string(rune('0'+i)), "u", map[string]any{"a": 1.5}))
			_, err := wh.Ensure(ctx, warehouse.Table{Schema: "web", Name: "e"}, tidegate.Schema{{Name: "a", Type: tidegate.Type{Kind: tidegate.Float}}})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Between(t.Context(), func(context.Context) error { return errPlanted }); !errors.Is(err, errPlanted) {
		t.Errorf("error %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Between(gone, func(context.Context) error { t.Error("called for somebody who left"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := l.Wait(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if got := table(t, wh, "SELECT count(*) AS n, sum(a) AS s FROM web.e"); got[0] != "n=4 s=5.5" {
		t.Errorf("web.e: %q", got)
	}
	stop()
	if err := l.Between(t.Context(), func(context.Context) error { return nil }); !errors.Is(err, errStopped) {
		t.Errorf("error %v", err)
	}
}
