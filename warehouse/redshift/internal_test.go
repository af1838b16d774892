package redshift

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
)

// FuzzDecode: no text of a server makes the decoders panic, and what they take has the type of its column.
func FuzzDecode(f *testing.F) {
	oids := []uint32{oidBool, oidInt8, oidFloat8, oidNumeric, oidDate, oidTimestamp, oidTimestampTZ, oidSuper, oidVarbyte, oidVarchar, 1083}
	for i, text := range []string{"t", "-1", "1e300", "-0.50", "0044-03-15 BC", "12026-01-02 03:04:05", "2026-01-02 03:04:05.123456+00", `{"a":1}`, "00ff", "x", "infinity", "", "NaN"} {
		f.Add(text, byte(i))
	}
	f.Fuzz(func(t *testing.T, text string, at byte) {
		c := newColumn("c", oids[int(at)%len(oids)], -1)
		v, err := c.cell([]byte(text))
		if err != nil {
			return
		}
		var ok bool
		switch c.typ.Kind {
		case tidegate.Bool:
			_, ok = v.(bool)
		case tidegate.Int:
			_, ok = v.(int64)
		case tidegate.Float:
			_, ok = v.(float64)
		case tidegate.Decimal:
			var d tidegate.DecimalText
			d, ok = v.(tidegate.DecimalText)
			if _, _, err := celltext.SplitDecimal(string(d)); err != nil {
				t.Errorf("%q became %q", text, d)
			}
		case tidegate.Date:
			_, ok = v.(tidegate.CalendarDate)
		case tidegate.Timestamp:
			var at time.Time
			at, ok = v.(time.Time)
			ok = ok && at.Location() == time.UTC
		case tidegate.JSON:
			_, ok = v.(tidegate.JSONText)
		case tidegate.Bytes:
			_, ok = v.([]byte)
		default:
			_, ok = v.(string)
		}
		if !ok {
			t.Errorf("%q became %T in a column of %s", text, v, c.typ)
		}
	})
}

