package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/vfs"
)

// cursor is how far one durable reader has come. Its fields are guarded by
// Journal.mu.
type cursor struct {
	path      string
	committed int64
	damaged   error // its file does not verify
	taken     bool  // a Reader has it
}

const (
	maxCursors    = 1000
	maxCursorFile = 256
	cursorFormat  = "tidegate cursor 1 position %d"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeCursor(position int64) []byte {
	text := fmt.Sprintf(cursorFormat, position)
	return fmt.Appendf(nil, "%s crc %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

func decodeCursor(b []byte) (position int64, err error) {
	if _, err := fmt.Sscanf(string(b), cursorFormat, &position); err != nil {
		return 0, fmt.Errorf("reading %q: %w", b, err)
	}
	if position < 0 || string(encodeCursor(position)) != string(b) {
		return 0, fmt.Errorf("reading %q: the checksum does not fit", b)
	}
	return position, nil
}

func checkReaderName(name string) error {
	ok := len(name) > 0 && len(name) <= 100 && name[0] != '.' && !strings.HasSuffix(name, vfs.TempSuffix)
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return fmt.Errorf("reading the journal: %q is not a reader's name: it takes 1 to 100 letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

// loadCursors reads all cursors; a damaged one stops its reader and every trim,
// not the journal.
func (j *Journal) loadCursors() error {
	dir := j.path(cursorsDir)
	entries, err := j.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := j.path(cursorsDir, e.Name())
		if strings.HasSuffix(e.Name(), vfs.TempSuffix) {
			if err := j.fs.Remove(path); err != nil {
				return err
			}
			continue
		}
		if checkReaderName(e.Name()) != nil || e.IsDir() {
			return fmt.Errorf("%s is not a cursor; move it away", path)
		}
		c := &cursor{path: path}
		b, err := vfs.ReadFile(j.fs, path, maxCursorFile)
		if err == nil {
			c.committed, err = decodeCursor(b)
		}
		if err != nil {
			c.damaged = err
			j.o.Log.Error("a journal cursor is damaged: nothing is trimmed until it is mended", "path", path, "error", err)
		}
		j.cursors[e.Name()] = c
	}
	return nil
}

// passed returns the position that every reader has passed, and false while
// that is not known. It is called by Open, or with mu held.
func (j *Journal) passed() (position int64, ok bool) {
	for _, c := range j.cursors {
		if c.damaged != nil {
			return 0, false
		}
		if !ok || c.committed < position {
			position = c.committed
		}
		ok = true
	}
	return position, ok
}

// saveCursor makes position durable as c. It is called with disk held.
func (j *Journal) saveCursor(c *cursor, position int64) error {
	err := vfs.Replace(j.fs, c.path, encodeCursor(position), func(step int) {
		if step == 0 {
			crashpoint.Hit(crashpoint.JournalAfterCursorWrite)
		} else {
			crashpoint.Hit(crashpoint.JournalAfterCursorRename)
		}
	})
	if err != nil {
		return fmt.Errorf("saving the cursor %s: %w", c.path, err)
	}
	j.mu.Lock()
	c.committed = position
	j.mu.Unlock()
	return nil
}

// commitCursor moves c forward and trims.
func (j *Journal) commitCursor(c *cursor, next int64) error {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.mu.Lock()
	err := j.usable()
	committed, durable := c.committed, j.durable
	j.mu.Unlock()
	switch {
	case err != nil:
		return err
	case next > durable:
		return faultAhead(next, durable)
	case next < committed:
		return fmt.Errorf("committing %d to %s: the cursor already stands at %d", next, c.path, committed)
	case next == committed:
		return nil
	}
	if err := j.saveCursor(c, next); err != nil {
		return err
	}
	if _, err := j.trim(); err != nil {
		j.o.Log.Warn("trimming the journal failed", "error", err) // the cursor is committed all the same
	}
	return nil
}

// DropReader forgets the cursor name, so that it holds nothing back any more.
// It is how a reader leaves for good, and how a damaged cursor is given up.
func (j *Journal) DropReader(ctx context.Context, name string) error {
	if err := errors.Join(checkReaderName(name), ctx.Err()); err != nil {
		return err
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	j.mu.Lock()
	c, err := j.cursors[name], j.usable()
	if err == nil && c != nil && c.taken {
		err = fmt.Errorf("dropping the reader %s: %w", name, errBusyName)
	}
	j.mu.Unlock()
	if err != nil || c == nil {
		return err
	}
	if err := errors.Join(j.fs.Remove(c.path), j.fs.SyncDir(j.path(cursorsDir))); err != nil {
		return fmt.Errorf("dropping the reader %s: %w", name, err)
	}
	j.mu.Lock()
	delete(j.cursors, name)
	j.mu.Unlock()
	return nil
}
