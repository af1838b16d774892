package main

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the engine itself, as the baseline of loading
)

// readJSON is the baseline of B2: DuckDB's own reader turns the same kind of
// events from a file into two tables, with no journal, no types to infer, no
// repeats to find and nothing to keep durable in between.
func readJSON(ctx context.Context, events int) (rate float64, err error) {
	dir, err := os.MkdirTemp("", "tidegate-bench-json-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "events.ndjson")
	if err := writeEvents(file, events); err != nil {
		return 0, err
	}
	db, err := sql.Open("duckdb", filepath.Join(dir, "baseline.duckdb"))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	begin := time.Now()
	const from = ` from read_json($1, format='newline_delimited', columns={
		"messageId": 'VARCHAR', "anonymousId": 'VARCHAR', "userId": 'VARCHAR', "event": 'VARCHAR', "timestamp": 'TIMESTAMPTZ', "sentAt": 'TIMESTAMPTZ',
		"properties": 'STRUCT("revenue" DOUBLE, "currency" VARCHAR, "orderId" VARCHAR)',
		"context": 'STRUCT("page" STRUCT("path" VARCHAR, "url" VARCHAR, "title" VARCHAR), "userAgent" VARCHAR, "locale" VARCHAR, "library" STRUCT("name" VARCHAR, "version" VARCHAR))'})`
	const shared = `"messageId" id, "anonymousId" anonymous_id, "userId" user_id, "timestamp", "sentAt" sent_at, context.page.path context_page_path,
		context.page.url context_page_url, context.page.title context_page_title, context."userAgent" context_user_agent, context.locale context_locale,
		context.library.name context_library_name, context.library.version context_library_version, event event_text`
	for _, statement := range []string{
		`create table tracks as select ` + shared + from,
		`create table order_completed as select ` + shared + `, properties.revenue revenue, properties.currency currency, properties."orderId" order_id` + from,
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
	for i := range n {
		fmt.Fprintf(w, `{"type":"track","event":"Order Completed","messageId":"ajs-next-1795229697309-%012d","anonymousId":"6df7636d-d2d9-4f10-9572-eed99e846de8","userId":"user-%d",`+
			`"timestamp":"2026-11-21T02:54:57.309Z","sentAt":"2026-11-21T02:54:57.361Z","properties":{"revenue":%d.5,"currency":"EUR","orderId":"o-%d"},`+
			`"context":{"page":{"path":"/app/shop.html","referrer":"","search":"?utm_source=news&utm_campaign=x","title":"Shop","url":"https://shop.example/app/shop.html?utm_source=news&utm_campaign=x"},`+
			`"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36","locale":"en-US",`+
			`"library":{"name":"analytics.js","version":"npm:next-1.84.3"},"timezone":"UTC"},"integrations":{"Segment.io":true}}`+"\n", i, i%5000, i%900, i)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
