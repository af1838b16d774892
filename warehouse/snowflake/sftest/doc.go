// Package sftest is a double of Snowflake's HTTP API for tests, as Snowflake's Go
// driver calls it: logins (password, key, token), sessions that expire and are
// renewed, statements that are waited for, aborted and asked for again under
// their request's id, results as Arrow and JSON in parts, PUT into a stage, COPY,
// transactions. It works over DuckDB in memory.
//
// It remembers every statement with its query tag, answers errors under
// Snowflake's numbers and keeps its rules: what is open is committed before the
// catalogue changes, transactions read what is committed, UPDATE, DELETE and MERGE
// wait for each other, one statement a call, CREATE only where the schema exists,
// what ALTER COLUMN may widen. Answers can be replaced, late or lost.
//
// It reads the SQL that the adapter writes and plain queries, by rewriting them
// token by token. It is no Snowflake: what a statement means there in every corner,
// how fast it is and what it costs cannot be seen here.
//
// A Server is safe for concurrent use. Its goroutines are those of the statements;
// the end of the test cancels and waits for them.
package sftest
