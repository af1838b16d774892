package clickhouse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
)

// statementKey is the key of a context's value: the statement of an INSERT. The driver reads
// INSERTs with a regular expression that a name with a parenthesis in it misleads, and so is given
// one of no meaning.
type statementKey struct{}

// endsLikeFormat finds statements in which the driver sees a clause FORMAT at their end.
var endsLikeFormat = regexp.MustCompile(`(?is)\sFORMAT\s+\w+\s*;?\s*$`)

// transport lies between the driver and the network. It corrects what the driver would send or read wrongly:
// the text of an INSERT, parameters that are too long for an address, redirections, and errors in answers that
// say that all is well. It is safe for concurrent use.
type transport struct{ next *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	sql, _ := req.Context().Value(statementKey{}).(string)
	req, err := outgoing(req, sql)
	if err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err //nolint:wrapcheck // the driver's to wrap
	}
	return incoming(resp, sql != "")
}

// maxURL is how long parameters may be in the address; longer ones go in the body.
const maxURL = 4 << 10

func outgoing(req *http.Request, sql string) (*http.Request, error) {
	if sql == "" && len(req.URL.RawQuery) <= maxURL {
		return req, nil
	}
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("reading an address: %w", err)
	}
	out := req.Clone(req.Context())
	if sql != "" {
		values.Set("query", sql)
	} else {
		if err := toForm(out, values); err != nil {
			return nil, fmt.Errorf("writing the parameters: %w", err)
		}
	}
	out.URL.RawQuery = values.Encode()
	return out, nil
}

// toForm makes the statement, which is the body of req, and its parameters in values a form.
func toForm(req *http.Request, values url.Values) error {
	sql, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return err
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	err = w.WriteField("query", string(sql))
	for name, value := range values {
		if strings.HasPrefix(name, "param_") {
			err = errors.Join(err, w.WriteField(name, value[0]))
			delete(values, name)
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	text := form.Bytes()
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(text))
	req.Header.Set("Content-Type", w.FormDataContentType())
	return nil
}

// incoming makes an answer one that the driver reads as what it is. The answer to an INSERT is empty unless it is an error.
func incoming(resp *http.Response, insert bool) (*http.Response, error) {
	resp.Header.Del("Location") // nothing is sent elsewhere
	fine := resp.StatusCode == http.StatusOK && resp.Header.Get("X-ClickHouse-Exception-Code") == ""
	if fine && !insert {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil && (resp.StatusCode == http.StatusOK || resp.Request.Context().Err() != nil) {
		return nil, err //nolint:wrapcheck // a connection that broke
	}
	if plain, err := io.ReadAll(io.LimitReader(compress.NewReader(bytes.NewReader(text)), maxMessage)); err == nil && len(plain) > 0 {
		text = plain // packed like the rows that were asked for
	}
	if resp.StatusCode == http.StatusOK && (!fine || told(text, "", "") != nil) {
		resp.StatusCode = http.StatusInternalServerError
	}
	out := *resp
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return &out, nil
}
