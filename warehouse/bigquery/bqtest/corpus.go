package bqtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"

	bq "google.golang.org/api/bigquery/v2"
)

// CorpusEnv names the environment variable with the file to which every statement that
// ran is appended, for a parser that others wrote (e2e/googlesql).
const CorpusEnv = "TIDEGATE_BIGQUERY_CORPUS"

// Statement is one line of the corpus: what ran, and what there was when it did.
type Statement struct {
	SQL        string            `json:"sql"`
	Dataset    string            `json:"dataset,omitempty"` // of names without one
	Parameters map[string]string `json:"parameters,omitempty"`
	// Tables are those whose names are in the text, with their columns.
	Tables map[string][]Field `json:"tables,omitempty"`
}

// Field is a column and its type in GoogleSQL.
type Field struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// corpus writes each shape of a statement once.
type corpus struct {
	path string
	mu   sync.Mutex
	seen map[string]bool
}

// maxNoted is the longest statement that is kept; longer ones differ by their rows only.
const maxNoted = 64 << 10

// literals are what differs between statements of one shape: numbers and texts. Names keep their words.
var literals = regexp.MustCompile(`'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\d+|[0-9a-f]{8,}`)

// before is the line for a statement that is about to run; nil when nobody wants it.
func (c *corpus) before(ctx context.Context, s *Server, work *session, q *bq.JobConfigurationQuery) (_ *Statement, err error) {
	if c.path == "" || len(q.Query) > maxNoted {
		return nil, nil
	}
	shape := literals.ReplaceAllString(q.Query, "?")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[shape] {
		return nil, nil
	}
	c.seen[shape] = true
	line := &Statement{SQL: q.Query, Parameters: map[string]string{}, Tables: map[string][]Field{}}
	if q.DefaultDataset != nil {
		line.Dataset = q.DefaultDataset.DatasetId
	}
	for _, p := range q.QueryParameters {
		line.Parameters[p.Name] = p.ParameterType.Type
	}
	rows, err := work.conn.QueryContext(ctx, "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY column_index")
	if err != nil {
		return nil, fmt.Errorf("looking at tables: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var dataset, table, column, typ string
		if err := rows.Scan(&dataset, &table, &column, &typ); err != nil {
			return nil, err
		}
		if strings.Contains(q.Query, table) {
			f := s.fieldOf(target{dataset, table}, column, typ)
			name := f.Type
			if f.Mode == "REPEATED" {
				name = "ARRAY<" + name + ">"
			}
			line.Tables[dataset+"."+table] = append(line.Tables[dataset+"."+table], Field{column, name})
		}
	}
	return line, rows.Err()
}

// after appends a statement that ran.
func (c *corpus) after(s *Statement) error {
	if s == nil {
		return nil
	}
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
