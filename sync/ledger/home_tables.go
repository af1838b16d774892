package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// create makes the tables and views of the home, before a whole publication.
func (h *home) create(ctx context.Context, l *Ledger) error {
	all := homeTables()
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		if _, err := h.wh.Ensure(ctx, h.n.of(kind), all[kind]); err != nil {
			return fmt.Errorf("creating %s: %w", h.n.of(kind), err)
		}
	}
	registry := warehouse.Table{Schema: Schema, Name: registryTable}
	if _, err := h.wh.Ensure(ctx, registry, publishedSchema()); err != nil {
		return fmt.Errorf("creating %s: %w", registry, err)
	}
	row := tidegate.Row{l.workspace, l.sync, h.n.of("manifest").Name, h.n.of("state").Name, h.n.of("log").Name, h.n.of("runs").Name}
	load := warehouse.Load{ID: fmt.Sprintf("ledger/%s/%d", h.n.of("manifest").Name, l.opts.Now().UnixMicro()), Table: registry, Key: []string{"workspace", "sync"}}
	if _, err := h.wh.Load(ctx, load, tidegate.Rows(publishedSchema(), row)); err != nil {
		return fmt.Errorf("writing %s: %w", registry, err)
	}
	return h.views(ctx)
}

// views makes the documented views anew, over all syncs that are published here.
func (h *home) views(ctx context.Context) error {
	var all []publishedTables
	sql := "SELECT DISTINCT workspace, sync, manifest_table, state_table, log_table, runs_table FROM " + h.s.shared(registryTable) + " ORDER BY workspace, sync"
	err := warehouse.Each(ctx, h.wh, string(sql), nil, func(row tidegate.Row) error {
		var p publishedTables
		if err := scan(row, &p.workspace, &p.sync, &p.manifest, &p.state, &p.log, &p.runs); err != nil {
			return err
		}
		all = append(all, p)
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the published ledgers: %w", err)
	}
	list, err := h.viewsOf(all)
	if err != nil {
		return err
	}
	for _, sql := range list {
		if _, err := h.wh.Exec(ctx, sql); err != nil {
			return fmt.Errorf("creating a view: %w", err)
		}
	}
	return nil
}

// publishedTables is a row of the registry.
type publishedTables struct{ workspace, sync, manifest, state, log, runs string }

// viewsOf are the documented views: docs/ledger.md says what each column means. Names come
// from the manifest, so that no text of a definition is written into a statement.
func (h *home) viewsOf(all []publishedTables) ([]string, error) {
	var runs, log, snapshot []sqltext.Text
	whose := "SELECT " + h.text("f.workspace") + " AS workspace, " + h.text("f.sync") + " AS sync, "
	for _, p := range all {
		names := make([]sqltext.Text, 0, 4)
		for _, name := range []string{p.manifest, p.state, p.log, p.runs} {
			q, err := h.d.Table(Schema, name)
			if err != nil {
				return nil, err
			}
			names = append(names, q)
		}
		named := " CROSS JOIN (SELECT max(workspace) AS workspace, max(sync) AS sync FROM " + names[0] + ") AS f"
		rows := func(table, columns sqltext.Text) sqltext.Text {
			return whose + columns + " FROM (SELECT * FROM " + table + " WHERE " + h.visible(names[0]) + ") AS t" + named
		}
		runs = append(runs, rows(names[3], h.shown(runsSchema(), "run_id", "kind", "state", "started_at", "finished_at", "changes", "summary", "counts")))
		log = append(log, rows(names[2], h.shown(logSchema(), "run_id", "ordinal", "key", "op", "disposition", "identifier", "destination_id", "before", "after", "fault_action", "fault_code", "fault_subject",
			"fault_message", "fault_hint", "cluster", "next_attempt_at", "recorded_at")))
		raw := []string{
			"gone", "r_key", "r_identifier", "r_destination_id", "r_payload", "r_confirmed_at", "r_run_id", "a_key", "a_state", "a_identifier", "a_destination_id", "a_payload",
			"a_attempts", "a_first_failed_at", "a_next_attempt_at", "a_fault_code", "a_fault_message",
		}
		either := func(column string) sqltext.Text {
			return ", " + h.text(sqltext.Text("coalesce(t.r_"+column+", t.a_"+column+")")) + " AS " + sqltext.Text(column)
		}
		text := func(column, as sqltext.Text) sqltext.Text { return ", " + h.text("t."+column) + " AS " + as }
		snapshot = append(snapshot, whose+h.text("coalesce(t.r_key, t.a_key)")+" AS key, "+h.text("coalesce(t.a_state, 'acked')")+" AS state"+either("identifier")+either("destination_id")+
			text("r_payload", "confirmed")+", t.r_confirmed_at AS confirmed_at"+text("r_run_id", "confirmed_by")+text("a_payload", "attempted")+
			", t.a_attempts AS attempts, t.a_first_failed_at AS first_failed_at, t.a_next_attempt_at AS next_attempt_at"+text("a_fault_code", "fault_code")+text("a_fault_message", "fault_message")+
			" FROM ("+h.current(names[1], names[0], raw)+") AS t"+named+" WHERE NOT t.gone")
	}
	var out []string
	for _, v := range []struct {
		name  string
		parts []sqltext.Text
	}{{runsView, runs}, {logView, log}, {snapshotView, snapshot}} {
		sql := "DROP VIEW IF EXISTS " + h.s.shared(v.name)
		if len(v.parts) > 0 {
			sql = h.d.View(h.s.shared(v.name), sqltext.Join(v.parts, " UNION ALL "))
		}
		out = append(out, string(sql))
	}
	return out, nil
}

// text is a text of the type that every one has: a view that is made anew has the
// same columns then, however long the texts of its tables have become.
func (h *home) text(x sqltext.Text) sqltext.Text {
	return "CAST(" + x + " AS " + h.texts + ")"
}

// shown are columns of the table t in a view.
func (h *home) shown(schema tidegate.Schema, columns ...string) sqltext.Text {
	list := make([]sqltext.Text, len(columns))
	for i, c := range columns {
		x := "t." + sqltext.Text(c)
		if schema[schema.Index(c)].Type.Kind == tidegate.String {
			x = h.text(x)
		}
		list[i] = x + " AS " + sqltext.Text(c)
	}
	return sqltext.Join(list, ", ")
}

// sweep deletes what is older than a whole publication. Nothing shows it, so that
// a failure costs space until the next one.
func (h *home) sweep(ctx context.Context, l *Ledger, base int64) {
	for _, kind := range []string{"state", "log", "runs", "manifest"} { // the manifest last: it says what counts
		if _, err := h.wh.Exec(ctx, string("DELETE FROM "+h.s.of(kind)+" WHERE v < "+number(base))); err != nil {
			l.opts.Log.WarnContext(ctx, "old publications of the ledger could not be deleted; the next whole one tries again", "sync", l.sync, "error", err)
			return
		}
	}
}

// remove takes the ledger out of the home.
func (h *home) remove(ctx context.Context, l *Ledger) error {
	if _, err := h.wh.Describe(ctx, h.n.of("manifest")); err != nil {
		if errors.Is(err, warehouse.ErrNoTable) {
			return nil
		}
		return fmt.Errorf("looking for %s: %w", h.n.of("manifest"), err)
	}
	// The views first, without this sync; then the manifest, without which nothing counts.
	sql := "DELETE FROM " + h.s.shared(registryTable) + " WHERE workspace = " + h.d.Placeholder(1) + " AND sync = " + h.d.Placeholder(2)
	if _, err := h.wh.Exec(ctx, string(sql), l.workspace, l.sync); err != nil {
		return fmt.Errorf("taking the ledger out of the registry: %w", err)
	}
	if err := h.views(ctx); err != nil {
		return err
	}
	for _, kind := range []string{"manifest", "state", "log", "runs"} {
		if _, err := h.wh.Exec(ctx, string("DROP TABLE IF EXISTS "+h.s.of(kind))); err != nil {
			return fmt.Errorf("dropping %s: %w", h.n.of(kind), err)
		}
	}
	return nil
}
