package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/metric"

	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/internal/config"
)

// Options are what the surface is made of; all but Meter are required.
type Options struct {
	Hub     Hub
	Catalog *catalog.Catalog
	Store   *store.Workspace // audit log and tokens
	Keeper  *auth.Keeper
	Vault   *vault.Vault
	Kinds   project.Kinds
	Metrics http.Handler // serves /metrics
	Meter   metric.Meter // gets each stage's lag and each source's books; nil for none
	Version string
	Log     *slog.Logger
	Now     func() time.Time
	// Patience is how long a stream's reader may take for what it is sent before it is
	// disconnected; 0 means 10 s.
	Patience time.Duration
}

type server struct {
	o    Options
	spec []byte // the OpenAPI document
}

// New returns the admin surface.
func New(o Options) (http.Handler, error) {
	if o.Patience <= 0 {
		o.Patience = patience
	}
	s := &server{o: o}
	if err := observe(o.Meter, o.Hub); err != nil {
		return nil, err
	}
	mux, err := s.mount()
	if err != nil {
		return nil, err
	}
	guarded := http.NewCrossOriginProtection()
	guarded.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, newProblem(http.StatusForbidden, "auth.cross_origin", "the request comes from another website's page", "call the API from a program, or from the server's own pages"))
	}))
	return headers(guarded.Handler(s.recovered(mux))), nil
}

// Server returns an HTTP server for the surface: its answers may stream for
// as long as they like, its requests' headers may not. Beside HTTP/1.1 it speaks HTTP/2
// without TLS, which gRPC needs.
func Server(handler http.Handler, log *slog.Logger) *http.Server {
	var speaks http.Protocols
	speaks.SetHTTP1(true)
	speaks.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: handler, Protocols: &speaks, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 75 * time.Second, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// mount makes the mux, the permission checks and the OpenAPI document out of
// the route table.
func (s *server) mount() (*chi.Mux, error) {
	mux := chi.NewMux()
	api := humachi.New(mux, humaConfig(s.o.Version))
	for _, r := range s.table() {
		check := s.require(r.permission)
		if r.raw != nil {
			mux.Method(r.method, r.path, check(r.raw))
			continue
		}
		scoped := humachi.New(mux.With(check), huma.Config{OpenAPI: api.OpenAPI(), Formats: huma.DefaultFormats, DefaultFormat: "application/json", Transformers: []huma.Transformer{transform}, RejectUnknownQueryParameters: r.permission != auth.Public})
		op := s.operation(r, api.OpenAPI().Components.Schemas)
		r.register(scoped, op)
		if r.bodyOptional {
			op.RequestBody.Required = false // which registering has set
		}
	}
	for path, service := range s.rpc() {
		mux.Handle(path+"*", service)
	}
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, newProblem(http.StatusNotFound, "request.not_found", "there is no "+r.URL.Path, "see /docs for what there is"))
	})
	mux.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, "request.method", r.URL.Path+" does not know "+r.Method, "see /docs for what there is"))
	})
	var err error
	if s.spec, err = json.MarshalIndent(api.OpenAPI(), "", "  "); err != nil {
		return nil, errors.Join(errors.New("encoding the OpenAPI document"), err)
	}
	return mux, nil
}

func humaConfig(version string) huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Tidegate", Version: version, Description: "The admin API of Tidegate. Every verb of the command line is here."},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
		},
		Formats: huma.DefaultFormats, DefaultFormat: "application/json",
	}
}

// schemaName tells the two kinds of problems apart: one of a request, one of a
// place in a document.
func schemaName(t reflect.Type, hint string) string {
	if t == reflect.TypeFor[config.Problem]() {
		return "DocumentProblem"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

func (s *server) operation(r route, registry huma.Registry) huma.Operation {
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary,
		Description:     "Permission: `" + string(r.permission) + "`.",
		MaxBodyBytes:    max(r.maxBody, 1<<20),
		BodyReadTimeout: bodyReadTimeout,
		Responses: map[string]*huma.Response{"default": {
			Description: "An error",
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: registry.Schema(reflect.TypeFor[Problem](), true, "Problem")}},
		}},
	}
	if r.permission != auth.Public {
		op.Security = []map[string][]string{{"token": {}}}
	}
	if r.bodyOf != nil {
		op.SkipValidateBody = true // the handler does, and says it better
		schema := &huma.Schema{Type: "object", AdditionalProperties: true}
		if r.bodyOf.Kind() == reflect.Struct {
			schema = registry.Schema(r.bodyOf, true, "")
		}
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	}
	if r.streams != "" {
		op.Responses["200"] = &huma.Response{
			Description: "One JSON object a line: " + r.streams,
			Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: &huma.Schema{Type: "object", AdditionalProperties: true}}},
		}
	}
	return op
}

type identityKey struct{}

// who returns the maker of the request that ctx belongs to.
func who(ctx context.Context) auth.Identity {
	id, _ := ctx.Value(identityKey{}).(auth.Identity)
	return id
}

// require lets requests through whose maker has the permission.
func (s *server) require(p auth.Permission) func(http.Handler) http.Handler {
	if !slices.Contains(auth.Permissions(), p) {
		panic("a route declares no permission") // our own table is wrong
	}
	return func(next http.Handler) http.Handler {
		if p == auth.Public {
			return next // what the request says of its maker may be meant for the route: a hook's secret
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := s.o.Keeper.Identify(r)
			if err == nil {
				err = auth.Allow(r, id, p)
			}
			if err != nil {
				writeProblem(w, problemOf(err))
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, id)))
		})
	}
}

// recovered turns a panic of a handler into a 500 and a log line; the server
// and every other request go on.
func (s *server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			s.o.Log.ErrorContext(r.Context(), "admin request panicked", "method", r.Method, "path", r.URL.Path, "panic", v)
			writeProblem(w, newProblem(http.StatusInternalServerError, "internal", "the server made a mistake", "look at its log, and tell us"))
		}()
		next.ServeHTTP(w, r)
	})
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}
