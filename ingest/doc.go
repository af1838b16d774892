// Package ingest is the HTTP surface through which events come in.
package ingest
