// Package file brings the files that models name into the warehouse.
//
//	people.csv ──▶ kinds of the columns, SHA-256 ──▶ _tidegate_files.people_1a2b3c4d_… ──▶ SELECT * FROM it
//	                     (one pass)                    (a second pass, once per content)
//
// CSV, TSV, NDJSON and Parquet are read by this package and loaded through the
// warehouse's own Load, so that files work on every warehouse that can be written.
// A table is filled once and never changed: new content gets a new table, and a
// run that reads the old one is not disturbed. Which table holds a file now
// stands in _tidegate_files._files; the one before it is kept until the content changes again.
//
// Invariants: a file that is missing, cut off or unreadable is a Halt fault and
// never an empty model (Invariant 6); the kinds of columns are decided by every
// row of the file, not by a sample; a table that the register names is complete (Invariant 3).
//
// It does not look at a file unless it is asked to, and starts no goroutine. A
// Loader is safe for concurrent use; it loads one file at a time.
package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

const (
	// Schema is where the tables of files are.
	Schema = "_tidegate_files"
	// MaxBytes is the largest file.
	MaxBytes = 1 << 30

	registerTable = "_files"
)

// Formats lists the endings of the files that can be read.
func Formats() []string { return []string{".csv", ".tsv", ".ndjson", ".jsonl", ".parquet"} }

// Loader loads the files of one project into one warehouse.
type Loader struct {
	wh   warehouse.Warehouse
	root fs.FS
	now  func() time.Time
	log  *slog.Logger

	mu    sync.Mutex
	known map[string]state // by model
}

// state is what is known of a model's file.
type state struct {
	path  string
	size  int64
	mod   time.Time
	table warehouse.Table
}

// New returns a Loader for the files below root. log hears of old tables that
// could not be dropped; nil is silent.
func New(wh warehouse.Warehouse, root fs.FS, now func() time.Time, log *slog.Logger) *Loader {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Loader{wh: wh, root: root, now: now, log: log, known: map[string]state{}}
}

// Table loads the file of def unless its content is in the warehouse already,
// and returns the table that holds it.
func (l *Loader) Table(ctx context.Context, def tidegate.Model) (warehouse.Table, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, info, err := l.open(def)
	if err != nil {
		return warehouse.Table{}, err
	}
	t, err := l.table(ctx, def, f, info)
	return t, errors.Join(err, f.Close())
}

