package chdbtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go/compress"
)

// maxBody bounds one request.
const maxBody = 1 << 30

// handler answers HTTP as a ClickHouse server does, as far as the adapter uses it.
type handler struct {
	e    *engine
	path string
	// one runs DDL alone: the engine is made for one program at a time.
	ddl sync.RWMutex
}

// serve runs in the child: it listens, says where, and ends with its standard input.
func serve(lib, path, address string) error {
	e, err := loadEngine(lib)
	if err != nil {
		return err
	}
	keep, err := e.open(path) // closing the last connection would end the engine
	if err != nil {
		return err
	}
	defer keep.close()
	if _, err := keep.exec("CREATE DATABASE IF NOT EXISTS default", "Null", nil); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fmt.Println(l.Addr()) //nolint:forbidigo // what the parent reads
	server := &http.Server{Handler: &handler{e: e, path: path}, ReadHeaderTimeout: time.Minute}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return server.Serve(l)
}

// request is one parsed request.
type request struct {
	sql      string
	database string
	id       string
	settings map[string]string
	params   map[string]string
	compress bool
	body     io.Reader // the data of an INSERT
}

// own are the URL's parameters that are no settings of the engine.
var own = map[string]bool{
	"query": true, "database": true, "query_id": true, "default_format": true, "compress": true, "decompress": true, "user": true, "password": true,
	"enable_http_compression": true, "wait_end_of_query": true, "session_id": true, "role": true,
	// Settings of the HTTP interface, which the library has no use for.
	"cancel_http_readonly_queries_on_client_close": true, "send_progress_in_http_headers": true, "client_protocol_version": true,
}

func parse(w http.ResponseWriter, r *http.Request) (*request, error) {
	q := &request{settings: map[string]string{}, params: map[string]string{}}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	values := r.URL.Query()
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		if err := r.ParseMultipartForm(maxBody); err != nil {
			return nil, err
		}
		for k, v := range r.MultipartForm.Value {
			values[k] = v
		}
		r.Body = http.NoBody
	}
	for k, all := range values {
		v := all[len(all)-1]
		switch name, isParam := strings.CutPrefix(k, "param_"); {
		case isParam:
			q.params[name] = v
		case !own[k]:
			q.settings[k] = v
		}
	}
	q.body = r.Body
	if values.Get("decompress") == "1" {
		q.body = compress.NewReader(r.Body)
	}
	q.compress = values.Get("compress") == "1"
	q.database, q.id = values.Get("database"), values.Get("query_id")
	q.sql = values.Get("query")
	if q.sql == "" {
		b, err := io.ReadAll(q.body)
		if err != nil {
			return nil, err
		}
		q.sql, q.body = string(b), http.NoBody
	}
	return q, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		_, _ = io.WriteString(w, "Ok.\n")
		return
	}
	user, password := r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	if u, p, ok := r.BasicAuth(); ok {
		user, password = u, p
	}
	if (user != "" && user != User) || password != Password {
		fail(w, errors.New("Code: 516. DB::Exception: "+user+": Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)"))
		return
	}
	q, err := parse(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	c, err := h.e.open(h.path)
	if err != nil {
		fail(w, err)
		return
	}
	defer c.close()
	if err := h.prepare(c, q); err != nil {
		fail(w, err)
		return
	}
	h.answer(w, r, c, q)
}

// prepare gives the session the request's database and settings.
func (h *handler) prepare(c *conn, q *request) error {
	if q.database != "" {
		if _, err := c.exec("USE `"+strings.ReplaceAll(q.database, "`", "``")+"`", "Null", nil); err != nil {
			return err
		}
	}
	readonly, limited := q.settings["readonly"]
	delete(q.settings, "readonly")
	sets := []string{"log_comment = '" + quote(q.id) + "'"}
	for k, v := range q.settings {
		sets = append(sets, k+" = '"+quote(v)+"'")
	}
	if limited { // last: it refuses what comes after
		sets = append(sets, "readonly = "+quote(readonly))
	}
	_, err := c.exec("SET "+strings.Join(sets, ", "), "Null", nil)
	return err
}

func quote(s string) string { return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) }

var (
	insertFormat = regexp.MustCompile(`(?is)^\s*INSERT\b.*\sFORMAT\s+(\w+)\s*$`)
	formatClause = regexp.MustCompile(`(?is)\sFORMAT\s+(\w+)\s*$`)
	reads        = regexp.MustCompile(`(?is)^[\s(]*(SELECT|WITH)\b`)
	killed       = regexp.MustCompile(`(?is)^\s*KILL\s+QUERY\s+WHERE\s+query_id\s*=\s*`)
	changes      = regexp.MustCompile(`(?is)^\s*(CREATE|ALTER|DROP|RENAME|EXCHANGE|TRUNCATE|ATTACH|DETACH)\b`)
)

