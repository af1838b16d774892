package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/teller"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Reconcile compares three counts that were made independently of each other: what
// the teller read in the journal, what the loader wrote down with the rows, and the
// rows that the tables hold. Invariant 2.
//
//	warehouse snapshot: loader's place P, books, rows ─▶ teller counted up to D ≥ P
//	                              journal from P to D: what waits
//	gap = accepted up to D − accounted for up to P − waiting
func (h *Hub) Reconcile(ctx context.Context, p api.ReconcilePeriod) (api.Reconciliation, error) {
	if err := h.askedSource(ctx, p.Source); err != nil {
		return api.Reconciliation{}, err
	}
	now := h.o.Now().UTC()
	if p.To.IsZero() {
		p.To = now
	}
	if p.From.IsZero() {
		p.From = p.To.Add(-24 * time.Hour)
	}
	p.From, p.To = p.From.UTC().Truncate(time.Hour), p.To.UTC().Add(time.Hour-1).Truncate(time.Hour)
	if !p.From.Before(p.To) || p.To.Sub(p.From) > 366*24*time.Hour {
		return api.Reconciliation{}, &tidegate.Fault{Action: tidegate.Halt, Code: "period.invalid", Subject: "from, to", Message: "the period is empty or longer than a year", Hint: "choose from before to, at most a year apart"}
	}
	out := api.Reconciliation{From: p.From, To: p.To, Balanced: true, Hours: []api.ReconciledHour{}, Tables: []api.ReconciledTable{}}
	snap, err := h.snapshot(ctx, p)
	if err != nil {
		return out, err
	}
	accepted, upTo, err := h.accepted(ctx, p, snap.at)
	if err != nil {
		return out, err
	}
	waiting, err := h.waitingFrom(ctx, snap.at, upTo, p)
	if err != nil {
		return out, err
	}
	out.Hours = reconcileHours(accepted, snap.hours, waiting)
	out.Tables = snap.tables
	for _, hr := range out.Hours {
		out.Balanced = out.Balanced && hr.Gap == 0
	}
	for _, t := range out.Tables {
		out.Balanced = out.Balanced && t.Gap == 0
	}
	return out, nil
}

// snapshot is one moment of the warehouse.
type snapshot struct {
	at     tidegate.Offset // up to where everything is loaded
	hours  []loader.HourCounts
	tables []api.ReconciledTable
}

