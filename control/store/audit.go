package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
)

// AuditEntry is one thing that somebody did. Detail never holds a secret:
// definitions carry references only.
type AuditEntry struct {
	Seq      int64           `json:"seq"`
	At       time.Time       `json:"at"`
	Actor    string          `json:"actor"`
	Action   string          `json:"action"` // "project.apply", "run.approve"
	Object   string          `json:"object"`
	Detail   json.RawMessage `json:"detail"`
	Previous string          `json:"previous"` // hash of the entry before, empty for the first
	Hash     string          `json:"hash"`
}

// Audit appends one entry; Seq, At, Previous and Hash are the store's.
func (w *Workspace) Audit(ctx context.Context, e AuditEntry) error {
	return w.tx(ctx, "writing", func(tx *sql.Tx) error { return w.appendAudit(ctx, tx, e) })
}

func (w *Workspace) appendAudit(ctx context.Context, tx *sql.Tx, e AuditEntry) error {
	err := tx.QueryRowContext(ctx, "SELECT seq, hash FROM audit WHERE workspace = ? ORDER BY seq DESC LIMIT 1", w.id).Scan(&e.Seq, &e.Previous)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("reading the end of the audit log: %w", err)
	}
	e.Seq++
	e.At = w.s.now().UTC().Truncate(time.Microsecond)
	if e.Detail == nil {
		e.Detail = json.RawMessage("null")
	}
	e.Hash = e.sum(w.id)
	_, err = tx.ExecContext(ctx, "INSERT INTO audit (workspace, seq, at, actor, action, object, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		w.id, e.Seq, micros(e.At), e.Actor, e.Action, e.Object, string(e.Detail), e.Previous, e.Hash)
	if err != nil {
		return fmt.Errorf("appending to the audit log: %w", err)
	}
	return nil
}

// sum hashes the entry together with the hash before it. Every part is
// preceded by its length, so that no two entries give the same bytes.
func (e AuditEntry) sum(workspace string) string {
	h := sha256.New()
	for _, part := range []string{workspace, fmt.Sprint(e.Seq), fmt.Sprint(micros(e.At)), e.Actor, e.Action, e.Object, string(e.Detail), e.Previous} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // a hash never errs
	}
	return hex.EncodeToString(h.Sum(nil))
}

// AuditLog returns entries after seq, oldest first, at most limit, and verifies
// the chain over them: a changed or missing entry is the Halt "audit.broken".
func (w *Workspace) AuditLog(ctx context.Context, after int64, limit int) (list []AuditEntry, err error) {
	rows, err := w.s.read.QueryContext(ctx, `SELECT seq, at, actor, action, object, detail, previous, hash FROM audit
		WHERE workspace = ? AND seq > ? ORDER BY seq LIMIT ?`, w.id, after, limit)
	if err != nil {
		return nil, w.s.classify("reading", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e AuditEntry
		var at int64
		var detail string
		if err := rows.Scan(&e.Seq, &at, &e.Actor, &e.Action, &e.Object, &detail, &e.Previous, &e.Hash); err != nil {
			return nil, w.s.classify("reading", err)
		}
		e.At, e.Detail = fromMicros(at), json.RawMessage(detail)
		if !w.follows(list, after, e) {
			return nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "audit.broken", Subject: fmt.Sprintf("entry %d", e.Seq),
				Message: "the audit log was changed by something other than tidegate",
				Hint:    "compare it with a backup of the control store",
			}
		}
		list = append(list, e)
	}
	return list, w.s.classify("reading", rows.Err())
}

func (w *Workspace) follows(list []AuditEntry, after int64, e AuditEntry) bool {
	if e.Hash != e.sum(w.id) || e.Seq != after+int64(len(list))+1 {
		return false
	}
	if len(list) > 0 {
		return e.Previous == list[len(list)-1].Hash
	}
	return after > 0 || e.Previous == ""
}
