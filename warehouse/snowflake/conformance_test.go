package snowflake_test

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func series(n int) string {
	return fmt.Sprintf("SELECT CAST(ROW_NUMBER() OVER (ORDER BY SEQ4()) - 1 AS NUMBER(19,0)) AS n FROM TABLE(GENERATOR(ROWCOUNT => %d)) ORDER BY n", n)
}

// engine is Snowflake as the suite must know it.
func engine(open func(tb testing.TB) warehouse.Warehouse) warehousetest.Engine {
	return warehousetest.Engine{
		Name:    "snowflake",
		Open:    open,
		Dialect: sqltext.Snowflake(),
		Series:  series,
		FailsAt: func(n int) string {
			return fmt.Sprintf("SELECT CASE WHEN n = %d THEN CAST(CAST(CONCAT('he', 're') AS NUMBER(19,0)) AS VARCHAR) ELSE 'x' END AS v FROM (%s) AS s", min(n, 7), series(10))
		},
		RewritesJSON:  true,
		RoundsJSON:    true,
		Materializes:  true,
		Lowers:        true,
		ReadCommitted: true,
		Endless:       "SELECT COUNT(*) FROM (SELECT SEQ4() AS x FROM TABLE(GENERATOR(ROWCOUNT => 1000000))) AS a CROSS JOIN (SELECT SEQ4() AS y FROM TABLE(GENERATOR(ROWCOUNT => 1000000))) AS b WHERE MOD(a.x * b.y, 7) = 3",
		Unspoken:      []string{"VALUES (1), (2)", "EXPLAIN ANALYZE SELECT 1"},
		Escapes:       escapes,
		Reads: []string{
			"/* x */ explain -- y\n SELECT n FROM escape.target;", "EXPLAIN USING JSON SELECT n FROM escape.target", "SHOW TABLES",
			"SELECT 1 -- done", "SELECT 1 // done", "SELECT 1 /* ; DROP TABLE x */", "SELECT $$a';'b$$", "SELECT 'it''s;'", `SELECT 'a\';b'`, "((SELECT 1) UNION ALL (SELECT 2)) ORDER BY 1",
			`SELECT "N" FROM "ESCAPE"."TARGET"`, "WITH x AS (SELECT 1 AS n) SELECT n FROM x;", "SELECT 1 AS identifier",
		},
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		cfg, _ := config(tb)
		return open(tb, cfg)
	}))
}

// escapes are ways out that only Snowflake has.
var escapes = []string{
	"MERGE INTO escape.target AS t USING (SELECT 5 AS n) AS s ON t.n = s.n WHEN NOT MATCHED THEN INSERT (n) VALUES (s.n)",
	"COPY INTO @~/x FROM escape.target",
	"COPY INTO escape.target FROM @~/x",
	"PUT file:///etc/passwd @~",
	"GET @~ file:///tmp/",
	"REMOVE @~",
	"LIST @~; DROP TABLE escape.target",
	"EXECUTE IMMEDIATE 'DROP TABLE escape.target'",
	"EXECUTE IMMEDIATE $$BEGIN DROP TABLE escape.target; END$$",
	"EXECUTE TASK t",
	"CALL escape.p()",
	"WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS 'BEGIN DROP TABLE escape.target; END' CALL p()",
	"DECLARE x INT; BEGIN DROP TABLE escape.target; END",
	"BEGIN DROP TABLE escape.target; END",
	"BEGIN TRANSACTION", "COMMIT WORK", "ROLLBACK WORK", "START TRANSACTION",
	"SET x = 1", "UNSET x", "USE ROLE ACCOUNTADMIN", "USE SCHEMA escape", "ALTER SESSION SET TIMEZONE = 'Asia/Tokyo'",
	"CREATE TEMPORARY TABLE x AS SELECT 1 AS n",
	"CREATE OR REPLACE TABLE escape.target AS SELECT 2 AS n",
	"CREATE TABLE escape.s CLONE escape.target",
	"DROP SCHEMA escape", "UNDROP TABLE escape.target",
	"TRUNCATE TABLE IF EXISTS escape.target",
	"GRANT SELECT ON TABLE escape.target TO ROLE PUBLIC",
	"SELECT SYSTEM$CANCEL_ALL_QUERIES(1)", "SELECT SYSTEM$ABORT_SESSION(1)", "select system$wait(100)",
	"SELECT * FROM IDENTIFIER('escape.target')",
	"SELECT 1 ->> DROP TABLE escape.target",
	"SHOW TABLES ->> DELETE FROM escape.target",
	"SELECT 1 // x\n; DROP TABLE escape.target",
	"SELECT $1 FROM @~//x ->> DROP TABLE escape.target",
	"SELECT $$a$$ ; DROP TABLE escape.target --$$",
	`SELECT 'a\'; DROP TABLE escape.target --'; DROP TABLE escape.target`,
	`SELECT "a\"; DROP TABLE escape.target --"`,
	"SELECT /* /* */ 1; DROP TABLE escape.target -- */",
	"EXPLAIN USING JSON DROP TABLE escape.target",
	"EXPLAIN USING TEXT UPDATE escape.target SET n = 2",
	"\u00a0DROP TABLE escape.target",
	"INSERT OVERWRITE INTO escape.target SELECT 2",
	"INSERT ALL INTO escape.target SELECT 2",
	"ALTER TABLE escape.target SWAP WITH escape.other",
}
