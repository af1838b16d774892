package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
)

// Definition is one version of one definition.
type Definition struct {
	Kind    string          `json:"kind"`
	Name    string          `json:"name"`
	Version int64           `json:"version"` // counts from 1 per definition
	Author  string          `json:"author"`
	At      time.Time       `json:"at"`
	Body    json.RawMessage `json:"body"`
	Deleted bool            `json:"deleted,omitempty"`
	// Revision is the revision of the whole project that brought this version.
	Revision int64 `json:"revision"`
}

// Edit is one definition's new body; a nil body deletes it.
type Edit struct {
	Kind string
	Name string
	Body json.RawMessage
}

// Revision returns the number of the newest revision, 0 before the first.
func (w *Workspace) Revision(ctx context.Context) (int64, error) {
	n, err := revision(ctx, w.s.read, w.id)
	return n, w.s.classify("reading", err)
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func revision(ctx context.Context, q queryer, workspace string) (n int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT coalesce(max(revision), 0) FROM revisions WHERE workspace = ?", workspace).Scan(&n)
	return n, err
}

// Commit writes edits as one new revision, with its audit entry, and returns
// its number. When the newest revision is not base, nothing is written and the
// fault is "project.conflict".
func (w *Workspace) Commit(ctx context.Context, base int64, author string, edits []Edit) (next int64, err error) {
	now := w.s.now()
	err = w.tx(ctx, "writing", func(tx *sql.Tx) error {
		head, err := revision(ctx, tx, w.id)
		if err != nil {
			return err
		}
		if head != base {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "project.conflict", Subject: fmt.Sprintf("revision %d", base),
				Message: fmt.Sprintf("the definitions are at revision %d now", head),
				Hint:    "look at the plan again and apply that",
			}
		}
		next = head + 1
		if _, err := tx.ExecContext(ctx, "INSERT INTO revisions (workspace, revision, author, at) VALUES (?, ?, ?, ?)", w.id, next, author, micros(now)); err != nil {
			return fmt.Errorf("adding revision %d: %w", next, err)
		}
		for _, e := range edits {
			if err := w.putDefinition(ctx, tx, e, next, author, now); err != nil {
				return err
			}
		}
		return w.appendAudit(ctx, tx, AuditEntry{Actor: author, Action: "project.apply", Object: fmt.Sprintf("revision %d", next), Detail: auditDetail(edits)})
	})
	return next, err
}

func auditDetail(edits []Edit) json.RawMessage {
	type change struct {
		Kind, Name string
		Deleted    bool `json:",omitempty"`
	}
	list := make([]change, 0, len(edits))
	for _, e := range edits {
		list = append(list, change{Kind: e.Kind, Name: e.Name, Deleted: e.Body == nil})
	}
	b, err := json.Marshal(list)
	if err != nil { // strings and booleans always encode
		panic(err)
	}
	return b
}

func (w *Workspace) putDefinition(ctx context.Context, tx *sql.Tx, e Edit, rev int64, author string, at time.Time) error {
	body, deleted := []byte(e.Body), 0
	if e.Body == nil {
		body, deleted = []byte("null"), 1
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO definitions (workspace, kind, name, version, revision, author, at, body, deleted)
		SELECT ?1, ?2, ?3, coalesce(max(version), 0) + 1, ?4, ?5, ?6, ?7, ?8 FROM definitions WHERE workspace = ?1 AND kind = ?2 AND name = ?3`,
		w.id, e.Kind, e.Name, rev, author, micros(at), string(body), deleted)
	if err != nil {
		return fmt.Errorf("writing %s %s: %w", e.Kind, e.Name, err)
	}
	return nil
}

const definitionColumns = "kind, name, version, author, at, body, deleted, revision"

// Definitions returns the current version of every definition that is not
// deleted, sorted by kind and name, and the revision they are of.
func (w *Workspace) Definitions(ctx context.Context) (list []Definition, rev int64, err error) {
	tx, err := w.s.read.BeginTx(ctx, nil) // both reads see one snapshot
	if err != nil {
		return nil, 0, w.s.classify("reading", err)
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	if rev, err = revision(ctx, tx, w.id); err != nil {
		return nil, 0, w.s.classify("reading", err)
	}
	rows, err := tx.QueryContext(ctx, "SELECT "+definitionColumns+` FROM definitions AS d WHERE workspace = ?1 AND deleted = 0
		AND version = (SELECT max(version) FROM definitions WHERE workspace = ?1 AND kind = d.kind AND name = d.name) ORDER BY kind, name`, w.id)
	if err != nil {
		return nil, 0, w.s.classify("reading", err)
	}
	list, err = scanDefinitions(rows)
	return list, rev, w.s.classify("reading", err)
}

// History returns the versions of one definition, newest first, at most limit.
func (w *Workspace) History(ctx context.Context, kind, name string, limit int) ([]Definition, error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT "+definitionColumns+` FROM definitions
		WHERE workspace = ? AND kind = ? AND name = ? ORDER BY version DESC LIMIT ?`, w.id, kind, name, limit)
	if err != nil {
		return nil, w.s.classify("reading", err)
	}
	list, err := scanDefinitions(rows)
	return list, w.s.classify("reading", err)
}

func scanDefinitions(rows *sql.Rows) (list []Definition, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d Definition
		var at int64
		var body string
		if err := rows.Scan(&d.Kind, &d.Name, &d.Version, &d.Author, &at, &body, &d.Deleted, &d.Revision); err != nil {
			return nil, fmt.Errorf("reading a definition: %w", err)
		}
		d.At, d.Body = fromMicros(at), json.RawMessage(body)
		list = append(list, d)
	}
	return list, rows.Err()
}
