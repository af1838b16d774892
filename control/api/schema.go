package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tidegate/tidegate/ingest/loader/evolve"
)

// SchemaHub is the part of Hub that knows the event tables.
type SchemaHub interface {
	// EventTables lists the sources' tables with what does not fit them; of one schema
	// or one table when they are named. Fault "schema.not_found".
	EventTables(ctx context.Context, schema, table string) ([]evolve.EventTable, error)
	// WidenColumn gives a column a wider type, puts what was set aside into its rows and
	// notes who did it; with req.DryRun it says what would be done.
	WidenColumn(ctx context.Context, req WidenRequest, by string) (evolve.WidenResult, error)
	// SchemaHistory lists what became of columns, newest first.
	SchemaHistory(ctx context.Context, schema, table string, limit int) ([]evolve.ColumnChange, error)
	// Collisions lists names that became one column or one table, oldest first.
	Collisions(ctx context.Context, limit int) ([]evolve.NameCollision, error)
}

// MaxCollisions are those that a list shows that says nothing else.
const MaxCollisions = 1000

// WidenRequest asks for a wider type of a column of an event table.
type WidenRequest struct {
	Schema string `json:"schema" maxLength:"255" doc:"The schema of the source."`
	Table  string `json:"table" maxLength:"255"`
	Column string `json:"column" maxLength:"255"`
	To     string `json:"to,omitempty" maxLength:"20" doc:"The type: float, decimal(38,9), string, timestamp, json. The one that the survey proposes when empty."`
	DryRun bool   `json:"dry_run,omitempty" doc:"Say what would be done, and do nothing."`
}

// TableFilter names a schema and a table of it; empty means all.
type TableFilter struct {
	Schema string `query:"schema" maxLength:"255" doc:"The schema of one source."`
	Table  string `query:"table" maxLength:"255" doc:"One table."`
}

func (f TableFilter) query() url.Values {
	q := url.Values{}
	if f.Schema != "" {
		q.Set("schema", f.Schema)
	}
	if f.Table != "" {
		q.Set("table", f.Table)
	}
	return q
}

func (s *server) eventTables(ctx context.Context, in *TableFilter) (*body[list[evolve.EventTable]], error) {
	return answerList(s.o.Hub.EventTables(ctx, in.Schema, in.Table))
}

func (s *server) widenColumn(ctx context.Context, in *struct{ Body WidenRequest }) (*body[evolve.WidenResult], error) {
	result, err := s.o.Hub.WidenColumn(ctx, in.Body, who(ctx).Name)
	if err == nil && result.Done {
		err = s.audit(ctx, "schema.widen", result.Schema+"."+result.Table+"."+result.Column, result)
	}
	return answer(result, err)
}

func (s *server) schemaHistory(ctx context.Context, in *struct {
	TableFilter
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"10000" doc:"How many changes to show."`
},
) (*body[list[evolve.ColumnChange]], error) {
	return answerList(s.o.Hub.SchemaHistory(ctx, in.Schema, in.Table, in.Limit))
}

func (s *server) listCollisions(ctx context.Context, in *struct {
	Limit int `query:"limit" default:"1000" minimum:"1" maximum:"10000" doc:"How many to show."`
},
) (*body[list[evolve.NameCollision]], error) {
	return answerList(s.o.Hub.Collisions(ctx, in.Limit))
}

// EventTables lists the sources' tables with what does not fit them.
func (c *Client) EventTables(ctx context.Context, f TableFilter) ([]evolve.EventTable, error) {
	var out list[evolve.EventTable]
	err := c.call(ctx, http.MethodGet, "/v1/schema", f.query(), nil, nil, &out)
	return out.Items, err
}

// WidenColumn gives a column a wider type, or says what that would do.
func (c *Client) WidenColumn(ctx context.Context, req WidenRequest) (evolve.WidenResult, error) {
	return post[evolve.WidenResult](ctx, c, "/v1/schema/widen", nil, req)
}

// SchemaHistory lists what became of columns, newest first.
func (c *Client) SchemaHistory(ctx context.Context, f TableFilter, limit int) ([]evolve.ColumnChange, error) {
	var out list[evolve.ColumnChange]
	q := f.query()
	q.Set("limit", strconv.Itoa(limit))
	err := c.call(ctx, http.MethodGet, "/v1/schema/history", q, nil, nil, &out)
	return out.Items, err
}

// Collisions lists names that became one column or one table, oldest first.
func (c *Client) Collisions(ctx context.Context) ([]evolve.NameCollision, error) {
	var out list[evolve.NameCollision]
	err := c.call(ctx, http.MethodGet, "/v1/schema/collisions", nil, nil, nil, &out)
	return out.Items, err
}
