// Package bqtest is a double of BigQuery's REST API and Storage Write API for tests: jobs (queries,
// scripts, loads by multipart and resumable upload, dry runs), sessions with
// transactions, datasets and tables, over DuckDB in memory.
//
// It remembers every job, takes a job id once, answers errors in BigQuery's
// shapes and keeps BigQuery's limits: ten megabytes a request, names of columns and
// datasets, WHERE in every UPDATE and DELETE, no DDL in a transaction, what ALTER
// COLUMN may widen, bytes billed. Answers can be lost and calls refused.
//
// It reads the GoogleSQL that the adapter writes and plain queries, by rewriting
// them token by token. It is no BigQuery: what a statement means there in every
// corner, how fast it is and what it costs cannot be seen here.
//
// A Server is safe for concurrent use. Its goroutines are those of the jobs;
// Close cancels and waits for them.
package bqtest
