package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate/internal/vfs"
)

// Check verifies the store at path, which no server has open, in a copy: it makes and
// changes nothing beside it. A store that is not there is an error that wraps fs.ErrNotExist.
func Check(ctx context.Context, path string) (err error) {
	s := &Store{path: path}
	dir, err := os.MkdirTemp("", "tidegate-check-*")
	if err != nil {
		return fmt.Errorf("checking the control store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copied := filepath.Join(dir, "control.db")
	for _, suffix := range []string{"", "-wal"} { // what was written last may be in the log alone
		if err := copyFile(path+suffix, copied+suffix); err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			if vfs.Refused(err) {
				return s.notWritable(err)
			}
			return fmt.Errorf("checking the control store: %w", err)
		}
	}
	if s.write, err = openPool(copied, 1, "_query_only=true"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.write.Close()) }()
	if err := s.verify(ctx); err != nil {
		return s.classify("checking", err)
	}
	return s.classify("checking", s.known(ctx))
}

// known refuses a store that a newer version wrote.
func (s *Store) known(ctx context.Context) error {
	list, err := migrations(migrationFiles)
	if err != nil {
		return err
	}
	done := 0
	err = s.write.QueryRowContext(ctx, "SELECT count(*) FROM migrations").Scan(&done)
	if err == nil && done <= len(list) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the migrations table: %w", err)
	}
	return faultNewer(done, len(list))
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
