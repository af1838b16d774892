package store

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/control/alert"
)

var _ alert.States = (*Workspace)(nil)

// AlertStates implements alert.States.
func (w *Workspace) AlertStates(ctx context.Context) (list []alert.State, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT alert, sync, condition, raised, since, run, message, hint, told, raise_told FROM alert_states WHERE workspace = ?", w.id)
	if err != nil {
		return nil, w.s.classify("reading alerts from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s alert.State
		var since int64
		if err := rows.Scan(&s.Alert, &s.Sync, &s.Condition, &s.Raised, &since, &s.Run, &s.Message, &s.Hint, &s.Told, &s.RaiseTold); err != nil {
			return nil, w.s.classify("reading alerts from", err)
		}
		s.Since = fromMicros(since)
		list = append(list, s)
	}
	return list, w.s.classify("reading alerts from", rows.Err())
}

// PutAlertState implements alert.States.
func (w *Workspace) PutAlertState(ctx context.Context, s alert.State) error {
	_, err := w.s.write.ExecContext(ctx, `INSERT OR REPLACE INTO alert_states
		(workspace, alert, sync, condition, raised, since, run, message, hint, told, raise_told) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		w.id, s.Alert, s.Sync, string(s.Condition), s.Raised, micros(s.Since), s.Run, s.Message, s.Hint, s.Told, s.RaiseTold)
	return w.s.classify("writing an alert to", err)
}

// DeleteAlertState implements alert.States.
func (w *Workspace) DeleteAlertState(ctx context.Context, name, sync string, c alert.Condition) error {
	_, err := w.s.write.ExecContext(ctx, "DELETE FROM alert_states WHERE workspace = ? AND alert = ? AND sync = ? AND condition = ?", w.id, name, sync, string(c))
	return w.s.classify("writing an alert to", err)
}
