package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/vfs"
)

// benchDir is on the disk that holds the working directory unless
// TIDEGATE_BENCH_DIR names another: the temporary directory is often memory.
func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(os.Getenv("TIDEGATE_BENCH_DIR"), "journal-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// BenchmarkAppend measures answered appends; beside it stands what the disk
// itself gives (BenchmarkSync).
func BenchmarkAppend(b *testing.B) {
	for _, producers := range []int{1, 32, 64, 256} {
		for _, size := range []int{600, 78 << 10} {
			b.Run(fmt.Sprintf("producers=%d/size=%d", producers, size), func(b *testing.B) {
				o := Options{Dir: benchDir(b), Now: time.Now, Fatal: func(err error) { b.Error(err) }}
				j := open(b, o)
				r, err := j.Reader("bench")
				if err != nil {
					b.Fatal(err)
				}
				defer r.Close()
				payload := bytes.Repeat([]byte("e"), size)
				b.SetBytes(int64(size))
				b.ResetTimer()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range producers {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if _, err := j.Append(b.Context(), payload, 1); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				// As a loader would: commit now and then, so that files are recycled.
				done := make(chan struct{})
				go func() { wg.Wait(); close(done) }()
				for committing := true; committing; {
					if d := j.Durable(); d.Position-r.Committed().Position > 64<<20/int64(size) {
						if err := r.Commit(b.Context(), d); err != nil {
							b.Fatal(err)
						}
					}
					select {
					case <-done:
						committing = false
					case <-j.wait():
					}
				}
				b.StopTimer()
				s := j.Stats()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
				b.ReportMetric(float64(s.Frames)/float64(max(1, s.Groups)), "frames/group")
			})
		}
	}
}

// BenchmarkSync is the baseline: one writer, write and fdatasync, into a file
// that grows, one that was preallocated, and one that was written before.
func BenchmarkSync(b *testing.B) {
	for _, mode := range []string{"growing", "preallocated", "written"} {
		for _, size := range []int{640, 40_000, 256 << 10} {
			b.Run(fmt.Sprintf("%s/size=%d", mode, size), func(b *testing.B) {
				f, err := vfs.Create(vfs.OS(), filepath.Join(benchDir(b), "file"))
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				const space = 64 << 20
				if mode != "growing" {
					err = f.Preallocate(space)
				}
				if mode == "written" {
					_, err = f.WriteAt(make([]byte, space), 0)
				}
				if err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				p := bytes.Repeat([]byte("e"), size)
				off := int64(0)
				b.SetBytes(int64(size))
				for b.Loop() {
					if mode != "growing" && off+int64(size) > space {
						off = 0
					}
					if _, err := f.WriteAt(p, off); err != nil {
						b.Fatal(err)
					}
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
					off += int64(size)
				}
			})
		}
	}
}

// filled returns the options of a journal on the disk that holds so many bytes.
func filled(b *testing.B, total, size int) Options {
	b.Helper()
	o := Options{Dir: benchDir(b), Now: time.Now, Fatal: func(err error) { b.Error(err) }}
	j := open(b, o)
	payload := bytes.Repeat([]byte("e"), size)
	var left atomic.Int64
	left.Store(int64(total / size))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := j.Append(b.Context(), payload, 1); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	closeJournal(b, j)
	return o
}

// BenchmarkOpen is the time from Open to the first durable answer.
func BenchmarkOpen(b *testing.B) {
	for _, mb := range []int{1, 60, 1000} {
		b.Run(fmt.Sprintf("MB=%d", mb), func(b *testing.B) {
			o := filled(b, mb<<20, 16<<10)
			for b.Loop() {
				j, err := Open(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := j.Append(b.Context(), []byte("first"), 1); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				closeJournal(b, j)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{600, 78 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			j := open(b, filled(b, 100<<20, size))
			r, err := j.OpenAt(at(0))
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			b.SetBytes(int64(size))
			for b.Loop() {
				_, ok, err := r.TryNext()
				if !ok && err == nil {
					err = r.Seek(at(0))
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
