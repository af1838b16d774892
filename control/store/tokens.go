package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
)

// Token is an API token as it is kept: the hash, never the token.
type Token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	Hash      string    `json:"-"` // hex SHA-256 of the token
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: does not expire
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

// Live says whether the token may be used at the time now.
func (t Token) Live(now time.Time) bool {
	return t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt))
}

// AddToken stores t with its audit entry. CreatedAt is the store's.
func (w *Workspace) AddToken(ctx context.Context, actor string, t Token) error {
	return w.tx(ctx, "writing", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO tokens (workspace, id, name, role, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			w.id, t.ID, t.Name, t.Role, t.Hash, micros(w.s.now()), nullMicros(t.ExpiresAt))
		if err != nil {
			return fmt.Errorf("adding token %s: %w", t.ID, err)
		}
		return w.appendAudit(ctx, tx, AuditEntry{Actor: actor, Action: "token.add", Object: t.ID})
	})
}

// RevokeToken ends a token at once; fault "token.not_found" when there is none.
func (w *Workspace) RevokeToken(ctx context.Context, actor, id string) error {
	return w.tx(ctx, "writing", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE tokens SET revoked_at = ? WHERE workspace = ? AND id = ? AND revoked_at IS NULL", micros(w.s.now()), w.id, id)
		if err != nil {
			return fmt.Errorf("revoking token %s: %w", id, err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, &tidegate.Fault{Action: tidegate.Halt, Code: "token.not_found", Subject: "token " + id, Message: "there is no such live token", Hint: "`tidegate token list` lists them"})
		}
		return w.appendAudit(ctx, tx, AuditEntry{Actor: actor, Action: "token.revoke", Object: id})
	})
}

// Tokens lists the workspace's tokens, newest last, revoked ones included.
func (w *Workspace) Tokens(ctx context.Context) (list []Token, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE workspace = ? ORDER BY created_at, id", w.id)
	if err != nil {
		return nil, w.s.classify("reading", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		t, err := scanToken(rows)
		if err != nil {
			return nil, w.s.classify("reading", err)
		}
		list = append(list, t)
	}
	return list, w.s.classify("reading", rows.Err())
}

// TokenByHash finds the token with the hash; ok is false when there is none.
// The caller checks Live.
func (w *Workspace) TokenByHash(ctx context.Context, hash string) (t Token, ok bool, err error) {
	t, err = scanToken(w.s.read.QueryRowContext(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE workspace = ? AND hash = ?", w.id, hash))
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, false, nil
	}
	return t, err == nil, w.s.classify("reading", err)
}

const tokenColumns = "id, name, role, hash, created_at, expires_at, revoked_at"

func scanToken(row interface{ Scan(...any) error }) (t Token, err error) {
	var created int64
	var expires, revoked sql.NullInt64
	if err := row.Scan(&t.ID, &t.Name, &t.Role, &t.Hash, &created, &expires, &revoked); err != nil {
		return Token{}, err
	}
	t.CreatedAt, t.ExpiresAt, t.RevokedAt = fromMicros(created), fromNullMicros(expires), fromNullMicros(revoked)
	return t, nil
}
