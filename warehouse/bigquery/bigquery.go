package bigquery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	bq "cloud.google.com/go/bigquery"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Warehouse is a project of BigQuery. Make one with Open.
type Warehouse struct {
	project, location, dataset string
	cap                        int64 // of bytes billed for a query
	labels                     map[string]string
	dialect                    sqltext.Dialect
	log                        *slog.Logger
	now                        func() time.Time
	api                        *bq.Client
	reading                    *bq.Client // of queries; the same as api unless there is an account for reading
	staging                    string     // how rows get here: see Config.Staging
	storage                    *storage   // the Storage Write API; nil where only load jobs are
	idle                       []func()   // closes connections
	slots                      chan struct{}
	tables                     turns.Turns[warehouse.Table] // loads run together, a rewrite alone
	altering                   turns.Turns[warehouse.Table] // changes of the catalogue, one at a time per table

	door turns.Door // for calls, readers and transactions

	mu        sync.Mutex
	sessions  []string         // free ones, without a transaction
	born      map[string]int64 // when a dataset was made
	booked    bool             // the bookkeeping table is there
	stageable bool             // the dataset of staged rows is there
}

var (
	_ warehouse.Warehouse   = (*Warehouse)(nil)
	_ warehouse.Execer      = (*Warehouse)(nil)
	_ warehouse.Lister      = (*Warehouse)(nil)
	_ warehouse.Estimator   = (*Warehouse)(nil)
	_ warehouse.TableFinder = (*Warehouse)(nil)
)

const (
	// callTimeout bounds one call, the upload of one piece of a load included.
	callTimeout = 5 * time.Minute
	// maxAnswer bounds one answer; BigQuery's own limit is 20 MB a page.
	maxAnswer   = 128 << 20
	maxSessions = 8 // free ones that are kept
)

func open(ctx context.Context, cfg Config, env warehouse.Env) (*Warehouse, error) {
	if env.Now == nil {
		return nil, errors.New("opening bigquery: Env.Now is missing")
	}
	labels, err := labelsOf(cfg.Labels)
	if err != nil {
		return nil, err
	}
	w := &Warehouse{
		project: cfg.Project, location: cfg.Location, staging: cfg.Staging, dataset: cfg.Dataset, cap: cfg.MaxBytesBilled, labels: labels,
		dialect: sqltext.BigQuery(), log: env.Log, now: env.Now, born: make(map[string]int64),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	setDefault(&w.location, "US")
	setDefault(&w.dataset, w.dialect.DefaultSchema())
	setDefault(&cfg.MaxJobs, 20)
	setDefault(&w.staging, stagingAuto)
	w.slots = make(chan struct{}, cfg.MaxJobs)
	if w.project == "" {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.config", Subject: "project", Message: "the project is missing", Hint: "set it to the id of the Google Cloud project"}
	}
	if w.api, err = w.connect(ctx, cfg, "credentials", cfg.Credentials); err != nil {
		return nil, err
	}
	w.reading = w.api
	if !cfg.ReadCredentials.Empty() {
		if w.reading, err = w.connect(ctx, cfg, "read_credentials", cfg.ReadCredentials); err != nil {
			return nil, err
		}
	}
	if w.storage, err = w.connectStorage(ctx, cfg); err != nil {
		return nil, err
	}
	if err := w.greet(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the warehouse: %w", err), w.Close())
	}
	return w, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// connect makes a client of the API. It sends nothing.
func (w *Warehouse) connect(ctx context.Context, cfg Config, setting string, key secret.Secret) (*bq.Client, error) {
	client := w.outgoing(cfg)
	source, err := tokenSource(ctx, client, cfg.Endpoint, setting, key)
	if err != nil {
		return nil, err
	}
	if source != nil {
		// The client outlives the call, so its context must too.
		client = oauth2.NewClient(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client), source)
	}
	asking := *client
	asking.Transport = onceTransport{next: client.Transport}
	options := []option.ClientOption{option.WithHTTPClient(&asking)}
	if cfg.Endpoint != "" {
		endpoint := strings.TrimSuffix(cfg.Endpoint, "/")
		endpoint = strings.TrimSuffix(endpoint, "/bigquery/v2")
		options = append(options, option.WithEndpoint(endpoint+"/bigquery/v2/"))
	}
	api, err := bq.NewClient(ctx, w.project, options...)
	if err != nil {
		return nil, fmt.Errorf("making a client of the API: %w", err)
	}
	w.idle = append(w.idle, func() { _ = api.Close() }) // which closes nothing that REST uses
	api.Location = w.location
	return api, nil
}

// outgoing is a client for calls of the API, and for tokens.
func (w *Warehouse) outgoing(cfg Config) *http.Client {
	// The address is the operator's own choice: Google's, a private endpoint in the network, or an emulator.
	client := egress.New(egress.Options{
		Policy: egress.Policy{AllowPrivate: cfg.Endpoint != ""}, HTTPSOnly: cfg.Endpoint == "",
		Timeout: callTimeout, MaxResponseBytes: maxAnswer, MaxConnsPerHost: cfg.MaxJobs, UserAgent: "tidegate", Name: "warehouse bigquery", Now: w.now,
	})
	w.idle = append(w.idle, client.CloseIdleConnections)
	return client
}

// tokenSource says who is to be authenticated; nil: nobody.
func tokenSource(ctx context.Context, client *http.Client, endpoint, setting string, key secret.Secret) (oauth2.TokenSource, error) {
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client)
	switch {
	case !key.Empty():
		// Only keys of service accounts: other kinds of credentials name addresses and programs that are then run.
		cfg, err := google.JWTConfigFromJSON([]byte(key.Reveal()), bq.Scope)
		if err != nil {
			return nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "auth.refused", Subject: setting, Message: "the text is no key of a service account",
				Hint: "set " + setting + " to the JSON that `gcloud iam service-accounts keys create` writes, as in ${file:key.json}",
			}
		}
		return cfg.TokenSource(ctx), nil
	case endpoint != "":
		return nil, nil
	}
	found, err := google.FindDefaultCredentials(ctx, bq.Scope)
	if err != nil {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "auth.refused", Subject: "credentials", Message: "there are no application default credentials",
			Hint: "set credentials to the key of a service account, run on Google Cloud with one attached, or run `gcloud auth application-default login`", Err: err,
		}
	}
	return found.TokenSource, nil
}

