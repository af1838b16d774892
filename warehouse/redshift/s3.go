package redshift

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/internal/tlsconf"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// bucket is where rows wait for COPY. It is safe for concurrent use.
type bucket struct {
	name, prefix string
	region       string
	base         *url.URL // of the bucket
	kms          string
	keys         aws.Credentials
	access       sqltext.Text // how COPY is let in
	reader       string       // as whom, in the words of a hint
	http         *http.Client
	signer       *v4.Signer
	now          func() time.Time
}

const (
	// callTimeout bounds one upload of one object.
	callTimeout = 5 * time.Minute
	// attempts is how often a call of S3 is made that may succeed yet.
	attempts = 6
)

func newBucket(cfg Config, now func() time.Time) (*bucket, error) {
	b := &bucket{
		name: cfg.Bucket, prefix: strings.Trim(cfg.Prefix, "/"), region: cfg.Region, kms: cfg.KMSKey, now: now,
		keys: aws.Credentials{AccessKeyID: cfg.AccessKeyID, SecretAccessKey: cfg.SecretAccessKey.Reveal(), SessionToken: cfg.SessionToken.Reveal()},
		signer: v4.NewSigner(func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true // S3 signs the path as it is sent
		}),
	}
	if b.prefix == "" {
		b.prefix = "tidegate"
	}
	for _, field := range []struct{ name, value string }{{"bucket", cfg.Bucket}, {"region", cfg.Region}, {"access_key_id", cfg.AccessKeyID}, {"secret_access_key", b.keys.SecretAccessKey}} {
		if field.value == "" {
			return nil, tlsconf.Fault(field.name, "it is missing, and rows are loaded by way of S3", nil)
		}
	}
	for _, field := range []struct{ name, value string }{{"bucket", b.name}, {"prefix", b.prefix}, {"region", b.region}} {
		if strings.ContainsFunc(field.value, func(r rune) bool {
			return r != '-' && r != '.' && r != '/' && r != '_' && r != '=' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return nil, tlsconf.Fault(field.name, "it holds another character than letters, digits, hyphens, underscores, points and slashes", nil)
		}
	}
	var err error
	if b.access, err = access(cfg); err != nil {
		return nil, err
	}
	switch cfg.IAMRole {
	case "":
		b.reader = "access key " + cfg.AccessKeyID
	case "default":
		b.reader = "default role of the cluster"
	default:
		b.reader = "role " + cfg.IAMRole
	}
	if b.base, err = address(cfg); err != nil {
		return nil, err
	}
	// The address is the operator's own choice: that of S3, of an endpoint in the network, or of an emulator.
	b.http = egress.New(egress.Options{
		Policy: egress.Policy{AllowPrivate: cfg.Endpoint != ""}, HTTPSOnly: cfg.Endpoint == "",
		Timeout: callTimeout, MaxResponseBytes: 1 << 20, UserAgent: "tidegate", Name: "warehouse redshift", Now: now,
	})
	return b, nil
}

// access is the part of a COPY that says how Redshift gets into the bucket.
func access(cfg Config) (sqltext.Text, error) {
	if cfg.IAMRole == "default" {
		return "IAM_ROLE default", nil
	}
	if cfg.IAMRole != "" {
		role, err := literal("iam_role", cfg.IAMRole)
		return "IAM_ROLE " + role, err
	}
	id, err1 := literal("access_key_id", cfg.AccessKeyID)
	key, err2 := literal("secret_access_key", cfg.SecretAccessKey.Reveal())
	text := "ACCESS_KEY_ID " + id + " SECRET_ACCESS_KEY " + key
	if cfg.SessionToken.Empty() {
		return text, errors.Join(err1, err2)
	}
	token, err3 := literal("session_token", cfg.SessionToken.Reveal())
	return text + " SESSION_TOKEN " + token, errors.Join(err1, err2, err3)
}

// literal is a setting as a text in SQL, for the few statements that take no parameters. What would have to
// be escaped is refused: no such setting needs it. The value is not shown.
func literal(field, value string) (sqltext.Text, error) {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' || r == '\'' || r == '\\' }) {
		return "", tlsconf.Fault(field, "it holds a character that it cannot have", nil)
	}
	return sqltext.Text("'" + value + "'"), nil
}

// address is where the bucket answers. A name with a point is no part of a name that a certificate covers.
func address(cfg Config) (*url.URL, error) {
	text := "https://s3." + cfg.Region + ".amazonaws.com"
	if strings.HasPrefix(cfg.Region, "cn-") {
		text += ".cn"
	}
	switch {
	case cfg.Endpoint != "":
		text = strings.TrimSuffix(cfg.Endpoint, "/") + "/" + cfg.Bucket
	case strings.Contains(cfg.Bucket, "."):
		text += "/" + cfg.Bucket
	default:
		text = strings.Replace(text, "https://", "https://"+cfg.Bucket+".", 1)
	}
	base, err := url.Parse(text)
	if err != nil || base.Host == "" {
		return nil, tlsconf.Fault("endpoint", "it is no address", nil)
	}
	return base, nil
}

func (b *bucket) close() { b.http.CloseIdleConnections() }

// uri is an object's name in a COPY or a manifest.
func (b *bucket) uri(key string) string { return "s3://" + b.name + "/" + key }

// objects are all that are written, in the words of a policy.
func (b *bucket) objects() string { return "arn:aws:s3:::" + b.name + "/" + b.prefix + "/*" }

