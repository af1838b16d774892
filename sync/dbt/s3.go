package dbt

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
)

// openS3 returns the location of s3://BUCKET/PREFIX. Without credentials the
// bucket must be public.
func openS3(rest string, access *tidegate.DbtS3, a Access) (Location, error) {
	var s tidegate.DbtS3
	if access != nil {
		s = *access
	}
	s.Region = cmp.Or(s.Region, "us-east-1")
	bucket, prefix, _ := strings.Cut(strings.Trim(rest, "/"), "/")
	base := "https://" + bucket + ".s3." + s.Region + ".amazonaws.com"
	if s.Endpoint != "" { // path style: every store behind an endpoint of its own knows it
		base = strings.TrimSuffix(s.Endpoint, "/") + "/" + bucket
	}
	if strings.Contains(bucket, ".") && s.Endpoint == "" { // the wildcard certificate covers one label
		base = "https://s3." + s.Region + ".amazonaws.com/" + bucket
	}
	if prefix != "" {
		base += "/" + prefix
	}
	if _, err := url.Parse(base); err != nil {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "dbt.target", Subject: "target s3://" + rest, Message: "it is no address of a bucket", Err: err}
	}
	sign := func(r *http.Request) {
		if s.AccessKeyID != "" {
			signV4(r, s, "s3", a.Now())
		}
	}
	return web{base: base, http: a.HTTP, sign: sign}, nil
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signV4 signs a request without a body as AWS Signature Version 4 asks
// (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html; its
// two examples are the test).
func signV4(r *http.Request, s tidegate.DbtS3, service string, now time.Time) {
	now = now.UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", emptyHash)
	if s.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", s.SessionToken)
	}
	signed := map[string]string{"host": r.URL.Host}
	for name, values := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") || lower == "range" {
			signed[lower] = strings.TrimSpace(strings.Join(values, ","))
		}
	}
	names := make([]string, 0, len(signed))
	for name := range signed {
		names = append(names, name)
	}
	slices.Sort(names)
	var canonical strings.Builder
	canonical.WriteString(r.Method + "\n" + escapePath(r.URL.Path) + "\n" + strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20") + "\n")
	for _, name := range names {
		canonical.WriteString(name + ":" + signed[name] + "\n")
	}
	list := strings.Join(names, ";")
	canonical.WriteString("\n" + list + "\n" + emptyHash)
	scope := day + "/" + s.Region + "/" + service + "/aws4_request"
	hashed := sha256.Sum256([]byte(canonical.String()))
	key := []byte("AWS4" + s.SecretAccessKey)
	for _, part := range []string{day, s.Region, service, "aws4_request", "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(hashed[:])} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.AccessKeyID+"/"+scope+",SignedHeaders="+list+",Signature="+hex.EncodeToString(key))
}

// escapePath escapes everything but unreserved characters and slashes.
func escapePath(p string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(p) {
		switch c := p[i]; {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return cmp.Or(b.String(), "/")
}
