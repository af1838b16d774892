package snowflake

import (
	"context"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
)

// Config is the configuration of a warehouse of kind snowflake.
type Config struct {
	Account              string        `json:"account" doc:"The account's identifier, as in orgname-accountname."`
	User                 string        `json:"user" doc:"The user that Tidegate logs in as: a service user of its own (TYPE = SERVICE)."`
	PrivateKey           secret.Secret `json:"private_key,omitzero" doc:"The user's private key (PEM, PKCS#8, encrypted or not). The way in that Snowflake recommends. docs/warehouses/snowflake.md says how to make one."`
	PrivateKeyPassphrase secret.Secret `json:"private_key_passphrase,omitzero" doc:"The passphrase of an encrypted private key."`
	Password             secret.Secret `json:"password,omitzero" doc:"The user's password, where there is no key."`
	Token                secret.Secret `json:"token,omitzero" doc:"A programmatic access token or an OAuth access token, where there is neither key nor password."`
	TokenKind            string        `json:"token_kind,omitempty" default:"pat" enum:"pat,oauth" doc:"What the token is."`
	Role                 string        `json:"role,omitempty" doc:"The role that creates and writes. Empty: the user's default role."`
	ReadRole             string        `json:"read_role,omitempty" doc:"A role that may only read. When it is set, models and queries run as this role."`
	Warehouse            string        `json:"warehouse,omitempty" doc:"The virtual warehouse that runs the statements. Empty: the user's default. X-SMALL with AUTO_SUSPEND = 60 is enough to begin with."`
	ReadWarehouse        string        `json:"read_warehouse,omitempty" doc:"The virtual warehouse of models and queries, so that they can have another size. Empty: the same."`
	Database             string        `json:"database" doc:"The database that holds the schemas of the sources and _tidegate."`
	Schema               string        `json:"schema,omitempty" default:"public" doc:"The schema of tables that a query names without one."`
	StatementTimeout     int           `json:"statement_timeout,omitempty" default:"3600" min:"1" max:"604800" doc:"After how many seconds Snowflake ends a statement."`
	MaxConnections       int           `json:"max_connections,omitempty" default:"10" min:"2" max:"100" doc:"The most sessions to have at once."`
	Tag                  string        `json:"tag,omitempty" doc:"A word of your own in the QUERY_TAG of every statement, beside app and op, so that costs can be told apart in QUERY_HISTORY."`
	Endpoint             string        `json:"endpoint,omitempty" format:"uri" doc:"Another address of the account: a private endpoint, or an emulator."`
}

// Kind is the registration of this adapter.
func Kind() warehouse.Kind {
	return warehouse.Define("snowflake", "Snowflake", Open)
}

// Open logs in and runs one query, to find out at once what is wrong with cfg.
func Open(ctx context.Context, cfg Config, env warehouse.Env) (warehouse.Warehouse, error) {
	w, err := open(ctx, cfg, env)
	if err != nil {
		return nil, err // not a nil *Warehouse in an interface
	}
	return w, nil
}
