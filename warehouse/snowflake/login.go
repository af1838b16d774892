package snowflake

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	sf "github.com/snowflakedb/gosnowflake"
	"github.com/youmark/pkcs8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

const (
	// callTimeout bounds one HTTP call; Snowflake answers a long statement after 45
	// seconds and lets the driver ask again. Parts of results and files are calls, too.
	callTimeout = 10 * time.Minute
	// maxAnswer bounds one answer: a part of a result has some hundred megabytes at most.
	maxAnswer = 1 << 30
	// The driver makes a call again this often, and for this long, before it gives up.
	driverRetries  = 5
	driverPatience = time.Minute
	noTimeout      = -1              // for the driver's client; timed has one
	lockTimeout    = 5 * time.Minute // for locks of other transactions; Snowflake's own is twelve hours
)

// quiet keeps the driver from asking the metadata services of three clouds where
// it runs, at its first login. It reads the answer from the environment only.
func quiet() {
	const off = "SNOWFLAKE_DISABLE_PLATFORM_DETECTION"
	if os.Getenv(off) == "" {
		_ = os.Setenv(off, "true") // otherwise it asks, and nothing else happens
	}
}

// driverConfig is the configuration of the driver: everything that it does by
// itself is off, and its calls go through egress.
func driverConfig(cfg Config, role, warehouseName, schema string, now func() time.Time, failed func(error)) (sf.Config, func(), error) {
	address, err := endpoint(cfg)
	if err != nil {
		return sf.Config{}, nil, err
	}
	// The address is the operator's own choice: Snowflake's, a private endpoint in the network, or an emulator.
	private := cfg.Endpoint != "" || strings.Contains(cfg.Account, ".privatelink")
	client := egress.New(egress.Options{
		Policy: egress.Policy{AllowPrivate: private}, HTTPSOnly: address.Scheme == "https",
		Timeout: callTimeout, MaxResponseBytes: maxAnswer, UserAgent: "tidegate", Name: "warehouse snowflake", Now: now,
	})
	port, _ := strconv.Atoi(address.Port())
	if port == 0 && address.Scheme == "http" {
		port = 80
	}
	c := sf.Config{
		Account: cfg.Account, User: cfg.User, Role: stored(role), Warehouse: stored(warehouseName), Database: stored(cfg.Database), Schema: stored(schema),
		Protocol: address.Scheme, Host: address.Hostname(), Port: port, Application: "Tidegate",
		ValidateDefaultParameters: sf.ConfigBoolFalse,                                                                            // a schema that is not there yet is no mistake; greet looks
		Transporter:               timed{client.Transport, callTimeout, failed}, DisableOCSPChecks: true, DisableTelemetry: true, //nolint:staticcheck // the session's parameter comes too late for the login
		ClientTimeout: noTimeout, JWTClientTimeout: 30 * time.Second, LoginTimeout: driverPatience, RequestTimeout: driverPatience, MaxRetryCount: driverRetries, //nolint:staticcheck // there is nothing else yet
		ClientRequestMfaToken: sf.ConfigBoolFalse, ClientStoreTemporaryCredential: sf.ConfigBoolFalse, DisableConsoleLogin: sf.ConfigBoolTrue, //nolint:staticcheck // no secret is kept on this machine
		Params: session(cfg),
	}
	c.Tracing = "fatal" //nolint:staticcheck // there is nothing else, and "off" does not reach all of its log
	if err := authenticate(&c, cfg); err != nil {
		return sf.Config{}, nil, err
	}
	return c, client.CloseIdleConnections, nil
}

