package clickhouse

import (
	"context"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
)

// Config is the configuration of a warehouse of kind clickhouse.
type Config struct {
	Host           string        `json:"host" doc:"The server's name or address."`
	Protocol       string        `json:"protocol,omitempty" default:"http" enum:"http,native" doc:"How the server is spoken to: its HTTP interface, or native for its own protocol over TCP, which is not proven here; docs/warehouses/clickhouse.md says what it lacks."`
	Port           int           `json:"port,omitempty" min:"1" max:"65535" doc:"The server's port; when empty 8443 with TLS and 8123 without, and 9440 and 9000 for the native protocol."`
	Database       string        `json:"database,omitempty" default:"default" doc:"The database of names without one. Tidegate's schemas are databases of the server."`
	User           string        `json:"user,omitempty" default:"default" doc:"The user that loads and keeps the books; docs/warehouses/clickhouse.md has its grants."`
	Password       secret.Secret `json:"password,omitzero" doc:"The user's password."`
	ReadUser       string        `json:"read_user,omitempty" doc:"A user that may only read. When it is set, models and queries run as this user."`
	ReadPassword   secret.Secret `json:"read_password,omitzero" doc:"The password of read_user."`
	TLS            string        `json:"tls,omitempty" enum:"verify-full,verify-ca,disable" doc:"How the connection is encrypted: verify-full checks the server's certificate and name, verify-ca the certificate, disable does not encrypt. When empty it is verify-full, and disable for a loopback address."`
	RootCert       string        `json:"root_cert,omitempty" doc:"The certificates (PEM, or the path of a file) that the server's must come from; the system's when empty."`
	ClientCert     string        `json:"client_cert,omitempty" doc:"A certificate (PEM, or the path of a file) by which the client shows who it is."`
	ClientKey      secret.Secret `json:"client_key,omitzero" doc:"The key (PEM) of client_cert."`
	Cluster        string        `json:"cluster,omitempty" doc:"A cluster of the server: schemas and tables are made ON CLUSTER, and tables replicated."`
	Final          string        `json:"final,omitempty" default:"always" enum:"always,never" doc:"Whether queries see merged tables as if they were merged already (the setting final). With never, models must say FINAL themselves."`
	Compression    string        `json:"compression,omitempty" default:"lz4" enum:"lz4,none" doc:"How rows are packed on the way."`
	MaxConnections int           `json:"max_connections,omitempty" default:"8" min:"2" max:"200" doc:"The most connections to hold open, for each of the two users."`
}

// Kind is the registration of this adapter.
func Kind() warehouse.Kind {
	return warehouse.Define("clickhouse", "ClickHouse", Open)
}

// Open connects once, to find out at once what is wrong with cfg.
func Open(ctx context.Context, cfg Config, env warehouse.Env) (warehouse.Warehouse, error) {
	w, err := open(ctx, cfg, env)
	if err != nil {
		return nil, err // not a nil *Warehouse in an interface
	}
	return w, nil
}
