package clickhouse_test

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	warehousetest.Run(t, warehousetest.Engine{
		Name:    "clickhouse",
		Open:    func(tb testing.TB) warehouse.Warehouse { tb.Helper(); return open(tb, config(server(tb))) },
		Dialect: sqltext.ClickHouse(),
		Series:  func(n int) string { return fmt.Sprintf("SELECT toInt64(number) AS n FROM numbers(%d)", n) },
		FailsAt: func(n int) string {
			return fmt.Sprintf("SELECT toString(throwIf(number = %d)) FROM numbers(%d)", n, n+10)
		},
		Endless: "SELECT count() FROM numbers(10000000) AS a, numbers(10000000) AS b WHERE a.number * b.number % 7 = 3",
		Escapes: engineEscapes,
		Units:   true,
		Reads: []string{
			"SHOW TABLES FROM escape", "DESCRIBE TABLE escape.target", "EXPLAIN SYNTAX SELECT 1", "EXPLAIN AST SELECT 1", "EXPLAIN PIPELINE SELECT 1", "EXPLAIN QUERY TREE SELECT 1",
			"EXPLAIN PLAN header = 1, actions = 1 SELECT 1", "EXPLAIN ESTIMATE SELECT * FROM escape.target", "SELECT * FROM system.one", "SELECT 'file(''x'')'", `SELECT 'a\' url(' AS a`,
			"SELECT 1 AS `url`", "SELECT $x$ file('a') $x$ AS h", "SELECT 1 # url(", "SELECT 1 SETTINGS max_threads = 1", "SELECT number FROM numbers(2) ORDER BY number DESC",
			"SELECT 'x' AS format", "WITH 1 AS x SELECT x",
		},
	})
}

// engineEscapes are ways out that only ClickHouse has.
var engineEscapes = []string{
	"INSERT INTO escape.target SELECT 2", "INSERT INTO TABLE FUNCTION file('escape.csv') SELECT 1", "INSERT INTO FUNCTION url('http://localhost:1/') SELECT 1",
	"SELECT 1 INTO OUTFILE '/tmp/tidegate-escape'", "SELECT * FROM file('/etc/hostname', 'LineAsString')", "SELECT * FROM FILE ('/etc/hostname', 'LineAsString')",
	"SELECT * FROM `file`('/etc/hostname', 'LineAsString')", `SELECT * FROM "file"('/etc/hostname', 'LineAsString')`, "SELECT file('/etc/hostname')",
	"SELECT * FROM file/* x */\n('/etc/hostname', 'LineAsString')", "SELECT * FROM url('http://169.254.169.254/', 'LineAsString')", "SELECT * FROM s3('https://x/y')",
	"SELECT * FROM remote('127.0.0.1', system.one)", "SELECT * FROM remoteSecure('127.0.0.1', system.one)", "SELECT * FROM mysql('a', 'b', 'c', 'd', 'e')",
	"SELECT * FROM postgresql('a', 'b', 'c', 'd', 'e')", "SELECT * FROM executable('id', 'LineAsString', 'x String')", "SELECT * FROM sqlite('x', 'y')",
	"SELECT sleep(1)", "SELECT sleepEachRow(1)", "WITH x AS (SELECT sleep(1)) SELECT * FROM x",
	"ALTER TABLE escape.target DELETE WHERE 1", "ALTER TABLE escape.target UPDATE n = 2 WHERE 1", "ALTER TABLE escape.target DROP PARTITION tuple()",
	"OPTIMIZE TABLE escape.target FINAL", "RENAME TABLE escape.target TO escape.other", "EXCHANGE TABLES escape.target AND escape.other", "DETACH TABLE escape.target",
	"ATTACH TABLE escape.target", "SYSTEM FLUSH LOGS", "SYSTEM SHUTDOWN", "SYSTEM DROP MARK CACHE", "KILL QUERY WHERE 1", "KILL MUTATION WHERE 1",
	"SET readonly = 0", "SET max_threads = 1", "USE system", "SELECT 1 SETTINGS readonly = 0", "SELECT 1 FORMAT CSV", "SELECT 1 FORMAT Null SETTINGS max_threads = 1",
	"GRANT ALL ON *.* TO default", "CREATE USER x", "CREATE FUNCTION f AS (x) -> x", "BACKUP TABLE escape.target TO Disk('x', 'y')", "RESTORE TABLE escape.target FROM Disk('x', 'y')",
	"CREATE TEMPORARY TABLE x (n Int64)", "CREATE MATERIALIZED VIEW escape.v ENGINE = Memory AS SELECT 1", "CREATE DICTIONARY escape.d (n Int64) PRIMARY KEY n", "MOVE x", "CHECK TABLE escape.target",
	"EXPLAIN INSERT INTO escape.target VALUES (2)", "EXPLAIN AST DROP TABLE escape.target", "EXPLAIN SYNTAX INSERT INTO escape.target SELECT 2", "EXPLAIN TABLE OVERRIDE x", "EXPLAIN CURRENT TRANSACTION",
	"WATCH escape.target", "SELECT 1; INSERT INTO escape.target VALUES (2)", "SELECT 'a\\'; DELETE FROM escape.target; --'; DROP TABLE escape.target", "PARALLEL WITH SELECT 1",
}
