package rstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the bucket is and who may write to it.
const (
	Bucket    = "rows"
	Region    = "eu-central-1"
	AccessKey = "AKIDEXAMPLE"
	SecretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	Role      = "arn:aws:iam::123456789012:role/redshift-reads"
)

// Call is one request of S3.
type Call struct {
	Method, Key string
	Size        int
}

// Answer takes the place of S3's own.
type Answer struct {
	Status        int
	Code, Message string
	Lose          bool // the call is carried out, and its answer lost
}

// S3 is a bucket in memory.
type S3 struct {
	URL string

	mu        sync.Mutex
	objects   map[string][]byte
	calls     []Call
	intercept func(Call) *Answer
}

// NewS3 starts a bucket, which ends with tb.
func NewS3(tb testing.TB) *S3 {
	tb.Helper()
	s := &S3{objects: map[string][]byte{}}
	server := httptest.NewServer(s)
	s.URL = server.URL
	tb.Cleanup(server.Close)
	return s
}

// Intercept lets f answer in the place of S3 where it returns an answer.
func (s *S3) Intercept(f func(Call) *Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Calls are all requests so far.
func (s *S3) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Keys are the objects that are there, sorted.
func (s *S3) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key := range s.objects {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Put puts an object into the bucket.
func (s *S3) Put(key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = body
}

// get returns an object of an s3:// address.
func (s *S3) get(uri string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, ok := s.objects[strings.TrimPrefix(uri, "s3://"+Bucket+"/")]
	return body, ok
}

// ServeHTTP implements http.Handler.
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	call := Call{Method: r.Method, Key: key, Size: len(body)}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	intercept := s.intercept
	s.mu.Unlock()
	var a *Answer
	if intercept != nil {
		a = intercept(call)
	}
	if a == nil {
		a = s.check(r, body, bucket)
	}
	if a != nil && !a.Lose {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(a.Status)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>%s</Code><Message>%s</Message><Region>%s</Region><RequestId>4442587FB7D0A2F9</RequestId></Error>", a.Code, a.Message, Region)
		return
	}
	s.mu.Lock()
	switch r.Method {
	case http.MethodPut:
		s.objects[key] = body
	case http.MethodDelete:
		delete(s.objects, key)
	}
	s.mu.Unlock()
	if a != nil { // the answer is lost
		panic(http.ErrAbortHandler)
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
	}
}

// check refuses what S3 refuses.
func (s *S3) check(r *http.Request, body []byte, bucket string) *Answer {
	auth := r.Header.Get("Authorization")
	fields := map[string]string{}
	rest, ok := strings.CutPrefix(auth, "AWS4-HMAC-SHA256 ")
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	scope := strings.SplitN(fields["Credential"], "/", 2)
	switch {
	case !ok || len(scope) != 2:
		return &Answer{Status: 403, Code: "AccessDenied", Message: "Access Denied"}
	case scope[0] != AccessKey:
		return &Answer{Status: 403, Code: "InvalidAccessKeyId", Message: "The AWS Access Key Id you provided does not exist in our records."}
	}
	parts := strings.Split(scope[1], "/")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	switch {
	case len(parts) != 4 || parts[1] != Region:
		return &Answer{Status: 400, Code: "AuthorizationHeaderMalformed", Message: "The authorization header is malformed; the region is wrong; expecting '" + Region + "'"}
	case err != nil || at.Format("20060102") != parts[0]:
		return &Answer{Status: 403, Code: "RequestTimeTooSkewed", Message: "The difference between the request time and the current time is too large."}
	}
	sum := sha256.Sum256(body)
	if r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]) {
		return &Answer{Status: 400, Code: "XAmzContentSHA256Mismatch", Message: "The provided 'x-amz-content-sha256' header does not match what was computed."}
	}
	if fields["Signature"] != Signature(r, SecretKey, scope[1], strings.Split(fields["SignedHeaders"], ";")) {
		return &Answer{Status: 403, Code: "SignatureDoesNotMatch", Message: "The request signature we calculated does not match the signature you provided."}
	}
	if bucket != Bucket {
		return &Answer{Status: 404, Code: "NoSuchBucket", Message: "The specified bucket does not exist"}
	}
	return nil
}

// Signature is what a request must be signed with: AWS Signature Version 4, as its documentation has it, for requests
// without a query.
func Signature(r *http.Request, secret, scope string, headers []string) string {
	var canonical strings.Builder
	fmt.Fprintf(&canonical, "%s\n%s\n\n", r.Method, r.URL.EscapedPath())
	for _, name := range headers {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		fmt.Fprintf(&canonical, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	fmt.Fprintf(&canonical, "\n%s\n%s", strings.Join(headers, ";"), r.Header.Get("X-Amz-Content-Sha256"))
	sum := sha256.Sum256([]byte(canonical.String()))
	text := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}
