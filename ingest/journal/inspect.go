package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

// Inspection is what lies in a journal's directory.
type Inspection struct {
	Segments int
	Bytes    int64
	Events   int64    // in frames that verify
	Problems []string // what does not verify, each with its file
	SetAside []string // files of damage that was found before
}

// Inspect reads every frame of the journal in dir, which no process has open. It changes,
// makes and locks nothing. What a crash cut off at the end is no problem: it was never
// answered for. A directory that is not there is an error that wraps fs.ErrNotExist.
func Inspect(ctx context.Context, fsys vfs.FS, dir string) (Inspection, error) {
	var found Inspection
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return found, fmt.Errorf("inspecting the journal: %w", err)
	}
	for _, e := range entries { // in the order of their names
		name, isSegment := strings.CutSuffix(e.Name(), segmentSuffix)
		if !isSegment || strings.HasPrefix(name, sparePrefix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return found, fmt.Errorf("inspecting the journal: %w", err)
		}
		found.Segments++
		path := filepath.Join(dir, e.Name())
		if err := found.segment(fsys, path); err != nil {
			found.Problems = append(found.Problems, path+": "+err.Error())
		}
	}
	if err := found.cursors(fsys, filepath.Join(dir, cursorsDir)); err != nil {
		return found, fmt.Errorf("inspecting the journal: %w", err)
	}
	kept, err := fsys.ReadDir(filepath.Join(dir, quarantineDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return found, fmt.Errorf("inspecting the journal: %w", err)
	}
	for _, e := range kept {
		found.SetAside = append(found.SetAside, filepath.Join(dir, quarantineDir, e.Name()))
	}
	return found, nil
}

// segment reads one file; the error is one that ended the reading.
func (found *Inspection) segment(fsys vfs.FS, path string) (err error) {
	f, err := vfs.Open(fsys, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, err := segment.ReadHeader(f)
	if err != nil {
		return err
	}
	limit, err := f.Size()
	if err != nil {
		return err
	}
	end := int64(-1)
	if seal, err := segment.ReadSeal(f, limit, h); err == nil {
		limit, end = seal.DataEnd, seal.End
	}
	frames := segment.NewScanner(f, h, h.Start(), limit, end)
	for {
		frame, err := frames.Next()
		var damage *segment.Damage
		var torn *segment.Torn
		switch {
		case err == nil:
			found.Events += int64(frame.Events)
			found.Bytes += int64(len(frame.Payload))
		case errors.As(err, &damage):
			found.Problems = append(found.Problems, path+": "+damage.Error())
		case errors.As(err, &torn), errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// cursors reads the places of the readers.
func (found *Inspection) cursors(fsys vfs.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), vfs.TempSuffix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		text, err := vfs.ReadFile(fsys, path, maxCursorFile)
		if err == nil {
			_, err = decodeCursor(text)
		}
		if err != nil {
			found.Problems = append(found.Problems, path+": the reader's place cannot be read ("+err.Error()+"); without the file it reads everything that is kept once more")
		}
	}
	return nil
}
