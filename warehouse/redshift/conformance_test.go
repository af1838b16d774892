package redshift_test

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// engine is Redshift as the suite must know it.
func engine(open func(tb testing.TB) warehouse.Warehouse) warehousetest.Engine {
	return warehousetest.Engine{
		Name:    "redshift",
		Open:    open,
		Dialect: sqltext.Redshift(),
		Series:  func(n int) string { return fmt.Sprintf("SELECT n FROM generate_series(0, %d) AS n", n-1) },
		FailsAt: func(n int) string {
			return fmt.Sprintf("SELECT CAST(1 / (%d - n) AS VARCHAR) FROM (SELECT generate_series(0, %d) AS n) AS s", n, n+10)
		},
		RewritesJSON: true,
		Lacks:        lacks,
		Endless:      "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b WHERE a::bigint * b % 7 = 3",
		Unspoken:     []string{"VALUES (1), (2)", "EXPLAIN ANALYZE SELECT 1"},
		Escapes:      escapes,
		Reads: []string{
			"SHOW search_path", "EXPLAIN VERBOSE SELECT 1", "EXPLAIN (SELECT 1)", "/* x */ EXPLAIN SELECT 'DROP'", "SELECT * FROM information_schema.tables", "SELECT 'dblink(''x'')'",
			"((SELECT 1) UNION (SELECT 2)) ORDER BY 1", `SELECT 'it\'s; DROP TABLE x'`, `SELECT 1 AS "pg_sleep"`, "SELECT 1 -- pg_terminate_backend(1)", "SELECT JSON_PARSE('[1]')",
		},
	}
}

// lacks are values that Redshift has no place for.
func lacks(t tidegate.Type, v any) bool {
	if text, ok := v.(string); ok && len(text) > 65_535 {
		return true
	}
	return t.Kind == tidegate.Decimal && t.Scale > 37
}

func TestConformance(t *testing.T) {
	t.Parallel()
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		cfg, _ := config(tb)
		return open(tb, cfg)
	}))
}

// escapes are ways out that only Redshift has, or that a backslash opens.
var escapes = []string{
	"UNLOAD ('SELECT * FROM escape.target') TO 's3://bucket/x' IAM_ROLE default",
	"COPY escape.target FROM 's3://rows/x' IAM_ROLE default",
	"COPY escape.target TO STDOUT",
	"CALL escape.p()",
	"SELECT 1 INTO escape.more",
	"WITH x AS (SELECT 1 AS n) SELECT n INTO escape.more FROM x",
	"ALTER TABLE escape.target APPEND FROM escape.other",
	"CREATE EXTERNAL SCHEMA x FROM DATA CATALOG DATABASE 'x' IAM_ROLE default",
	"CREATE MODEL m FROM escape.target TARGET n FUNCTION f IAM_ROLE default SETTINGS (S3_BUCKET 'x')",
	"CREATE OR REPLACE FUNCTION f() RETURNS int STABLE AS $$ SELECT 1 $$ LANGUAGE sql",
	"CREATE TEMP TABLE x (n INTEGER)", "CREATE TABLE #x (n INTEGER)",
	"CREATE DATASHARE x", "ALTER DATASHARE x ADD SCHEMA escape", "GRANT USAGE ON DATASHARE x TO ACCOUNT '123456789012'",
	"SELECT pg_terminate_backend(pg_backend_pid())", "SELECT pg_cancel_backend(1)", "CANCEL 1",
	"SELECT set_config('query_group', 'x', false)",
	"SET query_group TO 'x'", "SET SESSION AUTHORIZATION owner", "RESET ALL",
	"DECLARE c CURSOR FOR SELECT 1", "FETCH ALL FROM c", "CLOSE c",
	"PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE ALL",
	"LOCK escape.target", "MERGE INTO escape.target USING escape.other ON target.n = other.n REMOVE DUPLICATES",
	"REFRESH MATERIALIZED VIEW x", "VACUUM FULL escape.target", "ANALYZE COMPRESSION escape.target",
	"START TRANSACTION READ WRITE", "END", "ABORT",
	"GRANT ALL ON escape.target TO PUBLIC", "COMMENT ON TABLE escape.target IS 'x'",
	`SELECT 'a\\'; DROP TABLE escape.target; --'`,
	`SELECT 'x\', pg_terminate_backend(1), '\'`,
	"EXPLAIN DELETE FROM escape.target",
	"WITH x AS (DELETE FROM escape.target) SELECT 1",
}
