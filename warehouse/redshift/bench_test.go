package redshift_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// serveEnv is the port of the PostgreSQL below a double that is another process.
const serveEnv = "TIDEGATE_TEST_SERVE"

// elsewhere is a double in another process.
type elsewhere struct {
	Port               int
	Database, Endpoint string
}

// TestServe is the double of BenchmarkAdapter, until its input ends. Its page says where the
// cluster is; what is posted to it becomes the object "ready" of the bucket.
func TestServe(t *testing.T) {
	port, err := strconv.Atoi(os.Getenv(serveEnv))
	if err != nil {
		t.Skip("BenchmarkAdapter starts it")
	}
	c := rstest.New(t, &pgtest.Server{Host: "127.0.0.1", Port: port})
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && len(body) > 0 {
			c.S3.Put("ready.json.gz", body)
			c.S3.Put("ready", []byte(`{"entries": [{"url": "s3://`+rstest.Bucket+`/ready.json.gz", "mandatory": true}]}`))
		}
		_ = json.NewEncoder(w).Encode(elsewhere{Port: c.Port, Database: c.Database, Endpoint: c.S3.URL})
	}))
	defer page.Close()
	fmt.Println(page.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// ask posts a body to the page of a double in another process.
func ask(tb testing.TB, page string, body io.Reader) (e elsewhere) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, page, body)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		tb.Fatal(err)
	}
	return e
}

// BenchmarkAdapter stands beside COPY of a packed file that lies ready in the bucket, without books, and
// beside pgx reading values. The double is another process: what it takes is in both, and is not what
// Redshift takes.
func BenchmarkAdapter(b *testing.B) {
	b.Setenv(serveEnv, strconv.Itoa(shared.Get(b, warehousetest.Missing).Port))
	var page string
	var double elsewhere
	connect := func(tb testing.TB) *pgx.Conn {
		tb.Helper()
		u := url.URL{Scheme: "postgres", User: url.User(pgtest.Superuser), Host: "127.0.0.1:" + strconv.Itoa(double.Port), Path: double.Database, RawQuery: "sslmode=disable&default_query_exec_mode=describe_exec"}
		c, err := pgx.Connect(tb.Context(), u.String())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = c.Close(b.Context()) })
		return c
	}
	warehousetest.Measure(b, warehousetest.Measured{
		Open: func(tb testing.TB) warehouse.Warehouse {
			tb.Helper()
			page = warehousetest.Emulator(tb, os.Args[0], "-test.run=^TestServe$")
			double = ask(tb, page, nil)
			return open(tb, redshift.Config{
				Host: "127.0.0.1", Port: double.Port, Database: double.Database, User: pgtest.Superuser, TLS: "disable", Bucket: rstest.Bucket, Region: rstest.Region,
				AccessKeyID: rstest.AccessKey, SecretAccessKey: secret.New(rstest.SecretKey), IAMRole: rstest.Role, Endpoint: double.Endpoint,
			})
		},
		BulkName: "COPY",
		Bulk: func(tb testing.TB, _ warehouse.Warehouse, rows func() tidegate.RowReader) func(table warehouse.Table) {
			tb.Helper()
			ask(tb, page, packed(tb, rows()))
			c := connect(tb).PgConn()
			return func(table warehouse.Table) {
				// The double reads into tables without a schema, as the adapter's staging is.
				for _, sql := range []string{"SET search_path TO bench", "COPY " + table.Name + " FROM 's3://" + rstest.Bucket + "/ready' IAM_ROLE '" + rstest.Role +
					"' MANIFEST FORMAT AS JSON 'auto' GZIP REGION '" + rstest.Region + "' DATEFORMAT 'auto' TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF"} {
					if _, err := c.Exec(tb.Context(), sql).ReadAll(); err != nil {
						tb.Fatal(err)
					}
				}
			}
		},
		ReadName: "pgx",
		Read: func(tb testing.TB, _ warehouse.Warehouse, table warehouse.Table, _ int) func() int {
			tb.Helper()
			c := connect(tb)
			return func() int {
				rows, err := c.Query(tb.Context(), "SELECT * FROM bench."+table.Name)
				if err != nil {
					tb.Fatal(err)
				}
				n := 0
				for ; rows.Next(); n++ {
					if _, err := rows.Values(); err != nil {
						tb.Fatal(err)
					}
				}
				if rows.Err() != nil {
					tb.Fatal(rows.Err())
				}
				return n
			}
		},
	})
}

// packed is rows as a file for COPY that is ready.
func packed(tb testing.TB, rows tidegate.RowReader) io.Reader {
	tb.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	encoder := json.NewEncoder(z)
	names := rows.Schema().Names()
	for {
		row, err := rows.Next(tb.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		named := make(map[string]any, len(row))
		for i, v := range row {
			if v != nil {
				named[names[i]] = v
			}
		}
		if err := encoder.Encode(named); err != nil {
			tb.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return &out
}
