package snowflake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

const (
	// fileBytes is how much of rows a file has before it is packed: Snowflake
	// recommends 100 to 250 MB packed for the largest loads; these are for a disk and a
	// memory that are small, and more files are copied side by side.
	fileBytes  = 128 << 20
	chunkBytes = 1 << 20
	maxFiles   = 10_000
)

// upload writes rows into files, one at a time, and puts each into the stage.
func (w *Warehouse) upload(ctx context.Context, o on, path string, rows *lines, first []byte) error {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of files to upload: %w", err)
	}
	dir, err := os.MkdirTemp(w.dir, "snowflake-upload-")
	if err != nil {
		return fmt.Errorf("making a folder of files to upload: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what cannot be removed is in the way of nobody
	for n := 1; !errors.Is(err, io.EOF); n++ {
		if n > maxFiles {
			return fmt.Errorf("the load has more than %d files", maxFiles)
		}
		file := filepath.Join(dir, fmt.Sprintf("part_%05d.json.gz", n))
		if err = pack(ctx, file, rows, first); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		first = nil
		if puts := w.put(ctx, o, path, file); puts != nil {
			return puts
		}
		if removes := os.Remove(file); removes != nil {
			return fmt.Errorf("removing an uploaded file: %w", removes)
		}
	}
	return nil
}

// put brings a file into the stage.
func (w *Warehouse) put(ctx context.Context, o on, path, file string) error {
	sql := "PUT 'file://" + strings.ReplaceAll(filepath.ToSlash(file), "'", `\'`) + "' " + string(stage) + "/" + path + "/ SOURCE_COMPRESSION = GZIP AUTO_COMPRESS = FALSE OVERWRITE = TRUE"
	if _, err := w.do(ctx, o, request{op: "load", sql: sql, file: true}); err != nil {
		return fmt.Errorf("uploading a file into the stage: %w", err)
	}
	return nil
}

// pack writes a file; with the last of all rows it returns io.EOF.
func pack(ctx context.Context, name string, rows *lines, first []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing rows into a file: %w", err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	written, ended := 0, error(nil)
	for chunk := first; ; {
		if _, err = z.Write(chunk); err != nil {
			return errors.Join(fmt.Errorf("writing rows into a file: %w", err), f.Close())
		}
		if written += len(chunk); ended != nil || written >= fileBytes {
			break
		}
		if chunk, ended = rows.take(ctx, chunkBytes); ended != nil && !errors.Is(ended, io.EOF) {
			return errors.Join(ended, f.Close())
		}
	}
	if err = errors.Join(z.Close(), f.Close()); err != nil {
		return fmt.Errorf("writing rows into a file: %w", err)
	}
	return ended
}
