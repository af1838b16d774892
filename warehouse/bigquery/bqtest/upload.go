package bqtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"
	bq "google.golang.org/api/bigquery/v2"
)

// upload is a resumable one under way.
type upload struct {
	job  *bq.Job
	body bytes.Buffer
}

// upload takes a load job with its rows, or begins to.
func (s *Server) upload(rw http.ResponseWriter, r *http.Request) (any, error) {
	if r.URL.Query().Get("uploadType") == "resumable" {
		var j bq.Job
		if err := json.NewDecoder(r.Body).Decode(&j); err != nil {
			return nil, failure(http.StatusBadRequest, "parseError", "%v", err)
		}
		s.mu.Lock()
		s.births++
		id := fmt.Sprint(s.births)
		s.uploads[id] = &upload{job: &j}
		s.mu.Unlock()
		rw.Header().Set("Location", s.URL+"/resumable/"+id)
		return map[string]any{}, nil
	}
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, failure(http.StatusBadRequest, "invalid", "%v", err)
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	var j bq.Job
	head, err := parts.NextPart()
	if err == nil {
		err = json.NewDecoder(head).Decode(&j)
	}
	var media []byte
	if err == nil {
		var body *multipart.Part
		if body, err = parts.NextPart(); err == nil {
			media, err = io.ReadAll(body)
		}
	}
	if err != nil {
		return nil, failure(http.StatusBadRequest, "parseError", "%v", err)
	}
	if answer := s.asked(r, &j); answer != nil {
		if answer.Cut {
			return nil, errLost
		}
		if !answer.Lose {
			return nil, &apiError{answer.Status, answer.Reason, answer.Message}
		}
		if _, err := s.insert(r, &j, media); err != nil {
			return nil, err
		}
		return nil, errLost
	}
	return s.insert(r, &j, media)
}

// asked shows an upload to the interceptor, now that its job is known.
func (s *Server) asked(r *http.Request, j *bq.Job) *Answer {
	s.mu.Lock()
	f := s.intercept
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(Call{Method: r.Method, Path: r.URL.Path, Job: j})
}

// resume takes one piece of an upload.
func (s *Server) resume(rw http.ResponseWriter, r *http.Request, id string) (any, error) {
	s.mu.Lock()
	u := s.uploads[id]
	s.mu.Unlock()
	if u == nil {
		return nil, notFound("upload %s", id)
	}
	if _, err := io.Copy(&u.body, r.Body); err != nil {
		return nil, err
	}
	if strings.HasSuffix(r.Header.Get("Content-Range"), "/*") && !strings.HasPrefix(r.Header.Get("Content-Range"), "bytes */") {
		rw.Header().Set("Range", fmt.Sprintf("bytes=0-%d", u.body.Len()-1))
		rw.Header().Set("X-Http-Status-Code-Override", "308")
		rw.WriteHeader(http.StatusOK)
		return map[string]any{}, nil
	}
	s.mu.Lock()
	delete(s.uploads, id)
	s.mu.Unlock()
	return s.insert(r, u.job, u.body.Bytes())
}

// maxLine is BigQuery's limit of one row of JSON.
const maxLine = 100 << 20

// loadRows carries out a load job: all rows or none.
func (s *Server) loadRows(ctx context.Context, who denial, load *bq.JobConfigurationLoad, media []byte) (int64, error) {
	if load.SourceFormat != "NEWLINE_DELIMITED_JSON" {
		return 0, failure(http.StatusBadRequest, "invalid", "the double loads NEWLINE_DELIMITED_JSON")
	}
	t := load.DestinationTable
	made := load.CreateDisposition != "CREATE_NEVER" && load.Schema != nil
	if err := who.load(t, made); err != nil {
		return 0, err
	}
	if made {
		if err := s.createFor(ctx, t, load.Schema); err != nil {
			return 0, err
		}
	}
	fields, err := s.fields(ctx, t.DatasetId, t.TableId)
	if err != nil {
		return 0, err
	}
	var rows io.Reader = bytes.NewReader(media)
	if bytes.HasPrefix(media, []byte{0x1f, 0x8b}) {
		if rows, err = gzip.NewReader(rows); err != nil {
			return 0, failure(http.StatusBadRequest, "invalid", "Error while reading data, error message: %v", err)
		}
	}
	l := &lineLoader{fields: fields, byName: map[string]int{}}
	for i, f := range fields {
		l.byName[strings.ToLower(f.Name)] = i
	}
	lines := bufio.NewScanner(rows)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := l.line(lines.Bytes()); err != nil {
			return 0, failure(http.StatusBadRequest, "invalid", "Error while reading data, error message: JSON table encountered too many errors, giving up. Rows: %d; errors: 1. %v", l.rows, err)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, failure(http.StatusBadRequest, "invalid", "Error while reading data, error message: %v", err)
	}
	return s.store(ctx, t, l)
}
