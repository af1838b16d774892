// Package rstest is a double of Amazon Redshift and of S3 for tests: a proxy before a real
// PostgreSQL that speaks Redshift's side of the wire, and a bucket in memory that checks signatures.
//
// It proves protocol, transactions, SQL of the common subset, the way of rows through S3, and errors. It refuses
// what Redshift refuses and PostgreSQL does not (ON CONFLICT, indexes, jsonb, RETURNING, changes of a column's type,
// and more), folds quoted names to lower case, escapes by backslashes in texts, shows SUPER and VARBYTE by their own
// numbers, keeps sort and dist keys, tells conflicts as error 1023 and errors of COPY in sys_load_error_detail. It does not
// prove what statements mean to Redshift's planner, nor its speed.
//
// A Cluster and an S3 are safe for concurrent use. Their goroutines end with the test.
package rstest
