package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/ingest"
	"github.com/tidegate/tidegate/ingest/scan"
)

// The bare server is the least that a server can do that answers after the
// events are on the disk: it reads the body, scans it, copies it into the group
// that is filling, and answers when one write and one fdatasync have taken the
// group. It knows no keys, judges nothing, counts nothing and recovers nothing.
// Beside it stands what those cost.
const (
	bareFileBytes = 256 << 20 // written with zeros in advance, and over again from its start
	bareChunk     = 1 << 20
	bareHeader    = 8 // length and CRC
	bareEvents    = 2500
)

type bareGroup struct {
	buf  []byte
	done chan struct{}
	err  error
}

type bareLog struct {
	file *os.File
	wake chan struct{}

	mu      sync.Mutex
	filling *bareGroup
}

func openBare(dir string) (*bareLog, error) {
	f, err := os.Create(filepath.Join(dir, "bare.log"))
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, bareChunk)
	for off := int64(0); off < bareFileBytes; off += bareChunk {
		if _, err := f.WriteAt(zeros, off); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return &bareLog{file: f, wake: make(chan struct{}, 1), filling: &bareGroup{done: make(chan struct{})}}, nil
}

// rawSyncs is how often rawSync writes; rawSyncBytes about what the envelope of one event takes.
const (
	rawSyncs     = 1000
	rawSyncBytes = 800
)

// rawSync is the median time of one write and one fdatasync in a file that was written
// in advance: what no durable answer can be faster than.
func rawSync() (time.Duration, error) {
	dir, err := os.MkdirTemp("", "tidegate-sync-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := openBare(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.file.Close() }()
	event := bytes.Repeat([]byte{'e'}, rawSyncBytes)
	times := make([]time.Duration, rawSyncs)
	for i := range times {
		start := time.Now()
		if _, err := l.file.WriteAt(event, int64(i*rawSyncBytes)); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(l.file.Fd())); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times[rawSyncs/2], nil
}

// append returns when body is on the disk.
func (l *bareLog) append(body []byte) error {
	var head [bareHeader]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(body)))
	l.mu.Lock()
	g := l.filling
	g.buf = append(append(g.buf, head[:]...), body...)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	<-g.done
	return g.err
}

// run makes group after group durable, for as long as the process lives.
func (l *bareLog) run() {
	table := crc32.MakeTable(crc32.Castagnoli)
	var spare []byte
	var off int64
	for range l.wake {
		l.mu.Lock()
		g := l.filling
		l.filling = &bareGroup{buf: spare[:0], done: make(chan struct{})}
		l.mu.Unlock()
		for rest := g.buf; len(rest) > 0; {
			size := bareHeader + int(binary.LittleEndian.Uint32(rest))
			binary.LittleEndian.PutUint32(rest[4:], crc32.Checksum(rest[bareHeader:size], table))
			rest = rest[size:]
		}
		if off+int64(len(g.buf)) > bareFileBytes {
			off = 0
		}
		if _, g.err = l.file.WriteAt(g.buf, off); g.err == nil {
			g.err = unix.Fdatasync(int(l.file.Fd()))
		}
		off += int64(len(g.buf))
		spare, g.buf = g.buf, nil
		close(g.done)
	}
}

func serveBare(addr, dir string) error {
	l, err := openBare(dir)
	if err != nil {
		return err
	}
	go l.run()
	type request struct {
		body []byte
		doc  scan.Document
	}
	requests := sync.Pool{New: func() any { return new(request) }}
	return serveBaseline(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 || r.ContentLength > 5<<20 {
			http.Error(w, "a length is needed", http.StatusLengthRequired)
			return
		}
		req := requests.Get().(*request)
		defer requests.Put(req)
		if int64(cap(req.body)) < r.ContentLength {
			req.body = make([]byte, r.ContentLength)
		}
		req.body = req.body[:r.ContentLength]
		if _, err := io.ReadFull(r.Body, req.body); err != nil {
			http.Error(w, "reading the body", http.StatusBadRequest)
			return
		}
		if err := req.doc.Scan(req.body, bareEvents); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := l.append(req.body); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = io.Copy(w, strings.NewReader(`{"success":true}`))
	}))
}

// serveBaseline serves h as the hub serves its collection endpoint: with the
// same limits and times of the listener.
func serveBaseline(addr string, h http.Handler) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return ingest.Server(h, nil).Serve(l)
}
