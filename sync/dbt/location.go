package dbt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
)

// The files that are read.
const (
	ManifestFile = "manifest.json"
	ResultsFile  = "run_results.json"
	CatalogFile  = "catalog.json"
)

// errUnchanged says that a file is the one that was read before.
var errUnchanged = errors.New("unchanged")

// Location is where artefacts are read from. It is safe for concurrent use.
type Location interface {
	// fetch opens a file. known is the stamp of the version that the caller has;
	// errUnchanged says that it is still the one, an error that wraps
	// fs.ErrNotExist that there is none. The caller closes the body.
	fetch(ctx context.Context, name, known string) (body io.ReadCloser, stamp string, err error)
}

// Access is what a remote Location needs.
type Access struct {
	// HTTP is the guarded client; its limit on answers must let artefacts through.
	HTTP *http.Client
	Now  func() time.Time
}

// OpenLocation returns the location that the definition names, whose secrets are
// resolved. A relative folder is looked for under base.
func OpenLocation(def tidegate.DbtProject, base string, a Access) (Location, error) {
	if def.Cloud != nil {
		return &cloud{def: *def.Cloud, http: a.HTTP}, nil
	}
	scheme, rest, remote := strings.Cut(def.Target, "://")
	if !remote {
		dir := def.Target
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(base, dir)
		}
		return folder{dir}, nil
	}
	switch scheme {
	case "http", "https":
		return web{base: strings.TrimSuffix(def.Target, "/"), http: a.HTTP, sign: bearer(def.Token)}, nil
	case "gs":
		return web{base: "https://storage.googleapis.com/" + strings.Trim(rest, "/"), http: a.HTTP, sign: bearer(def.Token)}, nil
	case "s3":
		return openS3(rest, def.S3, a)
	}
	return nil, &tidegate.Fault{
		Action: tidegate.Halt, Code: "dbt.target", Subject: "dbt " + def.Name + ": target", Message: fmt.Sprintf("%s:// is not known", scheme),
		Hint: "name a folder, or a URL that begins with https://, s3:// or gs://",
	}
}

// folder is dbt's own target folder.
type folder struct{ dir string }

func (f folder) fetch(_ context.Context, name, known string) (io.ReadCloser, string, error) {
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return nil, "", fmt.Errorf("opening the artefact: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", file.Name())
	}
	if err != nil {
		return nil, "", errors.Join(err, file.Close())
	}
	stamp := fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
	if stamp == known {
		return nil, stamp, errors.Join(errUnchanged, file.Close())
	}
	return file, stamp, nil
}

// web is a place that answers GET base/NAME.
type web struct {
	base string
	http *http.Client
	sign func(*http.Request)
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
}

func (w web) fetch(ctx context.Context, name, known string) (io.ReadCloser, string, error) {
	return get(ctx, w.http, w.base+"/"+name, known, w.sign)
}

// get asks for one artefact, unless it is the one that is known already.
func get(ctx context.Context, client *http.Client, address, known string, sign func(*http.Request)) (io.ReadCloser, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", fmt.Errorf("making the request: %w", err)
	}
	if strings.HasPrefix(known, `"`) || strings.HasPrefix(known, "W/") {
		req.Header.Set("If-None-Match", known)
	}
	sign(req)
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", egress.Fault(ctx, err)
	}
	stamp := resp.Header.Get("ETag")
	if stamp == "" {
		stamp = resp.Header.Get("Last-Modified")
	}
	switch {
	case resp.StatusCode == http.StatusNotModified, resp.StatusCode == http.StatusOK && stamp != "" && stamp == known:
		return nil, known, errors.Join(errUnchanged, resp.Body.Close())
	case resp.StatusCode == http.StatusOK:
		return resp.Body, stamp, nil
	}
	return nil, "", errors.Join(answered(req.URL, resp.StatusCode, resp.Header), resp.Body.Close())
}

// answered classifies what is no 200.
func answered(u *url.URL, status int, h http.Header) error {
	f := &tidegate.Fault{Subject: u.Host + u.Path, Message: fmt.Sprintf("%s answered %d %s", u.Host, status, http.StatusText(status))}
	switch status {
	case http.StatusNotFound, http.StatusGone:
		f.Action, f.Code, f.Err = tidegate.Halt, "dbt.absent", fs.ErrNotExist
		f.Hint = "look at the address, and whether dbt has written its artefacts there"
	case http.StatusUnauthorized, http.StatusForbidden:
		f.Action, f.Code, f.Hint = tidegate.Halt, "dbt.denied", "look at the credentials: they must allow reading the artefacts"
	case http.StatusTooManyRequests:
		f.Action, f.Code = tidegate.Throttle, "dbt.throttled"
		f.After, _ = egress.RetryAfter(h, time.Time{})
	default:
		f.Action, f.Code = tidegate.Retry, "dbt.unreachable"
	}
	return f
}

// Artifacts is one consistent reading of a project's files.
type Artifacts struct {
	Manifest *Manifest
	Results  *Results // nil when dbt has not run
	Catalog  *Catalog // nil without `dbt docs generate`
	stamps   [3]string
}

// Load reads what has changed since before (nil for all) and returns before
// itself when nothing has. A missing manifest is a Halt fault with the code
// "dbt.absent"; a file that cannot be read is a Retry, because dbt may be
// writing it just now.
func Load(ctx context.Context, s Location, before *Artifacts, o Options) (*Artifacts, error) {
	next := Artifacts{}
	if before != nil {
		next = *before
	}
	// The results come first: a manifest that is newer than they are is what dbt
	// leaves behind while it runs, results without their manifest are not.
	changedResults, err := load(ctx, s, ResultsFile, &next.stamps[1], &next.Results, ReadResults, true)
	if err != nil {
		return nil, err
	}
	changedManifest, err := load(ctx, s, ManifestFile, &next.stamps[0], &next.Manifest, func(r io.Reader) (*Manifest, error) { return ReadManifest(r, o) }, false)
	if err != nil {
		return nil, err
	}
	changedCatalog, err := load(ctx, s, CatalogFile, &next.stamps[2], &next.Catalog, ReadCatalog, true)
	if err != nil {
		return nil, err
	}
	if before != nil && !changedResults && !changedManifest && !changedCatalog {
		return before, nil
	}
	return &next, nil
}

func load[T any](ctx context.Context, s Location, name string, stamp *string, into **T, read func(io.Reader) (*T, error), optional bool) (changed bool, err error) {
	body, fresh, err := s.fetch(ctx, name, *stamp)
	switch {
	case errors.Is(err, errUnchanged):
		return false, nil
	case errors.Is(err, fs.ErrNotExist) && optional:
		changed = *into != nil
		*into, *stamp = nil, ""
		return changed, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, absent(name, err)
	case err != nil:
		return false, fmt.Errorf("fetching %s: %w", name, err)
	}
	v, err := read(body)
	if err = errors.Join(err, body.Close()); err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return false, &tidegate.Fault{
			Action: tidegate.Retry, Code: "dbt.unreadable", Subject: name, Message: err.Error(), Hint: "run dbt again if it does not mend itself", Err: err,
		}
	}
	*into, *stamp = v, fresh
	return true, nil
}

func absent(name string, err error) error {
	var f *tidegate.Fault
	if errors.As(err, &f) {
		return f
	}
	var at *fs.PathError
	where := name
	if errors.As(err, &at) {
		where = at.Path
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "dbt.absent", Subject: where, Message: "dbt has not written this file",
		Hint: "run `dbt build`, and look at `target` in the dbt section", Err: err,
	}
}