// snapshot reads place, books and tables in one transaction, so that what is loaded
// meanwhile is in all of them or in none.
func (h *Hub) snapshot(ctx context.Context, p api.ReconcilePeriod) (snap snapshot, err error) {
	// Before the transaction, which would not see books that are made meanwhile.
	snap.at = h.loader.Stats().Position
	if _, err := h.warehouse.Describe(ctx, warehouse.Table{Schema: loader.BooksSchema, Name: "cursor"}); errors.Is(err, warehouse.ErrNoTable) {
		return snap, nil
	} else if err != nil {
		return snap, fmt.Errorf("looking for the books: %w", err)
	}
	tx, err := h.warehouse.Begin(ctx)
	if err != nil {
		return snap, fmt.Errorf("looking at the books: %w", err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	view := within{h.warehouse, tx}
	_, at, mark, err := loaded(ctx, view, h.loader.Stats().Position)
	if err != nil {
		return snap, err
	}
	if snap.at = at; h.journal.Fits(mark) != nil { // all of this journal waits
		snap.at = h.journal.Stats().Oldest
	}
	period := loader.Period{From: p.From, To: p.To, Source: p.Source}
	d, ok := sqltext.Find(h.warehouse.Dialect())
	if !ok {
		return snap, fmt.Errorf("no dialect is called %q", h.warehouse.Dialect())
	}
	if snap.hours, err = loader.ReadHourly(ctx, view, d, period); err != nil {
		return snap, err
	}
	booked, err := loader.ReadHourlyRows(ctx, view, d, period)
	if err != nil {
		return snap, err
	}
	snap.tables, err = h.compareTables(ctx, view, booked, period)
	return snap, err
}

// within reads inside a transaction.
type within struct {
	warehouse.Warehouse
	tx warehouse.Tx
}

// Query implements warehouse.Warehouse.
func (w within) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	return w.tx.Query(ctx, sql, args...)
}

// compareTables counts the rows of the tables that have books.
func (h *Hub) compareTables(ctx context.Context, view within, booked []loader.TableHour, p loader.Period) ([]api.ReconciledTable, error) {
	d, ok := sqltext.Find(h.warehouse.Dialect())
	if !ok {
		return nil, fmt.Errorf("looking at the tables: there is no dialect %q", h.warehouse.Dialect())
	}
	all := []api.ReconciledTable{}
	for len(booked) > 0 {
		name := warehouse.Table{Schema: booked[0].Schema, Name: booked[0].Table}
		n := slices.IndexFunc(booked, func(b loader.TableHour) bool { return b.Schema != name.Schema || b.Table != name.Name })
		if n < 0 {
			n = len(booked)
		}
		found, err := hourRows(ctx, view, d, name, p)
		if err != nil {
			return nil, err
		}
		for _, b := range booked[:n] {
			key := b.Hour.UTC()
			t := api.ReconciledTable{Table: name.String(), Hour: key, Booked: b.Rows, Found: found[key], Gap: b.Rows - found[key]}
			delete(found, key)
			all = append(all, t)
		}
		for hour, rows := range found { // rows of hours without a book came from elsewhere
			all = append(all, api.ReconciledTable{Table: name.String(), Hour: hour, Found: rows, Gap: -rows})
		}
		booked = booked[n:]
	}
	slices.SortFunc(all, func(a, b api.ReconciledTable) int {
		return errorsFirst(strings.Compare(a.Table, b.Table), a.Hour.Compare(b.Hour))
	})
	return all, nil
}

func errorsFirst(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

func hourRows(ctx context.Context, view within, d sqltext.Dialect, name warehouse.Table, p loader.Period) (map[time.Time]int64, error) {
	quoted, err := d.Table(name.Schema, name.Name)
	if err != nil {
		return nil, fmt.Errorf("quoting %s: %w", name, err)
	}
	found := map[time.Time]int64{}
	if _, err := view.Describe(ctx, name); errors.Is(err, warehouse.ErrNoTable) {
		return found, nil // dropped: all its rows are missing
	}
	sql := "SELECT " + d.Hour("received_at") + ", count(*) FROM " + quoted + " WHERE received_at >= " + d.Placeholder(1) + " AND received_at < " + d.Placeholder(2) + " GROUP BY 1"
	err = warehouse.Each(ctx, view, string(sql), []any{p.From, p.To}, func(row tidegate.Row) error {
		hour, _ := row[0].(int64)
		n, _ := row[1].(int64)
		found[time.Unix(hour*3600, 0).UTC()] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting the rows of %s: %w", name, err)
	}
	return found, nil
}

// accepted returns the teller's counts once it has come as far as the loader, and how
// far they reach.
func (h *Hub) accepted(ctx context.Context, p api.ReconcilePeriod, at tidegate.Offset) (map[teller.Key]int64, tidegate.Offset, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if end := h.journal.Durable(); end.Position < at.Position {
		at = end // the journal that the loader read is gone, and the teller cannot come further than this one
	}
	if err := h.events.teller.Wait(ctx, at); err != nil {
		return nil, at, err
	}
	return h.events.teller.Accepted(ctx, p.Source, p.From, p.To)
}

// waitingFrom counts the events of the journal between two offsets, by source and hour.
func (h *Hub) waitingFrom(ctx context.Context, from, to tidegate.Offset, p api.ReconcilePeriod) (map[teller.Key]int64, error) {
	all := map[teller.Key]int64{}
	if from.Position >= to.Position {
		return all, nil
	}
	r, err := h.journal.OpenAt(from)
	if errors.Is(err, journal.ErrTrimmed) || errors.Is(err, journal.ErrAhead) {
		return all, nil // they are lost, and the gap says so
	} else if err != nil {
		return nil, fmt.Errorf("counting what waits: %w", err)
	}
	for ctx.Err() == nil {
		e, ok, nextErr := r.TryNext()
		if !ok || nextErr != nil || e.First.Position >= to.Position {
			err = nextErr
			break
		}
		head, headErr := envelope.ReadHead(e.Payload)
		if headErr != nil {
			err = headErr
			break
		}
		k := teller.Key{Source: head.Source, Hour: head.ReceivedAt.Truncate(time.Hour)}
		if (p.Source == "" || p.Source == k.Source) && !k.Hour.Before(p.From) && k.Hour.Before(p.To) {
			all[k] += min(e.First.Position+int64(e.Events), to.Position) - max(e.First.Position, from.Position)
		}
	}
	if err = errors.Join(err, ctx.Err(), r.Close()); err != nil {
		return nil, fmt.Errorf("counting what waits: %w", err)
	}
	return all, nil
}

func reconcileHours(accepted map[teller.Key]int64, booked []loader.HourCounts, waiting map[teller.Key]int64) []api.ReconciledHour {
	byKey := map[teller.Key]*api.ReconciledHour{}
	at := func(k teller.Key) *api.ReconciledHour {
		if byKey[k] == nil {
			byKey[k] = &api.ReconciledHour{Hour: k.Hour, SourceCounts: api.SourceCounts{Source: k.Source}}
		}
		return byKey[k]
	}
	for k, n := range accepted {
		at(k).Accepted = n
	}
	for k, n := range waiting {
		at(k).Waiting = n
	}
	for _, b := range booked {
		hr := at(teller.Key{Source: b.Source, Hour: b.Hour.UTC()})
		hr.Loaded, hr.Duplicates, hr.Dead, hr.Suppressed, hr.Dropped = b.Loaded, b.Duplicate, b.Dead, b.Suppressed, b.Dropped
	}
	all := make([]api.ReconciledHour, 0, len(byKey))
	for _, hr := range byKey {
		hr.Gap = hr.Accepted - hr.Loaded - hr.Duplicates - hr.Waiting - hr.Dead - hr.Suppressed - hr.Dropped
		all = append(all, *hr)
	}
	slices.SortFunc(all, func(a, b api.ReconciledHour) int {
		return errorsFirst(strings.Compare(a.Source, b.Source), a.Hour.Compare(b.Hour))
	})
	return all
}

// bookGaps is what the last look at the books found.
type bookGaps struct {
	mu       sync.Mutex
	bySource map[string]int64
	byTable  map[string]int64
	looked   bool
}

func (h *Hub) openGaps() error {
	g := &h.events.gaps
	g.bySource, g.byTable = map[string]int64{}, map[string]int64{}
	return h.meterGaps(func(o metric.Int64Observer) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for source, n := range g.bySource {
			o.Observe(n, metric.WithAttributes(attribute.String("source", source)))
		}
		for table, n := range g.byTable {
			o.Observe(n, metric.WithAttributes(attribute.String("table", table)))
		}
	})
}

// lookEvery is how often the books are looked at without being asked.
const lookEvery = 15 * time.Minute

func (h *Hub) watchBooks(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := h.lookAtBooks(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, warehouse.ErrYielded) {
			h.o.Log.Warn("looking at the hourly books failed", "error", err)
		}
		if err := h.sweepJournal(ctx); err != nil && ctx.Err() == nil {
			h.o.Log.Warn("taking deleted people out of the journal's files failed and is tried again", "error", err)
		}
		if _, err := h.journal.Trim(ctx); err != nil && ctx.Err() == nil { // what was kept for its age
			h.o.Log.Warn("trimming the journal failed", "error", err)
		}
	}
}

// lookAtBooks reconciles the last two days and remembers the gaps for the metric and
// the alerts.
func (h *Hub) lookAtBooks(ctx context.Context) (api.Reconciliation, error) {
	now := h.o.Now()
	r, err := h.Reconcile(ctx, api.ReconcilePeriod{From: now.Add(-48 * time.Hour), To: now})
	g := &h.events.gaps
	if err != nil {
		return r, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looked = true
	clear(g.bySource)
	clear(g.byTable)
	for _, hr := range r.Hours {
		g.bySource[hr.Source] += max(hr.Gap, -hr.Gap)
	}
	for _, t := range r.Tables {
		if t.Gap != 0 {
			g.byTable[t.Table] += max(t.Gap, -t.Gap)
		}
	}
	h.alerts.Look()
	return r, nil
}

// sourcePrefix is how alerts call the books of a source.
const sourcePrefix = "source "

// standingBooks tells what the last look at the books found. Before the first it tells
// nothing.
func (h *Hub) standingBooks() []alert.Standing {
	g := &h.events.gaps
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.looked {
		return nil
	}
	var list []alert.Standing
	for _, s := range h.active.Load().project.Sources {
		st := alert.Standing{Sync: sourcePrefix + s.Name, Source: true}
		if n := g.bySource[s.Name]; n != 0 {
			st.Gap = fmt.Sprintf("%d events of the last 48 hours are not accounted for", n)
		}
		for _, table := range slices.Sorted(maps.Keys(g.byTable)) {
			if strings.HasPrefix(table, s.Name+".") && st.Gap == "" {
				st.Gap = fmt.Sprintf("%d rows of %s, received in the last 48 hours, are not as the loader left them", g.byTable[table], table)
			}
		}
		list = append(list, st)
	}
	return list
}

// checkHours is what doctor says of the hourly books.
func (h *Hub) checkHours(ctx context.Context) api.Finding {
	r, err := h.lookAtBooks(ctx)
	if err != nil {
		return api.Finding{Check: "books.hourly", Level: "warning", Detail: err.Error()}
	}
	var events, rows, worst int64
	first := ""
	for _, hr := range r.Hours {
		events += hr.Accepted
		if hr.Gap != 0 && first == "" {
			first, worst = fmt.Sprintf("source %s, %s: %d events", hr.Source, hr.Hour.Format(time.RFC3339), hr.Gap), hr.Gap
		}
	}
	for _, t := range r.Tables {
		rows += t.Found
		if t.Gap != 0 && first == "" {
			first, worst = fmt.Sprintf("table %s, %s: %d rows", t.Table, t.Hour.Format(time.RFC3339), t.Gap), t.Gap
		}
	}
	if worst == 0 {
		return api.Finding{Check: "books.hourly", Level: "ok", Detail: fmt.Sprintf("%d events and %d rows of the last 48 hours are accounted for", events, rows)}
	}
	hint := "`tidegate events reconcile` shows all of it; rows that somebody deleted by hand are missing too (docs/replay.md: how they come back)"
	if worst < 0 {
		hint = "`tidegate events reconcile` shows all of it; more is there than was counted, as when control.db was lost or put back, or when `tidegate warehouse rejoin` had events read again: then nothing is missing, and the gap is over in 48 hours"
	}
	return api.Finding{Check: "books.hourly", Level: "error", Detail: "the books of the last 48 hours have a gap: " + first, Hint: hint}
}
