package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
)

// Secret is a secret as it is kept: ciphertext. Package vault reads and writes it.
type Secret struct {
	Name    string
	Version int64  // counts from 1
	KeyID   string // of the key that sealed Wrapped
	Wrapped []byte // the secret's own key
	Sealed  []byte // the secret, by its own key
	Author  string
	At      time.Time // when this version was set
}

const secretColumns = "name, version, key_id, wrapped, sealed, author, at"

// PutSecret stores the next version of the secret called name, with its audit entry.
// seal is told the version's number and fills the ciphertext.
func (w *Workspace) PutSecret(ctx context.Context, actor, name string, seal func(s *Secret) error) (s Secret, err error) {
	err = w.tx(ctx, "writing", func(tx *sql.Tx) error {
		s = Secret{Name: name, Author: actor, At: w.s.now().UTC().Truncate(time.Microsecond)}
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) + 1 FROM secrets WHERE workspace = ? AND name = ?", w.id, name).Scan(&s.Version); err != nil {
			return fmt.Errorf("reading secret %s: %w", name, err)
		}
		if err := seal(&s); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO secrets (workspace, "+secretColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			w.id, s.Name, s.Version, s.KeyID, s.Wrapped, s.Sealed, s.Author, micros(s.At))
		if err != nil {
			return fmt.Errorf("writing secret %s: %w", name, err)
		}
		return w.appendAudit(ctx, tx, AuditEntry{Actor: actor, Action: "secret.set", Object: name})
	})
	return s, err
}

// RemoveSecret forgets a secret; ok is false when there is none.
func (w *Workspace) RemoveSecret(ctx context.Context, actor, name string) (ok bool, err error) {
	err = w.tx(ctx, "writing", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM secrets WHERE workspace = ? AND name = ?", w.id, name)
		if err != nil {
			return fmt.Errorf("removing secret %s: %w", name, err)
		}
		n, err := res.RowsAffected()
		if ok = n > 0; err != nil || !ok {
			return err
		}
		return w.appendAudit(ctx, tx, AuditEntry{Actor: actor, Action: "secret.remove", Object: name})
	})
	return ok, err
}

// RewrapSecrets hands every secret to rewrap, which may replace KeyID and Wrapped, and
// stores what it changed: all or none, with one audit entry. It returns how many those are.
func (w *Workspace) RewrapSecrets(ctx context.Context, actor string, rewrap func(s *Secret) error) (changed int, err error) {
	err = w.tx(ctx, "writing", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT "+secretColumns+" FROM secrets WHERE workspace = ? ORDER BY name", w.id)
		if err != nil {
			return fmt.Errorf("reading secrets: %w", err)
		}
		list, err := scanSecrets(rows)
		if err != nil {
			return err
		}
		for _, s := range list {
			was := s.KeyID
			if err := rewrap(&s); err != nil {
				return err
			}
			if s.KeyID == was {
				continue
			}
			if _, err := tx.ExecContext(ctx, "UPDATE secrets SET key_id = ?, wrapped = ? WHERE workspace = ? AND name = ?", s.KeyID, s.Wrapped, w.id, s.Name); err != nil {
				return fmt.Errorf("writing secret %s: %w", s.Name, err)
			}
			changed++
		}
		return w.appendAudit(ctx, tx, AuditEntry{Actor: actor, Action: "secret.rotate", Object: fmt.Sprintf("%d secrets", changed)})
	})
	return changed, err
}

// Secrets lists the workspace's secrets by name.
func (w *Workspace) Secrets(ctx context.Context) ([]Secret, error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT "+secretColumns+" FROM secrets WHERE workspace = ? ORDER BY name", w.id)
	if err != nil {
		return nil, w.s.classify("reading", err)
	}
	list, err := scanSecrets(rows)
	return list, w.s.classify("reading", err)
}

// Secret returns one; the fault is "secret.not_found" when there is none.
func (w *Workspace) Secret(ctx context.Context, name string) (Secret, error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT "+secretColumns+" FROM secrets WHERE workspace = ? AND name = ?", w.id, name)
	if err != nil {
		return Secret{}, w.s.classify("reading", err)
	}
	list, err := scanSecrets(rows)
	if err != nil {
		return Secret{}, w.s.classify("reading", err)
	}
	if len(list) == 0 {
		return Secret{}, NoSecret(name)
	}
	return list[0], nil
}

// NoSecret is the fault of a name that no secret has.
func NoSecret(name string) *tidegate.Fault {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "secret.not_found", Subject: "secret " + name, Message: "the store has no such secret",
		Hint: "run: tidegate secrets set " + name,
	}
}

func scanSecrets(rows *sql.Rows) (list []Secret, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s Secret
		var at int64
		if err := rows.Scan(&s.Name, &s.Version, &s.KeyID, &s.Wrapped, &s.Sealed, &s.Author, &at); err != nil {
			return nil, fmt.Errorf("reading a secret: %w", err)
		}
		s.At = fromMicros(at)
		list = append(list, s)
	}
	return list, rows.Err()
}