func (l *Loader) open(def tidegate.Model) (fs.File, fs.FileInfo, error) {
	name := path.Clean(strings.TrimPrefix(def.File, "./"))
	if !fs.ValidPath(name) {
		return nil, nil, broken(def, "the path leads out of the project folder", "put the file beside tidegate.yaml, and write its path from there")
	}
	f, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, broken(def, "the file does not exist", "put it below the project folder of the server")
	}
	if err != nil {
		return nil, nil, broken(def, "the file cannot be opened: "+cause(err), "")
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = broken(def, "the file cannot be looked at: "+cause(err), "")
	case info.IsDir():
		err = broken(def, "it is a folder", "name a file")
	case info.Size() > MaxBytes:
		err = broken(def, fmt.Sprintf("the file has %d bytes, the limit is %d", info.Size(), MaxBytes), "load it into the warehouse yourself, and name the table")
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

func (l *Loader) table(ctx context.Context, def tidegate.Model, f fs.File, info fs.FileInfo) (warehouse.Table, error) {
	now := state{path: def.File, size: info.Size(), mod: info.ModTime()}
	if known, ok := l.known[def.Name]; ok && known.path == now.path && known.size == now.size && known.mod.Equal(now.mod) {
		if _, err := l.wh.Describe(ctx, known.table); err == nil {
			return known.table, nil
		} else if !errors.Is(err, warehouse.ErrNoTable) {
			return warehouse.Table{}, fmt.Errorf("looking for %s: %w", known.table, err)
		}
	}
	src, err := inspect(ctx, def, f)
	if err != nil {
		return warehouse.Table{}, err
	}
	entry, err := l.registered(ctx, def.Name)
	if err != nil {
		return warehouse.Table{}, err
	}
	if entry.hash == src.hash && entry.table != "" {
		if _, err := l.wh.Describe(ctx, warehouse.Table{Schema: Schema, Name: entry.table}); err == nil {
			now.table = warehouse.Table{Schema: Schema, Name: entry.table}
			l.known[def.Name] = now
			return now.table, nil
		} else if !errors.Is(err, warehouse.ErrNoTable) {
			return warehouse.Table{}, fmt.Errorf("looking for %s: %w", entry.table, err)
		}
	}
	if now.table, err = l.load(ctx, def, src, entry); err != nil {
		return warehouse.Table{}, err
	}
	l.known[def.Name] = now
	return now.table, nil
}

// load fills a new table and then names it in the register.
func (l *Loader) load(ctx context.Context, def tidegate.Model, src *source, old entry) (warehouse.Table, error) {
	base := def.Name
	if len(base) > 36 {
		base = base[:36] // with hash and time it fits every engine
	}
	t := warehouse.Table{Schema: Schema, Name: fmt.Sprintf("%s_%s_%x", base, src.hash[:8], l.now().UnixMilli())}
	if _, err := l.wh.Ensure(ctx, t, src.schema); err != nil {
		return t, fmt.Errorf("creating %s: %w", t, err)
	}
	rows, err := src.rows(ctx)
	if err != nil {
		return t, err
	}
	n, err := l.wh.Load(ctx, warehouse.Load{ID: "file/" + t.Name, Table: t}, rows)
	if err = errors.Join(err, rows.Close()); err != nil {
		return t, fmt.Errorf("loading %s: %w", def.File, err)
	}
	if err := l.register(ctx, def, entry{hash: src.hash, table: t.Name, previous: old.table}, n); err != nil {
		return t, err
	}
	l.drop(ctx, old.previous)
	return t, nil
}

// drop removes a table that no run can be reading any more. It is housekeeping:
// a table that stays costs space and nothing else.
func (l *Loader) drop(ctx context.Context, name string) {
	execer, ok := l.wh.(warehouse.Execer)
	if name == "" || !ok {
		return
	}
	d, ok := sqltext.Find(execer.Dialect())
	if !ok {
		return
	}
	quoted, err := d.Table(Schema, name)
	if err == nil {
		_, err = execer.Exec(ctx, "DROP TABLE IF EXISTS "+string(quoted))
	}
	if err != nil {
		l.log.Warn("dropping the old table of a file failed", "table", name, "error", err)
	}
}

// entry is one row of the register.
type entry struct{ hash, table, previous string }

func registerSchema() tidegate.Schema {
	text := tidegate.Type{Kind: tidegate.String}
	return tidegate.Schema{
		{Name: "model", Type: text},
		{Name: "path", Type: text},
		{Name: "sha256", Type: text},
		{Name: "table_name", Type: text},
		{Name: "previous_table", Type: text},
		{Name: "rows", Type: tidegate.Type{Kind: tidegate.Int}},
		{Name: "loaded_at", Type: tidegate.Type{Kind: tidegate.Timestamp}},
	}
}

func (l *Loader) register(ctx context.Context, def tidegate.Model, e entry, rows int64) error {
	t := warehouse.Table{Schema: Schema, Name: registerTable}
	row := tidegate.Row{def.Name, def.File, e.hash, e.table, e.previous, rows, l.now().UTC()}
	_, err := l.wh.Load(ctx, warehouse.Load{ID: "register/" + e.table, Table: t, Key: []string{"model"}}, tidegate.Rows(registerSchema(), row))
	if err != nil {
		return fmt.Errorf("noting the file of model %s: %w", def.Name, err)
	}
	return nil
}

// registered reads the register; an unknown model has an empty entry.
func (l *Loader) registered(ctx context.Context, name string) (e entry, err error) {
	t := warehouse.Table{Schema: Schema, Name: registerTable}
	if _, err := l.wh.Ensure(ctx, t, registerSchema()); err != nil {
		return e, fmt.Errorf("opening the register of files: %w", err)
	}
	d := sqltext.DuckDB()
	if speaker, ok := l.wh.(warehouse.Execer); ok {
		if found, ok := sqltext.Find(speaker.Dialect()); ok {
			d = found
		}
	}
	quoted, err := d.Table(t.Schema, t.Name)
	if err != nil {
		return e, fmt.Errorf("opening the register of files: %w", err)
	}
	rows, err := l.wh.Query(ctx, string("SELECT sha256, table_name, previous_table FROM "+quoted+" WHERE model = "+d.Placeholder(1)), name)
	if err != nil {
		return e, fmt.Errorf("reading the register of files: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row, err := rows.Next(ctx)
	if errors.Is(err, io.EOF) {
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("reading the register of files: %w", err)
	}
	for i, into := range []*string{&e.hash, &e.table, &e.previous} {
		*into, _ = row[i].(string)
	}
	return e, nil
}

// source is a file whose columns are known.
type source struct {
	schema tidegate.Schema
	hash   string
	rows   func(ctx context.Context) (tidegate.RowReader, error) // from the start, once
}

// inspect reads the whole file once: its digest and the kinds of its columns.
func inspect(ctx context.Context, def tidegate.Model, f fs.File) (*source, error) {
	file, ok := f.(io.ReadSeeker)
	if !ok {
		return nil, broken(def, "the file cannot be read twice", "")
	}
	sum := sha256.New()
	in := io.TeeReader(&cancellable{ctx, io.LimitReader(file, MaxBytes)}, sum)
	rewind := func() error {
		_, err := file.Seek(0, io.SeekStart)
		return err
	}
	var src *source
	var err error
	switch ext := strings.ToLower(path.Ext(def.File)); ext {
	case ".csv", ".tsv":
		src, err = inspectCSV(in, file, ext == ".tsv", rewind)
	case ".ndjson", ".jsonl":
		src, err = inspectNDJSON(in, file, rewind)
	case ".parquet":
		src, err = inspectParquet(in, f, rewind)
	default:
		return nil, broken(def, fmt.Sprintf("files ending in %q cannot be read", ext), "use one of "+strings.Join(Formats(), ", "))
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, broken(def, err.Error(), "correct the file; nothing of it was loaded")
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // what a reader left unread belongs to the digest too
		return nil, broken(def, "reading it failed: "+cause(err), "")
	}
	if len(src.schema) > model.MaxColumns {
		return nil, broken(def, fmt.Sprintf("it has %d columns, the limit is %d", len(src.schema), model.MaxColumns), "leave columns out")
	}
	src.hash = hex.EncodeToString(sum.Sum(nil))
	open := src.rows
	src.rows = func(ctx context.Context) (tidegate.RowReader, error) {
		rows, err := open(ctx)
		if err != nil {
			return nil, broken(def, err.Error(), "correct the file; nothing of it was loaded")
		}
		return &faulty{rows, def}, nil
	}
	return src, nil
}

// faulty names the file in what goes wrong while its rows are read.
type faulty struct {
	tidegate.RowReader
	def tidegate.Model
}

func (f *faulty) Next(ctx context.Context) (tidegate.Row, error) {
	row, err := f.RowReader.Next(ctx)
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		return nil, broken(f.def, err.Error(), "the file changed while it was read: let it rest, and run again")
	}
	return row, err
}

// cancellable stops reading when the context ends.
type cancellable struct {
	ctx context.Context //nolint:containedctx // lives as long as one call
	in  io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

func broken(def tidegate.Model, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "model.file", Subject: fmt.Sprintf("model %s: file %s", def.Name, def.File), Message: message, Hint: hint}
}

// cause is an error without the path, which the subject names already.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
