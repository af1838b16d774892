package secret

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate"
)

// ReadFile returns the text of a file that only its owner may read; one that others can
// read is the fault "secret.file_open". The error wraps fs.ErrNotExist where there is none.
func ReadFile(path string) (Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Secret{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Secret{}, &tidegate.Fault{
			Action: tidegate.Halt, Code: "secret.file_open", Subject: path,
			Message: fmt.Sprintf("the file can be read by others (%v)", info.Mode().Perm()), Hint: "run: chmod 600 " + path + ", and think of what it holds as known",
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Secret{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return New(string(b)), nil
}

// WriteFile replaces path in one step, readable by its owner only, and returns when it is on disk.
func WriteFile(path string, text Secret) (err error) {
	temp, err := writeTemp(path, text)
	if err == nil {
		if err = os.Rename(temp, path); err == nil {
			return syncDir(path)
		}
		err = errors.Join(err, os.Remove(temp))
	}
	return fmt.Errorf("writing %s: %w", path, err)
}

// CreateFile is WriteFile for a file that must not exist: the error wraps fs.ErrExist when it does.
func CreateFile(path string, text Secret) (err error) {
	temp, err := writeTemp(path, text)
	if err == nil {
		if err = errors.Join(os.Link(temp, path), os.Remove(temp)); err == nil {
			return syncDir(path)
		}
	}
	return fmt.Errorf("writing %s: %w", path, err)
}

func writeTemp(path string, text Secret) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text.Reveal())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir makes the name of a file durable.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
