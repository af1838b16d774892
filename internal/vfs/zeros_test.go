//go:build unix

package vfs

import (
	"bytes"
	"path/filepath"
	"testing"
)

// TestWriteZeros: zeros go over what was there and nowhere else, past the cache, through
// it, and in memory, also more of them than are written at a time.
func TestWriteZeros(t *testing.T) {
	t.Parallel()
	const size, off, n = 4 << 20, 3 * ZeroUnit, zeroChunk + 5*ZeroUnit
	mem := NewMem(1)
	must(t, mem.MkdirAll("/d", 0o700))
	for name, c := range map[string]struct {
		fs   FS
		path string
		zero func(File) error
	}{
		"past the cache": {OS(), filepath.Join(t.TempDir(), "f"), func(f File) error { return f.WriteZeros(off, n) }},
		"through it":     {OS(), filepath.Join(t.TempDir(), "f"), func(f File) error { return f.(osFile).zeroCached(off, n) }},
		"in memory":      {mem, "/d/f", func(f File) error { return f.WriteZeros(off, n) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Create(c.fs, c.path)
			must(t, err)
			defer func() { must(t, f.Close()) }()
			want := bytes.Repeat([]byte("x"), size)
			_, err = f.WriteAt(want, 0)
			must(t, err)
			must(t, c.zero(f))
			clear(want[off : off+n])
			must(t, f.Sync())
			got := make([]byte, size)
			_, err = f.ReadAt(got, 0)
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Error("the file differs")
			}
		})
	}
}