// FuzzQuoted: a text is one JSON string that is read back as it was.
func FuzzQuoted(f *testing.F) {
	for _, text := range []string{"", `"\`, "\n\t\x01", "é\u2028", "\U0001f389", `\N`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var back string
		if err := json.Unmarshal(appendQuoted(nil, []byte(text)), &back); err != nil || back != text {
			t.Errorf("%q became %q, %v", text, back, err)
		}
	})
}

// TestTimesRoundTrip: times of every year that the server holds come back as they went.
func TestTimesRoundTrip(t *testing.T) {
	t.Parallel()
	c := newColumn("c", oidTimestampTZ, -1)
	rapid.Check(t, func(t *rapid.T) {
		at := time.Date(rapid.IntRange(-4711, 294_276).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 28).Draw(t, "day"),
			rapid.IntRange(0, 23).Draw(t, "hour"), 59, 58, 1000*rapid.IntRange(0, 999_999).Draw(t, "micros"), time.UTC)
		text, err := c.appendText(nil, at)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.cell(text)
		if err != nil || !at.Equal(got.(time.Time)) {
			t.Fatalf("%s became %v, %v", text, got, err)
		}
	})
}

// TestDocuments: what SUPER does not hold is refused before it is sent.
func TestDocuments(t *testing.T) {
	t.Parallel()
	long, escaped := strings.Repeat("x", maxVarchar+1), strings.Repeat(`\u00e9`, maxVarchar/3)
	for _, c := range []struct {
		text string
		want error
	}{
		{`{"a":"` + long[:maxVarchar] + `"}`, nil},
		{`{"a":"` + long + `"}`, errSuperText},
		{`{"` + long + `":1}`, errSuperText},
		{`["` + escaped + `"]`, nil}, // half as long as it looks
		{`["` + escaped + escaped + `"]`, errSuperText},
		{`["\"` + strings.Repeat(`\\`, 40_000) + `","b"]`, nil},
		{`[` + strings.Repeat(`"`+long[:60_000]+`",`, 300) + `1]`, errSuperSize},
	} {
		if got := checkDocument([]byte(c.text)); !errors.Is(got, c.want) {
			t.Errorf("%.20s… of %d bytes: %v, want %v", c.text, len(c.text), got, c.want)
		}
	}
}

// TestSignaturesAreAWSs: the examples of the documentation of S3, by the double and by the signer.
func TestSignaturesAreAWSs(t *testing.T) {
	t.Parallel()
	const secretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	get, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	get.Header.Set("Range", "bytes=0-9")
	get.Header.Set("X-Amz-Content-Sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	get.Header.Set("X-Amz-Date", "20130524T000000Z")
	got := rstest.Signature(get, secretKey, "20130524/us-east-1/s3/aws4_request", []string{"host", "range", "x-amz-content-sha256", "x-amz-date"})
	if got != "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" {
		t.Errorf("the double signs %s", got)
	}
	cfg := Config{Bucket: "examplebucket", Region: "us-east-1", AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: secret.New(secretKey)}
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	b, err := newBucket(cfg, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	get.Header.Del("X-Amz-Date")
	if err := b.signer.SignHTTP(t.Context(), b.keys, get, get.Header.Get("X-Amz-Content-Sha256"), "s3", b.region, at); err != nil {
		t.Fatal(err)
	}
	if auth := get.Header.Get("Authorization"); !strings.HasSuffix(auth, "Signature="+got) {
		t.Errorf("the adapter signs %s", auth)
	}
}

// TestAddresses: where a bucket answers.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ bucket, region, endpoint, want string }{
		{"rows", "eu-central-1", "", "https://rows.s3.eu-central-1.amazonaws.com"},
		{"my.rows", "eu-central-1", "", "https://s3.eu-central-1.amazonaws.com/my.rows"},
		{"rows", "cn-north-1", "", "https://rows.s3.cn-north-1.amazonaws.com.cn"},
		{"rows", "eu-central-1", "https://vpce-1.s3.eu-central-1.vpce.amazonaws.com/", "https://vpce-1.s3.eu-central-1.vpce.amazonaws.com/rows"},
	} {
		got, err := address(Config{Bucket: c.bucket, Region: c.region, Endpoint: c.endpoint})
		if err != nil || got.String() != c.want {
			t.Errorf("got %v, %v, want %s", got, err, c.want)
		}
	}
}

// TestFaults: errors of Redshift as its documentation and its users show them.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state, message, detail string
		action                 tidegate.Action
		code                   string
	}{
		{"XX000", "1023", "Serializable isolation violation on table - 126483, transactions forming the cycle are: 36848255, 36848254", tidegate.Retry, "warehouse.conflict"},
		{"XX000", "1018", "Relation does not exist.", tidegate.Retry, "warehouse.conflict"},
		{"40P01", "deadlock detected", "", tidegate.Retry, "warehouse.conflict"},
		{"XX000", "S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid 1234", "", tidegate.Halt, "warehouse.permission"},
		{"XX000", "User arn:aws:redshift:eu:1:dbuser:x/y is not authorized to assume IAM Role arn:aws:iam::1:role/x", "", tidegate.Halt, "warehouse.permission"},
		{"57014", "Query (123) cancelled on user's request", "", tidegate.Retry, "warehouse.interrupted"},
		{"XX000", "Query (123) cancelled by WLM abort action of Query Monitoring Rule \"x\".", "", tidegate.Halt, "warehouse.limit"},
		{"53300", "connection limit \"10\" exceeded for user \"x\"", "", tidegate.Retry, "warehouse.busy"},
		{"42501", "permission denied for relation users", "", tidegate.Halt, "warehouse.permission"},
		{"28000", "password authentication failed for user \"x\"", "", tidegate.Halt, "auth.refused"},
		{"XX000", "Assert", "code: 1000", tidegate.Retry, "warehouse.engine"},
		{"XX000", "10231 is no conflict", "", tidegate.Retry, "warehouse.engine"},
	} {
		f := serverFault(&pgconn.PgError{Code: c.state, Message: c.message, Detail: c.detail}, "", "u")
		if f.Action != c.action || f.Code != c.code {
			t.Errorf("%s %s: got %v %s", c.state, c.message, f.Action, f.Code)
		}
	}
}
