package api

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tidegate/tidegate/control/auth"
)

// route is one line of the table from which everything else is made.
type route struct {
	method, path string
	id           string // operationId; the client's method of the same name calls it
	summary      string
	permission   auth.Permission
	maxBody      int64
	raw          http.Handler // served as it is; the rest goes through register
	register     func(api huma.API, op huma.Operation)
	streams      string // what the lines of an NDJSON answer are
	bodyOf       reflect.Type
	bodyOptional bool
}

// do makes a route of a function from an input to an output.
func do[I, O any](method, path, id string, p auth.Permission, summary string, handle func(context.Context, *I) (*O, error)) route {
	return route{method: method, path: path, id: id, permission: p, summary: summary, register: func(api huma.API, op huma.Operation) {
		huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
			out, err := handle(ctx, in)
			if err != nil {
				problem := problemOf(err)
				return nil, huma.ErrorWithHeaders(problem, problem.GetHeaders())
			}
			return out, nil
		})
	}}
}

// takes documents the type of a body that the handler reads itself.
func (r route) takes(body any, limit int64) route {
	r.bodyOf, r.maxBody = reflect.TypeOf(body), limit
	return r
}

// mayTake is takes for a body that may be left out.
func (r route) mayTake(body any, limit int64) route {
	r = r.takes(body, limit)
	r.bodyOptional = true
	return r
}

func (r route) streaming(lines string) route {
	r.streams = lines
	return r
}

const (
	maxProjectBytes = 16 << 20
	maxEventBytes   = 4 << 20
)

type nothing struct{}

// body is an answer that is a JSON document.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{Body: v}, nil
}

// list is an answer with several items; it is an object so that it can grow.
type list[T any] struct {
	Items []T `json:"items"`
}

func answerList[T any](items []T, err error) (*body[list[T]], error) {
	if items == nil {
		items = []T{}
	}
	return answer(list[T]{Items: items}, err)
}

