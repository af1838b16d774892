package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the engine itself, as the baseline of loading

	"github.com/tidegate/tidegate/internal/loadgen"
)

// readJSON is the baseline of B2: DuckDB's own reader turns the same events from a file
// into the same two tables, every field of theirs a column, with no journal, no types to
// infer, no repeats to find, nothing to keep durable in between, and without the columns
// that the server adds (when and from where it came, its place in the journal).
func readJSON(ctx context.Context, events int) (rate float64, err error) {
	dir, err := os.MkdirTemp("", "tidegate-bench-json-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "events.ndjson")
	if err := writeEvents(file, events); err != nil {
		return 0, err
	}
	db, err := sql.Open("duckdb", filepath.Join(dir, "baseline.duckdb"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	begin := time.Now()
	const from = ` from read_json($1, format='newline_delimited', columns={
		"messageId": 'VARCHAR', "anonymousId": 'VARCHAR', "userId": 'VARCHAR', "event": 'VARCHAR', "timestamp": 'TIMESTAMPTZ', "sentAt": 'TIMESTAMPTZ',
		"properties": 'STRUCT("revenue" DOUBLE, "currency" VARCHAR, "order_id" VARCHAR, "products" BIGINT)',
		"context": 'STRUCT("page" STRUCT("path" VARCHAR, "referrer" VARCHAR, "search" VARCHAR, "title" VARCHAR, "url" VARCHAR), "userAgent" VARCHAR,
			"locale" VARCHAR, "library" STRUCT("name" VARCHAR, "version" VARCHAR), "campaign" STRUCT("source" VARCHAR), "timezone" VARCHAR)'})`
	const shared = `"messageId" id, "anonymousId" anonymous_id, "userId" user_id, "timestamp", "timestamp" original_timestamp, "sentAt" sent_at,
		context.page.path context_page_path, context.page.referrer context_page_referrer, context.page.search context_page_search,
		context.page.title context_page_title, context.page.url context_page_url, context."userAgent" context_user_agent, context.locale context_locale,
		context.library.name context_library_name, context.library.version context_library_version, context.campaign.source context_campaign_source,
		context.timezone context_timezone, 'order_completed' AS "event", "event" AS event_text`
	for _, statement := range []string{
		`create table tracks as select ` + shared + from,
		`create table order_completed as select ` + shared + `, properties.revenue revenue, properties.currency currency, properties.order_id order_id, properties.products products` + from,
	} {
		if _, err := db.ExecContext(ctx, statement, file); err != nil {
			return 0, fmt.Errorf("loading with read_json: %w", err)
		}
	}
	return float64(events) / time.Since(begin).Seconds(), nil
}

func writeEvents(path string, n int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	o := loadgen.Options{Conns: 16, Batch: 100, Run: "baseline"} // as drain sends them
	start := time.Date(2026, 11, 21, 2, 54, 57, 309e6, time.UTC)
	for i := range n {
		lane, at := i%o.Conns, i/o.Conns
		line = append(loadgen.AppendTrack(line[:0], &o, lane, int64(at), start, `,"sentAt":"2026-11-21T02:54:57.361Z"`), '\n')
		if _, err := w.Write(line); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
