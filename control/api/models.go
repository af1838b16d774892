package api

import (
	"context"
	"net/url"
	"strconv"

	"github.com/tidegate/tidegate"
)

// SuggestedMapping is a mapping made from names alone: something to begin with.
type SuggestedMapping struct {
	Mapping tidegate.Mapping `json:"mapping"`
	// UnusedColumns and OpenFields are what found no counterpart.
	UnusedColumns []string `json:"unused_columns"`
	OpenFields    []string `json:"open_fields"`
}

// ModelPreview is a first look at a model's rows.
type ModelPreview struct {
	Model   string       `json:"model"`
	Columns []ColumnInfo `json:"columns"`
	Rows    [][]any      `json:"rows"`
	Count   int64        `json:"count"`
	// EstimatedRows and EstimatedBytes are what the warehouse thinks that a run reads; -1 when it does not say.
	EstimatedRows  int64 `json:"estimated_rows"`
	EstimatedBytes int64 `json:"estimated_bytes"`
}

// ModelAddress is the path of one model; see DefinitionAddress.
type ModelAddress struct {
	Name string `path:"name" maxLength:"63"`
}

func (s *server) previewModel(ctx context.Context, in *struct {
	ModelAddress
	Limit int `query:"limit" default:"20" minimum:"0" maximum:"1000" doc:"How many rows to show."`
},
) (*body[ModelPreview], error) {
	return answer(s.o.Hub.PreviewModel(ctx, in.Name, in.Limit))
}

func (s *server) suggestMapping(ctx context.Context, in *struct {
	ModelAddress
	Destination string `query:"destination" required:"true" maxLength:"63" doc:"The destination whose object is mapped to."`
	Object      string `query:"object" required:"true" maxLength:"256" doc:"The object."`
},
) (*body[SuggestedMapping], error) {
	return answer(s.o.Hub.SuggestMapping(ctx, in.Name, in.Destination, in.Object))
}

// PreviewModel shows a model's first rows and counts them.
func (c *Client) PreviewModel(ctx context.Context, name string, limit int) (ModelPreview, error) {
	return post[ModelPreview](ctx, c, modelPath(name, "/preview"), url.Values{"limit": {strconv.Itoa(limit)}}, nil)
}

// SuggestMapping maps a model's columns to an object's fields by their names.
func (c *Client) SuggestMapping(ctx context.Context, model, destination, object string) (SuggestedMapping, error) {
	return post[SuggestedMapping](ctx, c, modelPath(model, "/suggest"), url.Values{"destination": {destination}, "object": {object}}, nil)
}

func modelPath(name, below string) string { return "/v1/models/" + url.PathEscape(name) + below }
