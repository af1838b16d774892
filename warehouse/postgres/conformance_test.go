package postgres_test

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	server(t)
	warehousetest.Run(t, warehousetest.Engine{
		Name:    "postgres",
		Open:    func(tb testing.TB) warehouse.Warehouse { tb.Helper(); return open(tb, config(tb)) },
		Dialect: sqltext.Postgres(),
		Series:  func(n int) string { return fmt.Sprintf("SELECT n FROM generate_series(0, %d) AS n", n-1) },
		FailsAt: func(n int) string {
			return fmt.Sprintf("SELECT (1 / (%d - n))::text FROM (SELECT generate_series(0, %d) AS n) AS s", n, n+10)
		},
		Histories:    3500, // and as many on PostgreSQL 18, and 3,000 on DuckDB
		RewritesJSON: true,
		Endless:      "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b WHERE a::bigint * b % 7 = 3",
		Escapes:      escapes,
		Reads: []string{
			"SHOW ALL", "SHOW search_path", "TABLE escape.target", "EXPLAIN (FORMAT json) SELECT 1", "EXPLAIN VERBOSE SELECT 1", "EXPLAIN (SELECT 1)", "EXPLAIN ANALYZE VERBOSE (SELECT 1)",
			"/* x /* nested */ */ EXPLAIN SELECT 'DROP'", "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
			"SELECT * FROM information_schema.tables", "SELECT 'dblink(''x'')'", "SELECT unnest(ARRAY[1, 2])", "SELECT $$lo_import('x')$$", `SELECT 1 AS "pg_sleep"`,
			"((SELECT 1) UNION (SELECT 2)) ORDER BY 1", "SELECT E'\\' set_config(' AS a", "SELECT 1 -- pg_terminate_backend(1)",
			"SELECT U&'d\\0061t\\+000061'", "SELECT $tag$ $x$ $tag$",
		},
	})
}

// escapes are ways out that only PostgreSQL has.
var escapes = []string{
	"COPY escape.target TO '/tmp/tidegate-escape.csv'",
	"COPY escape.target TO STDOUT",
	"COPY escape.target FROM PROGRAM 'id'",
	"COPY (SELECT 1) TO PROGRAM 'id'",
	"SELECT pg_read_file('/etc/hostname')",
	"SELECT pg_catalog.pg_read_file('/etc/hostname')",
	`SELECT "pg_read_file"('/etc/hostname')`,
	`SELECT U&"pg_read_f\0069le"('/etc/hostname')`,
	"SELECT pg_read_file/* x */\n('/etc/hostname')",
	"SELECT PG_LS_DIR('/')",
	"SELECT lo_import('/etc/hostname')",
	"SELECT lo_export(1, '/tmp/tidegate-escape')",
	"SELECT lo_create(0)",
	"SELECT set_config('transaction_read_only', 'off', false)",
	"SELECT set_config('default_transaction_read_only', 'off', false)",
	"SELECT pg_terminate_backend(pg_backend_pid())",
	"SELECT pg_reload_conf()",
	"SELECT pg_advisory_lock(1)",
	"SELECT pg_sleep(1)",
	"SELECT pg_notify('a', 'b')",
	"SELECT query_to_xml('SELECT pg_sleep(1)', true, true, '')",
	"SELECT 1 WHERE EXISTS (SELECT pg_advisory_lock(1))",
	"WITH x AS (SELECT pg_advisory_lock(1)) SELECT 1",
	"EXPLAIN ANALYZE SELECT pg_advisory_lock(1)",
	"WITH x AS (DELETE FROM escape.target RETURNING n) SELECT * FROM x",
	"WITH x AS (UPDATE escape.target SET n = 2 RETURNING n) SELECT * FROM x",
	"WITH x AS (INSERT INTO escape.target VALUES (3) RETURNING n) SELECT * FROM x",
	"EXPLAIN (ANALYZE) WITH x AS (DELETE FROM escape.target RETURNING n) SELECT * FROM x",
	"EXPLAIN (ANALYZE, FORMAT json) DELETE FROM escape.target",
	"EXPLAIN ANALYZE CREATE TABLE escape.more AS SELECT 1 AS n",
	"EXPLAIN EXECUTE p",
	"SELECT 1 INTO escape.more",
	"SELECT * FROM escape.target FOR UPDATE",
	"CREATE TEMP TABLE x (n integer)",
	"DO $$ BEGIN DELETE FROM escape.target; END $$",
	"CALL p()",
	"LOCK TABLE escape.target",
	"LISTEN x", "NOTIFY x", "UNLISTEN *",
	"SET TRANSACTION READ WRITE",
	"SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
	"SET default_transaction_read_only = off",
	"SET ROLE owner",
	"RESET ALL", "DISCARD ALL", "DEALLOCATE ALL",
	"PREPARE p AS SELECT 1", "EXECUTE p",
	"DECLARE c CURSOR FOR SELECT 1", "FETCH c", "MOVE c", "CLOSE c",
	"SAVEPOINT a", "RELEASE a", "END", "ABORT", "START TRANSACTION READ WRITE", "PREPARE TRANSACTION 'x'",
	"GRANT ALL ON escape.target TO PUBLIC",
	"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
	"CREATE EXTENSION dblink", "LOAD 'auto_explain'",
	"COMMENT ON TABLE escape.target IS 'x'",
	"REINDEX TABLE escape.target", "CLUSTER escape.target", "REFRESH MATERIALIZED VIEW x",
	"MERGE INTO escape.target AS t USING (SELECT 5 AS n) AS s ON t.n = s.n WHEN NOT MATCHED THEN INSERT VALUES (s.n)",
	"SELECT 'a\\'; DELETE FROM escape.target; --'",
}
