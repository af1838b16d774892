package postgres

import (
	"context"

	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
)

// Config is the configuration of a warehouse of kind postgres.
type Config struct {
	Host           string        `json:"host" doc:"The server's name or address, or the folder of its unix socket."`
	Port           int           `json:"port,omitempty" default:"5432" min:"1" max:"65535" doc:"The server's port."`
	Database       string        `json:"database" doc:"The database. Tidegate makes its schemas in it."`
	User           string        `json:"user" doc:"The role that loads and keeps the books; docs/warehouses/postgres.md has its grants."`
	Password       secret.Secret `json:"password,omitzero" doc:"The role's password; none where the server asks for none."`
	ReadUser       string        `json:"read_user,omitempty" doc:"A role that may only read. When it is set, models and queries run as this role."`
	ReadPassword   secret.Secret `json:"read_password,omitzero" doc:"The password of read_user."`
	TLS            string        `json:"tls,omitempty" enum:"verify-full,verify-ca,require,disable" doc:"How the connection is encrypted: verify-full checks the server's certificate and name, verify-ca the certificate, require nothing, disable does not encrypt. When empty it is verify-full, and disable for a unix socket, a loopback address or an SSH tunnel."`
	RootCert       string        `json:"root_cert,omitempty" doc:"The certificates (PEM, or the path of a file) that the server's must come from; the system's when empty."`
	ClientCert     string        `json:"client_cert,omitempty" doc:"A certificate (PEM, or the path of a file) by which the role logs in."`
	ClientKey      secret.Secret `json:"client_key,omitzero" doc:"The key (PEM) of client_cert."`
	SSH            *SSH          `json:"ssh,omitempty" doc:"A host through which the server is reached."`
	MaxConnections int           `json:"max_connections,omitempty" default:"8" min:"2" max:"200" doc:"The most connections to hold open, for each of the two roles."`
}

// SSH is a tunnel to the server.
type SSH = pgwire.SSH

// Kind is the registration of this adapter.
func Kind() warehouse.Kind {
	return warehouse.Define("postgres", "PostgreSQL", Open)
}

// Open connects once, to find out at once what is wrong with cfg.
func Open(ctx context.Context, cfg Config, env warehouse.Env) (warehouse.Warehouse, error) {
	w, err := open(ctx, cfg, env)
	if err != nil {
		return nil, err // not a nil *Warehouse in an interface
	}
	return w, nil
}