// table is every route of the admin surface, in the order of the reference.
func (s *server) table() []route {
	return slices.Concat([]route{
		{method: "GET", path: "/openapi.json", id: "openapi", permission: auth.Public, summary: "This document", raw: http.HandlerFunc(s.openAPI)},
		{method: "GET", path: "/", id: "home", permission: auth.Public, summary: "Leads people to the page", raw: http.RedirectHandler("/docs", http.StatusSeeOther)},
		{method: "GET", path: "/docs", id: "docs", permission: auth.Public, summary: "This document as a page", raw: http.HandlerFunc(serveDocs)},
		{method: "GET", path: "/docs.js", id: "docsScript", permission: auth.Public, summary: "The page's script", raw: http.HandlerFunc(serveDocsScript)},
		{method: "GET", path: "/docs.css", id: "docsStyle", permission: auth.Public, summary: "The page's style", raw: http.HandlerFunc(serveDocsStyle)},
		{method: "GET", path: "/metrics", id: "metrics", permission: auth.Observe, summary: "Prometheus metrics", raw: s.o.Metrics},
		do("GET", "/healthz", "healthz", auth.Public, "Says that the process lives", s.health),
		do("GET", "/readyz", "readyz", auth.Public, "Says how far behind each stage is; 503 when one is not ready", s.ready),
		do("GET", "/v1/status", "status", auth.Read, "The stages and, per source, what became of every event", s.status),
		do("GET", "/v1/version", "version", auth.Read, "The server's version", s.version),
		do("GET", "/v1/doctor", "doctor", auth.Read, "Examines the hub and says what to mend", s.doctor),

		do("GET", "/v1/project", "exportProject", auth.Read, "The definitions as one document; the ETag is their revision", s.exportProject),
		do("POST", "/v1/project/check", "checkProject", auth.Read, "Checks a project and changes nothing", s.checkProject).takes(projectBody, maxProjectBytes),
		do("POST", "/v1/project/plan", "planProject", auth.Read, "Says what applying a project would change", s.planProject).takes(projectBody, maxProjectBytes),
		do("PUT", "/v1/project", "applyProject", auth.Edit, "Replaces the definitions; If-Match names the revision they are made on", s.applyProject).takes(projectBody, maxProjectBytes),
		do("GET", "/v1/definitions/{kind}", "listDefinitions", auth.Read, "The definitions of one kind", s.listDefinitions),
		do("GET", "/v1/definitions/{kind}/{name}", "getDefinition", auth.Read, "One definition; the ETag is its version", s.getDefinition),
		do("PUT", "/v1/definitions/{kind}/{name}", "putDefinition", auth.Edit, "Creates or replaces one definition; If-Match names the version it is made on, If-None-Match: * says that there is none", s.putDefinition).takes(map[string]any{}, maxProjectBytes),
		do("DELETE", "/v1/definitions/{kind}/{name}", "deleteDefinition", auth.Edit, "Deletes one definition", s.deleteDefinition),
		do("GET", "/v1/definitions/{kind}/{name}/history", "definitionHistory", auth.Read, "The versions of one definition, newest first", s.definitionHistory),

		do("GET", "/v1/tables", "listTables", auth.Query, "The warehouse's tables with their columns", s.listTables),
		do("POST", "/v1/query", "query", auth.Query, "Runs one read-only statement and streams its rows", s.query).streaming("{columns}, then {row} each, then {end} or {error}"),
		do("GET", "/v1/schema", "eventTables", auth.Query, "The event tables with their columns, what did not fit them, and a type that would hold it", s.eventTables),
		do("POST", "/v1/schema/widen", "widenColumn", auth.Edit, "Gives a column of an event table a wider type and puts what was set aside into its rows", s.widenColumn),
		do("GET", "/v1/schema/history", "schemaHistory", auth.Read, "Which events brought columns and who widened them, newest first", s.schemaHistory),
		do("GET", "/v1/schema/collisions", "listCollisions", auth.Read, "Names that became one column or one table", s.listCollisions),
		do("POST", "/v1/explain", "explain", auth.Read, "Says which rows an event would become", s.explain).takes(map[string]any{}, maxEventBytes),
		do("GET", "/v1/events", "tailEvents", auth.Query, "Streams events as the journal holds them", s.tailEvents).streaming("{event} each, then {end} or {error}"),
		do("POST", "/v1/warehouse/lend", "lendWarehouse", auth.Operate, "Gives the warehouse's file up for as long as the request's body is open", s.lendWarehouse).streaming("{lent}, then {end} or {error}"),

		do("POST", "/v1/models/{name}/preview", "previewModel", auth.Query, "Shows a model's first rows, how many there are and what reading them costs", s.previewModel),
		do("POST", "/v1/models/{name}/suggest", "suggestMapping", auth.Operate, "Maps a model's columns to the fields of a destination's object by their names", s.suggestMapping),

		do("GET", "/v1/syncs", "listSyncs", auth.Read, "Every sync's status", s.listSyncs),
		do("GET", "/v1/syncs/{name}", "getSync", auth.Read, "One sync's status", s.getSync),
		do("POST", "/v1/syncs/{name}/plan", "planSync", auth.Operate, "Computes what a run would send, and sends nothing", s.planSync),
		do("POST", "/v1/syncs/{name}/plans", "storePlan", auth.Operate, "Stores a plan as a held run; approving it delivers exactly that plan", s.storePlan),
		do("POST", "/v1/syncs/{name}/drift", "checkDrift", auth.Operate, "Compares what the model says, what was confirmed and what the destination holds", s.checkDrift),
		do("POST", "/v1/syncs/{name}/runs", "startRun", auth.Operate, "Starts a run", s.startRun),
		do("GET", "/v1/syncs/{name}/runs", "listRuns", auth.Read, "A sync's runs, newest first", s.listRuns),
		do("GET", "/v1/syncs/{name}/log", "listSyncLog", auth.Read, "Results of a sync's change log, newest first", s.listSyncLog),
		do("GET", "/v1/syncs/{name}/rejections", "listRejections", auth.Read, "Records that the destination does not hold as it should", s.listRejections),
		do("GET", "/v1/syncs/{name}/rejections/causes", "listCauses", auth.Read, "The rejections by their cause, most frequent first", s.listCauses),
		do("POST", "/v1/syncs/{name}/rejections/retry", "retryRejections", auth.Operate, "Makes rejections due now", s.retryRejections),
		do("POST", "/v1/syncs/{name}/resync", "resync", auth.Operate, "Forgets what was confirmed: the next run sends every row and removes none", s.resync),
		do("POST", "/v1/syncs/{name}/pause", "pauseSync", auth.Operate, "Keeps a sync from starting by itself; a run that goes on is not stopped", s.pauseSync),
		do("POST", "/v1/syncs/{name}/resume", "resumeSync", auth.Operate, "Lets a paused sync start by itself again; what it missed is caught up once", s.resumeSync),
		do("GET", "/v1/runs/{id}", "getRun", auth.Read, "One run", s.getRun),
		do("POST", "/v1/runs/{id}/approve", "approveRun", auth.Operate, "Lets a held run deliver exactly its stored plan", s.approveRun),
		do("POST", "/v1/runs/{id}/revert", "revertRun", auth.Operate, "Begins a run that takes back what a finished one delivered", s.revertRun),
		do("POST", "/v1/runs/{id}/cancel", "cancelRun", auth.Operate, "Stops a run; what was not sent stays to be sent", s.cancelRun),

		do("POST", "/v1/hooks/syncs/{name}", "syncHook", auth.Public, "Starts a sync; the request carries the sync's webhook_secret as a bearer token, or is signed with it", s.syncHook).mayTake(map[string]any{}, maxHookBytes),

		do("GET", "/v1/forwards", "listForwards", auth.Read, "Every forward's status", s.listForwards),
		do("GET", "/v1/forwards/{name}", "getForward", auth.Read, "One forward's status, and what became of its events", s.getForward),
		do("POST", "/v1/forwards/{name}/pause", "pauseForward", auth.Operate, "Holds a forward; its events wait in the journal", s.pauseForward),
		do("POST", "/v1/forwards/{name}/resume", "resumeForward", auth.Operate, "Lets a paused forward go on, or one that waits for its destination try at once", s.resumeForward),
		do("GET", "/v1/forwards/{name}/dead", "listDeadEvents", auth.Query, "Events that a forward could not deliver, newest first", s.listDeadEvents),
		do("GET", "/v1/forwards/{name}/dead/causes", "listDeadCauses", auth.Read, "The dead letters by their codes, most frequent first", s.listDeadCauses),
		do("POST", "/v1/forwards/{name}/dead/retry", "retryDeadEvents", auth.Operate, "Sends dead letters again, behind what waits", s.retryDeadEvents),
		do("POST", "/v1/forwards/{name}/dead/discard", "discardDeadEvents", auth.Operate, "Forgets dead letters for good", s.discardDeadEvents),

		do("GET", "/v1/dbt", "listDbt", auth.Read, "The dbt projects with their models, and whether each may be synced now", s.listDbt),
		do("POST", "/v1/dbt/refresh", "refreshDbt", auth.Operate, "Looks at the dbt projects' artefacts now", s.refreshDbt),
		do("POST", "/v1/dbt/webhook", "dbtWebhook", auth.Public, "Takes the webhook of dbt Cloud; its signature is checked against webhook_secret", s.dbtWebhook).takes(map[string]any{}, maxHookBytes),
		do("GET", "/v1/lineage", "lineage", auth.Read, "How values travel: source, table, model, sync, field", s.lineage),

		do("GET", "/v1/alerts", "listAlerts", auth.Read, "What alerts are raised, or resolved and not yet told", s.listAlerts),
		do("POST", "/v1/alerts/{name}/test", "testAlert", auth.Operate, "Sends a test message through an alert's channel", s.testAlert),

		do("GET", "/v1/audit", "listAudit", auth.Admin, "Who did what, oldest first; the chain of hashes is verified", s.listAudit),
		do("GET", "/v1/tokens", "listTokens", auth.Admin, "The API tokens, without their secret part", s.listTokens),
		do("POST", "/v1/tokens", "createToken", auth.Admin, "Makes an API token; it is shown once", s.createToken),
		do("DELETE", "/v1/tokens/{id}", "revokeToken", auth.Admin, "Ends an API token at once", s.revokeToken),
	}, s.eventRoutes(), s.privacyRoutes(), s.secretRoutes())
}

// bodyReadTimeout bounds how long a request's body may take to come.
const bodyReadTimeout = 30 * time.Second
