package duckdb_test

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
		Name:      "duckdb",
		Open:      func(tb testing.TB) warehouse.Warehouse { tb.Helper(); return open(tb) },
		Dialect:   sqltext.DuckDB(),
		Series:    func(n int) string { return fmt.Sprintf("SELECT range AS n FROM range(%d)", n) },
		FailsAt:   failsAt,
		Endless:   "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 3",
		Escapes:   escapes,
		Histories: 3000,
		Reads: []string{
			"SHOW ALL TABLES", "SHOW DATABASES", "DESCRIBE escape.target", "DESCRIBE SELECT 1", "SUMMARIZE escape.target", "FROM escape.target", "TABLE escape.target",
			"PIVOT escape.target ON n IN (1) USING count(*)", "SELECT * FROM query_table('escape.target')", "EXPLAIN (FORMAT json) SELECT 1",
			"/* x */ EXPLAIN SELECT 'DROP'", "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
			"SELECT * FROM duckdb_tables()", "SELECT * FROM information_schema.tables", `SELECT '"function_name":"query"'`, "SELECT unnest([1, 2])",
			"SELECT * FROM (VALUES (1)) t(a) WINDOW w AS (ORDER BY a)", "SELECT json_serialize_sql('SELECT 1')", "SELECT try_cast('x' AS INTEGER), 1",
		},
	})
}

// escapes are ways out that only DuckDB has.
var escapes = []string{
	"COPY escape.target TO '/tmp/tidegate-escape.csv'",
	"COPY (SELECT 1) TO '/tmp/tidegate-escape.csv'",
	"COPY escape.target FROM '/etc/hostname'",
	"SELECT * FROM read_text('/etc/hostname')",
	"SELECT * FROM read_blob('/etc/hostname')",
	"SELECT * FROM read_csv('/etc/passwd')",
	"SELECT * FROM read_json('/etc/passwd')",
	"SELECT * FROM read_parquet('/etc/passwd')",
	"SELECT * FROM '/etc/passwd.csv'",
	"SELECT * FROM glob('/etc/*')",
	"SELECT * FROM sniff_csv('/etc/passwd')",
	"SELECT * FROM parquet_metadata('/etc/passwd')",
	"SELECT * FROM read_duckdb('/tmp/other.duckdb')",
	"EXPLAIN SELECT * FROM read_text('/etc/hostname')",
	"ATTACH '/tmp/tidegate-escape.duckdb' AS other",
	"ATTACH ':memory:' AS other",
	"DETACH w",
	"USE memory",
	"INSTALL httpfs",
	"LOAD httpfs",
	"FORCE INSTALL httpfs FROM community",
	"SET threads = 1",
	"SET GLOBAL memory_limit = '1TB'",
	"SET enable_external_access = true",
	"SET lock_configuration = false",
	"RESET enable_external_access",
	"SET VARIABLE x = 1",
	"PRAGMA threads = 1",
	"PRAGMA enable_profiling",
	"PRAGMA database_size",
	"CALL pragma_version()",
	"CALL force_checkpoint()",
	"CHECKPOINT",
	"FORCE CHECKPOINT",
	"EXPORT DATABASE '/tmp/tidegate-escape'",
	"IMPORT DATABASE '/tmp/tidegate-escape'",
	"PREPARE p AS SELECT 1",
	"EXECUTE p",
	"DEALLOCATE p",
	"CREATE TEMP TABLE x (n INTEGER)",
	"CREATE MACRO m() AS 1",
	"CREATE SECRET s (TYPE s3)",
	"CREATE SEQUENCE s",
	"CREATE TYPE ty AS ENUM ('a')",
	"SELECT * FROM enable_logging()",
	"SELECT * FROM disable_logging()",
	"SELECT * FROM EnAbLe_PrOfIlInG()",
	`SELECT * FROM "enable_profiling"()`,
	"SELECT * FROM system.main.enable_profiling()",
	"SELECT * FROM enable_peg_parser()",
	"SELECT * FROM checkpoint()",
	"SELECT * FROM force_checkpoint()",
	"SELECT * FROM truncate_duckdb_logs()",
	"SELECT write_log('x')",
	"SELECT (SELECT max(x) FROM (SELECT write_log('x') AS x))",
	"SELECT 1 WHERE EXISTS (SELECT * FROM enable_logging())",
	"WITH x AS (SELECT * FROM enable_logging()) SELECT 1",
	"DESCRIBE SELECT * FROM enable_profiling()",
	"SUMMARIZE SELECT * FROM enable_profiling()",
	"EXPLAIN ANALYZE SELECT * FROM enable_profiling()",
	"EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM enable_profiling()",
	"SELECT * FROM query('SELECT * FROM enable_profiling()')",
	"SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
	"SELECT * FROM arrow_scan(NULL, NULL, NULL)",
	"SELECT setseed(0.5)",
	"MERGE INTO escape.target t USING (SELECT 5 AS n) s ON t.n = s.n WHEN NOT MATCHED THEN INSERT",
	"INSERT OR REPLACE INTO escape.target VALUES (1)",
	"COMMENT ON TABLE escape.target IS 'x'",
	"SELECT 1 INTO escape.more",
	"UPDATE EXTENSIONS",
	"PIVOT escape.target ON n USING count(*)",
}
