package snowflake_test

import (
	"compress/gzip"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// vendor is Snowflake's own driver, as a program uses it that has nothing else.
func vendor(tb testing.TB, endpoint string) *sql.DB {
	tb.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		tb.Fatal(err)
	}
	port, _ := strconv.Atoi(u.Port())
	value := func(s string) *string { return &s }
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, sf.Config{
		Account: "acme-test", User: sftest.User, Password: sftest.Password, Database: "ANALYTICS", Schema: "PUBLIC", Warehouse: "COMPUTE", Protocol: "http", Host: u.Hostname(), Port: port,
		DisableOCSPChecks: true, DisableTelemetry: true, //nolint:staticcheck // the double has no certificate
		Params: map[string]*string{"TIMEZONE": value("UTC"), "CLIENT_SESSION_KEEP_ALIVE": value("false"), "MULTI_STATEMENT_COUNT": value("1")},
	}))
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// BenchmarkAdapter stands beside Snowflake's driver that uploads a file which lies ready and
// copies it without books, and that reads rows into Go values. The double is another process:
// what it takes is in both, and is not what Snowflake takes.
func BenchmarkAdapter(b *testing.B) {
	b.Setenv(serveEnv, "1")
	b.Setenv("TMPDIR", b.TempDir()) // what the double leaves there goes, too
	var endpoint string
	warehousetest.Measure(b, warehousetest.Measured{
		Open: func(tb testing.TB) warehouse.Warehouse {
			tb.Helper()
			endpoint = warehousetest.Emulator(tb, os.Args[0], "-test.run=^TestServe$")
			return open(tb, snowflake.Config{
				Account: "acme-test", User: sftest.User, Password: secret.New(sftest.Password), Database: "analytics", Warehouse: "compute", Endpoint: endpoint,
			})
		},
		BulkName: "PUT+COPY",
		Bulk: func(tb testing.TB, _ warehouse.Warehouse, rows func() tidegate.RowReader) func(table warehouse.Table) {
			tb.Helper()
			file, into := readyFile(tb, rows())
			db := vendor(tb, endpoint)
			conn, err := db.Conn(tb.Context())
			if err != nil {
				tb.Fatal(err)
			}
			exec := func(sql string) {
				if _, err := conn.ExecContext(tb.Context(), sql); err != nil {
					tb.Fatalf("%s: %v", sql, err)
				}
			}
			exec("CREATE STAGE IF NOT EXISTS PUBLIC.OWN FILE_FORMAT = (TYPE = JSON COMPRESSION = GZIP)")
			return func(table warehouse.Table) {
				path := "@PUBLIC.OWN/" + table.Name + "/"
				exec("PUT 'file://" + file + "' " + path + " SOURCE_COMPRESSION = GZIP AUTO_COMPRESS = FALSE")
				exec("BEGIN")
				exec("COPY INTO BENCH." + strings.ToUpper(table.Name) + " " + into + path + ") ON_ERROR = ABORT_STATEMENT")
				exec("COMMIT")
			}
		},
		ReadName: "gosnowflake",
		Read: func(tb testing.TB, _ warehouse.Warehouse, table warehouse.Table, columns int) func() int {
			tb.Helper()
			db := vendor(tb, endpoint)
			return func() int {
				rows, err := db.QueryContext(tb.Context(), "SELECT * FROM BENCH."+strings.ToUpper(table.Name))
				if err != nil {
					tb.Fatal(err)
				}
				defer func() { _ = rows.Close() }()
				cells, into := make([]any, columns), make([]any, columns)
				for i := range cells {
					into[i] = &cells[i]
				}
				n := 0
				for ; rows.Next(); n++ {
					if err := rows.Scan(into...); err != nil {
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

// readyFile is rows as a file that is ready to be uploaded, and the words that copy it.
func readyFile(tb testing.TB, rows tidegate.RowReader) (file, into string) {
	tb.Helper()
	file = filepath.Join(tb.TempDir(), "rows.json.gz")
	f, err := os.Create(file)
	if err != nil {
		tb.Fatal(err)
	}
	z := gzip.NewWriter(f)
	encoder := json.NewEncoder(z)
	for {
		row, err := rows.Next(tb.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		for i, v := range row {
			if at, ok := v.(time.Time); ok {
				row[i] = at.Format("2006-01-02 15:04:05.000000 +00:00")
			}
		}
		if err := encoder.Encode(row); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		tb.Fatal(err)
	}
	types := map[tidegate.Kind]string{tidegate.Int: "NUMBER(19,0)", tidegate.Float: "FLOAT", tidegate.Bool: "BOOLEAN", tidegate.String: "VARCHAR"}
	var names, values []string
	for i, c := range rows.Schema() {
		names = append(names, strings.ToUpper(c.Name))
		if typ, ok := types[c.Type.Kind]; ok {
			values = append(values, fmt.Sprintf("CAST($1[%d] AS %s)", i, typ))
		} else {
			values = append(values, fmt.Sprintf("TO_TIMESTAMP_TZ(CAST($1[%d] AS VARCHAR), 'YYYY-MM-DD HH24:MI:SS.FF6 TZH:TZM')", i))
		}
	}
	return file, "(" + strings.Join(names, ", ") + ") FROM (SELECT " + strings.Join(values, ", ") + " FROM "
}