// session are the parameters of every session.
func session(cfg Config) map[string]*string {
	params := make(map[string]*string)
	set := func(name, value string) { params[name] = &value }
	timeout := cfg.StatementTimeout
	if timeout == 0 {
		timeout = 3600
	}
	set("TIMEZONE", "UTC")
	set("AUTOCOMMIT", "true")
	set("CLIENT_SESSION_KEEP_ALIVE", "false")
	set("MULTI_STATEMENT_COUNT", "1")
	set("STATEMENT_TIMEOUT_IN_SECONDS", strconv.Itoa(timeout))
	set("LOCK_TIMEOUT", strconv.Itoa(int(lockTimeout.Seconds())))
	set("ABORT_DETACHED_QUERY", "true")
	set("GO_QUERY_RESULT_FORMAT", "ARROW")
	set("QUOTED_IDENTIFIERS_IGNORE_CASE", "false")
	set("ERROR_ON_NONDETERMINISTIC_MERGE", "true")
	set("WEEK_START", "1")
	set("BINARY_OUTPUT_FORMAT", "HEX")
	return params
}

func endpoint(cfg Config) (*url.URL, error) {
	if cfg.Endpoint != "" {
		return url.Parse(cfg.Endpoint)
	}
	host := strings.ToLower(strings.ReplaceAll(cfg.Account, "_", "-"))
	for _, r := range host {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' {
			return nil, configFault("account", "it is no identifier of an account", "write orgname-accountname, as SELECT CURRENT_ORGANIZATION_NAME() || '-' || CURRENT_ACCOUNT_NAME() gives it")
		}
	}
	if !strings.HasSuffix(host, ".snowflakecomputing.com") && !strings.HasSuffix(host, ".snowflakecomputing.cn") {
		host += ".snowflakecomputing.com"
	}
	return &url.URL{Scheme: "https", Host: host}, nil
}

// stored is a name of the configuration as the catalogue has it: what has no
// lower case letters of its own is one that was made without quotes.
func stored(name string) string {
	if inner, ok := strings.CutPrefix(name, `"`); ok && strings.HasSuffix(inner, `"`) {
		return name // in quotes: as it stands
	}
	return sqltext.Upper(name)
}

// authenticate chooses how to log in: by the one secret that is set.
func authenticate(c *sf.Config, cfg Config) error {
	given := 0
	for _, s := range []secret.Secret{cfg.PrivateKey, cfg.Password, cfg.Token} {
		if !s.Empty() {
			given++
		}
	}
	switch {
	case given != 1:
		return configFault("private_key", strconv.Itoa(given)+" ways to log in are set", "set exactly one of private_key, password and token")
	case !cfg.PrivateKey.Empty():
		key, err := privateKey(cfg.PrivateKey, cfg.PrivateKeyPassphrase)
		if err != nil {
			return err
		}
		c.Authenticator, c.PrivateKey = sf.AuthTypeJwt, key
	case !cfg.Password.Empty():
		c.Authenticator, c.Password = sf.AuthTypeSnowflake, cfg.Password.Reveal()
	case cfg.TokenKind == "oauth":
		c.Authenticator, c.Token = sf.AuthTypeOAuth, cfg.Token.Reveal()
	default:
		c.Authenticator, c.Token = sf.AuthTypePat, cfg.Token.Reveal()
	}
	return nil
}

// privateKey reads a key; its errors say nothing of it.
func privateKey(text, passphrase secret.Secret) (*rsa.PrivateKey, error) {
	bad := func(message, hint string) error {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "auth.refused", Subject: "private_key", Message: message, Hint: hint}
	}
	const how = "make one with `openssl genrsa 2048 | openssl pkcs8 -topk8 -nocrypt -out key.p8`, and write ${file:key.p8}"
	block, _ := pem.Decode([]byte(text.Reveal()))
	if block == nil {
		return nil, bad("the text is no key in PEM", how)
	}
	var key any
	var err error
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		if passphrase.Empty() {
			return nil, bad("the key is encrypted", "set private_key_passphrase")
		}
		if key, err = pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(passphrase.Reveal())); err != nil {
			return nil, bad("the key cannot be decrypted", "correct private_key_passphrase; or "+how)
		}
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		err = errors.New("another kind")
	}
	if err != nil {
		return nil, bad("the text is no private key", how)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, bad("the key is no RSA key, and Snowflake takes no other", how)
	}
	return private, nil
}