func (h *handler) answer(w http.ResponseWriter, r *http.Request, c *conn, q *request) {
	if changes.MatchString(q.sql) {
		h.ddl.Lock()
		defer h.ddl.Unlock()
	}
	if m := insertFormat.FindStringSubmatchIndex(q.sql); m != nil {
		format := q.sql[m[2]:m[3]]
		buf := make([]byte, 1<<20)
		whole := false
		written, err := c.load(formatClause.ReplaceAllString(q.sql, ""), format, func() ([]byte, error) {
			if whole {
				return nil, nil
			}
			n, err := io.ReadFull(q.body, buf)
			if whole = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); whole {
				err = nil
			}
			return buf[:n], err
		})
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("X-ClickHouse-Summary", fmt.Sprintf(`{"written_rows":"%d"}`, written))
		return
	}
	format := "TabSeparated"
	if f := r.URL.Query().Get("default_format"); f != "" {
		format = f
	}
	sql := killed.ReplaceAllString(q.sql, "KILL QUERY WHERE Settings['log_comment'] = ")
	if m := formatClause.FindStringSubmatch(sql); m != nil {
		format, sql = m[1], formatClause.ReplaceAllString(sql, "")
	}
	out := &output{w: w}
	if q.compress {
		out.packer = compress.NewWriter(compress.LevelZero, compress.LZ4)
	}
	if strings.Contains(sql, "displayName()") {
		out.write(Hello("26.7.2.1"))
		out.end(nil)
		return
	}
	if reads.MatchString(sql) {
		err := c.each(sql, format, q.params, func(b []byte) bool { return r.Context().Err() == nil && out.write(b) })
		out.end(err)
		return
	}
	b, err := c.exec(sql, format, q.params)
	if err == nil && len(b) > 0 {
		out.write(b)
	}
	out.end(err)
}

// Hello answers the first question of the vendor's Go driver, in the form of the
// protocol's revision that it asks for. It says revision 0, so that the driver
// reads everything else as the library writes it.
func Hello(version string) []byte {
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	b := []byte{1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 4, 1} // no overflow, no bucket; four columns, one row
	for _, c := range [][3]string{{"displayName()", "String", "chdb"}, {"version()", "String", version}, {"revision()", "UInt32", ""}, {"timezone()", "String", "UTC"}} {
		b = append(text(text(b, c[0]), c[1]), 0)
		if c[1] == "UInt32" {
			b = append(b, 0, 0, 0, 0)
		} else {
			b = text(b, c[2])
		}
	}
	return b
}

// output is the body of an answer.
type output struct {
	w      http.ResponseWriter
	packer *compress.Writer
	begun  bool
}

const exceptionTag = "PU1FNUFH98PU1FNU"

func (o *output) write(b []byte) bool {
	if !o.begun {
		o.begun = true
		o.w.Header().Set("X-ClickHouse-Exception-Tag", exceptionTag)
		o.w.Header().Set("Content-Type", "application/octet-stream")
		o.w.WriteHeader(http.StatusOK)
	}
	if o.packer != nil {
		if err := o.packer.Compress(b); err != nil {
			return false
		}
		b = o.packer.Data
	}
	_, err := o.w.Write(b)
	_ = http.NewResponseController(o.w).Flush()
	return err == nil
}

// end tells of err: by the status where nothing was sent, otherwise inside of
// the body, as a server of today does.
func (o *output) end(err error) {
	if err == nil {
		return
	}
	if !o.begun {
		fail(o.w, err)
		return
	}
	message := "\r\n__exception__\r\n" + exceptionTag + "\r\n" + err.Error() + "\n\r\n" + strconv.Itoa(len(err.Error())+1) + " " + exceptionTag + "\r\n__exception__\r\n"
	o.write([]byte(message))
}

var errorCode = regexp.MustCompile(`Code: (\d+)`)

func fail(w http.ResponseWriter, err error) {
	status, code := http.StatusInternalServerError, "0"
	if m := errorCode.FindStringSubmatch(err.Error()); m != nil {
		code = m[1]
	}
	switch code {
	case "60", "81", "34":
		status = http.StatusNotFound
	case "516", "497", "192", "194":
		status = http.StatusForbidden
	case "62", "47", "46", "36", "457", "386", "43", "42", "53", "6", "27", "70", "117", "349":
		status = http.StatusBadRequest
	case "159":
		status = http.StatusRequestTimeout
	}
	w.Header().Set("X-ClickHouse-Exception-Code", code)
	var message bytes.Buffer
	message.WriteString(strings.TrimSuffix(err.Error(), "\n"))
	if !strings.HasPrefix(message.String(), "Code: ") {
		message.Reset()
		fmt.Fprintf(&message, "Code: %s. DB::Exception: %s", code, err)
	}
	message.WriteString(" (version 26.7.2.1)\n")
	w.WriteHeader(status)
	_, _ = w.Write(message.Bytes())
}
