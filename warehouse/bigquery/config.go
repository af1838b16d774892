package bigquery

import (
	"context"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
)

// Config is the configuration of a warehouse of kind bigquery.
type Config struct {
	Project         string        `json:"project" doc:"The Google Cloud project that holds the datasets and pays for the jobs."`
	Location        string        `json:"location,omitempty" default:"US" doc:"Where the datasets are and the jobs run: US, EU, or a region such as europe-west3. Datasets that exist elsewhere cannot be joined with these."`
	Dataset         string        `json:"dataset,omitempty" default:"tidegate" doc:"The dataset of tables that a query names without one."`
	Credentials     secret.Secret `json:"credentials,omitzero" doc:"The key of a service account (JSON). Empty: application default credentials, which are the attached service account on Google Cloud, or GOOGLE_APPLICATION_CREDENTIALS. docs/warehouses/bigquery.md has its roles."`
	ReadCredentials secret.Secret `json:"read_credentials,omitzero" doc:"The key of a service account that may only read. When it is set, models and queries run as this account."`
	MaxBytesBilled  int64         `json:"max_bytes_billed,omitempty" min:"0" doc:"The most bytes that one query may be billed for; one that would need more fails before it costs anything. 0: no limit. Loads are not bound by it."`
	Labels          []string      `json:"labels,omitempty" doc:"Labels of every job, as key:value, beside managed_by:tidegate and tidegate_op, so that costs can be told apart in billing exports."`
	MaxJobs         int           `json:"max_jobs,omitempty" default:"20" min:"2" max:"300" doc:"The most jobs to have running at once."`
	Staging         string        `json:"staging,omitempty" default:"auto" enum:"auto,load_jobs,storage_write" doc:"How the rows of a load get to BigQuery: storage_write by the Storage Write API, whose rows can be read a second later and which a table takes as often as one likes; load_jobs by load jobs, which are free, take some seconds and of which a table takes 1,500 a day; auto chooses for each load: load jobs for more than 8 MB of rows. In transactions, as of events, rows travel in the statement."`
	StorageEndpoint string        `json:"storage_endpoint,omitempty" format:"uri" doc:"Another address of the Storage Write API, which is gRPC: a private endpoint, or an emulator. With endpoint and without this there are load jobs only."`
	Endpoint        string        `json:"endpoint,omitempty" format:"uri" doc:"Another address of the API: a private endpoint, or an emulator. Without credentials nothing is sent that could authenticate."`
}

// Kind is the registration of this adapter.
func Kind() warehouse.Kind {
	return warehouse.Define("bigquery", "BigQuery", Open)
}

// Open runs one query, to find out at once what is wrong with cfg.
func Open(ctx context.Context, cfg Config, env warehouse.Env) (warehouse.Warehouse, error) {
	w, err := open(ctx, cfg, env)
	if err != nil {
		return nil, err // not a nil *Warehouse in an interface
	}
	return w, nil
}
