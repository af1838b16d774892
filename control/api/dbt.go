package api

import (
	"context"
	"net/url"
	"time"

	"github.com/tidegate/tidegate/internal/config"
)

// DbtStatus is what the hub knows of one dbt project.
type DbtStatus struct {
	Name string `json:"name"`
	// Version is the dbt that wrote the manifest.
	Version string `json:"version,omitempty"`
	// Invocation is the last one that built or tested something, and At its end.
	Invocation string           `json:"invocation,omitempty"`
	At         time.Time        `json:"at,omitzero"`
	Models     []DbtModelStatus `json:"models"`
	// Fault is why its artefacts could not be read the last time.
	Fault string `json:"fault,omitempty"`
	// Problems are what is wrong with the syncs that its models declare.
	Problems []config.Problem `json:"problems,omitempty"`
}

// DbtModelStatus is one model of a dbt project.
type DbtModelStatus struct {
	ID           string   `json:"id" doc:"dbt's unique_id."`
	Name         string   `json:"name"`
	Table        string   `json:"table"`
	Materialized string   `json:"materialized,omitempty"`
	Tags         []string `json:"tags,omitempty"`
	Group        string   `json:"group,omitempty"`
	PrimaryKey   []string `json:"primary_key,omitempty"`
	KeyFrom      string   `json:"key_from,omitempty" doc:"How the key is known: constraint, tests or manifest."`
	Tests        int      `json:"tests"`
	// Passed says that the last invocation that touched the model built it and all
	// its tests passed; Reason says why not.
	Passed bool   `json:"passed"`
	Reason string `json:"reason,omitempty"`
	// Syncs read the model.
	Syncs []string `json:"syncs,omitempty"`
}

// Lineage is how values travel: source → table → model → sync → field, or from a file.
type Lineage struct {
	Edges []LineageEdge `json:"edges"`
}

// LineageEdge leads from what is read to what is made of it.
type LineageEdge struct {
	FromKind string `json:"from_kind" enum:"source,table,file,dbt_model,model,sync"`
	From     string `json:"from"`
	ToKind   string `json:"to_kind" enum:"table,dbt_model,model,sync,field"`
	To       string `json:"to"`
	// Columns of the model that fill a field.
	Columns []string `json:"columns,omitempty"`
}

type dbtWebhookIn struct {
	Authorization string `header:"Authorization" doc:"The hex of the body's HMAC-SHA256 under webhook_secret."`
	RawBody       []byte
}

// Noted answers a webhook of dbt Cloud.
type Noted struct {
	Noted bool `json:"noted"`
}

func (s *server) dbtWebhook(ctx context.Context, in *dbtWebhookIn) (*body[Noted], error) {
	err := s.o.Hub.DbtWebhook(ctx, in.Authorization, in.RawBody)
	return answer(Noted{Noted: true}, err)
}

func (s *server) listDbt(ctx context.Context, _ *nothing) (*body[list[DbtStatus]], error) {
	return answerList(s.o.Hub.Dbt(ctx))
}

func (s *server) refreshDbt(ctx context.Context, _ *nothing) (*body[list[DbtStatus]], error) {
	if err := s.o.Hub.RefreshDbt(ctx); err != nil {
		return nil, err
	}
	return answerList(s.o.Hub.Dbt(ctx))
}

func (s *server) lineage(ctx context.Context, in *struct {
	Name string `query:"name" maxLength:"200" doc:"Only what leads to this source, table, model, sync or field, and what comes of it."`
},
) (*body[Lineage], error) {
	return answer(s.o.Hub.Lineage(ctx, in.Name))
}

// Dbt lists the dbt projects.
func (c *Client) Dbt(ctx context.Context) ([]DbtStatus, error) {
	return items(get[list[DbtStatus]](ctx, c, "/v1/dbt", nil))
}

// RefreshDbt makes the hub look at its dbt projects now and lists them.
func (c *Client) RefreshDbt(ctx context.Context) ([]DbtStatus, error) {
	return items(post[list[DbtStatus]](ctx, c, "/v1/dbt/refresh", nil, nil))
}

// Lineage returns the whole lineage, or that of one name.
func (c *Client) Lineage(ctx context.Context, name string) (Lineage, error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	return get[Lineage](ctx, c, "/v1/lineage", query)
}

// DbtExposures is the exposures file of one dbt project.
type DbtExposures struct {
	Project string `json:"project"`
	// Path is where it is written; empty when the project names no file for it.
	Path    string `json:"path,omitempty"`
	Changed bool   `json:"changed"`
	Text    string `json:"text"`
}
