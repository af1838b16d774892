package bigquery_test

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// engine is BigQuery as the suite must know it.
func engine(open func(tb testing.TB) warehouse.Warehouse) warehousetest.Engine {
	return warehousetest.Engine{
		Name:    "bigquery",
		Open:    open,
		Dialect: sqltext.BigQuery(),
		Series: func(n int) string {
			return fmt.Sprintf("SELECT n FROM UNNEST(GENERATE_ARRAY(0, %d)) AS n ORDER BY n", n-1)
		},
		FailsAt: func(n int) string {
			return fmt.Sprintf("SELECT IF(n = %d, ERROR('here'), 'x') AS v FROM UNNEST(GENERATE_ARRAY(0, 10)) AS n", min(n, 7))
		},
		RewritesJSON: true,
		RoundsJSON:   true,
		Materializes: true,
		Endless:      "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a, UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3",
		Unspoken:     []string{"VALUES (1), (2)", "EXPLAIN ANALYZE SELECT 1"},
		Escapes:      escapes,
		Reads: []string{
			"/* x */ explain -- y\n SELECT n FROM `escape`.target;",
			"SELECT 1 # done", "SELECT 1 /* ; DROP TABLE x */", "SELECT '''a';'b'''", `SELECT "it's;"`, "SELECT 'a\\';b'", "((SELECT 1) UNION ALL (SELECT 2)) ORDER BY 1",
			"SELECT `n` FROM `escape`.`target`", "SELECT * EXCEPT (n) FROM (SELECT n, 1 AS m FROM `escape`.target)", "WITH x AS (SELECT 1 AS n) SELECT n FROM x;",
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

// escapes are ways out that only BigQuery has.
var escapes = []string{
	"MERGE escape.target AS t USING (SELECT 5 AS n) AS s ON t.n = s.n WHEN NOT MATCHED THEN INSERT ROW",
	"EXPORT DATA OPTIONS (uri = 'gs://bucket/x*.csv', format = 'CSV') AS SELECT * FROM escape.target",
	"LOAD DATA INTO escape.target FROM FILES (format = 'CSV', uris = ['gs://bucket/x.csv'])",
	"EXECUTE IMMEDIATE 'DROP TABLE escape.target'",
	"CALL escape.p()",
	"CALL BQ.ABORT_SESSION()",
	"DECLARE x INT64 DEFAULT 1; DROP TABLE escape.target",
	"SET @@dataset_id = 'escape'",
	"BEGIN DROP TABLE escape.target; END",
	"BEGIN TRANSACTION", "COMMIT TRANSACTION", "ROLLBACK TRANSACTION",
	"IF TRUE THEN DROP TABLE escape.target; END IF",
	"LOOP DROP TABLE escape.target; END LOOP",
	"CREATE TEMP TABLE x AS SELECT 1 AS n",
	"CREATE TEMP FUNCTION f() AS (1); SELECT f()",
	"CREATE OR REPLACE TABLE escape.target AS SELECT 2 AS n",
	"CREATE MODEL escape.m OPTIONS (model_type = 'linear_reg') AS SELECT 1 AS label",
	"CREATE SNAPSHOT TABLE escape.s CLONE escape.target",
	"DROP TABLE `escape.target`",
	"DROP SCHEMA escape CASCADE",
	"TRUNCATE TABLE escape.target",
	"GRANT `roles/bigquery.dataViewer` ON SCHEMA escape TO 'user:x@example.com'",
	"REVOKE `roles/bigquery.dataViewer` ON SCHEMA escape FROM 'user:x@example.com'",
	"ASSERT (SELECT COUNT(*) FROM escape.target) = 0",
	"UNDROP SCHEMA escape",
	"SELECT 1 # x\n; DROP TABLE escape.target",
	"SELECT '''a''' ; DROP TABLE escape.target --'''",
	"SELECT r'\\\\'; DROP TABLE escape.target --'",
	"SELECT \"a\\\\\"; DROP TABLE escape.target --\"",
	"SELECT `a\\\\`; DROP TABLE escape.target --`",
	"SELECT /* /* */ 1; DROP TABLE escape.target -- */",
	"SELECT b'''\\''''; DROP TABLE escape.target --'''",
	"\u00a0DROP TABLE escape.target",
	"@@x; DROP TABLE escape.target",
	"ALTER TABLE escape.target SET OPTIONS (expiration_timestamp = CURRENT_TIMESTAMP())",
}
