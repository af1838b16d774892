package redshift

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
)

// An object ends when it has so many bytes, packed or before that. COPY reads objects in parallel.
const (
	objectPacked = 16 << 20
	objectPlain  = 64 << 20
	// uploads run beside the encoding of the next object; each holds one.
	uploads = 2
)

// staged are rows that lie in the bucket.
type staged struct {
	bucket   *bucket
	folder   string
	objects  []object
	manifest string // its key, "" while there is none
	rows     int64
	longest  []int // text of each column, in bytes
	uploaded atomic.Bool
}

type object struct {
	key   string
	first int64 // number of its first row, from 1
	size  int
}

// folderOf is where the objects of a load are: always the same, so that a load that is repeated writes
// over what an attempt before left.
func (w *Warehouse) folderOf(l warehouse.Load) string {
	sum := sha256.Sum256([]byte(w.pools.Write.Config().ConnConfig.Database + "\x00" + w.fold(l.Table.Schema) + "\x00" + w.fold(l.Table.Name) + "\x00" + l.ID))
	return w.bucket.prefix + "/" + hex.EncodeToString(sum[:16])
}

// stage writes rows into the bucket. What it returns is removed by the caller, also after an error.
func (w *Warehouse) stage(ctx context.Context, p *loadPlan, rows tidegate.RowReader) (*staged, error) {
	st := &staged{bucket: w.bucket, folder: w.folderOf(p.Load), longest: make([]int, len(p.columns))}
	group, uploading := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	err := st.encode(ctx, p, rows, func(o object, body []byte) {
		group.Go(func() error {
			err := w.bucket.put(uploading, o.key, body)
			if err == nil || tidegate.FaultOf(err).Action != tidegate.Halt { // it may be there
				st.uploaded.Store(true)
			}
			return err
		})
	})
	if sent := group.Wait(); err == nil && sent != nil {
		err = fmt.Errorf("uploading rows: %w", sent)
	}
	if err == nil && len(st.objects) > 0 {
		err = st.writeManifest(ctx)
	}
	return st, err
}

// encode makes objects of rows and hands each on when it is full.
func (st *staged) encode(ctx context.Context, p *loadPlan, rows tidegate.RowReader, send func(object, []byte)) error {
	var (
		out   *bytes.Buffer
		zip   *gzip.Writer
		plain int
		line  []byte
	)
	end := func() error {
		if err := zip.Close(); err != nil {
			return fmt.Errorf("packing rows: %w", err)
		}
		o := &st.objects[len(st.objects)-1]
		o.size = out.Len()
		send(*o, out.Bytes())
		out = nil
		return nil
	}
	for {
		var err error
		if line, err = st.line(ctx, p, rows, line[:0]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if out == nil {
			out, plain = &bytes.Buffer{}, 0
			if zip, err = gzip.NewWriterLevel(out, gzip.BestSpeed); err != nil {
				return fmt.Errorf("packing rows: %w", err)
			}
			st.objects = append(st.objects, object{key: fmt.Sprintf("%s/%05d.json.gz", st.folder, len(st.objects)), first: st.rows})
		}
		if _, err := zip.Write(line); err != nil {
			return fmt.Errorf("packing rows: %w", err)
		}
		if plain += len(line); plain >= objectPlain || out.Len() >= objectPacked {
			if err := end(); err != nil {
				return err
			}
		}
	}
	if out != nil {
		return end()
	}
	return nil
}

// line writes the next row as a JSON object. A cell that is NULL is left out.
func (st *staged) line(ctx context.Context, p *loadPlan, rows tidegate.RowReader, dst []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return dst, fmt.Errorf("reading row %d: %w", st.rows+1, context.Cause(ctx))
	}
	row, err := rows.Next(ctx)
	if errors.Is(err, io.EOF) {
		return dst, io.EOF
	}
	st.rows++
	if err != nil {
		return dst, fmt.Errorf("reading row %d: %w", st.rows, err)
	}
	if len(row) != len(p.columns) {
		return dst, fmt.Errorf("reading row %d: it has %d cells and its schema %d", st.rows, len(row), len(p.columns))
	}
	dst = append(dst, `{"n":`...)
	dst = strconv.AppendInt(dst, st.rows, 10)
	widest, most := 0, 0
	for i, v := range row {
		if v == nil {
			if p.isKey[i] {
				return dst, celltext.Misfit(p.columns[i].name, st.rows, celltext.ErrNullKey)
			}
			continue
		}
		before := len(dst)
		dst = append(append(append(dst, `,"`...), p.staged[i]...), `":`...)
		var length int
		if dst, length, err = p.columns[i].appendCell(dst, v); err != nil {
			return dst, celltext.Misfit(p.columns[i].name, st.rows, err)
		}
		st.longest[i] = max(st.longest[i], length)
		if size := len(dst) - before; size > most {
			widest, most = i, size
		}
	}
	if dst = append(dst, "}\n"...); len(dst) > maxLine {
		return dst, celltext.Misfit(p.columns[widest].name, st.rows, errRowSize)
	}
	return dst, nil
}

// writeManifest names the objects, so that COPY reads these and no other.
func (st *staged) writeManifest(ctx context.Context) error {
	type entry struct {
		URL       string `json:"url"`
		Mandatory bool   `json:"mandatory"`
	}
	var m struct {
		Entries []entry `json:"entries"`
	}
	for _, o := range st.objects {
		m.Entries = append(m.Entries, entry{URL: st.bucket.uri(o.key), Mandatory: true})
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	st.manifest = st.folder + "/manifest.json"
	if err := st.bucket.put(ctx, st.manifest, body); err != nil {
		return fmt.Errorf("uploading the manifest: %w", err)
	}
	return nil
}

// removeTimeout bounds the removal of objects, which goes on after the call's own end.
const removeTimeout = 30 * time.Second

// remove removes all objects. One that stays is told and does no harm: the same load writes over it, and
// the bucket's lifecycle rule removes it.
func (w *Warehouse) remove(ctx context.Context, st *staged) {
	if !st.uploaded.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	keys := make([]string, 0, len(st.objects)+1)
	for _, o := range st.objects {
		keys = append(keys, o.key)
	}
	if st.manifest != "" {
		keys = append(keys, st.manifest)
	}
	for _, key := range keys {
		if err := w.bucket.remove(ctx, key); err != nil {
			w.log.Warn("an object of a load stays in the bucket", "key", key, "error", err)
			return
		}
	}
}

// objectOf finds the object whose name ends an error of COPY.
func (st *staged) objectOf(uri string) (object, bool) {
	for _, o := range st.objects {
		if st.bucket.uri(o.key) == uri {
			return o, true
		}
	}
	return object{}, false
}
