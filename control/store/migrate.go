package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tidegate/tidegate"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

type migration struct {
	name string
	sql  string
	sum  string
}

// migrations returns the embedded migrations in order; the n-th is version n+1.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	list := make([]migration, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading migration %s: %w", name, err)
		}
		sum := sha256.Sum256(text)
		list = append(list, migration{name: name, sql: string(text), sum: hex.EncodeToString(sum[:])})
	}
	return list, nil
}

// migrate applies what is missing, each migration in a transaction of its own,
// and returns how many were. A version that this binary does not know, or a
// migration whose text has changed since it was applied, is refused.
func migrate(ctx context.Context, db *sql.DB, now func() time.Time) (applied int, err error) {
	list, err := migrations(migrationFiles)
	if err != nil {
		return 0, err
	}
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, sum TEXT NOT NULL, at INTEGER NOT NULL) STRICT")
	if err != nil {
		return 0, fmt.Errorf("creating the migrations table: %w", err)
	}
	done, err := appliedSums(ctx, db)
	if err != nil {
		return 0, err
	}
	if len(done) > len(list) {
		return 0, faultNewer(len(done), len(list))
	}
	for i, m := range list {
		if i < len(done) {
			if done[i] != m.sum {
				return applied, &tidegate.Fault{
					Action: tidegate.Halt, Code: "store.changed_migration", Subject: m.name,
					Message: "this binary's migration differs from the one that made the control store",
					Hint:    "start the version of tidegate that wrote it",
				}
			}
			continue
		}
		if err := applyMigration(ctx, db, i+1, m, now()); err != nil {
			return applied, err
		}
		applied++
	}
	return applied, nil
}

func faultNewer(has, knows int) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "store.newer",
		Message: fmt.Sprintf("the control store has version %d, this binary knows %d", has, knows),
		Hint:    "start the version of tidegate that wrote it, or a newer one",
	}
}

func appliedSums(ctx context.Context, db *sql.DB) (sums []string, err error) {
	rows, err := db.QueryContext(ctx, "SELECT sum FROM migrations ORDER BY version")
	if err != nil {
		return nil, fmt.Errorf("reading the migrations table: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var sum string
		if err := rows.Scan(&sum); err != nil {
			return nil, fmt.Errorf("reading the migrations table: %w", err)
		}
		sums = append(sums, sum)
	}
	return sums, rows.Err()
}

func applyMigration(ctx context.Context, db *sql.DB, version int, m migration, at time.Time) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("applying migration %s: %w", m.name, err)
	}
	_, err = tx.ExecContext(ctx, m.sql)
	if err == nil {
		_, err = tx.ExecContext(ctx, "INSERT INTO migrations (version, name, sum, at) VALUES (?, ?, ?, ?)", version, m.name, m.sum, at.UnixMicro())
	}
	if err != nil {
		return fmt.Errorf("applying migration %s: %w", m.name, errors.Join(err, tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("applying migration %s: %w", m.name, err)
	}
	return nil
}