var labelText = regexp.MustCompile(`^([a-z][a-z0-9_-]{0,62}):([a-z0-9_-]{0,63})$`)

func labelsOf(pairs []string) (map[string]string, error) {
	labels := map[string]string{"managed_by": "tidegate"}
	for _, pair := range pairs {
		m := labelText.FindStringSubmatch(pair)
		if m == nil {
			return nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "warehouse.config", Subject: "labels", Message: fmt.Sprintf("%q is no label", pair),
				Hint: "write key:value with lower-case letters, digits, _ and -, at most 63 each",
			}
		}
		labels[m[1]] = m[2]
	}
	return labels, nil
}

// greet proves that jobs run, for both accounts.
func (w *Warehouse) greet(ctx context.Context) error {
	for _, api := range []*bq.Client{w.api, w.reading} {
		if _, _, err := w.all(ctx, request{api: api, op: "greet", sql: "SELECT 1"}); err != nil {
			return err
		}
		if w.api == w.reading {
			break
		}
	}
	return nil
}

// Dialect names the SQL that is spoken here.
func (w *Warehouse) Dialect() string { return w.dialect.Name() }

// Close waits for running calls, readers and transactions to end, and ends the sessions.
func (w *Warehouse) Close() error {
	if !w.door.Close() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelGrace)
	defer cancel()
	var ending sync.WaitGroup
	for _, session := range w.sessions {
		ending.Go(func() { w.abort(ctx, session) })
	}
	ending.Wait()
	for _, closeIdle := range w.idle {
		closeIdle()
	}
	return nil
}

// A call is made again this often at most: most of what it meets is over in a
// second, and what is not is the caller's to wait for.
const (
	attempts    = 6
	maxThrottle = 15 * time.Second
)

// try makes a call that can be made again without harm. It is the only limit of
// how often: see once. What it returns is classified.
func (w *Warehouse) try(ctx context.Context, sql string, call func(ctx context.Context) error) error {
	backoff := retry.Backoff{Base: 200 * time.Millisecond, Cap: 5 * time.Second}
	for attempt := 0; ; attempt++ {
		asking, end := once(ctx)
		err := why(asking, call(asking))
		end(nil)
		if err == nil {
			return nil
		}
		err = classify(ctx, err, sql)
		f := tidegate.FaultOf(err)
		if attempt == attempts-1 || f.Action == tidegate.Reject || f.Action == tidegate.Halt || f.After > maxThrottle {
			return err
		}
		if retry.Wait(ctx, f.After+backoff.Delay(attempt, rand.Float64)) != nil {
			return err
		}
	}
}
