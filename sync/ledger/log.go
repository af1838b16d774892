package ledger

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

const (
	logLimit    = 100
	maxLogLimit = 10_000
)

// Log lists results of the change log, newest first. A running run's results
// appear when it ends. The view _tidegate.sync_log shows the same of all syncs.
func (l *Ledger) Log(ctx context.Context, f LogFilter) ([]LogEntry, error) {
	var where sqltext.Text
	var args []any
	add := func(condition sqltext.Text, arg any) {
		args = append(args, arg)
		where += " AND " + condition + l.sql.d.Placeholder(len(args))
	}
	if f.RunID != "" {
		add("run_id = ", f.RunID)
	}
	if f.Key != "" {
		add("key = ", string(f.Key))
	}
	if f.Disposition != "" {
		add("disposition = ", f.Disposition)
	}
	if f.Cluster != "" {
		add("cluster = ", f.Cluster)
	}
	if !f.Before.IsZero() {
		add("recorded_at < ", f.Before)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = logLimit
	}
	limit = min(limit, maxLogLimit)
	sql := "SELECT run_id, ordinal, key, op, disposition, destination_id, before, after, fault_action, fault_code, fault_subject, fault_message, fault_hint, cluster, recorded_at FROM " +
		l.sql.of("log") + " WHERE true" + where + " ORDER BY recorded_at DESC, run_id DESC, ordinal LIMIT " + number(int64(limit))
	var list []LogEntry
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return warehouse.Each(ctx, tx, string(sql), args, func(row tidegate.Row) error {
			e, err := logEntryOf(row)
			list = append(list, e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the change log of sync %q: %w", l.sync, err)
	}
	return list, nil
}

func logEntryOf(row tidegate.Row) (LogEntry, error) {
	var e LogEntry
	var key, op, before, after string
	var fault tidegate.RunFault
	if err := scan(row, &e.RunID, &e.Ordinal, &key, &op, &e.Disposition, &e.DestinationID, &before, &after, &fault.Action, &fault.Code, &fault.Subject, &fault.Message, &fault.Hint, &e.Cluster, &e.At); err != nil {
		return e, err
	}
	e.Key, e.Op = tidegate.Key(key), tidegate.Op(op)
	if fault.Code != "" {
		e.Fault = &fault
	}
	var err error
	if e.Before, err = model.ParseRecord([]byte(before)); err != nil {
		return e, fmt.Errorf("reading the before-image of key %s: %w", key, err)
	}
	if e.After, err = model.ParseRecord([]byte(after)); err != nil {
		return e, fmt.Errorf("reading the payload of key %s: %w", key, err)
	}
	return e, nil
}