// readable says how to let Redshift read the bucket, which it was refused with message.
func (b *bucket) readable(message string) string {
	if strings.Contains(message, "authorized to assume") || strings.Contains(message, "get credentials of role") {
		return "associate the " + b.reader + " (iam_role) with the cluster or the namespace, and let redshift.amazonaws.com assume it"
	}
	return "allow the " + b.reader + " s3:GetObject on " + b.objects() + " and s3:ListBucket on arn:aws:s3:::" + b.name + "; docs/warehouses/redshift.md has the policy"
}

// put writes an object, whole or not at all.
func (b *bucket) put(ctx context.Context, key string, body []byte) error {
	return b.call(ctx, http.MethodPut, key, body)
}

// remove removes an object; one that is not there is no error.
func (b *bucket) remove(ctx context.Context, key string) error {
	return b.call(ctx, http.MethodDelete, key, nil)
}

func (b *bucket) call(ctx context.Context, method, key string, body []byte) error {
	sum := sha256.Sum256(body)
	return retry.Do(ctx, retry.Policy{Backoff: retry.Backoff{Base: 200 * time.Millisecond, Cap: 10 * time.Second}, Attempts: attempts, Random: rand.Float64},
		func(ctx context.Context) error { return b.once(ctx, method, key, body, hex.EncodeToString(sum[:])) })
}

func (b *bucket) once(ctx context.Context, method, key string, body []byte, sum string) error {
	r, err := http.NewRequestWithContext(ctx, method, b.base.JoinPath(key).String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("calling S3: %w", err)
	}
	r.Header.Set("X-Amz-Content-Sha256", sum)
	if method == http.MethodPut && b.kms != "" {
		r.Header.Set("X-Amz-Server-Side-Encryption", "aws:kms")
		r.Header.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", b.kms)
	}
	if err := b.signer.SignHTTP(ctx, b.keys, r, sum, "s3", b.region, b.now()); err != nil {
		return fmt.Errorf("signing a call of S3: %w", err)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("calling S3: %w", cause)
		}
		var refused *tidegate.Fault
		if errors.As(err, &refused) && refused.Action == tidegate.Halt { // by egress: the address is none that is called
			return refused
		}
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.storage", Message: "S3 cannot be reached: " + pgwire.Redacted(err), Hint: "check region, endpoint and the network between", Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	switch {
	case resp.StatusCode/100 == 2 && err == nil, method == http.MethodDelete && resp.StatusCode == http.StatusNotFound:
		return nil
	case resp.StatusCode/100 == 2:
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.storage", Message: "the answer of S3 broke off", Err: err}
	}
	return b.refused(resp, method, text)
}

// storageRule says what an error of S3 means by its code.
type storageRule struct {
	code   string
	action tidegate.Action
	fault  string
	hint   string
}

var storageRules = []storageRule{
	{"InvalidAccessKeyId", tidegate.Halt, "auth.refused", "correct access_key_id"},
	{"SignatureDoesNotMatch", tidegate.Halt, "auth.refused", "correct secret_access_key"},
	{"ExpiredToken", tidegate.Halt, "auth.expired", "give a new session_token with its keys"},
	{"InvalidToken", tidegate.Halt, "auth.refused", "correct session_token"},
	{"TokenRefreshRequired", tidegate.Halt, "auth.expired", "give a new session_token with its keys"},
	{"RequestTimeTooSkewed", tidegate.Halt, "auth.clock", "set this machine's clock right"},
	{"NoSuchBucket", tidegate.Halt, "warehouse.bucket", "correct bucket, or create it"},
	{"PermanentRedirect", tidegate.Halt, "warehouse.region", "set region to that of the bucket"},
	{"AuthorizationHeaderMalformed", tidegate.Halt, "warehouse.region", "set region to that of the bucket"},
	{"IllegalLocationConstraintException", tidegate.Halt, "warehouse.region", "set region to that of the bucket"},
	{"EntityTooLarge", tidegate.Halt, "warehouse.storage", ""},
	{"KMS.DisabledException", tidegate.Halt, "warehouse.permission", "enable the KMS key"},
	{"KMS.NotFoundException", tidegate.Halt, "warehouse.config", "correct kms_key"},
}

func (b *bucket) refused(resp *http.Response, method string, text []byte) error {
	var e struct {
		Code, Message, Region string
	}
	_ = xml.Unmarshal(text, &e) // an answer without a body is judged by its status
	f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.storage", Subject: "bucket " + b.name, Message: fmt.Sprintf("S3 answered %d %s %s", resp.StatusCode, e.Code, e.Message)}
	for _, rule := range storageRules {
		if e.Code == rule.code {
			f.Action, f.Code, f.Hint = rule.action, rule.fault, rule.hint
			if e.Region != "" {
				f.Hint += ", " + e.Region
			}
			return f
		}
	}
	switch status := resp.StatusCode; {
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		f.Action, f.Code = tidegate.Throttle, "warehouse.busy"
		if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && after > 0 {
			f.After = min(time.Duration(after)*time.Second, time.Minute)
		}
	case status == http.StatusForbidden:
		f.Action, f.Code = tidegate.Halt, "warehouse.permission"
		permission := "s3:PutObject"
		if method == http.MethodDelete {
			permission = "s3:DeleteObject"
		}
		f.Hint = "allow the access key " + permission + " on " + b.objects() + "; docs/warehouses/redshift.md has the whole policy"
		if strings.Contains(e.Message, "kms:") {
			f.Hint = "allow the access key kms:GenerateDataKey and kms:Decrypt on the bucket's key"
		}
	case status/100 == 3:
		f.Action, f.Code, f.Hint = tidegate.Halt, "warehouse.region", "set region to that of the bucket"
	case status/100 == 4 && status != http.StatusRequestTimeout && status != http.StatusConflict && status != http.StatusBadRequest:
		f.Action = tidegate.Halt
	}
	return f
}
