package redshift

import (
	"context"

	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
)

// Config is the configuration of a warehouse of kind redshift.
type Config struct {
	Host            string        `json:"host" doc:"The endpoint of the cluster or the workgroup: its name, without port and database."`
	Port            int           `json:"port,omitempty" default:"5439" min:"1" max:"65535" doc:"The endpoint's port."`
	Database        string        `json:"database" doc:"The database. Tidegate makes its schemas in it."`
	User            string        `json:"user" doc:"The user that loads and keeps the books; docs/warehouses/redshift.md has its grants."`
	Password        secret.Secret `json:"password,omitzero" doc:"The user's password."`
	ReadUser        string        `json:"read_user,omitempty" doc:"A user that may only read. When it is set, models and queries run as this user."`
	ReadPassword    secret.Secret `json:"read_password,omitzero" doc:"The password of read_user."`
	TLS             string        `json:"tls,omitempty" enum:"verify-full,verify-ca,require,disable" doc:"How the connection is encrypted: verify-full checks the server's certificate and name, verify-ca the certificate, require nothing, disable does not encrypt. When empty it is verify-full, and disable for a loopback address or an SSH tunnel."`
	RootCert        string        `json:"root_cert,omitempty" doc:"The certificates (PEM, or the path of a file) that the server's must come from; the system's when empty."`
	SSH             *SSH          `json:"ssh,omitempty" doc:"A host through which the cluster is reached."`
	MaxConnections  int           `json:"max_connections,omitempty" default:"8" min:"2" max:"100" doc:"The most connections to hold open, for each of the two users."`
	QueryGroup      string        `json:"query_group,omitempty" default:"tidegate" doc:"The label of all statements (query_group), by which workload management can route them and system tables show them."`
	CaseSensitive   bool          `json:"case_sensitive,omitempty" doc:"Switches enable_case_sensitive_identifier on, for tables of others whose names have capital letters."`
	Bucket          string        `json:"bucket" doc:"The S3 bucket through which rows are loaded."`
	Prefix          string        `json:"prefix,omitempty" default:"tidegate" doc:"What the names of objects in the bucket begin with."`
	Region          string        `json:"region" doc:"The bucket's region, as in eu-central-1."`
	AccessKeyID     string        `json:"access_key_id" doc:"The id of the access key by which Tidegate writes and removes objects."`
	SecretAccessKey secret.Secret `json:"secret_access_key" doc:"The access key."`
	SessionToken    secret.Secret `json:"session_token,omitzero" doc:"The token of a temporary access key."`
	IAMRole         string        `json:"iam_role,omitempty" doc:"The role by which Redshift reads the bucket: its ARN, or default for the cluster's default role. When empty, Redshift is given the access key."`
	KMSKey          string        `json:"kms_key,omitempty" doc:"The KMS key that objects are encrypted with; the bucket's own encryption when empty."`
	Endpoint        string        `json:"endpoint,omitempty" format:"uri" doc:"Another address of S3, such as that of a VPC endpoint."`
}

// SSH is a tunnel to the server.
type SSH = pgwire.SSH

// Kind is the registration of this adapter.
func Kind() warehouse.Kind {
	return warehouse.Define("redshift", "Amazon Redshift", Open)
}

// Open connects once, to find out at once what is wrong with cfg.
func Open(ctx context.Context, cfg Config, env warehouse.Env) (warehouse.Warehouse, error) {
	w, err := open(ctx, cfg, env)
	if err != nil {
		return nil, err // not a nil *Warehouse in an interface
	}
	return w, nil
}
